//! What becomes of single entries.

use crate::support::{BUILT_IN, Bench, DRIVERS, brief, dir, file, hard_link, item, root, symlink};

#[test]
fn every_kind_of_file_is_as_the_layer_says() {
    if !root("every_kind_of_file") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let layer = bench.layer(
            None,
            &[
                dir("./").mode(0o711).mtime("5"),
                dir("a subdir/")
                    .mode(0o1705)
                    .owner(1, 2)
                    .mtime("1600000000.123456789"),
                file("a subdir/a file", "Some data")
                    .mode(0o4222)
                    .owner(7, 0)
                    .mtime("-3.25"),
                file("set", "x").mode(0o6755).owner(1000, 1001),
                file("cap", "x").mode(0o755).owner(5, 5).xattr(
                    "security.capability",
                    &[
                        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                    ],
                ),
                file("huge ids", "").owner(4_294_967_294, 3_000_000_000),
                file("user", "x")
                    .xattr("user.one", b"1")
                    .xattr("user.two", &[0, 255]),
                symlink("link", "/nowhere/../x")
                    .owner(3, 4)
                    .mtime("1.000000001"),
                item(b'6', "fifo").mode(0o620).owner(9, 9),
                item(b'3', "tty").mode(0o666).device(5, 1_000_000),
                item(b'4', "disk").mode(0o660).device(4000, 7),
                dir("a subdir").mode(0o750).xattr("user.dir", b"d"),
                file(b"caf\xe9\n", "latin1"),
                hard_link("again", "set").mode(0o6755).owner(1000, 1001),
                symlink("self", "self"),
                item(b'Z', "vendor").payload(b"what"),
                item(b'Z', "vendor-empty"),
            ],
        );
        bench.check_comes_back(&layer);
        let tree = bench.shown(&layer);
        let node = |place: &str| {
            tree.get(place.as_bytes())
                .unwrap_or_else(|| panic!("{driver}: no {place:?}"))
        };
        assert_eq!((node("").mode, node("").mtime), (0o711, (5, 0)));
        let sub = node("a subdir");
        assert_eq!((sub.mode, sub.owner, sub.xattrs.len()), (0o750, (0, 0), 1));
        let a = node("a subdir/a file");
        assert_eq!(
            (a.mode, a.owner, a.mtime),
            (0o4222, (7, 0), (-4, 750_000_000))
        );
        assert_eq!(
            (node("set").mode, node("set").owner),
            (0o6755, (1000, 1001))
        );
        assert_eq!(node("again"), node("set"));
        assert_eq!(node("cap").xattrs.len(), 1);
        assert_eq!(node("huge ids").owner, (4_294_967_294, 3_000_000_000));
        assert_eq!(node("user").xattrs[&b"user.two"[..]], [0, 255]);
        let link = node("link");
        assert_eq!((link.kind, link.owner, link.mtime), ('l', (3, 4), (1, 1)));
        assert_eq!(link.content, b"/nowhere/../x");
        assert_eq!(
            (node("fifo").kind, node("fifo").mode, node("fifo").owner),
            ('p', 0o620, (9, 9))
        );
        assert_eq!((node("tty").kind, node("tty").mode), ('c', 0o666));
        assert_eq!(node("tty").device, rustix::fs::makedev(5, 1_000_000));
        assert_eq!(node("disk").device, rustix::fs::makedev(4000, 7));
        assert_eq!(node("vendor").content, b"what");
        assert!(tree.contains_key(&b"caf\xe9\n"[..]) && !tree.contains_key(&b"vendor-empty"[..]));
        bench.check_clean();
    }
}

