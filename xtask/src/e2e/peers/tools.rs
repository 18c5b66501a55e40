//! skopeo and umoci: one call, one result.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Settings;
use crate::process;

/// `skopeo copy SOURCE TARGET`.
pub(crate) fn skopeo_copy(settings: &Settings, source: &str, target: &str) -> Result<()> {
    let mut command = settings.command("skopeo")?;
    command.args(["--insecure-policy", "copy", "-q", source, target]);
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

/// `umoci unpack`: the root file system of an image in an OCI layout, in `bundle/rootfs`.
pub(crate) fn umoci_unpack(settings: &Settings, layout: &Path, bundle: &Path) -> Result<()> {
    let mut command = settings.command("umoci")?;
    let image = format!("{}:latest", layout.display());
    command.args(["unpack", "--image", &image]).arg(bundle);
    process::run(&mut command)?.ok().map(drop)
}
