//! Hard links of every shape.

use std::os::unix::fs::MetadataExt;

use lith_drivers::MountRequest;

use crate::support::{Bench, DRIVERS, brief, dir, file, hard_link, item, root, symlink};

#[test]
fn links_find_their_targets_whatever_the_order() {
    if !root("links_find_their_targets") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let layer = bench.layer(
            None,
            &[
                hard_link("before", "file"),
                hard_link("chain1", "chain2"),
                hard_link("chain2", "chain3"),
                hard_link("chain3", "file"),
                file("file", "content"),
                hard_link("after", "./file"),
                hard_link("absolute", "/file"),
                hard_link("clamped", "../../../file"),
                hard_link("file", "file"),
                symlink("sym", "nowhere"),
                hard_link("sym2", "sym"),
                dir("real"),
                file("real/x", "x"),
                symlink("l", "/real"),
                hard_link("via", "l/x"),
                item(b'6', "fifo"),
                hard_link("fifo2", "fifo"),
                file("old", "old"),
                hard_link("keeps", "old"),
                file("old", "new"),
            ],
        );
        bench.check_comes_back(&layer);
        let tree = bench.shown(&layer);
        for name in [
            "before", "chain1", "chain2", "chain3", "after", "absolute", "clamped",
        ] {
            assert_eq!(tree[name.as_bytes()], tree[&b"file"[..]], "{driver} {name}");
        }
        assert_eq!(tree[&b"via"[..]], tree[&b"real/x"[..]]);
        assert_eq!(
            (tree[&b"sym2"[..]].kind, tree[&b"fifo2"[..]].kind),
            ('l', 'p')
        );
        assert_eq!(
            (
                &tree[&b"keeps"[..]].content[..],
                &tree[&b"old"[..]].content[..]
            ),
            (&b"old"[..], &b"new"[..])
        );
        let target = bench.temp.path().join("mnt");
        let mount = bench
            .driver
            .mount(&MountRequest::new(&layer.id, &target))
            .unwrap();
        assert_eq!(
            target.join("file").metadata().unwrap().nlink(),
            8,
            "{driver}"
        );
        mount.unmount().unwrap();
    }
}

#[test]
fn links_into_lower_layers() {
    if !root("links_into_lower_layers") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let base = bench.layer(
            None,
            &[
                dir("d").mode(0o700).mtime("33.5"),
                file("d/x", "lower")
                    .mode(0o640)
                    .owner(1, 2)
                    .xattr("user.x", b"1"),
                symlink("ln", "d"),
                symlink("abs", "/d/x"),
                file("gone", "still linked"),
                file("changed", "first"),
            ],
        );
        let middle = bench.layer(Some(&base), &[file("other", "")]);
        let upper = bench.layer(
            Some(&middle),
            &[
                hard_link("y", "d/x").mode(0o640).owner(1, 2),
                hard_link("z", "y").mode(0o640).owner(1, 2),
                hard_link("through", "ln/x").mode(0o640).owner(1, 2),
                hard_link("abs2", "abs"),
                file(".wh.gone", ""),
                hard_link("rescued", "gone"),
                hard_link("first", "changed"),
                file("changed", "second"),
                hard_link("displaced", "d/x"),
                file("displaced", "a file"),
            ],
        );
        bench.check_comes_back(&upper);
        let tree = bench.shown(&upper);
        let x = &tree[&b"d/x"[..]];
        assert_eq!(
            (&x.content[..], x.mode, x.owner, x.xattrs.len()),
            (&b"lower"[..], 0o640, (1, 2), 1)
        );
        for name in ["y", "z", "through"] {
            assert_eq!(&tree[name.as_bytes()], x, "{driver} {name}");
        }
        assert_eq!(
            (tree[&b"d"[..]].mode, tree[&b"d"[..]].mtime),
            (0o700, (33, 500_000_000))
        );
        assert_eq!(
            brief(&tree),
            [
                "abs->/d/x",
                "abs2->/d/x",
                "changed=second",
                "d/",
                "d/x=lower",
                "displaced=a file",
                "first=first",
                "ln->d",
                "other=",
                "rescued=still linked",
                "through=lower",
                "y=lower",
                "z=lower",
            ]
        );
    }
}

#[test]
fn more_links_than_a_file_can_have_still_read_right() {
    if !root("more_links_than_a_file_can_have") {
        return;
    }
    // Backwards, so that each waits for the next: must be linear, and need no stack.
    let count = 5000;
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let mut items: Vec<_> = (0..count)
            .map(|n| hard_link(format!("l{n:05}"), format!("l{:05}", n + 1)))
            .collect();
        items.push(file(format!("l{count:05}"), "end"));
        let layer = bench.layer(None, &items);
        bench.check_comes_back(&layer);
        let tree = bench.shown(&layer);
        assert_eq!(tree.len(), count + 2);
        assert!(
            tree.iter()
                .all(|(place, node)| place.is_empty() || node.content == b"end")
        );
    }
}