#[test]
fn modes_do_not_depend_on_the_umask() {
    if !root("modes_do_not_depend_on_the_umask") {
        return;
    }
    // The mask belongs to the whole process: this test runs itself in another one.
    let key = "LITH_TEST_UMASK";
    if std::env::var_os(key).is_none() {
        let exe = std::env::current_exe().unwrap();
        let script = format!(
            "umask 0777; exec {:?} --exact apply::modes_do_not_depend_on_the_umask",
            exe
        );
        let done = std::process::Command::new("sh")
            .args(["-c", &script])
            .env(key, "1")
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stdout)
        );
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let items = [
            dir("d").mode(0o777),
            file("d/f", "x").mode(0o666),
            item(b'6', "p").mode(0o622),
            file("i/f", "y"),
        ];
        let layer = bench.layer(None, &items);
        let kept = bench.layer(Some(&layer), &[file("t", "1"), file("t", "2")]);
        let tree = bench.shown(&layer);
        for (place, mode) in [
            ("", 0o755),
            ("d", 0o777),
            ("d/f", 0o666),
            ("p", 0o622),
            ("i", 0o755),
            ("i/f", 0o644),
        ] {
            assert_eq!(tree[place.as_bytes()].mode, mode, "{driver} {place}");
        }
        bench.check_comes_back(&kept);
    }
}

#[test]
fn a_later_entry_wins_and_every_payload_comes_back() {
    if !root("a_later_entry_wins") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let layer = bench.layer(
            None,
            &[
                file("twice", "first"),
                file("./twice", "second"),
                file("linked", "has two names"),
                hard_link("other", "linked"),
                file("linked", "replaced"),
                dir("tree"),
                file("tree/a", "in a"),
                file("tree/deep/b", "in b"),
                file("tree", "now a file"),
                file("file/below", "replaced the file"),
                file("file2", "a file"),
                dir("file2"),
                symlink("l", "target"),
                file("l/through", "a link"),
                file("target/through", "itself"),
                symlink("gone", "x"),
                dir("gone"),
                item(b'5', "with payload").payload(b""),
                item(b'Z', ".wh.nothing").payload(b"payload of a whiteout"),
                file("x/../y", "dots"),
                file("/abs", "absolute"),
                file("../../up", "clamped"),
                file("..", "root is a directory"),
                file("file", "again a file"),
            ],
        );
        bench.check_comes_back(&layer);
        assert_eq!(
            brief(&bench.shown(&layer)),
            [
                "abs=absolute",
                "file=again a file",
                "file2/",
                "gone/",
                "l->target",
                "linked=replaced",
                "other=has two names",
                "target/",
                "target/through=itself",
                "tree=now a file",
                "twice=second",
                "up=clamped",
                "with payload/",
                "y=dots",
            ],
            "{driver}"
        );
        assert!(layer.summary.size > 0 && layer.summary.entries == 24);
    }
}

#[test]
fn directories_that_no_entry_describes() {
    if !root("directories_that_no_entry_describes") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let base = bench.layer(
            None,
            &[
                dir(".").mode(0o700).owner(5, 6).mtime("77.5"),
                dir("d")
                    .mode(0o2750)
                    .owner(1, 2)
                    .mtime("1234.5")
                    .xattr("user.x", b"lower"),
                dir("d/e").mode(0o700).mtime("99"),
                file("new/parents/f", "x"),
            ],
        );
        let tree = bench.shown(&base);
        let parents = &tree[&b"new/parents"[..]];
        assert_eq!(
            (parents.mode, parents.owner, parents.mtime),
            (0o755, (0, 0), (0, 0))
        );
        let upper = bench.layer(
            Some(&base),
            &[file("d/e/f", "y"), file("d/.wh.none", ""), file("z/g", "")],
        );
        let over = bench.shown(&upper);
        for place in ["", "d", "d/e", "new/parents"] {
            assert_eq!(
                over[place.as_bytes()],
                tree[place.as_bytes()],
                "{driver} {place}"
            );
        }
        assert_eq!(over[&b"z"[..]].mode, 0o755);
        // What an entry says replaces all of it.
        let described = bench.layer(Some(&base), &[dir("d").mode(0o711).mtime("8")]);
        let node = &bench.shown(&described)[&b"d"[..]];
        assert_eq!(
            (node.mode, node.owner, node.mtime, node.xattrs.len()),
            (0o711, (0, 0), (8, 0), 0)
        );
    }
}

