//! Images for several platforms: made by podman, copied and loaded whole by lith, read by skopeo.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::lith;
use crate::archive::sha256;
use crate::e2e::lab::Lab;
use crate::e2e::peers::{self, Podman};
use crate::lith::Lith;
use crate::process;

const NAME: &str = "docker.io/library/multi:1";
const PLATFORMS: [&str; 3] = ["linux/amd64", "linux/arm64/v8", "linux/s390x"];

pub(super) fn run(lab: &Lab) -> Result<String> {
    let folder = lab.folder("formats-platforms")?;
    let made = folder.join("by-podman");
    make(lab, &folder, &made)?;
    let layout = format!("oci:{}:{NAME}", made.display());
    let raw = raw_index(lab, &layout)?;
    ensure!(platforms(&raw)? == PLATFORMS, "podman made {raw:?}");

    let store = folder.join("store");
    fs::create_dir(&store)?;
    let lith = lith(lab, &store)?;
    copied(lab, &lith, &layout, &raw)?;
    loaded(lab, &lith, &made, &raw)?;
    uncompressed(lab, &lith, &layout, &folder)?;
    Ok(format!("{} platforms", PLATFORMS.len()))
}

/// Lets podman build an image for each platform and push them with their index.
fn make(lab: &Lab, folder: &Path, layout: &Path) -> Result<()> {
    let context = folder.join("context");
    fs::create_dir(&context)?;
    fs::write(context.join("common"), vec![b'c'; 100_000])?;
    let podman = Podman::new(&lab.settings, &folder.join("podman"))?;
    let run = |arguments: &[&str]| process::run(podman.podman()?.args(arguments))?.ok();
    run(&["manifest", "create", NAME])?;
    for platform in PLATFORMS {
        // Nothing of them is run, so that no machine of the kind is needed.
        fs::write(context.join("own"), platform)?;
        let file = "FROM scratch\nCOPY common /common\nCOPY own /own\n";
        fs::write(context.join("Containerfile"), file)?;
        let context = context.to_str().context("the folder's name")?;
        run(&["build", "--platform", platform, "--manifest", NAME, context])?;
    }
    let target = format!("oci:{}:{NAME}", layout.display());
    run(&["manifest", "push", "--all", NAME, &target]).map(drop)
}

/// The index behind a name, as skopeo gives it.
fn raw_index(lab: &Lab, source: &str) -> Result<Vec<u8>> {
    let mut skopeo = lab.settings.command("skopeo")?;
    skopeo.args(["inspect", "--raw", source]);
    Ok(process::run(&mut skopeo)?.ok()?.stdout)
}

fn platforms(index: &[u8]) -> Result<Vec<String>> {
    let index: Value = serde_json::from_slice(index)?;
    let entries = index["manifests"].as_array().context("no manifests")?;
    let platform = |entry: &Value| {
        let text = |key: &str| entry["platform"][key].as_str();
        let parts = ["os", "architecture", "variant"].iter();
        let parts: Vec<&str> = parts.filter_map(|key| text(key)).collect();
        parts.join("/")
    };
    Ok(entries.iter().map(platform).collect())
}

/// Without a store: the same index, which skopeo copies whole.
fn copied(lab: &Lab, lith: &Lith, layout: &str, raw: &[u8]) -> Result<()> {
    let scratch = lab.scratch()?;
    let to = scratch.path().join("layout");
    let target = format!("oci:{}:{NAME}", to.display());
    lith.ok(&["copy", "--all-platforms", layout, &target])?;
    ensure!(raw_index(lab, &target)? == raw, "copied: another index");
    whole(lab, &target)
}

/// Through the store: every platform's image is there by the index's name, and goes out whole.
fn loaded(lab: &Lab, lith: &Lith, made: &Path, raw: &[u8]) -> Result<()> {
    let source = made.to_str().context("the folder's name")?;
    lith.ok(&["load", "--all-platforms", "-i", source])?;
    let listed = lith.images()?;
    ensure!(listed.len() == 1, "listed: {listed:?}");
    let id = format!("sha256:{}", sha256(raw));
    ensure!(listed[0]["id"] == id.as_str(), "listed: {listed:?}");
    let scratch = lab.scratch()?;
    for platform in PLATFORMS {
        let target = scratch.path().join(platform.replace('/', "-"));
        let mounted = target.to_str().context("the folder's name")?;
        lith.ok(&["mount", "--platform", platform, NAME, mounted])?;
        let own = fs::read_to_string(target.join("own"));
        lith.ok(&["umount", mounted])?;
        ensure!(own? == platform, "another image is mounted for {platform}");
        let exported = lith.ok(&["export", "--platform", platform, NAME])?;
        let inside = |text: &str| {
            let mut windows = exported.stdout.windows(text.len());
            windows.any(|window| window == text.as_bytes())
        };
        ensure!(inside(platform), "another image is exported for {platform}");
    }
    // The layers are compressed anew, so that the index is new, and said to be.
    let saved = scratch.path().join("saved");
    let path = saved.to_str().context("the folder's name")?;
    let output = lith.ok(&["save", "--format", "oci-dir", "-o", path, NAME])?;
    let target = format!("oci:{path}:{NAME}");
    let new = raw_index(lab, &target)?;
    ensure!(platforms(&new)? == PLATFORMS, "saved: {new:?}");
    let told = output.complaint();
    ensure!(new == raw || told.contains(&id), "nothing told: {told}");
    whole(lab, &target)?;
    lith.ok(&["rmi", NAME])?;
    ensure!(lith.names_in("layers")?.is_empty(), "layers are left");
    lith.nothing_staged()
}

/// Layers that need no compression: the index comes back to the byte, also from the folder that
/// skopeo calls dir.
fn uncompressed(lab: &Lab, lith: &Lith, layout: &str, folder: &Path) -> Result<()> {
    let dir = folder.join("decompressed");
    let place = format!("dir:{}", dir.display());
    let options = ["--all", "--dest-decompress"];
    peers::skopeo_copy_with(&lab.settings, &options, layout, &place)?;
    let raw = raw_index(lab, &place)?;
    lith.ok(&["load", "--all-platforms", "-i", &place, "--tag", NAME])?;
    let saved = folder.join("saved");
    let path = saved.to_str().context("the folder's name")?;
    lith.ok(&["save", "--format", "oci-dir", "-o", path, NAME])?;
    let target = format!("oci:{path}:{NAME}");
    ensure!(raw_index(lab, &target)? == raw, "another index");
    whole(lab, &target)
}

/// Lets skopeo copy all platforms, which checks every blob.
fn whole(lab: &Lab, source: &str) -> Result<()> {
    let scratch = lab.scratch()?;
    let target = format!("dir:{}", scratch.path().join("copy").display());
    peers::skopeo_copy_with(&lab.settings, &["--all"], source, &target)
}
