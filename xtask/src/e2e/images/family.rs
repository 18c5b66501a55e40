//! Small images of four layers that have much in common, for cases in which many are at work.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::archive::{Archive, Bundle, Layer, chain_ids};

/// Images that share layers, each in an archive of its own and all of them in one.
///
/// All stand on one base. On it, every second image has the same layer. On that, all have the
/// same one again: one diff ID in two chains. The topmost is each image's own.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) members: Vec<Member>,
    /// All of them in one archive.
    pub(crate) together: PathBuf,
}

/// One image of a family.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// The image ID, as hex.
    pub(crate) id: String,
    pub(crate) archive: PathBuf,
    /// Bottom first, as hex.
    pub(crate) layer_ids: Vec<String>,
}

/// Makes `count` images whose base has `files` files.
pub(crate) fn make(folder: &Path, count: usize, files: usize) -> Result<Family> {
    let base = layer("base", files, &[])?;
    let middle = [
        layer("middle-0", files / 4, &["base/.wh.file-0"])?,
        layer(
            "middle-1",
            files / 4,
            &["base/.wh.file-1", "base/.wh.file-2"],
        )?,
    ];
    let common = layer("common", files / 4, &[])?;
    let together = folder.join("together.tar");
    let mut all = Bundle::create(&together)?;
    let mut members = Vec::new();
    for number in 0..count {
        let own = layer(&format!("own-{number}"), files / 8, &[])?;
        let layers = [&base, &middle[number % 2], &common, &own];
        let name = format!("registry.example/e2e/family-{number}:1");
        let archive = folder.join(format!("family-{number}.tar"));
        let mut alone = Bundle::create(&archive)?;
        let id = alone.image(&[&name], &layers)?;
        alone.finish()?;
        all.image(&[&name], &layers)?;
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        members.push(Member {
            name,
            id,
            archive,
            layer_ids: chain_ids(&diff_ids),
        });
    }
    all.finish()?;
    Ok(Family { members, together })
}

/// A folder of files with contents that occur nowhere else, and whiteouts.
fn layer(name: &str, files: usize, whiteouts: &[&str]) -> Result<Layer> {
    let mut entries = vec![(format!("{name}/"), Vec::new())];
    for number in 0..files {
        let content = format!("{name}, file {number}\n").repeat(60 + number % 40);
        entries.push((format!("{name}/file-{number}"), content.into_bytes()));
    }
    entries.extend(
        whiteouts
            .iter()
            .map(|path| ((*path).to_owned(), Vec::new())),
    );
    Layer::new(&entries)
}

impl Family {
    pub(crate) fn member(&self, id: &str) -> Result<&Member> {
        let id = id.trim_start_matches("sha256:");
        let found = self.members.iter().find(|member| member.id == id);
        found.with_context(|| format!("an image that nobody made: {id}"))
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.members
            .iter()
            .map(|member| member.name.clone())
            .collect()
    }

    /// All layers, each once, sorted.
    pub(crate) fn layer_ids(&self) -> Vec<&str> {
        let ids = self.members.iter().flat_map(|member| &member.layer_ids);
        let mut ids: Vec<&str> = ids.map(String::as_str).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

impl Member {
    /// An error unless `saved` is this image, every layer as its digest says.
    pub(crate) fn expect_in(&self, saved: &Path) -> Result<()> {
        let saved = Archive::open(saved)?;
        let found = &saved.single()?.id;
        anyhow::ensure!(*found == self.id, "saved {}: image {found}", self.name);
        saved.check()
    }
}
