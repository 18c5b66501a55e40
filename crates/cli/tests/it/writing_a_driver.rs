//! The page that leads to a driver of one's own: all its commands are run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PAGE: &str = include_str!("../../../../docs/writing-a-driver.md");

/// The blocks of commands, in order, and the fences of all others.
fn blocks() -> (Vec<String>, Vec<&'static str>) {
    let (mut commands, mut others) = (Vec::new(), Vec::new());
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.trim().strip_prefix("```") else {
            continue;
        };
        let block = lines.by_ref().take_while(|line| line.trim() != "```");
        let block: Vec<&str> = block.collect();
        match language {
            "sh" => commands.push(block.join("\n")),
            other => others.push(other),
        }
    }
    (commands, others)
}

#[test]
fn every_block_is_run_or_no_command() {
    let (commands, others) = blocks();
    assert!(commands.len() >= 6, "{commands:?}");
    assert!(
        others.iter().all(|o| ["rust", "c"].contains(o)),
        "{others:?}"
    );
    let tested = commands.iter().filter(|c| c.contains("lith driver test"));
    assert_eq!(tested.count(), 2, "in Rust and in C");
}

#[test]
fn the_commands_lead_to_drivers_that_pass_their_tests() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: the_commands_lead_to_drivers_that_pass_their_tests needs root");
        return;
    }
    // In memory where that can be: the suite makes hundreds of layers.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let folder = folder.unwrap();
    // What is compiled stays for the next run.
    let mine = folder.path().join("writing-a-driver/mine");
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("writing-a-driver");
    std::fs::create_dir_all(&kept).unwrap();
    std::fs::create_dir_all(&mine).unwrap();
    std::os::unix::fs::symlink(&kept, mine.join("target")).unwrap();

    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let lith = Path::new(env!("CARGO_BIN_EXE_lith"));
    let cargo = PathBuf::from(std::env::var_os("CARGO").unwrap());
    let path = std::env::var_os("PATH").unwrap();
    let first = [lith, &cargo].map(|program| program.parent().unwrap().to_owned());
    let path = first.into_iter().chain(std::env::split_paths(&path));
    let script = format!("set -eux -o pipefail\n{}\n", blocks().0.join("\n"));
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("PATH", std::env::join_paths(path).unwrap())
        .env("LITH", sources.canonicalize().unwrap())
        // All that it needs is here: it is what this was built with.
        .env("CARGO_NET_OFFLINE", "true")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("LITH_ROOT")
        .env_remove("LITH_DRIVER")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let [said, complained] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
    assert!(output.status.success(), "{said}\n{complained}");
}
