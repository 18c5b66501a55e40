//! What cannot work fails: exit status 1, an error that names the thing, a store as before.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tempfile::TempDir;

use super::{Cases, steps};
use crate::archive::{self, Archive, Layout, NewImage, Packing};
use crate::e2e::guards::Mounted;
use crate::e2e::lab::Lab;
use crate::lith::{Driver, Lith};
use crate::process::{self, Output};

pub(super) fn add(cases: &mut Cases, driver: Driver) {
    cases.add("failure/truncated-archive", move |lab| {
        truncated(lab, driver)
    });
    cases.add("failure/truncated-stdin", move |lab| {
        truncated_stdin(lab, driver)
    });
    cases.add("failure/wrong-layer", move |lab| wrong_layer(lab, driver));
    cases.add("failure/missing-layer", move |lab| {
        missing(lab, driver, Missing::Layer)
    });
    cases.add("failure/missing-config", move |lab| {
        missing(lab, driver, Missing::Config)
    });
    cases.add("failure/no-archive-at-all", move |lab| {
        no_archive(lab, driver)
    });
    cases.add("failure/full-disk", move |lab| full_disk(lab, driver));
    cases.add("failure/full-disk-save", move |lab| {
        full_disk_save(lab, driver)
    });
    cases.add("failure/read-only-root", move |lab| read_only(lab, driver));
    cases.add("failure/another-users-root", move |lab| {
        other_user(lab, driver)
    });
    cases.add("failure/damaged-tree-save", move |lab| {
        damaged_tree(lab, driver)
    });
}

/// A store that holds one small image, and what stood in it before the failure.
struct Before {
    folder: TempDir,
    lith: Lith,
    images: Vec<serde_json::Value>,
    paths: std::collections::BTreeMap<PathBuf, String>,
}

fn before(lab: &Lab, driver: Driver) -> Result<Before> {
    let folder = lab.scratch()?;
    let place = folder.path().to_owned();
    before_at(lab, driver, folder, &place)
}

/// The same with the store in a folder of the caller's choice.
fn before_at(lab: &Lab, driver: Driver, folder: TempDir, place: &Path) -> Result<Before> {
    let lith = lab.lith(driver, place)?;
    let first = folder.path().join("first.tar");
    let layer = folder.path().join("first-layer.tar");
    one_file(&layer, "first", b"what was here before\n")?;
    let image = NewImage {
        name: "e2e/first",
        layers: &[layer],
        command: &["/first"],
    };
    archive::write(&first, &image, Layout::Flat, Packing::Plain)?;
    lith.load(&first)?;
    let (images, paths) = (lith.images()?, lith.snapshot()?);
    Ok(Before {
        folder,
        lith,
        images,
        paths,
    })
}

impl Before {
    /// The store is what it was: the same images, the same paths, nothing staged.
    fn unchanged(&self) -> Result<()> {
        self.lith.nothing_staged()?;
        let images = self.lith.images()?;
        ensure!(
            images == self.images,
            "`images` tells another story than before: {images:?}"
        );
        let paths = self.lith.snapshot()?;
        let extra: Vec<_> = paths
            .keys()
            .filter(|path| !self.paths.contains_key(*path))
            .collect();
        ensure!(extra.is_empty(), "left in the store: {extra:?}");
        let gone: Vec<_> = self
            .paths
            .keys()
            .filter(|path| !paths.contains_key(*path))
            .collect();
        ensure!(gone.is_empty(), "gone from the store: {gone:?}");
        ensure!(
            paths == self.paths,
            "sizes or kinds in the store have changed"
        );
        Ok(())
    }

    fn fails(&self, archive: &Path, words: &[&str]) -> Result<()> {
        let path = archive.to_string_lossy();
        let output = self.lith.run(&["load", "-i", &path])?;
        steps::expect_failure(&output, words)?;
        self.unchanged()
    }
}

fn one_file(tar: &Path, name: &str, content: &[u8]) -> Result<()> {
    let mut tar = tar::Builder::new(File::create(tar)?);
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, content)?;
    Ok(tar.finish()?)
}

fn copy_of(archive: &Path, folder: &Path) -> Result<(PathBuf, File)> {
    let path = folder.join("broken.tar");
    fs::copy(archive, &path)?;
    let file = File::options().read(true).write(true).open(&path)?;
    Ok((path, file))
}

/// Cuts: in the first layer, in the middle of the last one, just before the manifest.
fn cuts(archive: &Path) -> Result<Vec<u64>> {
    let opened = Archive::open(archive)?;
    let layers = &opened.single()?.layers;
    let (first, last) = (
        layers.first().context("no layers")?,
        layers.last().context("none")?,
    );
    let end = last.offset + last.size.next_multiple_of(512);
    Ok(vec![
        first.offset + 1000,
        last.offset + last.size / 2,
        end,
        end + 700,
    ])
}

