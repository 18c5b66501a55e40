//! Layers as such: made, listed, removed, kept apart.

use std::fs;

use super::case::{Case, Done, Stop, ensure, same, skip};
use super::entries::{Entry, dir, file, tar};
use crate::driver::{Parent, Placed};
use crate::error::DriverError;
use crate::id::CacheId;
use crate::mount::MountRequest;

pub(super) fn create_empty(case: &Case<'_>) -> Done {
    let id = case.layer(None, &[])?;
    ensure(
        case.driver.exists(&id)?,
        "a layer that was made is not there",
    )?;
    let shown = case.shown(&id)?;
    same(&shown.len(), &1, "files of an empty layer")?;
    let root = shown.get(&b""[..]);
    let root = root.map(|root| (root.mode, root.owner));
    same(&root, &Some((0o755, (0, 0))), "mode and owner of its root")
}

pub(super) fn unknown(case: &Case<'_>) -> Done {
    let id: CacheId = "unknown".parse()?;
    ensure(!case.driver.exists(&id)?, "an unknown layer is there")?;
    let missing = |done: Result<(), DriverError>| match done {
        Err(DriverError::Missing { .. }) => Ok(()),
        other => Err(Stop::Failed(format!("an unknown layer: {other:?}"))),
    };
    let target = case.dir()?;
    missing(
        case.driver
            .mount(&MountRequest::new(&id, &target))
            .map(drop),
    )?;
    missing(case.driver.files(&id).map(drop))?;
    missing(case.driver.usage(&id).map(drop))
}

pub(super) fn create_twice(case: &Case<'_>) -> Done {
    let id = case.layer(None, &[file("f", "first")])?;
    let mut draft = case.driver.prepare(Parent::None)?;
    case.fill(draft.body(), &tar(&[file("f", "second")]))?;
    same(
        &draft.commit(&id, None)?,
        &Placed::AlreadyThere,
        "a second layer of one name",
    )?;
    same(&case.brief(&id)?, &["f=first"], "the first")
}

pub(super) fn missing_parent(case: &Case<'_>) -> Done {
    let missing: CacheId = "missing".parse()?;
    let refused = case.driver.prepare(Parent::Known(&missing));
    ensure(
        matches!(refused, Err(DriverError::Missing { .. })),
        "a layer over one that is not there can be begun",
    )?;
    same(&case.driver.list()?.len(), &0, "layers left")
}

pub(super) fn remove(case: &Case<'_>) -> Done {
    let id = case.layer(None, &[file("f", "one")])?;
    case.driver.remove(&id)?;
    ensure(
        !case.driver.exists(&id)?,
        "a layer that was removed is there",
    )?;
    // One that is not there, and its name again, over something else.
    case.driver.remove(&id)?;
    let base = case.layer(None, &[file("g", "base")])?;
    case.layer_as(&id, Some(&base), &tar(&[file("f", "two")]))?;
    same(&case.brief(&id)?, &["f=two", "g=base"], "the name again")
}

pub(super) fn list(case: &Case<'_>) -> Done {
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(case.layer(made.last(), &[file("f", "x")])?);
    }
    // What is no layer is none: a file, and a draft that is being filled.
    fs::write(case.driver.info().home.join("foreign"), "")?;
    let draft = case.driver.prepare(Parent::None)?;
    let mut listed = case.driver.list()?;
    drop(draft);
    listed.sort();
    made.sort();
    same(&listed, &made, "layers listed")
}

