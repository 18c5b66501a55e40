//! What a layer hides of those below.

use crate::support::{Bench, DRIVERS, Item, brief, dir, file, item, root, symlink};

fn check(name: &str, lower: &[Item], upper: &[Item], expected: &[&str]) {
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let base = bench.layer(None, lower);
        let layer = bench.layer(Some(&base), upper);
        bench.check_comes_back(&layer);
        assert_eq!(brief(&bench.shown(&layer)), expected, "{name}, {driver}");
        // Still so with one more layer on top.
        let top = bench.layer(Some(&layer), &[file("top", "")]);
        let mut with_top: Vec<String> = expected.iter().map(|line| (*line).to_owned()).collect();
        with_top.push("top=".to_owned());
        with_top.sort();
        let mut found = brief(&bench.shown(&top));
        found.sort();
        assert_eq!(found, with_top, "{name} under another layer, {driver}");
    }
}

fn wh(name: &str) -> Item {
    file(name, "")
}

#[test]
fn names_below_are_hidden_in_any_order() {
    if !root("names_below_are_hidden") {
        return;
    }
    let lower = [
        file("d/a", "1"),
        file("d/b", "2"),
        file("d/e/f", "3"),
        file("x", "4"),
    ];
    check(
        "file",
        &lower,
        &[wh("d/.wh.a")],
        &["d/", "d/b=2", "d/e/", "d/e/f=3", "x=4"],
    );
    check("directory", &lower, &[wh(".wh.d")], &["x=4"]);
    check(
        "missing",
        &lower,
        &[wh(".wh.none"), wh("d/.wh.none")],
        &["d/", "d/a=1", "d/b=2", "d/e/", "d/e/f=3", "x=4"],
    );
    check(
        "then new",
        &lower,
        &[wh(".wh.x"), file("x", "new")],
        &["d/", "d/a=1", "d/b=2", "d/e/", "d/e/f=3", "x=new"],
    );
    check(
        "new then",
        &lower,
        &[file("x", "new"), wh(".wh.x")],
        &["d/", "d/a=1", "d/b=2", "d/e/", "d/e/f=3", "x=new"],
    );
    check(
        "dir then children",
        &lower,
        &[wh(".wh.d"), file("d/new", "n")],
        &["d/", "d/new=n", "x=4"],
    );
    check(
        "children then dir",
        &lower,
        &[file("d/new", "n"), wh(".wh.d")],
        &["d/", "d/new=n", "x=4"],
    );
    check(
        "dir entry",
        &lower,
        &[wh(".wh.d"), dir("d")],
        &["d/", "x=4"],
    );
    check(
        "dir entry then",
        &lower,
        &[dir("d"), wh(".wh.d")],
        &["d/", "x=4"],
    );
    check(
        "inside and all",
        &lower,
        &[wh("d/e/.wh.f"), wh(".wh.d")],
        &["x=4"],
    );
    check(
        "all and inside",
        &lower,
        &[wh(".wh.d"), wh("d/e/.wh.f")],
        &["x=4"],
    );
    check(
        "inside a hidden one",
        &lower,
        &[wh(".wh.d"), file("d/e/g", "5")],
        &["d/", "d/e/", "d/e/g=5", "x=4"],
    );
    check(
        "below a file of the layer",
        &lower,
        &[file("d", "file"), wh("d/.wh.a")],
        &["d=file", "x=4"],
    );
    check(
        "device 0:0",
        &lower,
        &[item(b'3', "x")],
        &["d/", "d/a=1", "d/b=2", "d/e/", "d/e/f=3"],
    );
    check(
        "plain names",
        &[],
        &[file(".wh.etc/file", "1"), file(".whatever", "2")],
        &[".wh.etc/", ".wh.etc/file=1", ".whatever=2"],
    );
    check(
        "a name with dots",
        &lower,
        &[wh("dne/../.wh.d"), wh("/.wh.x")],
        &[],
    );
}

