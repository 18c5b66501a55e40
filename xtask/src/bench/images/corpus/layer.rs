//! Writes one layer as a tar.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;

use super::content::{self, Kind, Pools, below};
use super::shape::{Files, Layer, Place};
use crate::random::Random;

/// Folders within a folder.
const FAN: usize = 7;

/// The first moment at which something was changed.
const TIME: u64 = 1_700_000_000;

/// What stands at a path.
#[derive(Clone, Copy, Debug)]
enum Node {
    Folder,
    File { kind: Kind, size: usize },
    Symlink,
}

/// Writes what `plan` says, all counts divided by `part`; gives the paths of its files, for the
/// layer above to take away.
pub(super) fn write<W: Write>(
    plan: &Layer,
    part: usize,
    pools: &Pools,
    mut random: Random,
    lower: &[String],
    out: &mut W,
) -> Result<Vec<String>> {
    let (nodes, folders) = nodes(plan, part, &mut random);
    let mut nodes = nodes;
    for path in lower.iter().take(plan.whiteouts / part) {
        whiteout(path, &mut nodes);
    }
    let mut tar = tar::Builder::new(out);
    let mut content = Vec::new();
    let mut files = Vec::new();
    // Sorted by path: every folder before what is in it.
    for (path, node) in &nodes {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(TIME + below(&mut random, 10_000_000) as u64);
        header.set_mode(0o644);
        header.set_size(0);
        match node {
            Node::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o755);
                tar.append_data(&mut header, format!("{path}/"), std::io::empty())?;
            }
            Node::Symlink => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                let target = random.choose(&folders).map_or(".", String::as_str);
                tar.append_link(&mut header, path, format!("/{target}"))?;
            }
            Node::File { kind, size } => {
                pools.fill(&mut random, *kind, *size, &mut content);
                header.set_entry_type(tar::EntryType::Regular);
                header.set_size(content.len() as u64);
                if *kind == Kind::Binary {
                    header.set_mode(0o755);
                }
                tar.append_data(&mut header, path, content.as_slice())?;
                files.push(path.clone());
            }
        }
    }
    tar.finish()?;
    Ok(files)
}

/// Everything that is in the layer, and its folders.
fn nodes(plan: &Layer, part: usize, random: &mut Random) -> (BTreeMap<String, Node>, Vec<String>) {
    let mut nodes = BTreeMap::new();
    add_folder(&mut nodes, plan.root);
    let mut folders = vec![plan.root.to_owned()];
    for number in 1..(plan.folders / part).max(2) {
        let above = folders.get((number - 1) / FAN).cloned().unwrap_or_default();
        let folder = format!("{above}/{}{number}", content::word(random));
        add_folder(&mut nodes, &folder);
        folders.push(folder);
    }
    for (group, files) in plan.files.iter().enumerate() {
        for number in 0..(files.count / part).max(1) {
            let folder = match files.place {
                Place::Spread => random.choose(&folders).cloned().unwrap_or_default(),
                Place::Together => format!("{}/many", plan.root),
            };
            add_folder(&mut nodes, &folder);
            let (end, kind) = match files.kind {
                Kind::Text => ("js", files.kind),
                Kind::Binary => ("so", files.kind),
            };
            let path = format!("{folder}/{}-{group}-{number}.{end}", content::word(random));
            let size = size(files, random);
            nodes.insert(path, Node::File { kind, size });
        }
    }
    for number in 0..plan.symlinks / part {
        let folder = random.choose(&folders).cloned().unwrap_or_default();
        nodes.insert(format!("{folder}/link-{number}"), Node::Symlink);
    }
    (nodes, folders)
}

/// As many small ones as large ones: the logarithm of the size is what is chosen.
fn size(files: &Files, random: &mut Random) -> usize {
    let (least, most) = (files.sizes.0 as f64, files.sizes.1 as f64);
    (least * (most / least).powf(random.fraction())) as usize
}

/// A folder, and those above it.
fn add_folder(nodes: &mut BTreeMap<String, Node>, path: &str) {
    for (end, _) in path.match_indices('/') {
        nodes.insert(path.get(..end).unwrap_or(path).to_owned(), Node::Folder);
    }
    nodes.insert(path.to_owned(), Node::Folder);
}

fn whiteout(path: &str, nodes: &mut BTreeMap<String, Node>) {
    let Some((folder, name)) = path.rsplit_once('/') else {
        return;
    };
    add_folder(nodes, folder);
    let (kind, size) = (Kind::Text, 0);
    nodes.insert(format!("{folder}/.wh.{name}"), Node::File { kind, size });
}
