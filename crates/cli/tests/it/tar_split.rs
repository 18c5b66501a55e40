//! `lith tar-split`, the drop-in.

use std::fs;

use crate::archive::layer;
use crate::lith::Lith;

#[test]
fn a_tar_comes_back_from_its_record_and_its_tree() {
    let lith = Lith::new("vfs");
    let tar = [
        layer(&[("d/", None), ("d/f", Some(b"content\n"))]),
        b"JUNK".to_vec(),
    ]
    .concat();
    let (archive, record, tree) = (
        lith.path("in.tar"),
        lith.path("record.gz"),
        lith.path("tree"),
    );
    fs::write(&archive, &tar).unwrap();
    fs::create_dir_all(tree.join("d")).unwrap();
    fs::write(tree.join("d/f"), "content\n").unwrap();

    let copied = lith.ok([
        "tar-split",
        "disasm",
        "--output",
        record.to_str().unwrap(),
        archive.to_str().unwrap(),
    ]);
    assert!(copied == tar, "disasm copies the tar to standard output");
    let args = [
        "tar-split",
        "asm",
        "--input",
        record.to_str().unwrap(),
        "--path",
    ];
    let back = lith.ok(args.iter().copied().chain([tree.to_str().unwrap()]));
    assert!(back == tar);

    fs::write(tree.join("d/f"), "changed\n").unwrap();
    let error = lith.fails(args.iter().copied().chain([tree.to_str().unwrap()]));
    assert!(error.contains("d/f"), "{error}");
}

#[test]
fn standard_input_is_taken_apart_too() {
    let lith = Lith::new("vfs");
    let tar = layer(&[("f", Some(b"1")), ("f", Some(b"2"))]);
    let (record, tree) = (lith.path("record.gz"), lith.path("tree"));
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("f"), "2").unwrap();
    let args = [
        "tar-split",
        "disasm",
        "--no-stdout",
        "--output",
        record.to_str().unwrap(),
        "-",
    ];
    let output = lith.pipe(args, &tar);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.stdout.is_empty());
    let args = [
        "tar-split",
        "asm",
        "--input",
        record.to_str().unwrap(),
        "--path",
    ];
    assert!(lith.ok(args.iter().copied().chain([tree.to_str().unwrap()])) == tar);
}
