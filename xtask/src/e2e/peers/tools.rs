//! skopeo and umoci: one call, one result.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Settings;
use crate::process;

/// `skopeo copy SOURCE TARGET`.
pub(crate) fn skopeo_copy(settings: &Settings, source: &str, target: &str) -> Result<()> {
    skopeo_copy_with(settings, &[], source, target)
}

/// `skopeo copy OPTION... SOURCE TARGET`.
pub(crate) fn skopeo_copy_with(
    settings: &Settings,
    options: &[&str],
    source: &str,
    target: &str,
) -> Result<()> {
    let mut command = settings.command("skopeo")?;
    command.args(["--insecure-policy", "copy", "-q"]);
    command.args(options).args([source, target]);
    process::run(&mut command)?.ok().map(drop)
}

/// `skopeo inspect`: the diff IDs or, for sources that compress, the blobs of an image.
pub(crate) fn skopeo_inspect(settings: &Settings, source: &str) -> Result<Vec<String>> {
    let mut command = settings.command("skopeo")?;
    let output = process::run(command.args(["inspect", source]))?.ok()?;
    let value: Value = serde_json::from_slice(&output.stdout)?;
    let layers = value["Layers"]
        .as_array()
        .context("skopeo tells no layers")?;
    Ok(layers
        .iter()
        .filter_map(|layer| layer.as_str().map(str::to_owned))
        .collect())
}

/// `skopeo inspect --config --raw`: an image's config, byte for byte.
pub(crate) fn skopeo_config(settings: &Settings, source: &str) -> Result<Vec<u8>> {
    let mut command = settings.command("skopeo")?;
    command.args(["inspect", "--config", "--raw", source]);
    Ok(process::run(&mut command)?.ok()?.stdout)
}

/// `umoci unpack`: the root file system of an image in an OCI layout, in `bundle/rootfs`. umoci
/// compares each layer with the diff ID that the config says.
pub(crate) fn umoci_unpack(
    settings: &Settings,
    layout: &Path,
    name: &str,
    bundle: &Path,
) -> Result<()> {
    umoci(settings, "unpack", layout, name, &[bundle])
}

/// `umoci COMMAND --image LAYOUT:NAME ARGUMENT...`.
pub(crate) fn umoci(
    settings: &Settings,
    subcommand: &str,
    layout: &Path,
    name: &str,
    arguments: &[&Path],
) -> Result<()> {
    let mut command = settings.command("umoci")?;
    let image = format!("{}:{name}", layout.display());
    command
        .args([subcommand, "--image", &image])
        .args(arguments);
    process::run(&mut command)?.ok().map(drop)
}
