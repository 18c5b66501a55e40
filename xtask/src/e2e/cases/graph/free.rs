//! Removal: what goes, what stays, and how many bytes that are.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::e2e::cases::Cases;
use crate::e2e::compare::store::{self, Listing};
use crate::e2e::guards::LithMount;
use crate::e2e::images::family::{self, Family};
use crate::e2e::lab::Lab;
use crate::e2e::report::skip;
use crate::lith::{Driver, Lith};
use crate::process::{self, Running};

const IMAGES: usize = 4;
const FILES: usize = 80;

pub(super) fn add(cases: &mut Cases, driver: Driver) {
    cases.add("graph/one-of-two-names", move |lab| two_names(lab, driver));
    cases.add("graph/prune-frees-what-it-says", move |lab| {
        prune(lab, driver)
    });
    cases.add("graph/tree-for-graphviz", move |lab| graphviz(lab, driver));
}

fn json(lith: &Lith, arguments: &[&str]) -> Result<Value> {
    let output = lith.ok(arguments)?;
    let read = serde_json::from_slice(&output.stdout);
    read.with_context(|| format!("`{}` printed no JSON", output.line))
}

/// Removing one of two names removes a name and nothing else.
fn two_names(lab: &Lab, driver: Driver) -> Result<String> {
    let folder = lab.scratch()?;
    let family = family::make(folder.path(), 2, FILES)?;
    let lith = lab.lith(driver, folder.path())?;
    lith.load(&family.together)?;
    let [first, second] = &family.members[..] else {
        anyhow::bail!("expected two images");
    };
    let before = Listing::of(&lith)?;
    lith.ok(&["tag", &first.name, "e2e/again:1"])?;
    let report = json(&lith, &["rmi", "--json", "e2e/again:1"])?;
    for (what, count) in [("untagged", 1), ("deleted", 0), ("layers", 0)] {
        let found = report[what].as_array().map_or(0, Vec::len);
        ensure!(found == count, "{found} {what}: {report}");
    }
    Listing::of(&lith)?.expect(&before)?;
    // With its last name goes the image, but not what the other one needs.
    let report = json(&lith, &["rmi", "--json", &first.name])?;
    let mut gone: Vec<&str> = report["layers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(id)
        .collect();
    gone.sort_unstable();
    let mut own: Vec<&str> = first.layer_ids.iter().map(String::as_str).collect();
    own.retain(|id| !second.layer_ids.iter().any(|other| other == id));
    own.sort_unstable();
    ensure!(gone == own, "rmi removed {gone:?}, expected {own:?}");
    let out = folder.path().join("saved.tar");
    lith.save(&out, std::slice::from_ref(&second.name))?;
    second.expect_in(&out)?;
    Ok(format!("{} layers went with the last name", gone.len()))
}

/// The ID in an entry of a report, as hex.
fn id(entry: &Value) -> Option<&str> {
    let id = entry.as_str().or_else(|| entry["id"].as_str())?;
    Some(id.trim_start_matches("sha256:"))
}

fn prune(lab: &Lab, driver: Driver) -> Result<String> {
    let folder = lab.scratch()?;
    let family = family::make(folder.path(), IMAGES, FILES)?;
    let lith = lab.lith(driver, folder.path())?;
    lith.ok(&["images"])?;
    let empty = Listing::of(&lith)?;
    lith.load(&family.together)?;
    let full = Listing::of(&lith)?;
    let nothing = pruned(&lith, &[])?;
    ensure!(
        nothing.disk == 0 && nothing.images.is_empty(),
        "{nothing:?}"
    );
    Listing::of(&lith)?.expect(&full)?;

    let [first, second, named, mounted] = &family.members[..] else {
        anyhow::bail!("expected four images");
    };
    lith.ok(&["untag", &first.name, &second.name])?;
    let unnamed = pruned(&lith, &[])?;
    let mut expected = [first.id.as_str(), second.id.as_str()];
    expected.sort_unstable();
    ensure!(
        unnamed.images == expected,
        "prune removed {:?}",
        unnamed.images
    );
    ensure!(lith.images()?.len() == 2, "named images went, too");

    // All that is not in use, named or not.
    let mount = LithMount::new(&lith, &mounted.name, &folder.path().join("mounted"))?;
    let unused = pruned(&lith, &["--all"])?;
    ensure!(unused.images == [named.id.as_str()], "{unused:?}");
    mount.leave()?;
    let out = folder.path().join("saved.tar");
    lith.save(&out, std::slice::from_ref(&mounted.name))?;
    mounted.expect_in(&out)?;
    let rest = pruned(&lith, &["--all"])?;
    ensure!(rest.images == [mounted.id.as_str()], "{rest:?}");
    Listing::of(&lith)?.expect(&empty)?;
    Ok(format!(
        "{}, {} and {} bytes, each said before and confirmed by du",
        unnamed.disk, unused.disk, rest.disk
    ))
}

/// What `prune` said.
#[derive(PartialEq, Eq, Debug)]
struct Pruned {
    /// Sorted.
    images: Vec<String>,
    layers: Vec<String>,
    disk: u64,
}

impl Pruned {
    fn read(report: &Value) -> Result<Pruned> {
        let ids = |what: &str| {
            let list = report[what].as_array();
            let list = list.with_context(|| format!("prune tells no {what}: {report}"))?;
            let mut ids: Vec<String> = list.iter().filter_map(id).map(str::to_owned).collect();
            ids.sort();
            anyhow::Ok(ids)
        };
        let sum = |what: &str| {
            let list = report[what].as_array().into_iter().flatten();
            list.filter_map(|entry| entry["disk"].as_u64()).sum::<u64>()
        };
        let disk = report["disk"].as_u64();
        let disk = disk.with_context(|| format!("prune tells no disk: {report}"))?;
        let parts = sum("images") + sum("layers");
        ensure!(parts == disk, "the parts are {parts} bytes, all is {disk}");
        Ok(Pruned {
            images: ids("images")?,
            layers: ids("layers")?,
            disk,
        })
    }
}

/// A dry run changes nothing and says what a real one then does, to the byte.
fn pruned(lith: &Lith, options: &[&str]) -> Result<Pruned> {
    let before = Listing::of(lith)?;
    let full = store::disk(lith)?;
    let with = |more: &[&'static str]| {
        let arguments: Vec<&str> = ["prune", "--json"]
            .into_iter()
            .chain(options.iter().copied())
            .chain(more.iter().copied())
            .collect();
        Pruned::read(&json(lith, &arguments)?)
    };
    let said = with(&["--dry-run"])?;
    Listing::of(lith)?.expect(&before).context("a dry run")?;
    let done = with(&[])?;
    ensure!(said == done, "announced {said:?}, done {done:?}");
    store::nothing_in_work(lith)?;
    let freed = full.checked_sub(store::disk(lith)?);
    ensure!(
        freed == Some(done.disk),
        "du says that {freed:?} bytes were freed, prune {}",
        done.disk
    );
    Ok(done)
}

fn graphviz(lab: &Lab, driver: Driver) -> Result<String> {
    let Some(dot) = process::find("dot") else {
        return skip("dot is not installed (graphviz)");
    };
    let folder = lab.scratch()?;
    let family = family::make(folder.path(), IMAGES, 8)?;
    let lith = lab.lith(driver, folder.path())?;
    lith.load(&family.together)?;
    // A name that has to be quoted for Graphviz does not exist; an image without one does.
    lith.ok(&[
        "tag",
        &family.members[0].name,
        "registry.example:5000/a-b/c.d_e:1",
    ])?;
    lith.ok(&["untag", &family.members[1].name])?;
    let drawn = lith.ok(&["tree", "--dot"])?;
    let mut dot = Command::new(dot);
    let mut dot = Running::start(dot.args(["-Tplain"]), Stdio::piped())?;
    dot.stdin()?.write_all(&drawn.stdout)?;
    let output = dot.finish()?.ok()?;
    ensure!(
        output.complaint().is_empty(),
        "dot complains: {}",
        output.complaint()
    );
    nodes(&output.text(), &family)
}

/// Every layer has a node, and so has every image.
fn nodes(plain: &str, family: &Family) -> Result<String> {
    let count = |what: &str| {
        let lines = plain.lines();
        lines
            .filter(|line| line.split(' ').next() == Some(what))
            .count()
    };
    let (nodes, edges) = (count("node"), count("edge"));
    let layers = family.layer_ids().len();
    // Roots have no edge from below; there is one here.
    ensure!(
        nodes >= layers && edges >= layers - 1,
        "{nodes} nodes and {edges} edges for {layers} layers"
    );
    Ok(format!("{nodes} nodes, {edges} edges"))
}
