//! What files cannot be is said beside them.
//!
//! Only root of the machine can give files away and make devices. For others a file carries
//! what it is to be in one extended attribute, [`XATTR`]:
//!
//! ```text
//! OWNER:GROUP:MODE[:KIND]        decimal, decimal, octal; KIND is pipe, char-MAJOR-MINOR or
//!                                block-MAJOR-MINOR, and none for what the file is
//! then, for each attribute that could not be set:
//! NUL name NUL length value      the length is 4 bytes, the lowest first
//! ```
//!
//! With ID maps in a user namespace, owner and mode are the file's own and the three fields are
//! empty (`:::char-5-1`). All IDs are those of the layer.
//!
//! The first line is written as in podman's `user.containers.override_stat`, but under a name of
//! our own: readers of that one take three or four fields of at most 63 bytes, so that there is no
//! room for attributes such as file capabilities, and an image may bring one that is none of ours.
//! One that an image brings under our name is kept inside the record like any that cannot be set.
//!
//! Symbolic links can carry no `user.` attribute. What such a link is to be stands on an empty file
//! at the same place of a tree beside (`links`, see [`super::beside`]).

use std::borrow::Cow;
use std::io;

use rustix::fs::FileType;

use super::attributes::Attributes;

/// The attribute's name.
pub(crate) const XATTR: &[u8] = b"user.lith.recorded";

/// The mode of every symbolic link.
pub(crate) const LINK_MODE: u32 = 0o777;

/// What a process can put on files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Means {
    /// Everything; nothing is recorded.
    #[default]
    All,
    /// Everything, for layers whose attributes are shifted.
    Shifted,
    /// Owners of its user namespace and what goes with them; no devices.
    Namespace,
    /// What any user can.
    Own,
}

impl Means {
    /// Returns whether an extended attribute can stand on files as it is.
    pub(crate) fn holds(self, name: &[u8]) -> bool {
        let user = name.starts_with(b"user.");
        match self {
            Self::All => true,
            _ if name == XATTR => false,
            Self::Shifted => true,
            Self::Namespace => {
                user || name == b"security.capability" || name.starts_with(b"system.posix_acl_")
            }
            Self::Own => user,
        }
    }

    /// Returns whether device files and fifos can be made.
    pub(crate) fn makes_nodes(self) -> bool {
        matches!(self, Self::All | Self::Shifted)
    }

    /// Returns whether records are written and read.
    pub(crate) fn records(self) -> bool {
        self != Self::All
    }

    /// The attribute by which a directory hides those below it on an overlay mount. Others than
    /// root cannot set `trusted.` ones.
    pub(crate) fn opaque_xattr(self) -> &'static str {
        match self {
            Self::All => "trusted.overlay.opaque",
            _ => "user.overlay.opaque",
        }
    }

    /// Returns the mode of a user's file that is to have this one: the user can read and remove it.
    pub(crate) fn laid_down_mode(kind: FileType, mode: u32) -> u32 {
        match kind {
            FileType::Directory => mode | 0o700,
            _ => mode | 0o600,
        }
    }

    /// Turns what a file is to be into what its stand-in is to be.
    ///
    /// `kind` is what the file is to be, with its device number; `None` when nothing is known of
    /// that, as for a further name of it.
    pub(crate) fn laid_down<'a>(
        self,
        mut attributes: Attributes<'a>,
        kind: Option<(FileType, u64)>,
    ) -> Attributes<'a> {
        let node = kind.and_then(|(kind, device)| Node::of(kind, device));
        let node = node.filter(|_| !self.makes_nodes());
        let held = attributes.xattrs.iter().all(|(name, _)| self.holds(name));
        if !self.records() || (self != Self::Own && held && node.is_none()) {
            return attributes;
        }
        let (native, xattrs) = attributes
            .xattrs
            .into_owned()
            .into_iter()
            .partition(|(name, _)| self.holds(name));
        let mut native: Vec<(Vec<u8>, Vec<u8>)> = native;
        if node.is_some() {
            // No device has such attributes, so its stand-in has none either.
            native.retain(|(name, _)| !name.starts_with(b"user."));
        }
        let mut record = Record {
            owner: None,
            node,
            xattrs,
        };
        if self == Self::Own {
            let link = matches!(kind, Some((FileType::Symlink, _)));
            let mode = if link { LINK_MODE } else { attributes.mode };
            record.owner = Some((attributes.uid, attributes.gid, mode));
            (attributes.uid, attributes.gid) = (0, 0);
            let kind = kind.map_or(FileType::RegularFile, |(kind, _)| kind);
            attributes.mode = Self::laid_down_mode(kind, attributes.mode);
        }
        native.push((XATTR.to_vec(), record.encode()));
        attributes.xattrs = Cow::Owned(native);
        attributes
    }
}

