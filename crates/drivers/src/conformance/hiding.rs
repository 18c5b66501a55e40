//! What layers hide of those below.

use std::fs;

use super::case::{Case, Done, ensure, same};
use super::entries::{dir, file, names};

pub(super) fn whiteout(case: &Case<'_>) -> Done {
    let base = case.layer(None, &[dir("d"), file("d/f", "f"), file("d/g", "g")])?;
    let edited = case.edit(Some(&base), |dir| Ok(fs::remove_file(dir.join("d/f"))?))?;
    same(&edited.changes, &["C d", "D d/f"], "changes")?;
    same(
        &names(&edited.tar)?,
        &["d/", "d/.wh.f"],
        "entries of the tar",
    )?;
    let (id, _) = case.layer_of(Some(&base), &edited.tar)?;
    same(&case.brief(&id)?, &["d/", "d/g=g"], "what shows")
}

pub(super) fn directory(case: &Case<'_>) -> Done {
    let base = case.layer(
        None,
        &[dir("d"), dir("d/e"), file("d/e/f", "f"), file("g", "")],
    )?;
    let edited = case.edit(Some(&base), |dir| Ok(fs::remove_dir_all(dir.join("d"))?))?;
    same(&edited.changes, &["D d"], "changes")?;
    same(&names(&edited.tar)?, &[".wh.d"], "entries of the tar")?;
    let (id, _) = case.layer_of(Some(&base), &edited.tar)?;
    same(&case.brief(&id)?, &["g="], "what shows")
}

pub(super) fn opaque(case: &Case<'_>) -> Done {
    let base = case.layer(
        None,
        &[
            dir("d"),
            file("d/old", "o"),
            dir("d/sub"),
            file("d/sub/x", ""),
        ],
    )?;
    let child = case.child(Some(&base), |dir| {
        fs::remove_dir_all(dir.join("d"))?;
        fs::create_dir(dir.join("d"))?;
        Ok(fs::write(dir.join("d/new"), "n")?)
    })?;
    let grandchild = case.child(Some(&child), |dir| Ok(fs::write(dir.join("d/more"), "m")?))?;
    same(
        &case.brief(&grandchild)?,
        &["d/", "d/more=m", "d/new=n"],
        "after an explicit hiding",
    )?;
    // The marker means the same, wherever it stands, and at the root.
    let marked = [file("d/first", ""), file("d/.wh..wh..opq", "")];
    let marked = case.layer(Some(&base), &marked)?;
    let above = case.layer(Some(&marked), &[file("d/more", "m")])?;
    same(
        &case.brief(&above)?,
        &["d/", "d/first=", "d/more=m"],
        "after a marker",
    )?;
    let all = case.layer(Some(&base), &[file(".wh..wh..opq", ""), file("only", "")])?;
    let above = case.layer(Some(&all), &[file("more", "")])?;
    same(
        &case.brief(&above)?,
        &["more=", "only="],
        "after a marker at the root",
    )
}

pub(super) fn of_nothing(case: &Case<'_>) -> Done {
    let base = case.layer(None, &[file("f", "old"), file("g", "old")])?;
    let id = case.layer(
        Some(&base),
        &[
            file(".wh.nothing", ""),
            file("no/where/.wh.x", ""),
            file(".wh.f", ""),
            file("f", "new"),
            file("g", "new"),
            file(".wh.g", ""),
        ],
    )?;
    let expected = ["f=new", "g=new", "no/", "no/where/"];
    same(
        &case.brief(&id)?,
        &expected,
        "whiteouts of nothing, and of what the layer brings",
    )
}

pub(super) fn removed_stays_removed(case: &Case<'_>) -> Done {
    let base = case.layer(None, &[file("f", "x"), dir("d"), file("d/g", "")])?;
    let child = case.child(Some(&base), |dir| {
        fs::remove_file(dir.join("f"))?;
        Ok(fs::remove_dir_all(dir.join("d"))?)
    })?;
    let above = case.layer(Some(&child), &[])?;
    same(&case.brief(&above)?.len(), &0, "files over an empty layer")?;
    ensure(case.brief(&base)?.len() == 3, "the layer below has changed")
}

pub(super) fn moved(case: &Case<'_>) -> Done {
    let base = case.layer(
        None,
        &[dir("dir"), file("dir/f", "content"), file("other", "o")],
    )?;
    let child = case.child(Some(&base), |dir| {
        fs::create_dir(dir.join("to"))?;
        fs::write(dir.join("to/f"), fs::read(dir.join("dir/f"))?)?;
        Ok(fs::remove_dir_all(dir.join("dir"))?)
    })?;
    same(
        &case.brief(&child)?,
        &["other=o", "to/", "to/f=content"],
        "a file made again elsewhere",
    )
}

pub(super) fn renamed(case: &Case<'_>) -> Done {
    let base = case.layer(
        None,
        &[
            file("one", "1"),
            file("two", "2"),
            dir("d"),
            file("d/x", "x"),
        ],
    )?;
    let child = case.child(Some(&base), |dir| {
        fs::rename(dir.join("one"), dir.join("two"))?;
        fs::rename(dir.join("two"), dir.join("d/three"))?;
        // Of a lower folder only where the file system can; else whoever renames copies.
        match fs::rename(dir.join("d"), dir.join("e")) {
            Ok(()) => Ok(fs::rename(dir.join("e"), dir.join("d"))?),
            Err(error) => same(
                &error.kind(),
                &std::io::ErrorKind::CrossesDevices,
                "renaming",
            ),
        }
    })?;
    same(
        &case.brief(&child)?,
        &["d/", "d/three=1", "d/x=x"],
        "after renaming",
    )
}