fn truncated(lab: &Lab, driver: Driver) -> Result<String> {
    let before = before(lab, driver)?;
    let source = &lab.made()?.archive;
    let (path, file) = copy_of(source, before.folder.path())?;
    // From the longest to the shortest: one copy does for all.
    let cuts = cuts(source)?;
    for cut in cuts.iter().rev() {
        file.set_len(*cut)?;
        before
            .fails(&path, &["broken.tar"])
            .with_context(|| format!("cut at byte {cut}"))?;
    }
    Ok(format!("{} cuts", cuts.len()))
}

fn truncated_stdin(lab: &Lab, driver: Driver) -> Result<String> {
    let before = before(lab, driver)?;
    let source = &lab.made()?.archive;
    let (path, file) = copy_of(source, before.folder.path())?;
    let cuts = cuts(source)?;
    for cut in cuts.iter().rev() {
        file.set_len(*cut)?;
        let mut cat = std::process::Command::new("cat");
        let mut cat = cat
            .arg(&path)
            .stdout(std::process::Stdio::piped())
            .spawn()?;
        let pipe = cat.stdout.take().context("no pipe")?;
        let output = before.lith.load_stdin(pipe.into());
        cat.wait()?;
        let words = ["truncated|ends|ended|unexpected end|manifest.json|incomplete|short"];
        steps::expect_failure(&output?, &words)
            .and_then(|()| before.unchanged())
            .with_context(|| format!("cut at byte {cut}"))?;
    }
    Ok(format!("{} cuts", cuts.len()))
}

/// One byte of one layer is another: the error names the digest that was expected.
fn wrong_layer(lab: &Lab, driver: Driver) -> Result<String> {
    let before = before(lab, driver)?;
    let source = &lab.made()?.archive;
    let opened = Archive::open(source)?;
    let image = opened.single()?;
    for (place, diff_id) in image.layers.iter().zip(&image.diff_ids) {
        let (path, file) = copy_of(source, before.folder.path())?;
        let at = place.offset + place.size / 2;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        file.write_all_at(&[byte[0] ^ 0x40], at)?;
        // The flipped byte may fall into a header, which then is what is wrong.
        let hex = diff_id.trim_start_matches("sha256:");
        let words = [format!("{hex}|{}", place.member)];
        before
            .fails(&path, &[&words[0]])
            .with_context(|| format!("layer {}", place.member))?;
    }
    Ok(format!("{} layers, one bit each", image.layers.len()))
}

#[derive(Clone, Copy)]
enum Missing {
    Layer,
    Config,
}

/// The manifest names a member that the archive has not.
fn missing(lab: &Lab, driver: Driver, what: Missing) -> Result<String> {
    let before = before(lab, driver)?;
    let folder = before.folder.path();
    let (layer, path) = (folder.join("layer.tar"), folder.join("broken.tar"));
    one_file(&layer, "second", b"never arrives\n")?;
    let diff_id = archive::sha256_file(&layer)?;
    let other = format!("sha256:{}", "5".repeat(64));
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{diff_id}"), other] },
    });
    let manifest = json!([{
        "Config": "the-config.json", "RepoTags": ["e2e/broken:1"],
        "Layers": ["there.tar", "not-there.tar"],
    }]);
    let mut tar = tar::Builder::new(File::create(&path)?);
    tar.append_path_with_name(&layer, "there.tar")?;
    let mut text = |name: &str, content: String| -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o444);
        Ok(tar.append_data(&mut header, name, content.as_bytes())?)
    };
    if matches!(what, Missing::Layer) {
        text("the-config.json", config.to_string())?;
    }
    text("manifest.json", manifest.to_string())?;
    tar.finish()?;
    let word = match what {
        // "absent in both: an error that lists every missing diff ID".
        Missing::Layer => format!("not-there.tar|{}", "5".repeat(64)),
        Missing::Config => "the-config.json".to_owned(),
    };
    before.fails(&path, &[&word])?;
    let output = before.lith.load_stdin(File::open(&path)?.into())?;
    steps::expect_failure(&output, &[&word])?;
    before.unchanged()?;
    Ok("from a file and from standard input".to_owned())
}

fn no_archive(lab: &Lab, driver: Driver) -> Result<String> {
    let before = before(lab, driver)?;
    let path = before.folder.path().join("broken.tar");
    let mut noise = vec![0; 100_000];
    File::open("/dev/urandom")?.read_exact(&mut noise)?;
    let mut empty_tar = Vec::new();
    tar::Builder::new(&mut empty_tar).finish()?;
    for content in [&b""[..], b"no archive\n", &noise, &empty_tar] {
        fs::write(&path, content)?;
        before.fails(&path, &["broken.tar"])?;
    }
    Ok("an empty file, text, noise, an empty tar".to_owned())
}