/// What a plain file stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Fifo,
    Char { major: u32, minor: u32 },
    Block { major: u32, minor: u32 },
}

impl Node {
    fn of(kind: FileType, device: u64) -> Option<Self> {
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        match kind {
            FileType::Fifo => Some(Self::Fifo),
            FileType::CharacterDevice => Some(Self::Char { major, minor }),
            FileType::BlockDevice => Some(Self::Block { major, minor }),
            _ => None,
        }
    }

    /// The kind of the file that is meant, and its device number.
    pub(crate) fn file(self) -> (FileType, u64) {
        match self {
            Self::Fifo => (FileType::Fifo, 0),
            Self::Char { major, minor } => {
                (FileType::CharacterDevice, rustix::fs::makedev(major, minor))
            }
            Self::Block { major, minor } => {
                (FileType::BlockDevice, rustix::fs::makedev(major, minor))
            }
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if text == "pipe" {
            return Some(Self::Fifo);
        }
        let (kind, numbers) = text.split_once('-')?;
        let (major, minor) = numbers.split_once('-')?;
        let (major, minor) = (number(major, 10)?, number(minor, 10)?);
        match kind {
            "char" => Some(Self::Char { major, minor }),
            "block" => Some(Self::Block { major, minor }),
            _ => None,
        }
    }
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fifo => f.write_str("pipe"),
            Self::Char { major, minor } => write!(f, "char-{major}-{minor}"),
            Self::Block { major, minor } => write!(f, "block-{major}-{minor}"),
        }
    }
}

/// What a file is to be, where it cannot be that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Owner, group and mode, unless they are the file's own.
    pub(crate) owner: Option<(u32, u32, u32)>,
    pub(crate) node: Option<Node>,
    /// Attributes that could not be set.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Record {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut text = match self.owner {
            Some((uid, gid, mode)) => format!("{uid}:{gid}:{mode:o}"),
            None => "::".to_owned(),
        };
        if let Some(node) = self.node {
            text.push_str(&format!(":{node}"));
        }
        let mut out = text.into_bytes();
        for (name, value) in &self.xattrs {
            out.push(0);
            out.extend_from_slice(name);
            out.push(0);
            // No file system takes values of more than 64 KiB.
            let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(value);
        }
        out
    }

    /// Takes a record apart.
    ///
    /// # Errors
    /// `InvalidData` when it is none.
    pub(crate) fn decode(bytes: &[u8]) -> io::Result<Self> {
        Self::parse(bytes).ok_or_else(|| {
            let shown = crate::error::shown(bytes.get(..bytes.len().min(64)).unwrap_or_default());
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is no record: {shown}", String::from_utf8_lossy(XATTR)),
            )
        })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut parts = bytes.splitn(2, |byte| *byte == 0);
        let head = std::str::from_utf8(parts.next()?).ok()?;
        let mut fields = head.split(':');
        let owner = match (fields.next()?, fields.next()?, fields.next()?) {
            ("", "", "") => None,
            (uid, gid, mode) => {
                let mode = number(mode, 8).filter(|mode| *mode <= 0o7777)?;
                Some((number(uid, 10)?, number(gid, 10)?, mode))
            }
        };
        let node = match fields.next() {
            None => None,
            Some(text) => Some(Node::parse(text)?),
        };
        if fields.next().is_some() {
            return None;
        }
        let mut xattrs = Vec::new();
        let mut rest = parts.next();
        while let Some(bytes) = rest {
            let end = bytes.iter().position(|byte| *byte == 0)?;
            let (name, behind) = (bytes.get(..end)?, bytes.get(end + 1..)?);
            let (length, behind) = behind.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            let (value, behind) = behind.split_at_checked(length)?;
            xattrs.push((name.to_vec(), value.to_vec()));
            rest = match behind.split_first() {
                None => None,
                Some((0, behind)) => Some(behind),
                Some(_) => return None,
            };
        }
        Some(Self {
            owner,
            node,
            xattrs,
        })
    }

    /// What a file is to be after a further name of it brought this record: its kind and the
    /// attributes that are not named again stay. Capabilities do not survive a change of owner.
    pub(crate) fn over(mut self, before: Self) -> Self {
        self.node = self.node.or(before.node);
        let ids = |owner: Option<(u32, u32, u32)>| owner.map(|(uid, gid, _)| (uid, gid));
        let chown = ids(self.owner) != ids(before.owner);
        for (name, value) in before.xattrs {
            let lost = chown && name == b"security.capability";
            if !lost && !self.xattrs.iter().any(|(known, _)| *known == name) {
                self.xattrs.push((name, value));
            }
        }
        self
    }
}