#[test]
fn opaque_directories_hide_all_below() {
    if !root("opaque_directories") {
        return;
    }
    let lower = [file("d/a", "1"), file("d/e/f", "3"), file("x", "4")];
    let opq = "d/.wh..wh..opq";
    check("alone", &lower, &[wh(opq)], &["d/", "x=4"]);
    check(
        "first",
        &lower,
        &[wh(opq), file("d/n", "n")],
        &["d/", "d/n=n", "x=4"],
    );
    check(
        "last",
        &lower,
        &[file("d/n", "n"), file("d/e/n", "n"), wh(opq)],
        &["d/", "d/e/", "d/e/n=n", "d/n=n", "x=4"],
    );
    check(
        "with whiteouts",
        &lower,
        &[wh("d/.wh.a"), wh(opq), wh("d/e/.wh.f")],
        &["d/", "d/e/", "x=4"],
    );
    check("root", &lower, &[wh(".wh..wh..opq")], &[]);
    check(
        "root with more",
        &lower,
        &[file("n", "n"), wh("./.wh..wh..opq"), wh(".wh.x")],
        &["n=n"],
    );
    check(
        "nested",
        &lower,
        &[wh("d/e/.wh..wh..opq")],
        &["d/", "d/a=1", "d/e/", "x=4"],
    );
    check(
        "of nothing",
        &lower,
        &[wh("q/.wh..wh..opq")],
        &["d/", "d/a=1", "d/e/", "d/e/f=3", "q/", "x=4"],
    );
}

#[test]
fn kinds_change() {
    if !root("kinds_change") {
        return;
    }
    let lower = [file("d/a", "1"), symlink("s", "d"), file("f", "2")];
    check(
        "dir to file",
        &lower,
        &[file("d", "x")],
        &["d=x", "f=2", "s->d"],
    );
    check(
        "dir to file to dir",
        &lower,
        &[file("d", "x"), dir("d")],
        &["d/", "f=2", "s->d"],
    );
    check(
        "file to dir",
        &lower,
        &[file("f/g", "x")],
        &["d/", "d/a=1", "f/", "f/g=x", "s->d"],
    );
    // A link of a lower layer is replaced by a directory.
    check(
        "through a lower link",
        &lower,
        &[file("s/new", "x")],
        &["d/", "d/a=1", "f=2", "s/", "s/new=x"],
    );
    check(
        "dir over a lower link",
        &lower,
        &[dir("s")],
        &["d/", "d/a=1", "f=2", "s/"],
    );
    check(
        "link over dir",
        &lower,
        &[symlink("d", "f")],
        &["d->f", "f=2", "s->d"],
    );
    check(
        "swaps",
        &lower,
        &[
            symlink("d", "f"),
            dir("d"),
            symlink("d", "s"),
            dir("d"),
            file("d/z", ""),
        ],
        &["d/", "d/z=", "f=2", "s->d"],
    );
}

#[test]
fn nothing_that_hides_shows() {
    if !root("nothing_that_hides_shows") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let items = [
            wh(".wh.a"),
            wh("d/.wh.b"),
            file("d/f", ""),
            wh("d/.wh..wh..opq"),
            wh("e/.wh..wh..opq"),
        ];
        let base = bench.layer(None, &items);
        let tree = bench.shown(&base);
        assert_eq!(brief(&tree), ["d/", "d/f=", "e/"]);
        assert!(tree.values().all(|node| node.xattrs.is_empty()), "{tree:?}");
        // The root keeps what the layers below say of it, also when it hides all they hold.
        let base = bench.layer(None, &[dir(".").mode(0o711).mtime("3"), file("x", "")]);
        let cut = bench.layer(
            Some(&base),
            &[wh(".wh..wh..opq"), wh("d/.wh.x"), file("d/y", "")],
        );
        let tree = bench.shown(&cut);
        assert_eq!(
            (brief(&tree), tree[&b""[..]].mode),
            (vec!["d/".to_owned(), "d/y=".to_owned()], 0o711)
        );
        assert!(tree.values().all(|node| node.xattrs.is_empty()), "{tree:?}");
    }
}

#[test]
fn aufs_leftovers_stay_out_but_their_links_work() {
    if !root("aufs_leftovers") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let layer = bench.layer(
            None,
            &[
                dir(".wh..wh.plnk"),
                file(".wh..wh.plnk/123.456", "pseudo-linked")
                    .mode(0o751)
                    .owner(1, 2),
                dir(".wh..wh.orph"),
                file(".wh..wh.aufs", "x"),
                crate::support::hard_link("bin/tool", ".wh..wh.plnk/123.456")
                    .mode(0o751)
                    .owner(1, 2),
            ],
        );
        bench.check_comes_back(&layer);
        let tree = bench.shown(&layer);
        assert_eq!(brief(&tree), ["bin/", "bin/tool=pseudo-linked"]);
        let tool = &tree[&b"bin/tool"[..]];
        assert_eq!((tool.mode, tool.owner), (0o751, (1, 2)));
    }
}
