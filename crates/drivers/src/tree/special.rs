//! Names that are orders to the reader of a layer.

use lith_tarsplit::{Kind, Metadata};

use super::name;
use crate::error::Trouble;

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What AUFS kept for itself at the root of its layers.
const AUFS: [&[u8]; 3] = [b".wh..wh.plnk", b".wh..wh.orph", b".wh..wh.aufs"];

/// An entry that stands for no file of its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Special<'a> {
    /// This name of lower layers is gone.
    Whiteout(&'a [u8]),
    /// All names of lower layers in this directory are gone.
    Opaque,
    /// Part of what AUFS kept; `link` is a file's name in its folder for hard links.
    Aufs { link: Option<Vec<u8>> },
}

/// Returns what an entry at `parent`/`last` orders, if anything.
pub(crate) fn special<'a>(
    parent: &[u8],
    last: &'a [u8],
    metadata: &Metadata,
) -> Result<Option<Special<'a>>, Trouble> {
    let first = name::parts(parent).next().unwrap_or(last);
    if AUFS.contains(&first) {
        let link = (parent == AUFS[0]).then(|| last.to_vec());
        return Ok(Some(Special::Aufs { link }));
    }
    if last == OPAQUE {
        return Ok(Some(Special::Opaque));
    }
    if let Some(hidden) = last.strip_prefix(PREFIX) {
        if matches!(hidden, b"" | b"." | b"..") {
            let reason = format!("a whiteout of {:?}", String::from_utf8_lossy(hidden));
            return Err(Trouble::Refused(reason));
        }
        return Ok(Some(Special::Whiteout(hidden)));
    }
    // Every overlay takes this device for a whiteout.
    if metadata.kind == Kind::CharDevice && metadata.device == (0, 0) {
        return Ok(Some(Special::Whiteout(last)));
    }
    Ok(None)
}

/// Returns whether a hard link's target lies in AUFS's folder for them.
pub(crate) fn is_aufs_link(target: &[u8]) -> bool {
    name::split(target).0 == AUFS[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_part_makes_a_whiteout() {
        let file = Metadata::default();
        let what = |place: &[u8]| {
            let (parent, last) = name::split(place);
            special(parent, last, &file)
                .map(|found| format!("{found:?}"))
                .map_err(|_| ())
        };
        let whiteout = |hidden: &[u8]| Ok(format!("{:?}", Some(Special::Whiteout(hidden))));
        assert_eq!(what(b"etc/.wh.hosts"), whiteout(b"hosts"));
        assert_eq!(what(b".wh..baz"), whiteout(b".baz"));
        assert_eq!(what(b"a/.wh..wh.x"), whiteout(b".wh.x"));
        assert_eq!(
            what(b"a/.wh..wh..opq"),
            Ok(format!("{:?}", Some(Special::Opaque)))
        );
        for plain in [
            &b".wh.etc/file"[..],
            b".whatever",
            b".wh",
            b".WH.x",
            b"x.wh.y",
        ] {
            assert_eq!(what(plain), Ok("None".to_owned()));
        }
        for bad in [&b".wh."[..], b"a/.wh..", b"a/.wh..."] {
            assert_eq!(what(bad), Err(()));
        }
        assert!(what(b".wh..wh.plnk/12.34").unwrap().contains("Aufs"));
        assert!(what(b".wh..wh.aufs").unwrap().contains("Aufs"));
    }
}
