//! Chains of layers, up to as deep as the kernel goes.

use std::fs;

use super::case::{Case, Done, Stop, ensure, same};
use super::entries::{dir, file};
use super::shown::{expect_same, shown_at};
use crate::error::DriverError;

pub(super) fn snap(case: &Case<'_>) -> Done {
    let base = case.layer(
        None,
        &[
            dir("a subdir").mode(0o1705).owner(1, 2),
            file("a file", "Some data").mode(0o4222),
        ],
    )?;
    let child = case.layer(Some(&base), &[])?;
    expect_same(&case.shown(&child)?, &case.shown(&base)?)
}

pub(super) fn root_mode(case: &Case<'_>) -> Done {
    let base = case.layer(None, &[dir("./").mode(0o751).owner(3, 4), file("f", "")])?;
    let root = |id| -> Result<_, Stop> {
        let shown = case.shown(id)?;
        Ok(shown.get(&b""[..]).map(|root| (root.mode, root.owner)))
    };
    let child = case.layer(Some(&base), &[file("g", "")])?;
    same(
        &root(&child)?,
        &Some((0o751, (3, 4))),
        "the root that a child inherits",
    )?;
    let other = case.layer(Some(&base), &[dir("./").mode(0o711)])?;
    let grandchild = case.layer(Some(&other), &[file("h", "")])?;
    same(
        &root(&grandchild)?,
        &Some((0o711, (0, 0))),
        "the root that was changed",
    )?;
    same(
        &root(&child)?,
        &Some((0o751, (3, 4))),
        "the root of another child",
    )
}

/// So many layers on top of each other, each with a file of its own and one that all write.
fn deep(case: &Case<'_>, depth: u32) -> Done {
    let mut top = case.layer(None, &[file("bottom", "b"), file("top", "0")])?;
    for n in 1..depth {
        let text = n.to_string();
        top = case.layer(
            Some(&top),
            &[file("top", &text), file(format!("own-{n}"), &text)],
        )?;
    }
    case.mounted(&top, |dir| {
        same(
            &fs::read(dir.join("bottom"))?,
            &b"b".to_vec(),
            "the lowest layer's file",
        )?;
        let newest = (depth - 1).to_string();
        same(
            &fs::read_to_string(dir.join("top"))?,
            &newest,
            "the newest of a file",
        )?;
        for n in 1..depth {
            let own = fs::read_to_string(dir.join(format!("own-{n}")))?;
            same(&own, &n.to_string(), "a layer's own file")?;
        }
        Ok(())
    })
}

pub(super) fn deep_128(case: &Case<'_>) -> Done {
    deep(case, 128)
}

pub(super) fn beyond_the_limit(case: &Case<'_>) -> Done {
    let mut top = case.layer(None, &[file("f", "0")])?;
    for n in 1..130 {
        // The same entries again and again are layers of their own all the same.
        top = case.layer(
            Some(&top),
            &[file("f", "same"), file(format!("{}", n % 2), "")],
        )?;
    }
    same(&case.brief(&top)?, &["0=", "1=", "f=same"], "130 layers")?;
    let Some(limit) = limit(case)? else {
        return Ok(());
    };
    ensure(limit >= 500, "fewer than 500 layers")?;
    if limit > 1000 {
        return Ok(());
    }
    for _ in 130..=limit {
        top = case.layer(Some(&top), &[])?;
    }
    let dir = case.dir()?;
    let refused = case.driver.mount(&crate::MountRequest::new(&top, &dir));
    match refused {
        Err(DriverError::TooManyLayers { .. }) => Ok(()),
        other => Err(Stop::Failed(format!("{} layers: {other:?}", limit + 1))),
    }
}

/// How many layers the driver says it can mount.
fn limit(case: &Case<'_>) -> Result<Option<u32>, Stop> {
    let status = case.driver.status()?.into_iter();
    let mut limits = status.filter(|(name, _)| name == "Layers at most");
    Ok(limits.next().and_then(|(_, limit)| limit.parse().ok()))
}

pub(super) fn mounted_128(case: &Case<'_>) -> Done {
    // As one would do the same edits in a flat folder.
    let flat = case.dir()?;
    let mut top = case.layer(None, &[file("foo", "0"), dir("old"), file("old/x", "")])?;
    for (name, content) in [("foo", "0"), ("old/x", "")] {
        fs::create_dir_all(flat.join("old"))?;
        fs::write(flat.join(name), content)?;
    }
    let brief = |flat: &std::path::Path| Ok::<_, Stop>(super::shown::brief(&shown_at(flat)?));
    for n in 1..=40 {
        let edit = |dir: &std::path::Path| -> Done {
            fs::write(dir.join("foo"), n.to_string())?;
            fs::write(dir.join(format!("bar-{n}")), n.to_string())?;
            fs::remove_dir_all(dir.join("old"))?;
            fs::create_dir(dir.join("old"))?;
            Ok(fs::write(dir.join(format!("old/{n}")), "")?)
        };
        edit(&flat)?;
        top = case.child(Some(&top), edit)?;
        same(
            &case.brief(&top)?,
            &brief(&flat)?,
            "layers and a flat folder",
        )?;
    }
    Ok(())
}
