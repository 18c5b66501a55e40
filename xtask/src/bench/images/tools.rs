//! Who is measured at what.

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    Load,
    LoadPipe,
    LoadGzip,
    LoadAgain,
    FourInTurn,
    FourAtOnce,
    Save,
    SavePipe,
    SaveOci,
    SaveGzip,
}

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tool {
    Lith,
    LithVfs,
    Skopeo,
    Podman,
    PodmanVfs,
    Docker,
    Umoci,
    /// Debian 13's, in a root of its own.
    Skopeo13,
    Podman13,
    /// GNU tar on the bare layers: what it costs to have the files, or to read them.
    Tar,
    /// A copy of the archive: what it costs to have its bytes.
    Cp,
    /// The SHA-256 of the archive: what it costs to know its bytes.
    Openssl,
}

/// What kind of tool one is, for whoever compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Own,
    /// Of this machine.
    Peer,
    /// Debian 13's.
    Newer,
    /// No tool for images: what cannot be avoided.
    Floor,
}

/// What has to be in the store before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    Nothing,
    DockerArchive,
    OciArchive,
}

impl Work {
    pub(super) const ALL: [Work; 10] = [
        Work::Load,
        Work::LoadPipe,
        Work::LoadGzip,
        Work::LoadAgain,
        Work::FourInTurn,
        Work::FourAtOnce,
        Work::Save,
        Work::SavePipe,
        Work::SaveOci,
        Work::SaveGzip,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Work::Load => "load docker-archive",
            Work::LoadPipe => "load docker-archive from a pipe",
            Work::LoadGzip => "load oci-archive (gzip)",
            Work::LoadAgain => "load docker-archive again",
            Work::FourInTurn => "load four images in turn",
            Work::FourAtOnce => "load four images at once",
            Work::Save => "save docker-archive",
            Work::SavePipe => "save docker-archive to a pipe",
            Work::SaveOci => "save oci-archive (gzip, as it came)",
            Work::SaveGzip => "save oci-archive --compress gzip",
        }
    }

    /// Who can do it.
    pub(super) fn tools(self) -> &'static [Tool] {
        use Tool::{
            Cp, Docker, Lith, LithVfs, Openssl, Podman, Podman13, PodmanVfs, Skopeo, Skopeo13, Tar,
            Umoci,
        };
        match self {
            Work::Load => &[
                Lith, Skopeo, Podman, Docker, Skopeo13, Podman13, Tar, Openssl, LithVfs, PodmanVfs,
            ],
            // skopeo seeks in archives.
            Work::LoadPipe => &[Lith, Podman, Docker, Podman13],
            Work::LoadGzip => &[Lith, Skopeo, Podman, Umoci, Skopeo13, Podman13],
            Work::LoadAgain => &[Lith, Podman, Docker, Podman13],
            Work::FourInTurn | Work::FourAtOnce => &[Lith, Podman],
            Work::Save => &[
                Lith, Skopeo, Podman, Docker, Skopeo13, Podman13, Tar, Cp, LithVfs,
            ],
            Work::SavePipe => &[Lith, Skopeo, Podman, Docker, Skopeo13, Podman13, Tar],
            Work::SaveOci => &[Lith, Skopeo, Podman, Skopeo13, Podman13, Cp],
            Work::SaveGzip => &[Lith, Skopeo],
        }
    }

    pub(super) fn before(self) -> Before {
        match self {
            Work::Load | Work::LoadPipe | Work::LoadGzip | Work::FourInTurn | Work::FourAtOnce => {
                Before::Nothing
            }
            Work::LoadAgain | Work::Save | Work::SavePipe | Work::SaveGzip => Before::DockerArchive,
            Work::SaveOci => Before::OciArchive,
        }
    }

    /// Whether it needs the image as an OCI archive.
    pub(super) fn gzip(self) -> bool {
        matches!(self, Work::LoadGzip | Work::SaveOci)
    }

    /// Whether those who have little time want to know.
    pub(super) fn quick(self) -> bool {
        !matches!(self, Work::LoadPipe | Work::SaveOci | Work::SaveGzip)
    }

    /// Whether it needs four images that share nothing.
    pub(super) fn four(self) -> bool {
        matches!(self, Work::FourInTurn | Work::FourAtOnce)
    }
}

impl Tool {
    pub(super) fn name(self) -> &'static str {
        match self {
            Tool::Lith => "lith",
            Tool::LithVfs => "lith (vfs)",
            Tool::Skopeo => "skopeo",
            Tool::Podman => "podman",
            Tool::PodmanVfs => "podman (vfs)",
            Tool::Docker => "docker",
            Tool::Umoci => "umoci unpack",
            Tool::Skopeo13 => "skopeo (Debian 13)",
            Tool::Podman13 => "podman (Debian 13)",
            Tool::Tar => "tar",
            Tool::Cp => "cp",
            Tool::Openssl => "openssl dgst -sha256",
        }
    }

    pub(super) fn side(self) -> Side {
        match self {
            Tool::Lith | Tool::LithVfs => Side::Own,
            Tool::Skopeo | Tool::Podman | Tool::PodmanVfs | Tool::Docker | Tool::Umoci => {
                Side::Peer
            }
            Tool::Skopeo13 | Tool::Podman13 => Side::Newer,
            Tool::Tar | Tool::Cp | Tool::Openssl => Side::Floor,
        }
    }

    /// Whether it keeps images in a store, with a tree for each layer that is shared.
    pub(super) fn has_store(self) -> bool {
        !matches!(self, Tool::Umoci | Tool::PodmanVfs | Tool::LithVfs) && self.side() != Side::Floor
    }
}
