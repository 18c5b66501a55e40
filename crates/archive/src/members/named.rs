//! The members of an archive by name, and where links lead.

use std::collections::HashMap;

use super::names;
use super::outer::{Kind, Member};
use crate::LoadError;
use crate::error::text;

/// Members and bytes of names that an archive may have. An archive of images has a handful
/// for each layer; a tar of a file system with more than this is none.
const MAX_MEMBERS: usize = 1 << 17;
const MAX_NAMES: usize = 32 << 20;

/// Members by their cleaned names; `T` says where a regular member's bytes are.
pub(crate) struct Members<T> {
    by_name: HashMap<Vec<u8>, Slot<T>>,
    count: usize,
    names: usize,
}

struct Slot<T> {
    body: Body<T>,
    offset: u64,
    /// Where a second member of this name begins.
    again: Option<u64>,
}

enum Body<T> {
    Bytes(T),
    HardLink(Vec<u8>),
    Symlink(Vec<u8>),
    Other(&'static str),
}

impl<T> Members<T> {
    pub(crate) fn new() -> Members<T> {
        Members {
            by_name: HashMap::new(),
            count: 0,
            names: 0,
        }
    }

    /// Adds a member; `bytes` says where it is, when it is a regular one.
    pub(crate) fn add(&mut self, member: Member, bytes: T) -> Result<(), LoadError> {
        self.count += 1;
        let link = match &member.kind {
            Kind::HardLink(target) | Kind::Symlink(target) => target.len(),
            _ => 0,
        };
        self.names += member.path.len() + link;
        if self.count > MAX_MEMBERS {
            return Err(LoadError::TooMany {
                what: "members",
                limit: MAX_MEMBERS,
            });
        }
        if self.names > MAX_NAMES {
            return Err(LoadError::TooMany {
                what: "bytes of names",
                limit: MAX_NAMES,
            });
        }
        let body = match member.kind {
            Kind::Regular => Body::Bytes(bytes),
            Kind::Sparse => Body::Other("a sparse file"),
            Kind::HardLink(target) => Body::HardLink(target),
            Kind::Symlink(target) => Body::Symlink(target),
            Kind::Directory => Body::Other("a folder"),
            Kind::Other => Body::Other("a device, pipe or of unknown type"),
        };
        // A name that leads outside can never be asked for.
        let Ok(name) = names::clean(&member.path) else {
            return Ok(());
        };
        let slot = Slot {
            body,
            offset: member.offset,
            again: None,
        };
        match self.by_name.entry(name) {
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(slot);
            }
            std::collections::hash_map::Entry::Occupied(mut there) => {
                there.get_mut().again.get_or_insert(slot.offset);
            }
        }
        Ok(())
    }

    /// True when something has this cleaned name.
    pub(crate) fn has(&self, name: &[u8]) -> bool {
        self.by_name.contains_key(name)
    }

    /// All cleaned names.
    pub(crate) fn names(&self) -> Vec<Vec<u8>> {
        self.by_name.keys().cloned().collect()
    }

    /// Finds the regular member that `path` stands for, links followed, under its own name.
    ///
    /// None when there is no member of that name.
    ///
    /// # Errors
    /// Paths that lead outside, names that occur twice, links that lead to nothing or to each
    /// other, anything that is not a regular file.
    pub(crate) fn find(
        &self,
        path: &[u8],
        wanted_by: &str,
    ) -> Result<Option<(&[u8], &T)>, LoadError> {
        let first = names::clean(path).map_err(|bad| bad_path(path, wanted_by, bad))?;
        let mut name = first.clone();
        // Each step follows another link, so more steps than members are a loop.
        for step in 0..=self.by_name.len() {
            let Some((key, slot)) = self.by_name.get_key_value(&name) else {
                if step == 0 {
                    return Ok(None);
                }
                let wanted_by = format!("link {}", text(&first));
                return Err(LoadError::MissingMember {
                    member: text(&name),
                    wanted_by,
                });
            };
            if let Some(second) = slot.again {
                let (member, first) = (text(&name), slot.offset);
                return Err(LoadError::Duplicate {
                    member,
                    first,
                    second,
                });
            }
            name = match &slot.body {
                Body::Bytes(bytes) => return Ok(Some((key, bytes))),
                Body::Symlink(target) => names::follow(&name, target)
                    .map_err(|bad| bad_path(target, &format!("link {}", text(&name)), bad))?,
                Body::HardLink(target) => self.hard_link(&name, target)?,
                Body::Other(kind) => {
                    return Err(LoadError::NotRegular {
                        member: text(&name),
                        kind,
                    });
                }
            };
        }
        Err(LoadError::LinkLoop {
            member: text(&first),
        })
    }

