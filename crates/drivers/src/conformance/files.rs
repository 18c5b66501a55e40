//! Files of every kind, and what is said of them.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink as make_symlink};

use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;

use super::case::{Case, Done, Stop, ensure, same, skip};
use super::entries::{TIME, dir, entry, file, hard_link, names, symlink};
use super::shown::{Node, expect_same};

fn node(case: &Case<'_>, id: &crate::CacheId, place: &str) -> Result<Node, Stop> {
    let mut shown = case.shown(id)?;
    let found = shown.remove(place.as_bytes());
    found.ok_or_else(|| Stop::Failed(format!("/{place} does not show")))
}

const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

pub(super) fn base(case: &Case<'_>) -> Done {
    let id = case.layer(
        None,
        &[
            dir("a subdir").mode(0o1705).owner(1, 2),
            file("a file", "Some data").mode(0o4222),
        ],
    )?;
    let (sub, plain) = (node(case, &id, "a subdir")?, node(case, &id, "a file")?);
    same(&(sub.mode, sub.owner), &(0o1705, (1, 2)), "the folder")?;
    same(
        &(plain.mode, plain.content),
        &(0o4222, b"Some data".to_vec()),
        "the file",
    )?;
    same(&case.shown(&id)?.len(), &3, "files")
}

pub(super) fn attributes(case: &Case<'_>) -> Done {
    let entry = file("f", "content").mode(0o7751).owner(1000, 65_533);
    let base = case.layer(None, &[entry.mtime(-7, 999_999_999)])?;
    let child = case.layer(Some(&base), &[file("g", "")])?;
    let edited = case.edit(Some(&base), |dir| {
        let to = fs::metadata(dir.join("f"))?;
        fs::write(dir.join("copy"), "content")?;
        fs::set_permissions(dir.join("copy"), to.permissions())?;
        Ok(())
    })?;
    let (again, _) = case.layer_of(Some(&base), &edited.tar)?;
    for id in [&base, &child, &again] {
        let found = node(case, id, "f")?;
        same(&found.mode, &0o7751, "mode")?;
        same(&found.owner, &(1000, 65_533), "owner")?;
        same(&found.mtime, &(-7, 999_999_999), "time")?;
        same(&found.content, &b"content".to_vec(), "content")?;
    }
    same(
        &node(case, &again, "copy")?.mode,
        &0o7751,
        "mode of what was written",
    )
}

pub(super) fn set_id_and_capabilities(case: &Case<'_>) -> Done {
    let able = file("able", "x")
        .owner(5, 6)
        .xattr("security.capability", &CAPABILITY);
    let id = case.layer(None, &[able, file("suid", "x").owner(7, 8).mode(0o6755)])?;
    let found = node(case, &id, "able")?;
    let value = found.xattrs.get(&b"security.capability"[..]).cloned();
    same(
        &(value, found.owner),
        &(Some(CAPABILITY.to_vec()), (5, 6)),
        "capabilities",
    )?;
    let found = node(case, &id, "suid")?;
    same(&(found.mode, found.owner), &(0o6755, (7, 8)), "set-id bits")
}

pub(super) fn times(case: &Case<'_>) -> Done {
    let id = case.layer(
        None,
        &[
            dir("d").mtime(1_000_000_000, 5),
            file("d/f", ""),
            file("target", "t").owner(1, 1),
            symlink("link", "target").owner(9, 9).mtime(77, 88),
        ],
    )?;
    same(
        &node(case, &id, "d")?.mtime,
        &(1_000_000_000, 5),
        "time of a folder with files",
    )?;
    let link = node(case, &id, "link")?;
    same(
        &(link.owner, link.mtime),
        &((9, 9), (77, 88)),
        "owner and time of a link",
    )?;
    let target = node(case, &id, "target")?;
    let time = (TIME.seconds, i64::from(TIME.nanos));
    same(
        &(target.owner, target.mtime),
        &((1, 1), time),
        "those of its target",
    )
}

