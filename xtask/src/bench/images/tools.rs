//! Who is measured at what.

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    Load,
    LoadGzip,
    LoadAgain,
    Save,
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
    /// GNU tar on the bare layers: what it costs to have the files, or to read them.
    Tar,
}

impl Work {
    pub(super) const ALL: [Work; 4] = [Work::Load, Work::LoadGzip, Work::LoadAgain, Work::Save];

    pub(super) fn name(self) -> &'static str {
        match self {
            Work::Load => "load docker-archive",
            Work::LoadGzip => "load oci-archive (gzip)",
            Work::LoadAgain => "load docker-archive again",
            Work::Save => "save docker-archive",
        }
    }

    /// Who can do it.
    pub(super) fn tools(self) -> impl Iterator<Item = Tool> {
        use Tool::{Docker, Lith, LithVfs, Podman, PodmanVfs, Skopeo, Tar};
        let tools: &[Tool] = match self {
            Work::Load => &[Lith, Skopeo, Podman, Docker, Tar, LithVfs, PodmanVfs],
            Work::LoadGzip => &[Lith, Skopeo, Podman],
            Work::LoadAgain => &[Lith, Podman, Docker],
            Work::Save => &[Lith, Skopeo, Podman, Docker, Tar, LithVfs],
        };
        tools.iter().copied()
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
            Tool::Tar => "tar",
        }
    }
}