    /// Where a hard link leads: tar counts from the archive's root; some hand-made archives
    /// count from the link's folder, as symbolic links do.
    fn hard_link(&self, name: &[u8], target: &[u8]) -> Result<Vec<u8>, LoadError> {
        match (names::clean(target), names::follow(name, target)) {
            (Ok(root), _) if self.by_name.contains_key(&root) => Ok(root),
            (_, Ok(local)) if self.by_name.contains_key(&local) => Ok(local),
            (Ok(root), _) => Ok(root),
            (Err(bad), _) => Err(bad_path(target, &format!("link {}", text(name)), bad)),
        }
    }
}

fn bad_path(path: &[u8], wanted_by: &str, bad: names::BadName) -> LoadError {
    LoadError::BadPath {
        path: text(path),
        wanted_by: wanted_by.to_owned(),
        reason: bad.reason(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(list: &[(&str, Kind)]) -> Members<usize> {
        let mut members = Members::new();
        for (index, (path, kind)) in list.iter().enumerate() {
            let member = Member {
                path: path.as_bytes().to_vec(),
                kind: kind.clone(),
                offset: index as u64 * 1024,
                data: 0,
                size: 0,
            };
            members.add(member, index).unwrap();
        }
        members
    }

    fn symlink(target: &str) -> Kind {
        Kind::Symlink(target.as_bytes().to_vec())
    }

    fn hard(target: &str) -> Kind {
        Kind::HardLink(target.as_bytes().to_vec())
    }

    #[test]
    fn links_are_followed() {
        let members = members(&[
            ("./x.tar", Kind::Regular),
            ("a/layer.tar", symlink("../x.tar")),
            ("b/layer.tar", symlink("../a/layer.tar")),
            ("c/layer.tar", hard("b/layer.tar")),
            ("c/near", hard("layer.tar")),
        ]);
        for name in [
            "x.tar",
            "./x.tar",
            "a/layer.tar",
            "b/layer.tar",
            "c/layer.tar",
            "c/near",
        ] {
            let (found, index) = members.find(name.as_bytes(), "test").unwrap().unwrap();
            assert_eq!((found, *index), (&b"x.tar"[..], 0), "{name}");
        }
        assert!(members.find(b"other", "test").unwrap().is_none());
    }

    #[test]
    fn bad_links_are_errors() {
        let members = members(&[
            ("a", symlink("b")),
            ("b", symlink("a")),
            ("self", hard("self")),
            ("out", symlink("../../etc/passwd")),
            ("abs", symlink("/etc/passwd")),
            ("dangling", symlink("nothing")),
            ("folder/", Kind::Directory),
            ("twice", Kind::Regular),
            ("./twice", Kind::Regular),
        ]);
        let find = |name: &str| {
            members
                .find(name.as_bytes(), "test")
                .map(|_| ())
                .unwrap_err()
        };
        assert!(matches!(find("a"), LoadError::LinkLoop { .. }));
        assert!(matches!(find("self"), LoadError::LinkLoop { .. }));
        assert!(matches!(find("out"), LoadError::BadPath { .. }));
        assert!(matches!(find("abs"), LoadError::BadPath { .. }));
        assert!(matches!(find("dangling"), LoadError::MissingMember { .. }));
        assert!(matches!(find("folder"), LoadError::NotRegular { .. }));
        assert!(matches!(
            find("twice"),
            LoadError::Duplicate {
                first: 7168,
                second: 8192,
                ..
            }
        ));
        assert!(matches!(find("../x"), LoadError::BadPath { .. }));
    }
}
