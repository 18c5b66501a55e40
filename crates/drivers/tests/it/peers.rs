//! The same layers through other tools: GNU tar, podman.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{
    Bench, DRIVERS, Item, Tree, dir, file, hard_link, item, root, symlink, tar, tree_of,
};

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

fn sha256(bytes: &[u8]) -> String {
    use std::io::Write;
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let out = child.wait_with_output().unwrap().stdout;
    String::from_utf8_lossy(&out[..64]).into_owned()
}

/// What podman shows of an image of these layers; `None` where podman can not be used.
fn through_podman(layers: &[Vec<u8>]) -> Option<Tree> {
    let temp = tempfile::tempdir().unwrap();
    let quoted = |names: Vec<String>| {
        names
            .iter()
            .map(|name| format!("\"{name}\""))
            .collect::<Vec<_>>()
            .join(",")
    };
    let diff_ids = layers
        .iter()
        .map(|layer| format!("sha256:{}", sha256(layer)))
        .collect();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        quoted(diff_ids)
    );
    let members = (0..layers.len()).map(|n| format!("{n}.tar")).collect();
    let manifest = format!(
        r#"[{{"Config":"config.json","RepoTags":["localhost/peer:1"],"Layers":[{}]}}]"#,
        quoted(members)
    );
    let mut items = vec![file("config.json", config), file("manifest.json", manifest)];
    items.extend(
        layers
            .iter()
            .enumerate()
            .map(|(n, layer)| file(format!("{n}.tar"), layer)),
    );
    let archive = temp.path().join("image.tar");
    std::fs::write(&archive, tar(&items)).unwrap();
    let podman = |args: &[&str]| {
        let mut podman = Command::new("podman");
        podman
            .arg("--root")
            .arg(temp.path().join("root"))
            .arg("--runroot")
            .arg(temp.path().join("run"));
        let done = podman
            .args(["--storage-driver", "overlay"])
            .args(args)
            .output()
            .ok()?;
        if !done.status.success() {
            eprintln!("podman: {}", String::from_utf8_lossy(&done.stderr));
        }
        done.status
            .success()
            .then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
    };
    let shown = podman(&["load", "-q", "-i", archive.to_str().unwrap()])
        .and_then(|_| podman(&["image", "mount", "localhost/peer:1"]))
        .map(|at| tree_of(Path::new(&at)));
    let _ = podman(&["image", "umount", "-f", "-a"]);
    let _ = Command::new("umount")
        .arg(temp.path().join("root/overlay"))
        .output();
    shown
}

#[test]
fn the_tree_is_what_podman_makes_of_it() {
    if !root("the_tree_is_what_podman_makes") {
        return;
    }
    let layers: [Vec<Item>; 3] = [
        vec![
            dir("d").mode(0o2750).owner(1, 2).xattr("user.d", b"1"),
            file("d/a", "a").mode(0o4755).owner(3, 4),
            file("d/b", "b"),
            dir("o"),
            file("o/old", "old"),
            dir("gone"),
            file("gone/x", "x"),
            file("f2d", "file"),
            dir("d2f"),
            file("d2f/x", "x"),
            symlink("s2d", "d"),
            dir("d2s"),
            file("target", "t").mode(0o600).owner(1, 1).mtime("10"),
            hard_link("other", "target")
                .mode(0o640)
                .owner(2, 2)
                .mtime("20.5"),
            symlink("sym", "/d").owner(7, 7),
            hard_link("symlinked", "sym").owner(8, 8),
            file("lower", "lower").mode(0o604).owner(5, 6),
            item(b'3', "null").device(1, 3).mode(0o666),
            item(b'6', "fifo").mode(0o622),
        ],
        vec![
            dir("d").mode(0o755).owner(0, 9),
            file("d/.wh.a", ""),
            file("d/c", "c"),
            dir("o"),
            file("o/.wh..wh..opq", ""),
            file("o/new", "new"),
            file(".wh.gone", ""),
            dir("f2d"),
            file("f2d/x", "x"),
            file("d2f", "file"),
            dir("s2d"),
            file("s2d/y", "y"),
            symlink("d2s", "d"),
            file("implied/by/file", "i"),
            file("../../clamped", "c"),
            file("/absolute", "a"),
            symlink("way", "/d"),
            file("way/in", "through the link"),
        ],
        vec![
            dir("d").owner(0, 9),
            dir("o"),
            file("d/b", "again"),
            dir("gone"),
            file("gone/y", "y"),
            file("o/.wh.new", ""),
        ],
    ];
    let tars: Vec<Vec<u8>> = layers.iter().map(|items| tar(items)).collect();
    let Some(expected) = through_podman(&tars) else {
        eprintln!("SKIPPED: the_tree_is_what_podman_makes needs podman that can load and mount");
        return;
    };
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let mut below = None;
        for tar in &tars {
            below = Some(
                bench
                    .try_tar(
                        below.as_ref().map(|l: &crate::support::Layer| &l.id),
                        tar.clone(),
                    )
                    .unwrap(),
            );
        }
        let mut shown = bench.shown(&below.unwrap());
        let mut expected = expected.clone();
        // Times of directories that no entry of the top describes, and what podman gives a root.
        for tree in [&mut shown, &mut expected] {
            tree.remove(&b""[..]);
            for node in tree.values_mut().filter(|node| node.kind == 'd') {
                node.mtime = (0, 0);
            }
        }
        for place in expected.keys().chain(shown.keys()) {
            let name = String::from_utf8_lossy(place);
            assert_eq!(
                shown.get(place),
                expected.get(place),
                "{driver} {name}: ours, podman's"
            );
        }
    }
}
