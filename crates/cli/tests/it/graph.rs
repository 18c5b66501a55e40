//! The graph of layers: drawn, listed, pruned.

use std::fs;
use std::process::{Command, Stdio};

use lith_store::{LayerId, OpenOptions, Store};
use serde_json::{Value, json};

use crate::archive::{Image, docker_archive, layer, sha256};
use crate::lith::{Lith, is_root};

fn content(text: &str) -> Vec<u8> {
    layer(&[(&format!("file-{text}"), Some(text.as_bytes()))])
}

fn image(layers: &[&str], names: &[&'static str]) -> Image {
    Image {
        layers: layers.iter().map(|text| content(text)).collect(),
        names: names.to_vec(),
        author: "",
    }
}

/// The chain IDs of an image's layers.
fn chain(image: &Image) -> Vec<String> {
    let mut chain: Vec<String> = Vec::new();
    for layer in &image.layers {
        let diff = sha256(layer);
        chain.push(match chain.last() {
            None => diff,
            Some(parent) => sha256(format!("sha256:{parent} sha256:{diff}").as_bytes()),
        });
    }
    chain
}

fn id(image: &Image) -> String {
    sha256(&image.config())
}

/// A base, two images of two more layers on it, one on one of these, and one of its own.
struct Family {
    base: Image,
    one: Image,
    two: Image,
    three: Image,
    alone: Image,
}

fn family(lith: &Lith) -> Family {
    let family = Family {
        base: image(&["base"], &["base:1"]),
        one: image(&["base", "b", "c"], &["one:1", "one:2"]),
        two: image(&["base", "d", "e"], &[]),
        three: image(&["base", "d", "e", "f"], &["three:1"]),
        alone: image(&["alone"], &["alone:1"]),
    };
    let all = [
        &family.base,
        &family.one,
        &family.two,
        &family.three,
        &family.alone,
    ];
    for image in all {
        let output = lith.pipe(["load"], &docker_archive(image));
        assert!(output.status.success());
    }
    family
}

fn drawn(lith: &Lith, locale: &str, args: &[&str]) -> String {
    let mut command = lith.command();
    command
        .env_remove("LC_ALL")
        .env_remove("LC_CTYPE")
        .env("LANG", locale);
    let output = command.arg("tree").args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_tree_is_drawn() {
    if !is_root("the_tree_is_drawn") {
        return;
    }
    let lith = Lith::new("vfs");
    let family = family(&lith);
    let short = |id: &String| id[..12].to_owned();
    let [base, one, two, three, alone] = [
        &family.base,
        &family.one,
        &family.two,
        &family.three,
        &family.alone,
    ]
    .map(|image| short(&id(image)));
    let ones: Vec<String> = chain(&family.one).iter().map(short).collect();
    let threes: Vec<String> = chain(&family.three).iter().map(short).collect();
    let own = short(&chain(&family.alone)[0]);
    let expected = format!(
        "\
LAYER             SIZE   USE           IMAGES
{}      4 B    shared by 4   base:1 ({base})
├─ {}   1 B    unique
│  {}   1 B    unique        one:1, one:2 ({one})
└─ {}   1 B    shared by 2
   {}   1 B    shared by 2   <none> ({two})
   {}   1 B    unique        three:1 ({three})

{own}      5 B    unique        alone:1 ({alone})

7 layers, 5 images, 14 B in all, 6 B of it shared; sharing saves 14 B
",
        ones[0], ones[1], ones[2], threes[1], threes[2], threes[3]
    );
    assert_eq!(drawn(&lith, "en_US.UTF-8", &[]), expected);
    let ascii = expected
        .replace('├', "|")
        .replace('└', "`")
        .replace('│', "|")
        .replace('─', "-");
    assert_eq!(drawn(&lith, "C", &[]), ascii);

    let some = drawn(&lith, "C", &["one:1", "alone:1"]);
    assert!(some.contains(&ones[2]) && some.contains(&own), "{some}");
    assert!(!some.contains(&threes[1]), "{some}");
    assert!(
        some.ends_with("4 layers, 2 images, 11 B in all, 4 B of it shared; sharing saves 12 B\n"),
        "{some}"
    );
    let error = lith.fails(["tree", "no-such-image"]);
    assert!(error.contains("no-such-image"), "{error}");
}

#[test]
fn the_tree_is_a_document_and_a_graph() {
    if !is_root("the_tree_is_a_document_and_a_graph") {
        return;
    }
    let lith = Lith::new("vfs");
    let family = family(&lith);
    let document = lith.json(["tree", "--json"]);
    let [base, top] = [0, 3].map(|index| format!("sha256:{}", chain(&family.three)[index]));
    let layers = document["layers"].as_array().unwrap();
    let find = |id: &String| layers.iter().find(|layer| layer["id"] == *id).unwrap();
    assert_eq!(find(&base)["parent"], Value::Null);
    assert_eq!(find(&base)["children"].as_array().unwrap().len(), 2);
    assert_eq!(find(&base)["shared"], true);
    assert_eq!(find(&base)["images"], 4);
    let three = format!("sha256:{}", id(&family.three));
    let expected = json!({
        "id": top,
        "diff_id": format!("sha256:{}", sha256(&content("f"))),
        "parent": format!("sha256:{}", chain(&family.three)[2]),
        "children": [],
        "size": 1,
        "images": 1,
        "shared": false,
        "top_of": [three],
    });
    assert_eq!(*find(&top), expected);
    let images = document["images"].as_array().unwrap();
    let image = images.iter().find(|image| image["id"] == three).unwrap();
    let expected = json!({
        "id": three, "names": ["three:1"], "created": "2020-01-02T03:04:05Z", "layer": top,
        "layers": 4, "size": 7, "unique_size": 1,
    });
    assert_eq!(*image, expected);
    let totals = json!({
        "layers": 7, "images": 5, "size": 14, "shared_size": 6, "unused_size": 0,
        "saved_size": 14, "uncounted_layers": 0,
    });
    assert_eq!(document["totals"], totals);

    let dot = lith.ok(["tree", "--dot"]);
    let text = String::from_utf8(dot.clone()).unwrap();
    assert!(
        text.contains(&format!("\"image {three}\" -> \"{top}\";")),
        "{text}"
    );
    assert_eq!(text.matches(" -> ").count(), 5 + 5, "{text}");
    let graphviz = Command::new("dot")
        .arg("-Tplain")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut graphviz) = graphviz else {
        eprintln!("SKIPPED: graphviz is not installed, so nobody reads the graph");
        return;
    };
    std::io::Write::write_all(&mut graphviz.stdin.take().unwrap(), &dot).unwrap();
    let read = graphviz.wait_with_output().unwrap();
    assert!(read.status.success());
    let plain = String::from_utf8(read.stdout).unwrap();
    let count = |kind: &str| plain.lines().filter(|line| line.starts_with(kind)).count();
    assert_eq!((count("node "), count("edge ")), (7 + 5, 5 + 5));
}

#[test]
fn an_empty_store_has_an_empty_tree() {
    if !is_root("an_empty_store_has_an_empty_tree") {
        return;
    }
    let lith = Lith::new("vfs");
    assert_eq!(
        drawn(&lith, "C", &[]),
        "0 layers, 0 images, 0 B in all, 0 B of it shared; sharing saves 0 B\n"
    );
    assert_eq!(lith.json(["tree", "--json"])["layers"], json!([]));
}

#[test]
fn prune_does_what_the_dry_run_says() {
    if !is_root("prune_does_what_the_dry_run_says") {
        return;
    }
    let lith = Lith::new("overlay");
    let family = family(&lith);
    let target = lith.path("mounted");
    lith.ok(["mount", "alone:1", target.to_str().unwrap()]);

    let plan = lith.json(["prune", "--dry-run", "--json"]);
    let done = lith.json(["prune", "--json"]);
    assert_eq!(plan, done);
    assert_eq!(
        done["images"][0]["id"],
        format!("sha256:{}", id(&family.two))
    );
    assert_eq!(done["layers"], json!([]));
    assert!(done["disk"].as_u64().unwrap() > 0);

    let plan = String::from_utf8(lith.ok(["prune", "--all", "--dry-run"])).unwrap();
    let text = String::from_utf8(lith.ok(["prune", "--all"])).unwrap();
    let as_done = plan
        .replace("Would delete", "Deleted")
        .replace("Would untag", "Untagged");
    assert_eq!(as_done.replace("Would free", "Freed"), text);
    assert!(text.contains("Untagged: one:2\n"), "{text}");
    let kept = format!(
        "Kept: image sha256:{}: it is mounted at {}\n",
        id(&family.alone),
        target.display()
    );
    assert!(text.contains(&kept), "{text}");
    assert_eq!(lith.listing("layers"), chain(&family.alone));
    let kinds = lith.json(["events", "--json"]);
    let kinds = kinds.as_array().unwrap().iter().map(|event| &event["kind"]);
    assert_eq!(kinds.filter(|kind| **kind == "delete").count(), 4);

    lith.ok(["umount", target.to_str().unwrap()]);
    lith.ok(["prune", "-a"]);
    lith.assert_empty();
}

#[test]
fn every_report_takes_json() {
    if !is_root("every_report_takes_json") {
        return;
    }
    let lith = Lith::new("overlay");
    let (app, other) = (image(&["a", "b"], &["app:1"]), image(&["a"], &["other:1"]));
    lith.pipe(["load"], &docker_archive(&app));
    lith.pipe(["load"], &docker_archive(&other));
    let [app_id, other_id] = [&app, &other].map(|image| format!("sha256:{}", id(image)));
    let tops: Vec<String> = chain(&app)
        .iter()
        .map(|id| format!("sha256:{id}"))
        .collect();

    let tagged = lith.json(["tag", "--json", "app:1", "other:1", "new"]);
    let expected = json!({
        "id": app_id, "names": ["other:1", "new:latest"], "moved": {"other:1": other_id},
    });
    assert_eq!(tagged, expected);
    let untagged = lith.json(["untag", "--json", "other:1"]);
    let name = json!([{"name": "other:1", "image": app_id}]);
    let expected = json!({"untagged": name, "deleted": [], "layers": [], "kept": []});
    assert_eq!(untagged, expected);

    let target = lith
        .path("mounted")
        .canonicalize()
        .unwrap_or(lith.path("mounted"));
    let place = target.to_str().unwrap();
    let mounted = lith.json(["mount", "--json", "app:1", place]);
    let expected = json!({
        "target": place, "image": app_id, "layer": tops[1], "read_only": true,
        "writable": null, "pid": null,
    });
    assert_eq!(mounted, expected);
    assert_eq!(lith.json(["mounts", "--json"]), json!([expected]));

    let error = lith.fails(["rmi", "--json", "app:1", "new"]);
    assert!(error.contains(place), "{error}");
    let removed = lith.json(["rmi", "--json", "--force", &app_id[7..19]]);
    assert_eq!(removed["deleted"], json!([app_id]));
    assert_eq!(removed["layers"], json!([]));
    let reason = format!("it is mounted at {place}");
    let expected = json!({
        "kind": "layer", "id": tops[1], "because": "mounted", "by": [place],
        "count": 1, "reason": reason,
    });
    assert_eq!(removed["kept"][0], expected);
    assert_eq!(removed["kept"][1]["because"], "images");

    let unmounted = lith.json(["umount", "--json", place]);
    assert_eq!(unmounted["unmounted"][0]["target"], place);
    assert_eq!(unmounted["unmounted"][0]["image"], Value::Null);
    assert_eq!(unmounted["layers"], json!([tops[1]]));
    assert_eq!(lith.json(["layers", "--json"])[0]["id"], tops[0]);
}

#[test]
fn images_are_found_by_name_and_by_id() {
    if !is_root("images_are_found_by_name_and_by_id") {
        return;
    }
    let lith = Lith::new("vfs");
    let names = ["app:1", "registry.example:5000/team/app:1"];
    let (app, other) = (image(&["a"], &names), image(&["b"], &["app:2", "feed:1"]));
    lith.pipe(["load"], &docker_archive(&app));
    lith.pipe(["load"], &docker_archive(&other));
    let [app, other] = [&app, &other].map(|image| format!("sha256:{}", id(image)));
    let both = {
        let mut both = vec![app.clone(), other.clone()];
        both.sort();
        both
    };
    for (filter, expected) in [
        ("app", both.clone()),
        ("docker.io/library/app", both.clone()),
        ("app:1", vec![app.clone()]),
        ("docker.io/library/app:2", vec![other.clone()]),
        ("registry.example:5000/team/app", vec![app.clone()]),
        ("feed", vec![other.clone()]),
        (&app[7..20], vec![app.clone()]),
        (&other, vec![other.clone()]),
        ("*", both),
        ("registry*", vec![app.clone()]),
        ("*:2", vec![other.clone()]),
        ("ap", vec![]),
        ("APP", vec![]),
        ("latest", vec![]),
        ("", vec![]),
    ] {
        let found = lith.json(["images", "--json", filter]);
        let mut ids: Vec<&str> = found
            .as_array()
            .unwrap()
            .iter()
            .map(|image| image["id"].as_str().unwrap())
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, expected, "{filter}");
    }
}

