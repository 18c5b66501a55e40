//! IDs inside extended attributes: shifted like owners.
//!
//! Two kinds of attributes that Linux knows hold IDs. Access lists name users and groups.
//! File capabilities may name the root user that they count for; those that name none mean the
//! layer's own root, so that on the disk they name what that is mapped to: the kernel gives
//! nothing to capabilities whose root is another than the container's.
//!
//! Values that are none the kernel would take are left for it to refuse. Attributes of programs
//! (`user.*`, `trusted.*`) are theirs to understand, and stay as they are.

use crate::error::Trouble;
use crate::id_maps::{IdKind, IdMaps};

const CAPABILITY: &[u8] = b"security.capability";
const ACLS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

/// Shifts the IDs in a layer's attribute to what they are on the disk.
pub(crate) fn to_host(maps: &IdMaps, name: &[u8], value: &mut Vec<u8>) -> Result<(), Trouble> {
    let host = |kind, id| maps.to_host(kind, id).ok_or(Trouble::Unmapped { kind, id });
    shift(name, value, &host)
}

/// Shifts the IDs in an attribute on the disk to what they are in the layer.
pub(crate) fn to_layer(maps: &IdMaps, name: &[u8], value: &mut Vec<u8>) -> Result<(), Trouble> {
    let layer = |kind, id| {
        let id_there = maps.to_container(kind, id);
        id_there.ok_or(Trouble::Unmapped { kind, id })
    };
    shift(name, value, &layer)
}

fn shift(name: &[u8], value: &mut Vec<u8>, shift: Shift<'_>) -> Result<(), Trouble> {
    if name == CAPABILITY {
        capability(value, shift)
    } else if ACLS.contains(&name) {
        access_list(value, shift)
    } else {
        Ok(())
    }
}

type Shift<'a> = &'a dyn Fn(IdKind, u32) -> Result<u32, Trouble>;

/// Two 32-bit words of flags, two pairs of sets; since Linux 4.14 a root user may follow.
fn capability(value: &mut Vec<u8>, shift: Shift<'_>) -> Result<(), Trouble> {
    const WITHOUT_ROOT: u8 = 2;
    const WITH_ROOT: u8 = 3;
    // The revision is the highest byte of the first word.
    let root = match (value.get(3), value.len()) {
        (Some(&WITHOUT_ROOT), 20) => 0,
        (Some(&WITH_ROOT), 24) => word(value, 20),
        _ => return Ok(()),
    };
    let root = shift(IdKind::User, root)?;
    value.truncate(20);
    if root == 0 {
        set(value, 3, &[WITHOUT_ROOT]);
    } else {
        set(value, 3, &[WITH_ROOT]);
        value.extend_from_slice(&root.to_le_bytes());
    }
    Ok(())
}

/// A version, then eight bytes for each entry: what it is, what is allowed, to whom.
fn access_list(value: &mut [u8], shift: Shift<'_>) -> Result<(), Trouble> {
    const USER: [u8; 2] = [2, 0];
    const GROUP: [u8; 2] = [8, 0];
    if value.get(..4) != Some(&2_u32.to_le_bytes()) || value.len() % 8 != 4 {
        return Ok(());
    }
    for entry in value.get_mut(4..).unwrap_or_default().chunks_exact_mut(8) {
        let kind = match entry.get(..2) {
            Some(tag) if tag == USER => IdKind::User,
            Some(tag) if tag == GROUP => IdKind::Group,
            _ => continue,
        };
        let id = shift(kind, word(entry, 4))?;
        set(entry, 4, &id.to_le_bytes());
    }
    Ok(())
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    if let Some(found) = bytes.get(at..at + 4) {
        word.copy_from_slice(found);
    }
    u32::from_le_bytes(word)
}

fn set(bytes: &mut [u8], at: usize, to: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + to.len()) {
        place.copy_from_slice(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id_maps::IdRange;

    fn maps(host: u32) -> IdMaps {
        let range = |container, host| IdRange {
            container,
            host,
            count: 100,
        };
        IdMaps::new(vec![range(0, host)], vec![range(0, 5000)]).unwrap()
    }

    fn shifted(maps: &IdMaps, name: &str, value: &[u8]) -> Result<Vec<u8>, String> {
        let mut value = value.to_vec();
        match to_host(maps, name.as_bytes(), &mut value) {
            Ok(()) => Ok(value),
            Err(Trouble::Unmapped { kind, id }) => Err(format!("{kind} {id}")),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn capabilities_name_the_root_user_they_count_for() {
        let (sets, name) = ([7_u8; 16], "security.capability");
        let without = [&[1, 0, 0, 2][..], &sets].concat();
        let with = |root: u32| [&[1, 0, 0, 3][..], &sets, &root.to_le_bytes()].concat();
        let far = maps(1000);
        assert_eq!(shifted(&far, name, &without), Ok(with(1000)));
        assert_eq!(shifted(&far, name, &with(0)), Ok(with(1000)));
        assert_eq!(shifted(&far, name, &with(42)), Ok(with(1042)));
        assert_eq!(shifted(&far, name, &with(100)), Err("user 100".to_owned()));
        for (there, here) in [(with(1000), without.clone()), (with(1042), with(42))] {
            let mut back = there;
            to_layer(&far, name.as_bytes(), &mut back).unwrap();
            assert_eq!(back, here);
        }
        let same = maps(0);
        assert_eq!(shifted(&same, name, &without), Ok(without.clone()));
        for odd in [
            &b""[..],
            &[1, 0, 0],
            &without[..19],
            &with(0)[..23],
            &[9; 20],
        ] {
            assert_eq!(shifted(&far, name, odd), Ok(odd.to_vec()));
        }
    }

    #[test]
    fn access_lists_name_users_and_groups() {
        let list = |user: u32, group: u32| {
            let entry = |tag: u8, id: u32| [&[tag, 0, 7, 0][..], &id.to_le_bytes()].concat();
            let entries = [
                vec![2, 0, 0, 0],
                entry(1, u32::MAX),
                entry(2, user),
                entry(4, u32::MAX),
                entry(8, group),
                entry(16, u32::MAX),
                entry(32, u32::MAX),
            ];
            entries.concat()
        };
        let maps = maps(1000);
        for name in ["system.posix_acl_access", "system.posix_acl_default"] {
            assert_eq!(shifted(&maps, name, &list(5, 6)), Ok(list(1005, 5006)));
            let mut back = list(1005, 5006);
            to_layer(&maps, name.as_bytes(), &mut back).unwrap();
            assert_eq!(back, list(5, 6));
            assert!(to_layer(&maps, name.as_bytes(), &mut list(5, 5006)).is_err());
            let error = shifted(&maps, name, &list(5, 100));
            assert_eq!(error, Err("group 100".to_owned()));
            let odd = &list(5, 6)[..51];
            assert_eq!(shifted(&maps, name, odd), Ok(odd.to_vec()));
        }
        assert_eq!(shifted(&maps, "user.x", &list(5, 6)), Ok(list(5, 6)));
    }
}
