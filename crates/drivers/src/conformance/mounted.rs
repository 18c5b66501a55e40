//! Mounts: several, read-only, taken away.

use std::fs;
use std::io::ErrorKind;

use super::case::{Case, Done, ensure, same};
use super::entries::{dir, file};
use super::shown::shown_at;
use crate::mount::{MountRequest, unmount};

pub(super) fn twice(case: &Case<'_>) -> Done {
    let id = case.layer(None, &[file("f", "x")])?;
    let (one, two) = (case.dir()?, case.dir()?);
    let first = case.driver.mount(&MountRequest::new(&id, &one))?;
    let second = case.driver.mount(&MountRequest::new(&id, &two))?;
    same(
        &shown_at(&one)?,
        &shown_at(&two)?,
        "the same layer at two places",
    )?;
    first.unmount()?;
    same(
        &fs::read(two.join("f"))?,
        &b"x".to_vec(),
        "the other after one was taken away",
    )?;
    second.unmount()?;
    ensure(
        unmount(&two).is_err(),
        "what is not mounted can be unmounted",
    )
}

pub(super) fn read_only(case: &Case<'_>) -> Done {
    let base = case.layer(None, &[dir("d"), file("d/f", "x")])?;
    let top = case.layer(Some(&base), &[file("g", "y")])?;
    for id in [&base, &top] {
        case.mounted(id, |dir| {
            for done in [
                fs::write(dir.join("new"), ""),
                fs::write(dir.join("d/f"), ""),
                fs::remove_file(dir.join("d/f")),
                fs::create_dir(dir.join("made")),
            ] {
                let refused = done.map_err(|error| error.kind());
                same(
                    &refused,
                    &Err(ErrorKind::ReadOnlyFilesystem),
                    "writing to a layer",
                )?;
            }
            Ok(())
        })?;
    }
    Ok(())
}
