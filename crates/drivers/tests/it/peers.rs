//! The same layers through other tools: GNU tar, podman.

use std::path::Path;
use std::process::Command;

use crate::support::{Bench, DRIVERS, root, tree_of};

/// A tree with some of everything, made by ordinary tools.
fn make_source(at: &Path) {
    let script = r#"
        mkdir -p etc usr/bin "sp ace" var/empty && chmod 2755 var/empty && chmod 1777 var
        cp /etc/passwd etc/ && cp /bin/ls usr/bin/ && chmod 4755 usr/bin/ls
        ln usr/bin/ls usr/bin/dir && ln -s ../bin/ls usr/link && ln -s /etc/passwd "sp ace/abs" && ln -s none dead
        ln dead dead2 && mkfifo -m 620 pipe && mknod -m 666 null c 1 3 && mknod -m 640 disk b 259 70000
        chown 1:2 pipe && chown -h 3:4 dead && chown 1000:100 etc/passwd
        printf x > "$(printf 'caf\351')" && touch -d '1969-12-31T23:59:58.25Z' usr/bin/ls && touch -d '2001-02-03T04:05:06.7Z' etc var
        mkdir -p deep/$(printf 'd%.0s' $(seq 200))/$(printf 'e%.0s' $(seq 200)) && cd deep/d*/e* && echo long > file && cd ../../..
        setfattr -n user.name -v value etc/passwd 2>/dev/null || true
    "#;
    let done = Command::new("sh")
        .args(["-ec", script])
        .current_dir(at)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

#[test]
fn the_tree_is_what_gnu_tar_makes_of_it() {
    if !root("the_tree_is_what_gnu_tar_makes") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let source = temp.path().join("source");
    std::fs::create_dir(&source).unwrap();
    make_source(&source);
    for format in ["gnu", "posix"] {
        let mut tar = Command::new("tar");
        tar.args(["-cf", "-", "--numeric-owner", "--format", format]);
        if format == "posix" {
            tar.args(["--xattrs", "--xattrs-include=*"]);
        }
        let Some(made) = tar
            .arg("-C")
            .arg(&source)
            .arg(".")
            .output()
            .ok()
            .filter(|made| made.status.success())
        else {
            eprintln!("SKIPPED: the_tree_is_what_gnu_tar_makes needs GNU tar");
            return;
        };
        let extracted = temp.path().join(format);
        std::fs::create_dir(&extracted).unwrap();
        let archive = temp.path().join("archive.tar");
        std::fs::write(&archive, &made.stdout).unwrap();
        let mut tar = Command::new("tar");
        tar.args([
            "--numeric-owner",
            "--same-owner",
            "--xattrs",
            "--xattrs-include=*",
            "-xpf",
        ])
        .arg(&archive);
        assert!(tar.arg("-C").arg(&extracted).status().unwrap().success());
        let expected = tree_of(&extracted);
        for driver in DRIVERS {
            let bench = Bench::new(driver);
            let layer = bench.try_tar(None, made.stdout.clone()).unwrap();
            bench.check_comes_back(&layer);
            let shown = bench.shown(&layer);
            for (place, node) in &expected {
                assert_eq!(
                    shown.get(place),
                    Some(node),
                    "{driver} {format} {:?}",
                    String::from_utf8_lossy(place)
                );
            }
            assert_eq!(shown.len(), expected.len());
        }
    }
}
