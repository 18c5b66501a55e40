//! The folders of a store: what is in them, what they take, what should be gone.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use walkdir::WalkDir;

use crate::lith::Lith;
use crate::process;

/// Every path of a store with its kind and size, as far as two stores with the same images
/// have to agree.
///
/// Trees stand under the IDs of their layers, since their own names are chosen by chance. Left
/// out are the index, since what it says is asked for by commands, and the files that locks are
/// taken on, which are made when they are first needed and stay.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Listing(BTreeMap<PathBuf, String>);

impl Listing {
    pub(crate) fn of(lith: &Lith) -> Result<Listing> {
        let layers = layers_by_tree(lith)?;
        let mut found = BTreeMap::new();
        for entry in WalkDir::new(&lith.root).min_depth(1) {
            let entry = entry?;
            let path = entry.path().strip_prefix(&lith.root)?;
            let metadata = entry.metadata()?;
            let lock = path.parent() == Some(Path::new("locks")) && metadata.is_file();
            if lock || path.to_string_lossy().starts_with("lith.db") {
                continue;
            }
            // A layer's facts tell when it was made and where its tree is.
            let size = match path.ends_with("layer.json") || metadata.is_dir() {
                true => 0,
                false => metadata.len(),
            };
            let said = format!("{:?} {size}", metadata.file_type());
            found.insert(by_layer(path, &layers), said);
        }
        Ok(Listing(found))
    }

    /// An error that names what is too much, missing or other than `expected`.
    pub(crate) fn expect(&self, expected: &Listing) -> Result<()> {
        let mut differences = Vec::new();
        for (path, said) in &self.0 {
            match expected.0.get(path) {
                None => differences.push(format!("left over: {}", path.display())),
                Some(other) if other != said => {
                    differences.push(format!("{}: {said}, expected {other}", path.display()));
                }
                Some(_) => {}
            }
        }
        for path in expected.0.keys() {
            if !self.0.contains_key(path) {
                differences.push(format!("missing: {}", path.display()));
            }
        }
        if differences.is_empty() {
            return Ok(());
        }
        let count = differences.len();
        differences.truncate(8);
        bail!("{count} differences:\n{}", differences.join("\n"));
    }
}

/// The layer that each of the driver's trees belongs to.
fn layers_by_tree(lith: &Lith) -> Result<HashMap<String, String>> {
    let mut layers = HashMap::new();
    for id in lith.names_in("layers")? {
        let path = lith.root.join("layers").join(&id).join("layer.json");
        let facts = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let facts: Value = serde_json::from_slice(&facts)?;
        let tree = facts["cache"].as_str();
        let tree = tree.with_context(|| format!("no cache in {}", path.display()))?;
        let other = layers.insert(tree.to_owned(), id.clone());
        ensure!(other.is_none(), "layers {other:?} and {id} have one tree");
    }
    Ok(layers)
}

fn by_layer(path: &Path, layers: &HashMap<String, String>) -> PathBuf {
    let mut parts: Vec<Component<'_>> = path.components().collect();
    if let [Component::Normal(top), _, Component::Normal(tree), ..] = parts[..]
        && top == "drivers"
        && let Some(layer) = layers.get(&*tree.to_string_lossy())
    {
        parts[2] = Component::Normal(layer.as_ref());
    }
    parts.into_iter().collect()
}

/// An error when work in progress, or a lock of a session, is left though nobody is at work.
pub(crate) fn nothing_in_work(lith: &Lith) -> Result<()> {
    lith.nothing_staged()?;
    let mut places = vec!["locks/sessions".to_owned()];
    for driver in lith.names_in("drivers")? {
        places.push(format!("drivers/{driver}/.work"));
    }
    for place in places {
        let left = lith.names_in(&place)?;
        ensure!(left.is_empty(), "left in {place}: {}", left.join(", "));
    }
    Ok(())
}

/// How many trees the driver has.
pub(crate) fn trees(lith: &Lith) -> Result<usize> {
    let mut count = 0;
    for driver in lith.names_in("drivers")? {
        let names = lith.names_in(&format!("drivers/{driver}"))?;
        count += names.iter().filter(|name| !name.starts_with('.')).count();
    }
    Ok(count)
}

/// What images, layers and trees take on disk, as `du` says.
pub(crate) fn disk(lith: &Lith) -> Result<u64> {
    let mut du = Command::new("du");
    du.args(["-s", "-c", "-B1"]);
    du.args(["images", "layers", "drivers"].map(|folder| lith.root.join(folder)));
    let output = process::run(&mut du)?.ok()?;
    let text = output.text();
    let total = text.lines().last().and_then(|line| line.split('\t').next());
    let total = total.with_context(|| format!("du said {text:?}"))?;
    total.parse().with_context(|| format!("du said {text:?}"))
}