fn number(text: &str, radix: u32) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    u32::from_str_radix(text, radix).ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lith_tarsplit::Timestamp;

    fn wanted(xattrs: &[(&str, &[u8])]) -> Attributes<'static> {
        let xattrs = xattrs
            .iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()))
            .collect();
        Attributes {
            uid: 7,
            gid: 4_294_967_294,
            mode: 0o4511,
            mtime: Timestamp::default(),
            xattrs: Cow::Owned(xattrs),
        }
    }

    fn record(laid: &Attributes<'_>) -> Record {
        let (_, value) = laid.xattrs.iter().find(|(name, _)| name == XATTR).unwrap();
        Record::decode(value).unwrap()
    }

    #[test]
    fn a_users_file_says_what_it_is_to_be() {
        let xattrs = [
            ("user.a", &b"1"[..]),
            ("security.capability", b"\0\x01\0"),
            ("user.lith.recorded", b"0:0:777"),
            ("trusted.t", b""),
        ];
        let laid = Means::Own.laid_down(wanted(&xattrs), Some((FileType::RegularFile, 0)));
        assert_eq!((laid.uid, laid.gid, laid.mode), (0, 0, 0o4711));
        assert_eq!(laid.xattrs.len(), 2);
        assert_eq!(laid.xattrs[0], (b"user.a".to_vec(), b"1".to_vec()));
        let found = record(&laid);
        assert_eq!(found.owner, Some((7, 4_294_967_294, 0o4511)));
        assert_eq!(found.node, None);
        let names: Vec<&[u8]> = found.xattrs.iter().map(|(name, _)| &name[..]).collect();
        let expected: Vec<&[u8]> = xattrs[1..].iter().map(|x| x.0.as_bytes()).collect();
        assert_eq!(names, expected);
        assert_eq!(found.xattrs[0].1, b"\0\x01\0");
    }

    #[test]
    fn in_a_namespace_only_what_it_cannot_hold_is_recorded() {
        let plain = wanted(&[("user.a", b"1"), ("security.capability", b"x")]);
        let kind = Some((FileType::RegularFile, 0));
        assert_eq!(Means::Namespace.laid_down(plain.clone(), kind), plain);
        let tty = rustix::fs::makedev(5, 1);
        let laid = Means::Namespace.laid_down(
            wanted(&[("user.a", b"1"), ("trusted.t", b"2")]),
            Some((FileType::CharacterDevice, tty)),
        );
        assert_eq!((laid.uid, laid.mode, laid.xattrs.len()), (7, 0o4511, 1));
        assert!(laid.xattrs[0].1.starts_with(b":::char-5-1\0trusted.t\0"));
        assert_eq!(record(&laid).node, Some(Node::Char { major: 5, minor: 1 }));
        let real = Means::All.laid_down(wanted(&[("user.lith.recorded", b"x")]), kind);
        assert_eq!(real, wanted(&[("user.lith.recorded", b"x")]));
        let shifted = Means::Shifted.laid_down(wanted(&[("user.lith.recorded", b"x")]), kind);
        assert_eq!(record(&shifted).xattrs.len(), 1);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let good = [
            "0:0:755",
            "1:2:644:pipe",
            "1:2:644:block-259-1048575",
            ":::pipe",
            "::",
            "0:0:0\0security.x\0\x02\0\0\0ab\0trusted.\0\0\0\0\0",
        ];
        for text in good {
            let record = Record::decode(text.as_bytes()).unwrap();
            assert_eq!(record.encode(), text.as_bytes());
        }
        for text in [
            "",
            "0",
            "0:0",
            "0:0:8",
            "0:0:+7",
            "0:0:17777",
            "0::7",
            "-1:0:7",
            "4294967296:0:7",
            "0:0:7:",
            "0:0:7:socket-1",
            "0:0:7:char-1",
            "0:0:7:pipe:x",
            "0:0:7\0",
            "0:0:7\0n",
            "0:0:7\0n\0\x02\0\0\0a",
            "0:0:7\0n\0\x01\0\0\0ab",
            "0:0:7\0n\0\x01\0\0\0a\0",
        ] {
            let error = Record::decode(text.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{text:?}");
        }
    }

    #[test]
    fn a_further_name_changes_neither_kind_nor_other_attributes() {
        let decode = |text: &[u8]| Record::decode(text).unwrap();
        let before = decode(b"0:0:600:char-1-3\0trusted.a\0\x01\0\0\0x\0trusted.b\0\x01\0\0\0y");
        let after = decode(b"5:6:640\0trusted.b\0\x01\0\0\0z").over(before);
        assert_eq!(
            after.encode(),
            b"5:6:640:char-1-3\0trusted.b\0\x01\0\0\0z\0trusted.a\0\x01\0\0\0x"
        );
        let able = || decode(b"0:0:755\0security.capability\0\x01\0\0\0x");
        assert_eq!(decode(b"1:0:755").over(able()).encode(), b"1:0:755");
        assert_eq!(decode(b"0:0:700").over(able()).xattrs, able().xattrs);
    }
}