pub(super) fn abandoned(case: &Case<'_>) -> Done {
    let base = case.layer(None, &[file("f", "x")])?;
    let mut draft = case.driver.prepare(Parent::Known(&base))?;
    let mut broken = tar(&[file("a", "x"), file("b", "y")]);
    broken.truncate(1300);
    ensure(
        case.fill(draft.body(), &broken).is_err(),
        "a tar that ends early is taken",
    )?;
    drop(draft);
    same(
        &case.driver.list()?,
        &vec![base.clone()],
        "layers after a tar that failed",
    )?;
    // The right one then works.
    let id = case.layer(Some(&base), &[file("a", "x"), file("b", "y")])?;
    same(&case.brief(&id)?, &["a=x", "b=y", "f=x"], "the layer")?;
    // A process that died in the middle: what it left is swept by the next.
    let dead = case.driver.info().home.join(".work/dead");
    if case.driver.info().home.join(".work").is_dir() {
        fs::create_dir_all(dead.join("0/layer"))?;
        case.reopen()?;
        ensure(!dead.exists(), "what a dead process left is still there")?;
    }
    Ok(())
}

pub(super) fn two_processes(case: &Case<'_>) -> Done {
    let other = case.reopen()?;
    let base = case.layer(None, &[file("f", "x")])?;
    let failed = std::thread::scope(|scope| {
        let working = scope.spawn(|| -> Result<(), String> {
            for _ in 0..20 {
                for id in other.list().map_err(|error| error.to_string())? {
                    match other.files(&id).map(drop) {
                        Ok(()) | Err(DriverError::Missing { .. }) => {}
                        Err(error) => return Err(error.to_string()),
                    }
                }
            }
            Ok(())
        });
        for _ in 0..10 {
            let id = case.layer(Some(&base), &[file("g", "y")])?;
            case.driver.remove(&id)?;
        }
        working
            .join()
            .unwrap_or_else(|_| Err("a panic".to_owned()))
            .map_err(Stop::Failed)
    });
    failed?;
    same(&case.driver.list()?, &vec![base], "layers at the end")
}

pub(super) fn basic(case: &Case<'_>) -> Done {
    let first = case.child(None, |dir| Ok(fs::write(dir.join("foo"), "foo\n")?))?;
    let second = case.child(Some(&first), |dir| {
        fs::create_dir_all(dir.join("a/b"))?;
        Ok(fs::write(dir.join("a/b/bar"), "bar\n")?)
    })?;
    let third = case.child(Some(&second), |dir| Ok(fs::remove_file(dir.join("foo"))?))?;
    same(
        &case.brief(&third)?,
        &["a/", "a/b/", "a/b/bar=bar\n"],
        "the third",
    )?;
    same(&case.brief(&first)?, &["foo=foo\n"], "the first")
}

pub(super) fn writable_facts(case: &Case<'_>) -> Done {
    let base = case.layer(None, &[file("f", "x")])?;
    let writable = case.writable()?;
    let (one, two) = (case.id()?, case.id()?);
    writable.create(&one, Some(&base), b"label")?;
    writable.create(&two, None, b"")?;
    let found = writable.get(&one)?;
    same(
        &found.parent,
        &Some(base.clone()),
        "the parent of a writable layer",
    )?;
    same(&found.label, &b"label".to_vec(), "its label")?;
    same(
        &writable.get(&two)?.parent,
        &None,
        "the parent of one over nothing",
    )?;
    // Asked while they are listed, by another process.
    let other = case.reopen()?;
    let other = other
        .writable()
        .ok_or_else(|| Stop::Failed("no writable layers".into()))?;
    for id in other.list()? {
        other.get(&id)?;
    }
    same(
        &other.list()?,
        &vec![one.clone(), two.clone()],
        "writable layers",
    )?;
    same(
        &writable.standing_on(&base)?,
        &vec![one.clone()],
        "those on the base",
    )?;
    writable.remove(&one)?;
    writable.remove(&two).map_err(Stop::from)
}

pub(super) fn relabel(case: &Case<'_>) -> Done {
    let writable = case.writable()?;
    let id = case.id()?;
    writable.create(&id, None, b"one")?;
    writable.relabel(&id, b"two")?;
    let found = writable.get(&id)?;
    same(&found.label, &b"two".to_vec(), "the label")?;
    same(&found.parent, &None, "the parent, which stays")?;
    Ok(writable.remove(&id)?)
}

