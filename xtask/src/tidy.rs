//! Rules of the workspace that the compiler does not know.
//!
//! Arrows between crates run one way; only programs use `anyhow`; every integration test
//! file is compiled; files stay readable.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use walkdir::WalkDir;

use crate::workspace;

/// Which crate of the house may use which: everything not listed is an offence.
const ARROWS: &[(&str, &[&str])] = &[
    ("lith-tarsplit", &[]),
    ("lith-store", &[]),
    ("lith-plugin", &[]),
    // Its tests drive it as lith does.
    (
        "lith-plugin-btrfs",
        &["lith-plugin", "lith-drivers", "lith-tarsplit"],
    ),
    ("lith-drivers", &["lith-tarsplit", "lith-plugin"]),
    (
        "lith-graph",
        &["lith-store", "lith-drivers", "lith-tarsplit"],
    ),
    (
        "lith-archive",
        &["lith-graph", "lith-store", "lith-drivers", "lith-tarsplit"],
    ),
    (
        "lith",
        &[
            "lith-archive",
            "lith-graph",
            "lith-store",
            "lith-drivers",
            "lith-tarsplit",
        ],
    ),
    // Everything but the product: it may look at any crate, none may look at it.
    (
        "xtask",
        &[
            "lith-archive",
            "lith-graph",
            "lith-store",
            "lith-drivers",
            "lith-tarsplit",
        ],
    ),
];

/// Who may use `anyhow`: programs. A library's callers want to match on its errors.
const ANYHOW: &[&str] = &["lith", "xtask"];

/// A file longer than this needs a line with [`LONG_REASON`] that says why.
const LONG: usize = 800;
const LONG_REASON: &str = "tidy: long because";

/// Checks everything and names each offender.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root()?;
    let packages = packages(&workspace::metadata()?)?;
    let mut offences = arrows(&packages);
    offences.extend(forgotten_tests(&packages)?);
    offences.extend(long_files(&root)?);
    if offences.is_empty() {
        println!("tidy: {} crates, nothing to complain of", packages.len());
        return Ok(());
    }
    for offence in &offences {
        eprintln!("tidy: {offence}");
    }
    bail!("{} offences", offences.len())
}

/// One package of the workspace, as far as these rules look at it.
struct Package {
    name: String,
    folder: PathBuf,
    dependencies: BTreeSet<String>,
    /// Root files of all targets.
    targets: BTreeSet<PathBuf>,
}

fn packages(metadata: &Value) -> Result<Vec<Package>> {
    let list = metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?;
    list.iter().map(package).collect()
}

fn package(value: &Value) -> Result<Package> {
    let name = value["name"]
        .as_str()
        .context("a package without a name")?
        .to_owned();
    let manifest = value["manifest_path"]
        .as_str()
        .context("a package without a manifest")?;
    let folder = Path::new(manifest)
        .parent()
        .context("a manifest without a folder")?
        .to_owned();
    let names = |key: &str, field: &str| -> BTreeSet<String> {
        let list = value[key].as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter()
            .filter_map(|item| item[field].as_str().map(str::to_owned))
            .collect()
    };
    Ok(Package {
        dependencies: names("dependencies", "name"),
        targets: names("targets", "src_path")
            .into_iter()
            .map(PathBuf::from)
            .collect(),
        name,
        folder,
    })
}

fn arrows(packages: &[Package]) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let ours: BTreeSet<&str> = packages.iter().map(|p| p.name.as_str()).collect();
    let mut offences = Vec::new();
    for package in packages {
        let Some(may_use) = allowed.get(package.name.as_str()) else {
            offences.push(format!(
                "{}: not in the table of arrows (xtask/src/tidy.rs): say there what it may use",
                package.name
            ));
            continue;
        };
        for used in package
            .dependencies
            .iter()
            // For its tests a crate may ask for features of its own.
            .filter(|used| ours.contains(used.as_str()) && **used != package.name)
        {
            if !may_use.contains(&used.as_str()) {
                offences.push(format!(
                    "{} -> {used}: this arrow runs the wrong way; {} may use: {}",
                    package.name,
                    package.name,
                    if may_use.is_empty() {
                        "none of ours".to_owned()
                    } else {
                        may_use.join(", ")
                    },
                ));
            }
        }
        if package.dependencies.contains("anyhow") && !ANYHOW.contains(&package.name.as_str()) {
            offences.push(format!(
                "{} -> anyhow: libraries return error enums of their own; only {} use anyhow",
                package.name,
                ANYHOW.join(" and "),
            ));
        }
    }
    offences
}