pub(super) fn hard_links(case: &Case<'_>) -> Done {
    let id = case.layer(
        None,
        &[file("m", "x"), hard_link("a", "m"), hard_link("z", "m")],
    )?;
    case.mounted(&id, |dir| {
        let inodes: Vec<(u64, u64)> = ["a", "m", "z"]
            .iter()
            .map(|name| fs::metadata(dir.join(name)).map(|found| (found.ino(), found.nlink())))
            .collect::<Result<_, _>>()?;
        ensure(
            inodes
                .iter()
                .all(|one| Some(one) == inodes.first() && one.1 == 3),
            "not names of one file",
        )
    })?;
    let edited = case.edit(None, |dir| {
        fs::write(dir.join("m"), "x")?;
        fs::hard_link(dir.join("m"), dir.join("a"))?;
        Ok(fs::hard_link(dir.join("m"), dir.join("z"))?)
    })?;
    same(
        &names(&edited.tar)?,
        &["a", "m=a", "z=a"],
        "entries of the tar",
    )
}

pub(super) fn broken_pair(case: &Case<'_>) -> Done {
    let base = case.layer(None, &[file("one", "old"), hard_link("two", "one")])?;
    case.child(Some(&base), |dir| {
        // As most programs write.
        fs::write(dir.join("new"), "new")?;
        Ok(fs::rename(dir.join("new"), dir.join("one"))?)
    })?;
    same(
        &case.brief(&base)?,
        &["one=old", "two=old"],
        "the layer below",
    )
}

pub(super) fn link_to_lower(case: &Case<'_>) -> Done {
    let base = case.layer(None, &[dir("d"), file("d/lower", "bytes")])?;
    let linked = case.layer(Some(&base), &[hard_link("link", "d/lower")])?;
    same(
        &case.brief(&linked)?,
        &["d/", "d/lower=bytes", "link=bytes"],
        "a link to a lower file",
    )?;
    let moved = case.child(Some(&base), |dir| {
        fs::hard_link(dir.join("d/lower"), dir.join("link"))?;
        Ok(fs::remove_file(dir.join("d/lower"))?)
    })?;
    same(
        &case.brief(&moved)?,
        &["d/", "link=bytes"],
        "the lower name removed",
    )
}

pub(super) fn symlinks(case: &Case<'_>) -> Done {
    let targets = ["/abs/x", "../..", "dangling", "self", "d"];
    let mut entries = vec![
        dir("d"),
        file("d/inside", "i"),
        dir("was-dir"),
        file("was-dir/x", ""),
    ];
    for (n, target) in targets.iter().enumerate() {
        entries.push(symlink(format!("l{n}"), target));
    }
    let base = case.layer(None, &entries)?;
    for (n, target) in targets.iter().enumerate() {
        let found = node(case, &base, &format!("l{n}"))?.content;
        same(&found, &target.as_bytes().to_vec(), "target")?;
    }
    let swapped = case.layer(
        Some(&base),
        &[symlink("was-dir", "d"), dir("l4"), file("l4/own", "o")],
    )?;
    let brief = case.brief(&swapped)?;
    ensure(
        brief.contains(&"was-dir->d".to_owned()),
        "a folder did not become a link",
    )?;
    ensure(
        brief.contains(&"l4/own=o".to_owned()),
        "a link did not become a folder",
    )?;
    ensure(
        !brief.contains(&"d/own=o".to_owned()),
        "something was written through a link",
    )?;
    case.child(Some(&base), |dir| {
        fs::remove_dir_all(dir.join("was-dir"))?;
        make_symlink("d", dir.join("was-dir"))?;
        fs::remove_file(dir.join("l4"))?;
        Ok(fs::create_dir(dir.join("l4"))?)
    })?;
    Ok(())
}

