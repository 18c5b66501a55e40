//! The subordinate IDs of a user, and the maps that they make.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lith_store::{IdMaps, IdRange};

/// Returns the maps that a user's namespace gets unless told otherwise: the container's root is the
/// user, and the IDs after it are the subordinate ones in the order of the files. `None` when the
/// user has none, or there are no programs that give them.
pub(super) fn maps(uid: u32, gid: u32) -> Option<IdMaps> {
    if rustix::thread::no_new_privs().unwrap_or(false) {
        // Set-id programs would not count.
        return None;
    }
    program("newuidmap").zip(program("newgidmap"))?;
    // The programs want to know the user by name, also where the files have the number.
    let name = nix::unistd::User::from_uid(uid.into()).ok()??.name;
    let ranges = |path: &str, own: u32| {
        let text = fs::read_to_string(path).ok()?;
        let ranges = layout(own, &parse(&text, &name, uid));
        (ranges.len() > 1).then_some(ranges)
    };
    Some(IdMaps {
        uids: ranges("/etc/subuid", uid)?,
        gids: ranges("/etc/subgid", gid)?,
    })
}

/// Finds a program that may do what it is for: it is root's, and runs as root or has capabilities.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let usual = [Path::new("/usr/bin"), Path::new("/bin")].map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths::<OsStr>(&path).filter(|folder| folder.is_absolute());
    let mut programs = folders.chain(usual).map(|folder| folder.join(name));
    programs.find(|program| {
        let set_id = |meta: fs::Metadata| meta.uid() == 0 && meta.mode() & 0o4001 == 0o4001;
        let mut capabilities = [0; 64];
        program.metadata().is_ok_and(set_id)
            || rustix::fs::getxattr(program, "security.capability", &mut capabilities).is_ok()
    })
}

/// The ranges that lines of the form NAME:FIRST:COUNT give to a user. Others are passed over.
fn parse(text: &str, name: &str, uid: u32) -> Vec<(u32, u32)> {
    let number = uid.to_string();
    let ours = |line: &str| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        if owner != name && owner != number {
            return None;
        }
        let (first, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        fields.next().is_none().then_some((first, count))
    };
    text.lines().filter_map(ours).collect()
}

/// The kernel takes that many ranges (340 in all).
const MOST_RANGES: usize = 339;

/// The user first, then each range; those that share IDs with earlier ones are left out.
fn layout(own: u32, given: &[(u32, u32)]) -> Vec<IdRange> {
    let mut ranges = vec![IdRange {
        container: 0,
        host: own,
        count: 1,
    }];
    for (first, count) in given.iter().copied().take(MOST_RANGES) {
        let next = ranges.last().map_or(0, |last| last.container + last.count);
        let end = u64::from(first) + u64::from(count);
        let apart = |range: &IdRange| {
            end <= u64::from(range.host)
                || u64::from(range.host) + u64::from(range.count) <= u64::from(first)
        };
        let fits = count > 0
            && end < u64::from(u32::MAX)
            && u64::from(next) + u64::from(count) < u64::from(u32::MAX);
        if fits && ranges.iter().all(apart) {
            ranges.push(IdRange {
                container: next,
                host: first,
                count,
            });
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_user_count_by_name_or_number() {
        let text =
            "root:1:2\n# me\nme:100000:65536\n1000:300000:10\nme:x:1\nme:1\nme:1:2:3\n you:5:5";
        let found = parse(text, "me", 1000);
        assert_eq!(found, [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(parse(text, "i", 1000), [(300_000, 10)]);
        assert_eq!(parse(text, "nobody", 7), []);
    }

    #[test]
    fn ranges_follow_each_other_and_never_overlap() {
        let shown = |given: &[(u32, u32)]| {
            let ranges = layout(1000, given);
            let shown: Vec<String> = ranges.iter().map(ToString::to_string).collect();
            let uids = ranges.clone();
            assert_eq!(IdMaps { uids, gids: ranges }.check(), Ok(()));
            shown.join(" ")
        };
        assert_eq!(
            shown(&[(100_000, 65_536), (300_000, 10)]),
            "0:1000:1 1:100000:65536 65537:300000:10"
        );
        assert_eq!(
            shown(&[
                (900, 200),
                (5, 0),
                (5, 5),
                (7, 9),
                (10, 4),
                (4_294_967_000, 999)
            ]),
            "0:1000:1 1:5:5 6:10:4"
        );
    }
}
