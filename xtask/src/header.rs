//! The C header of the plugin ABI, made of the Rust file that declares it.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::workspace;

const ABI: &str = "crates/plugin/src/abi.rs";
const CONFIG: &str = "crates/plugin/cbindgen.toml";
const HEADER: &str = "crates/plugin/include/lith_plugin.h";

/// Arguments of `cargo xtask header`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Writes nothing; fails when the committed header is another.
    #[arg(long)]
    check: bool,
}

/// Writes the header, or compares it.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.check {
        return check();
    }
    let path = workspace::root()?.join(HEADER);
    fs::write(&path, made()?).with_context(|| format!("{}", path.display()))?;
    println!("header: {HEADER} is new");
    Ok(())
}

/// Compares the header with what would be made.
pub(crate) fn check() -> Result<()> {
    let path = workspace::root()?.join(HEADER);
    let found = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let made = made()?;
    if found == made {
        return Ok(());
    }
    let line = found.lines().zip(made.lines()).position(|(a, b)| a != b);
    let line = line.unwrap_or_else(|| found.lines().count().min(made.lines().count()));
    bail!(
        "{HEADER} is stale from line {} on: {ABI} says something else; `cargo xtask header` makes it \
         anew",
        line + 1
    )
}

fn made() -> Result<String> {
    let root = workspace::root()?;
    let config = cbindgen::Config::from_file(root.join(CONFIG))
        .map_err(|error| anyhow::anyhow!("{CONFIG}: {error}"))?;
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(root.join(ABI))
        .generate()
        .with_context(|| format!("make a header of {ABI}"))?;
    let mut header = Vec::new();
    bindings.write(&mut header);
    String::from_utf8(header).context("the header is not UTF-8")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_header_is_what_would_be_made() {
        super::check().unwrap();
    }
}