pub(super) fn kinds_swapped(case: &Case<'_>) -> Done {
    let base = case.layer(None, &[dir("d"), file("d/x", "x"), file("f", "f")])?;
    let edited = case.edit(Some(&base), |dir| {
        fs::remove_dir_all(dir.join("d"))?;
        fs::write(dir.join("d"), "now a file")?;
        fs::remove_file(dir.join("f"))?;
        fs::create_dir(dir.join("f"))?;
        Ok(fs::write(dir.join("f/in"), "")?)
    })?;
    same(&edited.changes, &["C d", "C f", "A f/in"], "changes")?;
    let (id, _) = case.layer_of(Some(&base), &edited.tar)?;
    same(
        &case.brief(&id)?,
        &["d=now a file", "f/", "f/in="],
        "the layer",
    )?;
    let applied = case.layer(Some(&base), &[file("d", ""), dir("f")])?;
    same(
        &case.brief(&applied)?,
        &["d=", "f/"],
        "a file over a folder, a folder over a file",
    )
}

pub(super) fn special_files(case: &Case<'_>) -> Done {
    let id = case.layer(
        None,
        &[
            entry(b'6', "fifo").mode(0o640),
            entry(b'3', "char").device(10, 70_000).mode(0o600),
            entry(b'4', "block").device(259, 1_048_575),
        ],
    )?;
    let fifo = node(case, &id, "fifo")?;
    if fifo.kind == FileType::RegularFile {
        return skip("this user's layers record what no user can make, and show plain files");
    }
    same(&(fifo.kind, fifo.mode), &(FileType::Fifo, 0o640), "a fifo")?;
    let char = node(case, &id, "char")?;
    let device = rustix::fs::makedev(10, 70_000);
    same(
        &(char.kind, char.device),
        &(FileType::CharacterDevice, device),
        "a device",
    )?;
    let block = node(case, &id, "block")?;
    let device = rustix::fs::makedev(259, 1_048_575);
    same(
        &(block.kind, block.device),
        &(FileType::BlockDevice, device),
        "a block device",
    )?;
    let edited = case.edit(Some(&id), |dir| {
        drop(std::os::unix::net::UnixListener::bind(dir.join("s"))?);
        let mode = Mode::from_raw_mode(0o620);
        match rustix::fs::mknodat(
            CWD,
            dir.join("tty"),
            FileType::CharacterDevice,
            mode,
            device,
        ) {
            Err(Errno::PERM) => Err(Stop::Skipped("this process may not make devices".into())),
            done => Ok(done?),
        }
    })?;
    same(
        &(edited.summary.sockets, edited.summary.entries),
        &(1, 1),
        "sockets left out, entries",
    )
}

pub(super) fn names_of_files(case: &Case<'_>) -> Done {
    let long = "l".repeat(255);
    let deep = ["d".repeat(200).as_str(); 25].join("/");
    let mut names: Vec<Vec<u8>> = vec![
        b"\xff\xfe".to_vec(),
        b"new\nline".to_vec(),
        long.into_bytes(),
        b"Case".to_vec(),
        b"case".to_vec(),
        "\u{e9}".into(),
        b"..gitme".to_vec(),
    ];
    let mut entries: Vec<_> = names.iter().map(|name| file(name, name)).collect();
    entries.push(file(format!("{deep}/bottom"), "deep"));
    let id = case.layer(None, &entries)?;
    names.push(b"d".to_vec());
    case.mounted(&id, |dir| {
        same(&fs::read_dir(dir)?.count(), &8, "names in the root")?;
        for name in names.iter().take(7) {
            use std::os::unix::ffi::OsStrExt;
            let found = fs::read(dir.join(std::ffi::OsStr::from_bytes(name)))?;
            same(&found, name, "the file of a name")?;
        }
        Ok(())
    })?;
    // Deeper than any path: by handles.
    let tree = case.driver.tree(&id)?;
    let mut tar = Vec::new();
    crate::diff(&tree, None, &crate::DiffOptions::default(), &mut tar)?;
    let (again, _) = case.layer_of(None, &tar)?;
    same(
        &case.driver.diff_size(&again, None)?,
        &case.driver.diff_size(&id, None)?,
        "sizes",
    )
}