/// A file below `tests/` is compiled when it is a target's root or named by a `mod` line of
/// its folder's root; any other is a test that nobody runs.
fn forgotten_tests(packages: &[Package]) -> Result<Vec<String>> {
    let mut offences = Vec::new();
    for package in packages {
        let folder = package.folder.join("tests");
        if !folder.is_dir() {
            continue;
        }
        for entry in WalkDir::new(&folder).sort_by_file_name() {
            let entry = entry?;
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "rs")
                || package.targets.contains(path)
                || is_named(path)?
            {
                continue;
            }
            offences.push(format!(
                "{}: no `mod` line names this test file",
                path.display()
            ));
        }
    }
    Ok(offences)
}

/// Whether the module file above `path` has a `mod` line for it.
fn is_named(path: &Path) -> Result<bool> {
    let stem = |path: &Path| path.file_stem().map(|s| s.to_string_lossy().into_owned());
    let folder = path.parent().context("a test file without a folder")?;
    let (module, inside) = match stem(path).as_deref() {
        Some("mod") => (stem(folder), folder.parent().unwrap_or(folder)),
        other => (other.map(str::to_owned), folder),
    };
    let Some(module) = module else {
        return Ok(false);
    };
    let above = [
        inside.join("main.rs"),
        inside.join("mod.rs"),
        inside.with_extension("rs"),
    ];
    for file in above.iter().filter(|file| file.is_file()) {
        let text = fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
        let wanted = format!("mod {module};");
        if text.lines().any(|line| line.trim_end().ends_with(&wanted)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn long_files(root: &Path) -> Result<Vec<String>> {
    let mut offences = Vec::new();
    for folder in ["crates", "xtask"] {
        for entry in WalkDir::new(root.join(folder)).sort_by_file_name() {
            let entry = entry?;
            if entry
                .path()
                .extension()
                .is_none_or(|extension| extension != "rs")
            {
                continue;
            }
            let text = fs::read_to_string(entry.path())
                .with_context(|| format!("{}", entry.path().display()))?;
            let lines = text.lines().count();
            if lines > LONG && !text.contains(LONG_REASON) {
                offences.push(format!(
                    "{}: {lines} lines; split it, or say why in a line with \"{LONG_REASON}\"",
                    entry.path().display(),
                ));
            }
        }
    }
    Ok(offences)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            folder: PathBuf::new(),
            dependencies: dependencies.iter().map(|d| (*d).to_owned()).collect(),
            targets: BTreeSet::new(),
        }
    }

    #[test]
    fn an_arrow_that_runs_back_is_named() {
        let found = arrows(&[
            named("lith-tarsplit", &["lith-store"]),
            named("lith-store", &[]),
        ]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("lith-tarsplit -> lith-store"),
            "{found:?}"
        );
    }

    #[test]
    fn the_designed_arrows_are_fine() {
        let found = arrows(&[
            named("lith-tarsplit", &["serde"]),
            named("lith-drivers", &["lith-tarsplit"]),
            named("lith", &["lith-drivers", "anyhow"]),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn anyhow_in_a_library_and_an_unknown_crate_are_named() {
        let found = arrows(&[named("lith-store", &["anyhow"]), named("lith-new", &[])]);
        assert_eq!(found.len(), 2);
        assert!(
            found[0].contains("anyhow") && found[1].contains("lith-new"),
            "{found:?}"
        );
    }

    #[test]
    fn a_test_file_without_a_mod_line_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let it = folder.path().join("tests/it");
        fs::create_dir_all(it.join("deep")).unwrap();
        fs::write(it.join("main.rs"), "mod known;\nmod deep;\n").unwrap();
        fs::write(it.join("known.rs"), "").unwrap();
        fs::write(it.join("deep/mod.rs"), "").unwrap();
        fs::write(it.join("lost.rs"), "").unwrap();
        let mut package = named("lith-store", &[]);
        package.folder = folder.path().to_owned();
        package.targets.insert(it.join("main.rs"));
        let found = forgotten_tests(&[package]).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("lost.rs"), "{found:?}");
    }
}
