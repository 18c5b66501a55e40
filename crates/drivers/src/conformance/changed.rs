//! Changes and their tars.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use rustix::fs::{CWD, Timespec, Timestamps, UTIME_OMIT, XattrFlags};
use rustix::io::Errno;

use super::case::{Case, Done, Stop, ensure, same};
use super::entries::{TIME, dir, file, hard_link, names, tar};
use super::shown::expect_same;

fn set_mode(path: &Path, mode: u32) -> Done {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

fn give(path: &Path, user: u32, group: u32) -> Done {
    match chown(path, Some(user), Some(group)) {
        Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => Err(
            Stop::Skipped("this process may not give files away".to_owned()),
        ),
        done => Ok(done?),
    }
}

fn set_time(path: &Path, seconds: i64, nanos: i64) -> Done {
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: seconds,
            tv_nsec: nanos,
        },
    };
    Ok(rustix::fs::utimensat(
        CWD,
        path,
        &times,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

pub(super) fn of_twenty(case: &Case<'_>) -> Done {
    let mut entries = vec![dir("d")];
    entries.extend((0..20).map(|n| file(format!("d/f{n:02}"), format!("{n}"))));
    let base = case.layer(None, &entries)?;
    let mut expected = vec!["C d".to_owned()];
    for n in 0..20 {
        match n % 3 {
            0 => expected.push(format!("C d/f{n:02}")),
            1 => expected.push(format!("A d/f{n:02}-new")),
            _ => expected.push(format!("D d/f{n:02}")),
        }
    }
    let path = |line: &String| line.get(2..).unwrap_or_default().to_owned();
    expected.sort_by_key(path);
    let edited = case.edit(Some(&base), |dir| {
        for n in 0..20 {
            let path = dir.join(format!("d/f{n:02}"));
            match n % 3 {
                0 => fs::write(path, "rewritten")?,
                1 => fs::write(dir.join(format!("d/f{n:02}-new")), "")?,
                _ => fs::remove_file(path)?,
            }
        }
        Ok(())
    })?;
    same(&edited.changes, &expected, "changes")
}

pub(super) fn echo(case: &Case<'_>) -> Done {
    const DEPTH: usize = 9;
    let path = |n: usize| (1..=n).map(|n| n.to_string()).collect::<Vec<_>>().join("/");
    let make = |dir: &Path| -> Done {
        fs::create_dir_all(dir.join(path(DEPTH)))?;
        Ok(fs::write(dir.join(path(DEPTH)).join("f"), "f")?)
    };
    let first = case.edit(None, make)?;
    let mut adds: Vec<String> = (1..=DEPTH).map(|n| format!("A {}", path(n))).collect();
    adds.push(format!("A {}/f", path(DEPTH)));
    same(&first.changes, &adds, "changes of the first")?;
    let (base, _) = case.layer_of(None, &first.tar)?;
    for cut in 1..=DEPTH {
        let above = || (1..cut).map(|n| format!("C {}", path(n)));
        let remove = |dir: &Path| Ok(fs::remove_dir_all(dir.join(path(cut)))?);
        let edited = case.edit(Some(&base), remove)?;
        let expected: Vec<String> = above().chain([format!("D {}", path(cut))]).collect();
        same(&edited.changes, &expected, "what was removed is told once")?;
        let (child, _) = case.layer_of(Some(&base), &edited.tar)?;
        let again = case.edit(Some(&child), make)?;
        let adds = adds.iter().skip(cut - 1).cloned();
        let expected: Vec<String> = above().chain(adds).collect();
        same(&again.changes, &expected, "what was made again")?;
    }
    Ok(())
}

pub(super) fn nothing(case: &Case<'_>) -> Done {
    let base = case.layer(None, &[dir("d"), file("d/f", "x")])?;
    let edited = case.edit(Some(&base), |dir| {
        fs::read(dir.join("d/f"))?;
        fs::write(dir.join("d/temp"), "")?;
        Ok(fs::remove_file(dir.join("d/temp"))?)
    })?;
    same(&edited.changes, &Vec::<String>::new(), "changes")?;
    ensure(edited.tar == [0; 1024], "the tar is not empty")?;
    let (id, _) = case.layer_of(Some(&base), &edited.tar)?;
    same(
        &case.driver.diff_size(&id, Some(&base))?,
        &0,
        "bytes that nothing adds",
    )
}

pub(super) fn of_the_base(case: &Case<'_>) -> Done {
    let base = case.layer(
        None,
        &[dir("d"), dir("d/e"), file("d/e/f", ""), file("a", "")],
    )?;
    let mut tar = Vec::new();
    let tree = case.driver.tree(&base)?;
    crate::diff(&tree, None, &crate::DiffOptions::default(), &mut tar)?;
    same(
        &names(&tar)?,
        &["a", "d/", "d/e/", "d/e/f"],
        "entries of the tar",
    )?;
    let found = crate::changes(&tree, None)?;
    ensure(
        found.iter().all(|one| one.kind.letter() == 'A'),
        "not all are new",
    )?;
    same(&found.len(), &4, "changes")
}

pub(super) fn attributes_alone(case: &Case<'_>) -> Done {
    let base = case.layer(
        None,
        &[dir("d"), file("d/below", ""), dir("e"), file("e/f", "")],
    )?;
    let edited = case.edit(Some(&base), |dir| {
        set_mode(&dir.join("d"), 0o711)?;
        // The time of a folder alone is no change.
        set_time(&dir.join("e"), 5, 5)
    })?;
    same(&edited.changes, &["C d"], "changes")?;
    same(&names(&edited.tar)?, &["d/"], "entries of the tar")
}

pub(super) fn one_thing_of_a_file(case: &Case<'_>) -> Done {
    let names = ["content", "mode", "owner", "time", "xattr"];
    let mut entries = vec![dir("d")];
    entries.extend(names.map(|name| file(format!("d/{name}"), "1234")));
    let base = case.layer(None, &entries)?;
    let time = (TIME.seconds, i64::from(TIME.nanos));
    let edited = case.edit(Some(&base), |dir| {
        let at = |name: &str| dir.join("d").join(name);
        // Of the same size, and in the same moment.
        fs::write(at("content"), "5678")?;
        set_time(&at("content"), time.0, time.1)?;
        set_mode(&at("mode"), 0o600)?;
        set_time(&at("time"), time.0, time.1 + 1)?;
        rustix::fs::setxattr(at("xattr"), "user.x", b"y", XattrFlags::empty())?;
        give(&at("owner"), 5, 5)
    })?;
    let mut expected = vec!["C d".to_owned()];
    expected.extend(names.map(|name| format!("C d/{name}")));
    same(&edited.changes, &expected, "changes")
}

pub(super) fn file_update(case: &Case<'_>) -> Done {
    let base = case.layer(None, &[file("f", "1234"), file("g", "same")])?;
    for round in 0..5 {
        let text = format!("567{round}");
        let child = case.child(Some(&base), |dir| {
            fs::write(dir.join("f"), &text)?;
            set_time(&dir.join("f"), TIME.seconds, i64::from(TIME.nanos))?;
            set_mode(&dir.join("g"), 0o751)
        })?;
        let shown = case.shown(&child)?;
        let found = shown.get(&b"f"[..]).map(|node| node.content.clone());
        same(
            &found,
            &Some(text.into_bytes()),
            "a file of the same size and time",
        )?;
        same(
            &shown.get(&b"g"[..]).map(|node| node.mode),
            &Some(0o751),
            "a mode",
        )?;
    }
    Ok(())
}

pub(super) fn owners(case: &Case<'_>) -> Done {
    let base = case.layer(
        None,
        &[dir("a"), dir("a/b"), file("a/b/f", "x"), file("a/g", "y")],
    )?;
    let child = case.child(Some(&base), |dir| {
        for (path, id) in [("a", 1), ("a/b", 2), ("a/b/f", 3)] {
            give(&dir.join(path), id, id + 10)?;
        }
        Ok(())
    })?;
    let shown = case.shown(&child)?;
    let owner = |path: &str| shown.get(path.as_bytes()).map(|node| node.owner);
    let found = ["a", "a/b", "a/b/f", "a/g"].map(owner);
    let expected = [(1, 11), (2, 12), (3, 13), (0, 0)].map(Some);
    same(&found, &expected, "owners")
}

pub(super) fn permissions_on_commit(case: &Case<'_>) -> Done {
    let base = case.child(None, |dir| {
        fs::create_dir_all(dir.join("a/b"))?;
        give(&dir.join("a"), 1, 1)
    })?;
    let second = case.child(Some(&base), |dir| {
        give(&dir.join("a"), 0, 0)?;
        fs::remove_dir(dir.join("a/b"))?;
        fs::create_dir(dir.join("a/b"))?;
        give(&dir.join("a/b"), 2, 2)
    })?;
    let third = case.child(Some(&second), |dir| {
        fs::remove_dir_all(dir.join("a"))?;
        fs::create_dir(dir.join("a"))?;
        give(&dir.join("a"), 3, 3)
    })?;
    let shown = case.shown(&third)?;
    same(
        &shown.get(&b"a"[..]).map(|node| node.owner),
        &Some((3, 3)),
        "the folder made last",
    )?;
    ensure(!shown.contains_key(&b"a/b"[..]), "what was below it shows")
}

pub(super) fn parent_permissions(case: &Case<'_>) -> Done {
    let modes = [("d1", 0o700), ("d2", 0o751), ("d3", 0o777)];
    let base = case.layer(None, &modes.map(|(name, mode)| dir(name).mode(mode)))?;
    let child = case.child(Some(&base), |dir| {
        for (name, _) in modes {
            fs::write(dir.join(name).join("f"), "")?;
        }
        Ok(())
    })?;
    let shown = case.shown(&child)?;
    for (name, mode) in modes {
        same(
            &shown.get(name.as_bytes()).map(|node| node.mode),
            &Some(mode),
            name,
        )?;
    }
    Ok(())
}

pub(super) fn round_trip(case: &Case<'_>) -> Done {
    let mut entries: Vec<_> = (0..20)
        .map(|n| file(format!("f{n}"), format!("old {n}")))
        .collect();
    entries.extend([dir("var"), dir("var/lib"), file("var/lib/x", "")]);
    let base = case.layer(None, &entries)?;
    let edited = case.edit(Some(&base), |dir| {
        for n in 0..10 {
            fs::write(dir.join(format!("f{n}")), format!("new {n}"))?;
        }
        fs::remove_file(dir.join("f19"))?;
        fs::remove_dir_all(dir.join("var/lib"))?;
        fs::write(dir.join("linked"), vec![b'l'; 1000])?;
        fs::hard_link(dir.join("linked"), dir.join("var/link"))?;
        std::os::unix::fs::symlink("nowhere", dir.join("dangling"))?;
        set_time(&dir.join("f0"), -5, 7)?;
        let x = rustix::fs::setxattr(dir.join("f1"), "user.x", b"\0", XattrFlags::empty());
        x?;
        set_mode(&dir.join("f2"), 0o4711)
    })?;
    let (id, summary) = case.layer_of(Some(&base), &edited.tar)?;
    expect_same(&case.shown(&id)?, &edited.shown)?;
    same(
        &summary.size,
        &edited.summary.size,
        "bytes applied and bytes written",
    )?;
    same(
        &case.driver.diff_size(&id, Some(&base))?,
        &summary.size,
        "bytes that the layer adds",
    )?;
    let (new, old) = (case.driver.tree(&id)?, case.driver.tree(&base)?);
    let mut again = Vec::new();
    crate::diff(&new, Some(&old), &crate::DiffOptions::default(), &mut again)?;
    same(
        &names(&again)?,
        &names(&edited.tar)?,
        "entries of the difference again",
    )
}

pub(super) fn links_added(case: &Case<'_>) -> Done {
    let base = case.layer(
        None,
        &[dir("etc"), file("etc/hosts", "h"), file("etc/m", "m")],
    )?;
    for (from, to) in [
        ("etc/hosts", "etc/zlink"),
        ("etc/m", "etc/a"),
        ("etc/hosts", "top"),
    ] {
        let child = case.child(Some(&base), |dir| {
            Ok(fs::hard_link(dir.join(from), dir.join(to))?)
        })?;
        case.mounted(&child, |dir| {
            use std::os::unix::fs::MetadataExt;
            let inode = |name: &str| fs::metadata(dir.join(name)).map(|found| found.ino());
            same(&inode(from)?, &inode(to)?, "names of one file")
        })?;
    }
    // The source is replaced afterwards.
    let child = case.child(Some(&base), |dir| {
        fs::hard_link(dir.join("etc/hosts"), dir.join("link"))?;
        fs::remove_file(dir.join("etc/hosts"))?;
        Ok(fs::write(dir.join("etc/hosts"), "other")?)
    })?;
    let expected = ["etc/", "etc/hosts=other", "etc/m=m", "link=h"];
    same(&case.brief(&child)?, &expected, "the source replaced")
}

pub(super) fn kinds_and_modes(case: &Case<'_>) -> Done {
    let base = case.layer(
        None,
        &[dir("d").mode(0o755), file("d/f", "same").mode(0o644)],
    )?;
    let child = case.child(Some(&base), |dir| {
        set_mode(&dir.join("d/f"), 0o644)?;
        fs::write(dir.join("d/f"), "longer than that")?;
        set_mode(&dir.join("d"), 0o711)
    })?;
    let shown = case.shown(&child)?;
    let found = shown.get(&b"d/f"[..]).map(|node| node.content.len());
    same(&found, &Some(16), "size")
}

pub(super) fn counted_once(case: &Case<'_>) -> Done {
    let (id, summary) = case.layer_of(
        None,
        &tar(&[
            file("a", vec![1; 700]),
            hard_link("b", "a"),
            file("c", vec![2; 30]),
        ]),
    )?;
    same(&summary.size, &730, "bytes applied")?;
    same(
        &case.driver.diff_size(&id, None)?,
        &730,
        "bytes of the layer",
    )
}