pub(super) fn same_key_twice(case: &Case<'_>) -> Done {
    let base = case.layer(None, &[])?;
    let writable = case.writable()?;
    let id = case.id()?;
    for _ in 0..2 {
        writable.create(&id, Some(&base), b"")?;
        ensure(
            matches!(
                writable.create(&id, None, b""),
                Err(DriverError::Exists { .. })
            ),
            "a second writable layer of one name can be made",
        )?;
        // Once it is gone the name is free.
        writable.remove(&id)?;
    }
    Ok(())
}

pub(super) fn remove_below(case: &Case<'_>) -> Done {
    let base = case.layer(None, &[file("f", "x")])?;
    let writable = case.writable()?;
    let id = case.id()?;
    writable.create(&id, Some(&base), b"")?;
    same(
        &writable.standing_on(&base)?,
        &vec![id.clone()],
        "what stands on it",
    )?;
    let dir = case.dir()?;
    let mount = case.driver.mount(&MountRequest::writable(&id, &dir))?;
    // Refused, or without harm to what shows: a full copy needs nobody.
    let removed = case.driver.remove(&base);
    let content = fs::read(dir.join("f"));
    mount.unmount()?;
    writable.remove(&id)?;
    same(&content?, &b"x".to_vec(), "what a writable layer shows")?;
    match removed {
        Ok(()) => Ok(()),
        Err(DriverError::Busy { .. }) => Ok(case.driver.remove(&base)?),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn applied_size(case: &Case<'_>) -> Done {
    let base = case.layer(None, &[file("old", "old")])?;
    let entries: [Entry; 4] = [
        dir("d"),
        file("d/f", vec![b'x'; 5000]),
        super::entries::hard_link("d/g", "d/f"),
        file("empty", ""),
    ];
    let (id, summary) = case.layer_of(Some(&base), &tar(&entries))?;
    if case.driver.info().powers.raw_stream {
        return skip("the driver takes raw streams and counts nothing");
    }
    same(&summary.size, &5000, "bytes applied")?;
    same(
        &case.driver.diff_size(&id, Some(&base))?,
        &5000,
        "bytes that the layer adds",
    )
}

pub(super) fn status(case: &Case<'_>) -> Done {
    let id = case.layer(None, &[file("f", "x")])?;
    same(&case.driver.mounts()?.len(), &0, "mounts before")?;
    let other = case.reopen()?;
    case.mounted(&id, |dir| {
        let mounts = other.mounts()?;
        let found = mounts
            .first()
            .map(|mount| (&mount.layer, mount.target.as_path()));
        same(
            &found,
            &Some((&id, dir)),
            "the mount as another process sees it",
        )?;
        ensure(!case.driver.status()?.is_empty(), "no status")?;
        ensure(
            matches!(other.remove(&id), Err(DriverError::Busy { .. })),
            "a layer that is mounted can be removed",
        )
    })?;
    same(&case.driver.mounts()?.len(), &0, "mounts after")
}

pub(super) fn quota(case: &Case<'_>) -> Done {
    match case.driver.info().powers.quota {
        false => skip("the driver offers no quota"),
        true => Err(Stop::Failed(
            "the driver offers quota, which has no way to be set".into(),
        )),
    }
}

pub(super) fn template(_: &Case<'_>) -> Done {
    skip("no driver offers layers from templates")
}

pub(super) fn of_the_store(_: &Case<'_>) -> Done {
    skip("the store's business: it notes which driver a root was made for")
}

pub(super) fn walk_filters(_: &Case<'_>) -> Done {
    skip("the graph's business: a driver knows neither kinds nor filters")
}

pub(super) fn other_engines(_: &Case<'_>) -> Done {
    skip(
        "about an attribute or a mount program of another engine, which this contract does not have",
    )
}