#[test]
fn who_holds_a_layer_is_listed_while_it_does() {
    if !is_root("who_holds_a_layer_is_listed_while_it_does") {
        return;
    }
    let lith = Lith::new("vfs");
    let large = Image {
        layers: vec![layer(&[("file", Some(&vec![b'x'; 1 << 20]))])],
        names: vec!["app:1"],
        author: "",
    };
    lith.pipe(["load"], &docker_archive(&large));
    // Nobody reads, so that it waits in the middle.
    let mut save = lith.command();
    let mut save = save
        .args(["save", "app:1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 512];
    let mut out = save.stdout.take().unwrap();
    std::io::Read::read_exact(&mut out, &mut first).unwrap();
    let layers = lith.json(["layers", "--json"]);
    let kept = lith.json(["prune", "--all", "--json"]);
    let removed = lith.json(["rmi", "--json", "app:1"]);
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut out, &mut rest).unwrap();
    assert!(save.wait().unwrap().success());
    assert!(!layers[0]["held_by"].as_array().unwrap().is_empty());
    assert_eq!(kept["kept"][0]["because"], "sessions");
    assert_eq!(kept["kept"][0]["by"], layers[0]["held_by"]);
    assert_eq!(removed["kept"][0]["because"], "sessions");
    assert!(rest.len() > 1 << 20);
    // The end of the save took what nobody needs any more.
    lith.assert_empty();
    assert!(
        fs::read_dir(lith.root().join("drivers/vfs"))
            .unwrap()
            .count()
            <= 1
    );
}

/// Nothing is left to wait for after `--sync`, wherever it stands.
#[test]
fn sync_waits_for_the_files_of_all_layers() {
    if !is_root("sync_waits_for_the_files_of_all_layers") {
        return;
    }
    for driver in ["overlay", "vfs"] {
        let lith = Lith::new(driver);
        let archive = lith.path("images.tar");
        fs::write(&archive, docker_archive(&image(&["a", "b"], &["one:1"]))).unwrap();
        let archive = archive.to_str().unwrap();
        lith.ok(["load", "--sync", "-q", "-i", archive]);
        let store = Store::open(&lith.root(), &OpenOptions::default()).unwrap();
        assert_eq!(store.layers().unwrap().len(), 2);
        assert!(!store.has_unsynced_layers().unwrap());
        let ids: Vec<LayerId> = store.layers().unwrap().iter().map(|l| l.id).collect();
        store.mark_unsynced(&ids).unwrap();
        assert_eq!(store.unsynced_layers().unwrap().len(), 2);
        lith.ok(["--sync", "images"]);
        assert!(!store.has_unsynced_layers().unwrap());
        let other = lith.path("other.tar");
        fs::write(&other, docker_archive(&image(&["c"], &["two:1"]))).unwrap();
        lith.ok(["copy", "--sync", other.to_str().unwrap(), "store:two:2"]);
        assert_eq!(store.layers().unwrap().len(), 3);
        assert!(!store.has_unsynced_layers().unwrap());
    }
}