/// Room for the store itself but not for the image.
fn full_disk(lab: &Lab, driver: Driver) -> Result<String> {
    needs_root()?;
    let folder = lab.scratch()?;
    let place = folder.path().join("disk");
    let disk = Mounted::fresh_ext4(&place, 16 << 20)?;
    let before = before_at(lab, driver, folder, &place)?;
    let made = lab.made()?;
    let archive = made.archive.to_string_lossy();
    let output = before.lith.run(&["load", "-i", &archive])?;
    steps::expect_failure(&output, &["no space left"])?;
    before.unchanged()?;
    drop(disk);
    Ok(format!(
        "a disk of 16 MB, an image of {}",
        steps::megabytes(made.bytes)
    ))
}

/// An output that does not fit does not appear.
fn full_disk_save(lab: &Lab, driver: Driver) -> Result<String> {
    needs_root()?;
    let folder = lab.scratch()?;
    let lith = lab.lith(driver, folder.path())?;
    let made = lab.made()?;
    lith.load(&made.archive)?;
    let place = folder.path().join("disk");
    let disk = Mounted::fresh_ext4(&place, 8 << 20)?;
    let out = place.join("out.tar");
    let output = lith.run(&["save", "-o", &out.to_string_lossy(), made.name])?;
    steps::expect_failure(&output, &["no space left"])?;
    let left: Vec<String> = fs::read_dir(&place)?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| name != "lost+found")
        .collect();
    ensure!(
        left.is_empty(),
        "left on the full disk: {}",
        left.join(", ")
    );
    drop(disk);
    Ok("nothing appeared".to_owned())
}

/// A file system on which nothing can be written, with a store on it and without.
fn read_only(lab: &Lab, driver: Driver) -> Result<String> {
    needs_root()?;
    let before = before(lab, driver)?;
    let place = before.folder.path().join("read-only");
    let archive = lab.made()?.archive.to_string_lossy().into_owned();
    let mounted = Mounted::read_only(before.folder.path(), &place)?;
    let words = ["read-only"];
    for name in ["store", "new-store"] {
        let mut lith = before.lith.clone();
        lith.root = place.join(name);
        steps::expect_failure(&lith.run(&["load", "-i", &archive])?, &words)
            .with_context(|| format!("root {name}"))?;
    }
    drop(mounted);
    before.unchanged()?;
    Ok("an existing store and a new one".to_owned())
}

/// Another user's root: permission denied, and said so.
fn other_user(lab: &Lab, driver: Driver) -> Result<String> {
    needs_root()?;
    let mut setpriv = lab.settings.command("setpriv")?;
    let before = before(lab, driver)?;
    let ids = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    setpriv.args(ids).arg(&before.lith.program).arg("--version");
    if process::run(&mut setpriv).map_or(true, |output| !output.status.success()) {
        return crate::e2e::report::skip("another user cannot reach the program in this folder");
    }
    let mut setpriv = lab.settings.command("setpriv")?;
    let archive = File::open(&lab.made()?.archive)?;
    let lith = before.lith.command();
    setpriv
        .args(ids)
        .arg(lith.get_program())
        .args(lith.get_args())
        .args(["load", "-i", "-"]);
    let output: Output = process::run_with(&mut setpriv, archive.into())?;
    steps::expect_failure(&output, &["permission denied", "store"])?;
    before.unchanged()?;
    Ok("permission denied, and the root named".to_owned())
}

/// A file of the tree was changed behind lith's back: save says which, and writes nothing.
fn damaged_tree(lab: &Lab, driver: Driver) -> Result<String> {
    let made = lab.made()?;
    let folder = lab.scratch()?;
    let lith = lab.lith(driver, folder.path())?;
    lith.load(&made.archive)?;
    // Some drivers keep copies of it in the trees of upper layers, which save does not read.
    let mut victims = 0;
    for entry in walkdir::WalkDir::new(lith.root.join("drivers")) {
        let entry = entry?;
        if entry.file_type().is_file() && entry.file_name() == "after-2038" {
            let file = File::options().write(true).open(entry.path())?;
            file.write_all_at(b"AFTER", 0)?;
            victims += 1;
        }
    }
    ensure!(victims > 0, "no file of the image is found below drivers/");
    let out = folder.path().join("out.tar");
    let output = lith.run(&["save", "-o", &out.to_string_lossy(), made.name])?;
    steps::expect_failure(&output, &["after-2038"])?;
    ensure!(!out.exists(), "an archive appeared all the same");
    lith.nothing_staged()?;
    Ok("the error names the file; no output".to_owned())
}

fn needs_root() -> Result<()> {
    match rustix::process::geteuid().is_root() {
        true => Ok(()),
        false => crate::e2e::report::skip("needs root"),
    }
}