#[test]
fn names_longer_than_any_path() {
    if !root("names_longer_than_any_path") {
        return;
    }
    let mut deep = Vec::new();
    for level in 0..120 {
        deep.extend_from_slice(format!("{level:-<100}/").as_bytes());
    }
    // `cp` cannot copy them.
    for driver in BUILT_IN {
        let bench = Bench::new(driver);
        let name = [deep.clone(), b"file".to_vec()].concat();
        let base = bench.layer(None, &[file(&name, "deep"), dir(&deep).mode(0o711)]);
        bench.check_comes_back(&base);
        let upper = bench.layer(
            Some(&base),
            &[
                file([deep.clone(), b".wh.file".to_vec()].concat(), ""),
                file([deep.clone(), b"x".to_vec()].concat(), "y"),
            ],
        );
        bench.check_comes_back(&upper);
        let replaced = bench.layer(
            Some(&upper),
            &[file(&name, "1"), file(&deep[..100], "cut off")],
        );
        bench.check_comes_back(&replaced);
        for layer in [&replaced, &upper, &base] {
            bench.driver.remove(&layer.id).unwrap();
        }
        assert!(bench.driver.list().unwrap().is_empty());
        bench.check_clean();
    }
    let bench = Bench::new("overlay");
    let Err(error) = bench.try_layer(None, &[file("ok", "x"), file("n".repeat(300), "x")]) else {
        panic!("no file can have that name");
    };
    assert!(
        error.starts_with("tar entry at byte ")
            && error.contains("nnnn")
            && error.contains("too long"),
        "{error}"
    );
}

#[test]
fn what_no_tree_can_hold_is_refused_with_the_entry() {
    if !root("what_no_tree_can_hold") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let base = bench.layer(None, &[dir("dir"), file("file", "x")]);
        for (items, expected) in [
            (vec![file("a/.wh.", "")], "a/.wh.: a whiteout of \"\""),
            (vec![file(".wh..", "")], "whiteout of \".\""),
            (vec![file("x/.wh...", "")], "whiteout of \"..\""),
            (
                vec![file("f", "").owner(4_294_967_295, 0)],
                "owner 4294967295 is more",
            ),
            (
                vec![hard_link("l", "nowhere")],
                "l: a hard link to nowhere, which neither",
            ),
            (
                vec![hard_link("l", "dir")],
                "l: a hard link to a directory, dir",
            ),
            (vec![hard_link("l", "..")], "hard link to the layer's root"),
            (
                vec![hard_link("a", "b"), hard_link("b", "a")],
                "leads back to itself",
            ),
            (vec![symlink("s", "")], "a symbolic link to nothing"),
            (
                vec![dir("d"), hard_link("l", "d")],
                "l: a hard link to a directory, d",
            ),
        ] {
            let Err(error) = bench.try_layer(Some(&base), &items) else {
                panic!("{expected}")
            };
            assert!(error.contains(expected), "{driver}: {error}");
            assert!(error.starts_with("tar entry at byte "), "{error}");
            bench.check_clean();
        }
        assert_eq!(bench.driver.list().unwrap().len(), 1);
    }
}

#[test]
fn overlay_attributes_never_take_effect() {
    if !root("overlay_attributes_never_take_effect") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let base = bench.layer(None, &[file("d/lower", "x"), file("secret/file", "y")]);
        let upper = bench.layer(
            Some(&base),
            &[
                dir("d")
                    .xattr("trusted.overlay.opaque", b"y")
                    .xattr("user.overlay.opaque", b"y"),
                dir("r").xattr("trusted.overlay.redirect", b"/secret"),
                file("m", "")
                    .xattr("trusted.overlay.metacopy", b"")
                    .xattr("trusted.overlay.redirect", b"/secret/file"),
            ],
        );
        bench.check_comes_back(&upper);
        let tree = bench.shown(&upper);
        assert_eq!(
            brief(&tree),
            ["d/", "d/lower=x", "m=", "r/", "secret/", "secret/file=y"]
        );
        assert!(tree.values().all(|node| node.xattrs.is_empty()));
    }
}
