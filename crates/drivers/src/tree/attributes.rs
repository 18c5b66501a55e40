//! What a file is besides its kind and content: as an entry says, and in notes.

use std::borrow::Cow;
use std::io;

use lith_tarsplit::{Metadata, Timestamp};
use rustix::fs::{Timespec, Timestamps, UTIME_OMIT};

use super::log::{Decoder, Encoder};
use super::shift;
use crate::error::{Trouble, shown};
use crate::id_maps::{IdKind, IdMaps};

/// What a file is besides its kind and content: all IDs are those that lie on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attributes<'a> {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
    pub(crate) mtime: Timestamp,
    /// Without those that would take effect on an overlay mount.
    pub(crate) xattrs: Cow<'a, [(Vec<u8>, Vec<u8>)]>,
}

/// Extended attributes that tell overlay file systems what to show: never taken from a layer.
pub(crate) fn is_overlay_xattr(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

impl<'a> Attributes<'a> {
    /// A directory at `place` that nothing describes.
    pub(crate) fn of_nothing(
        maps: Option<&IdMaps>,
        place: &[u8],
    ) -> Result<Attributes<'static>, Trouble> {
        let root = |kind| {
            host(maps, kind, 0).map_err(|_| Trouble::UnmappedRoot {
                kind,
                path: shown(place).into(),
            })
        };
        Ok(Attributes {
            uid: root(IdKind::User)?,
            gid: root(IdKind::Group)?,
            mode: 0o755,
            mtime: Timestamp::default(),
            xattrs: Cow::Borrowed(&[]),
        })
    }

    /// What an entry says, or why no file can be like that.
    pub(crate) fn of_entry(metadata: &'a Metadata, maps: Option<&IdMaps>) -> Result<Self, Trouble> {
        // The highest number means "leave it as it is" to chown.
        let id = |what: &str, id: u64| match u32::try_from(id) {
            Ok(id) if id != u32::MAX => Ok(id),
            _ => Err(Trouble::Refused(format!(
                "{what} {id} is more than a file can have (expected at most 4294967294)"
            ))),
        };
        let mut xattrs = Cow::Borrowed(metadata.xattrs.as_slice());
        if xattrs.iter().any(|(name, _)| is_overlay_xattr(name)) {
            xattrs.to_mut().retain(|(name, _)| !is_overlay_xattr(name));
        }
        if let Some(maps) = maps.filter(|_| !xattrs.is_empty()) {
            for (name, value) in xattrs.to_mut() {
                shift::to_host(maps, name, value)?;
            }
        }
        let (uid, gid) = (id("owner", metadata.uid)?, id("group", metadata.gid)?);
        Ok(Self {
            uid: host(maps, IdKind::User, uid)?,
            gid: host(maps, IdKind::Group, gid)?,
            mode: metadata.mode & 0o7777,
            mtime: Timestamp {
                nanos: metadata.mtime.nanos.min(999_999_999),
                ..metadata.mtime
            },
            xattrs,
        })
    }

    /// What was read from the disk, as a layer says it.
    pub(crate) fn in_layer(&self, maps: Option<&IdMaps>) -> Result<Attributes<'static>, Trouble> {
        let mut found = Attributes {
            xattrs: Cow::Owned(self.xattrs.to_vec()),
            ..*self
        };
        let Some(maps) = maps else { return Ok(found) };
        let layer = |kind, id| {
            let there = maps.to_container(kind, id);
            there.ok_or(Trouble::Unmapped { kind, id })
        };
        found.uid = layer(IdKind::User, self.uid)?;
        found.gid = layer(IdKind::Group, self.gid)?;
        for (name, value) in found.xattrs.to_mut() {
            shift::to_layer(maps, name, value)?;
        }
        Ok(found)
    }

    /// The same, for as long as it is needed.
    pub(crate) fn into_owned(self) -> Attributes<'static> {
        Attributes {
            xattrs: Cow::Owned(self.xattrs.into_owned()),
            ..self
        }
    }

    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.number(self.uid.into())
            .number(self.gid.into())
            .number(self.mode.into())
            .number(self.mtime.seconds.cast_unsigned())
            .number(self.mtime.nanos.into())
            .number(self.xattrs.len() as u64);
        for (name, value) in self.xattrs.iter() {
            out.bytes(name).bytes(value);
        }
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> io::Result<Attributes<'static>> {
        let narrow = |number: u64| u32::try_from(number).map_err(io::Error::other);
        let (uid, gid, mode) = (
            narrow(from.number()?)?,
            narrow(from.number()?)?,
            narrow(from.number()?)?,
        );
        let mtime = Timestamp {
            seconds: from.number()?.cast_signed(),
            nanos: narrow(from.number()?)?,
        };
        let mut xattrs = Vec::new();
        for _ in 0..from.number()? {
            xattrs.push((from.bytes()?.to_vec(), from.bytes()?.to_vec()));
        }
        Ok(Attributes {
            uid,
            gid,
            mode,
            mtime,
            xattrs: Cow::Owned(xattrs),
        })
    }

    pub(crate) fn times(&self) -> Timestamps {
        Timestamps {
            // Left as it is: setting it would make the first reader write it again.
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: self.mtime.seconds,
                tv_nsec: self.mtime.nanos.into(),
            },
        }
    }
}

/// Returns what an ID of a layer is on the disk.
fn host(maps: Option<&IdMaps>, kind: IdKind, id: u32) -> Result<u32, Trouble> {
    match maps {
        Some(maps) => maps.to_host(kind, id).ok_or(Trouble::Unmapped { kind, id }),
        None => Ok(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_survive_the_notes() {
        let wanted = Attributes {
            uid: 1,
            gid: 4_294_967_294,
            mode: 0o6755,
            mtime: Timestamp {
                seconds: -3,
                nanos: 999_999_999,
            },
            xattrs: Cow::Owned(vec![
                (b"user.a".to_vec(), vec![0, 255]),
                (b"user.b".to_vec(), Vec::new()),
            ]),
        };
        let mut out = Encoder::default();
        wanted.encode(&mut out);
        assert_eq!(Attributes::decode(&mut Decoder(&out.0)).unwrap(), wanted);
        assert!(Attributes::decode(&mut Decoder(&out.0[..out.0.len() - 1])).is_err());
    }

    #[test]
    fn what_no_file_can_have_is_refused() {
        let entry = |uid, gid| Metadata {
            uid,
            gid,
            ..Metadata::default()
        };
        assert!(Attributes::of_entry(&entry(u64::from(u32::MAX), 0), None).is_err());
        assert!(Attributes::of_entry(&entry(0, 1 << 40), None).is_err());
        Attributes::of_entry(&entry(4_294_967_294, 0), None).unwrap();
    }

    #[test]
    fn overlay_attributes_are_left_out() {
        let names = [
            "trusted.overlay.opaque",
            "user.overlay.redirect",
            "user.overlay",
            "user.x",
        ];
        let xattrs = names
            .iter()
            .map(|n| (n.as_bytes().to_vec(), b"y".to_vec()))
            .collect();
        let entry = Metadata {
            xattrs,
            ..Metadata::default()
        };
        let kept = Attributes::of_entry(&entry, None)
            .unwrap()
            .xattrs
            .into_owned();
        assert_eq!(
            kept.iter().map(|(n, _)| n.as_slice()).collect::<Vec<_>>(),
            [&b"user.overlay"[..], b"user.x"]
        );
    }
}