pub(super) fn overlay_attributes(case: &Case<'_>) -> Done {
    let base = case.layer(None, &[dir("d"), file("d/low", "l"), file("f", "f")])?;
    let hostile = dir("d")
        .xattr("trusted.overlay.opaque", b"y")
        .xattr("user.overlay.opaque", b"y");
    let redirect = dir("moved").xattr("trusted.overlay.redirect", b"/d");
    let bare = file("bare", "b").xattr("trusted.overlay.metacopy", b"");
    let id = case.layer(Some(&base), &[hostile, redirect, bare])?;
    let expected = ["bare=b", "d/", "d/low=l", "f=f", "moved/"];
    same(
        &case.brief(&id)?,
        &expected,
        "attributes of overlays in a tar",
    )?;
    let edited = case.edit(Some(&base), |dir| {
        fs::remove_dir_all(dir.join("d"))?;
        fs::create_dir(dir.join("d"))?;
        Ok(fs::write(dir.join("f"), "changed")?)
    })?;
    let text = String::from_utf8_lossy(&edited.tar).into_owned();
    ensure(
        !text.contains("overlay."),
        "attributes of overlays in the tar of a change",
    )
}

pub(super) fn missing_parents(case: &Case<'_>) -> Done {
    let base = case.layer(None, &[dir("there").mode(0o700).owner(4, 5)])?;
    let id = case.layer(Some(&base), &[file("there/f", ""), file("made/deep/f", "")])?;
    let found = node(case, &id, "there")?;
    same(
        &(found.mode, found.owner),
        &(0o700, (4, 5)),
        "a folder that the layer below has",
    )?;
    let found = node(case, &id, "made/deep")?;
    same(
        &(found.mode, found.owner),
        &(0o755, (0, 0)),
        "a folder that nothing describes",
    )
}

pub(super) fn copies(case: &Case<'_>) -> Done {
    let mut entries = vec![
        file("data", vec![b'd'; 200_000]).xattr("user.x", b"1"),
        hard_link("again", "data"),
        symlink("link", "data"),
    ];
    entries.push(file("small", "s").mode(0o640).owner(3, 3));
    let base = case.layer(None, &entries)?;
    let child = case.layer(Some(&base), &[file("new", "")])?;
    let (below, mut above) = (case.shown(&base)?, case.shown(&child)?);
    above.remove(&b"new"[..]);
    expect_same(&above, &below)?;
    // What is done above never shows below.
    let edited = case.edit(Some(&base), |dir| {
        fs::write(dir.join("small"), "other")?;
        let open = fs::OpenOptions::new().append(true).open(dir.join("data"))?;
        open.set_len(5)?;
        let one = fs::metadata(dir.join("small"))?;
        ensure(one.len() == 5, "what was written does not show")
    })?;
    ensure(
        edited.changes.contains(&"C small".to_owned()),
        "the change is not found",
    )?;
    expect_same(&case.shown(&base)?, &below)
}

pub(super) fn shifted(case: &Case<'_>) -> Done {
    match case.driver.info().powers.id_mapped_mounts {
        false => {
            skip("the driver shifts no owners while mounting; stores with ID maps are the store's")
        }
        true => skip("no case for ID-mapped mounts yet"),
    }
}

pub(super) fn rootless(case: &Case<'_>) -> Done {
    // Whoever runs this: what hides is understood by the mount that this process can make.
    let base = case.layer(None, &[dir("d"), file("d/gone", ""), file("f", "")])?;
    let hiding = [
        file("d/.wh..wh..opq", ""),
        file(".wh.f", ""),
        file("d/new", ""),
    ];
    let id = case.layer(Some(&base), &hiding)?;
    same(
        &case.brief(&id)?,
        &["d/", "d/new="],
        "what hides, for this user",
    )
}
