//! Images that are written over, committed, imported, exported and compared.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::archive::{layer, members};
use crate::lith::{Lith, is_root};

/// A root file system as an image called `base`.
fn base(driver: &'static str) -> Lith {
    let lith = Lith::new(driver);
    let tar = layer(&[
        ("etc", None),
        ("etc/motd", Some(b"hi\n")),
        ("gone", Some(b"")),
    ]);
    let output = lith.pipe(
        ["import", "-t", "base", "-c", "CMD [\"sh\"]", "-m", "a base"],
        &tar,
    );
    assert!(output.status.success(), "{output:?}");
    lith
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap().trim_end().to_owned()
}

fn on_each_driver(test: fn(&Lith)) {
    if is_root("writable layers") {
        for driver in ["overlay", "vfs"] {
            eprintln!("driver {driver}");
            test(&base(driver));
        }
    }
}

fn edit(target: &Path) {
    fs::write(target.join("etc/new"), "new\n").unwrap();
    fs::remove_file(target.join("gone")).unwrap();
    fs::write(target.join("etc/motd"), "ho\n").unwrap();
}

fn rows(lith: &Lith) -> Vec<Value> {
    let all = lith.json(["mounts", "--json"]);
    all.as_array().unwrap().clone()
}

#[test]
fn what_was_written_becomes_an_image_that_others_stand_on() {
    on_each_driver(|lith| {
        let target = lith.path("mnt");
        let dir = target.to_str().unwrap();
        let id = text(lith.ok(["mount", "--rw", "base", dir]));
        edit(&target);
        let changed = "C /etc\nC /etc/motd\nA /etc/new\nD /gone";
        assert_eq!(text(lith.ok(["diff", &id])), changed);
        assert_eq!(text(lith.ok(["diff", dir])), changed);
        lith.ok(["umount", dir]);
        // It is still there, and what it stands on stays.
        let row = &rows(lith)[0];
        assert_eq!(
            (&row["target"], &row["writable"]),
            (&Value::Null, &json!(id))
        );
        assert_eq!(lith.json(["info", "--json"])["writable_layers"], 1);
        assert!(lith.fails(["rmi", "base"]).contains(&id));
        let planned = lith.json(["prune", "--all", "--json", "--dry-run"]);
        assert_eq!(planned["images"], json!([]));
        assert_eq!(planned["kept"][0]["because"], "writable");
        assert!(lith.fails(["umount", &id]).contains("--discard"));
        lith.ok(["mount", "--rw", &id[..8], dir]);
        assert_eq!(fs::read(target.join("etc/new")).unwrap(), b"new\n");

        // Committed while it is mounted: nothing can be written any more.
        let open = fs::File::create(target.join("open")).unwrap();
        assert!(lith.fails(["commit", dir]).contains("being written"));
        drop(open);
        fs::remove_file(target.join("open")).unwrap();
        let args = [
            "commit", dir, "--tag", "two", "-m", "why", "-a", "me", "-c", "ENV A=1",
        ];
        let image = text(lith.ok(args));
        fs::write(target.join("late"), "").unwrap_err();
        assert!(lith.fails(["commit", &id]).contains("already"));
        lith.ok(["umount", dir]);
        assert_eq!(rows(lith), Vec::<Value>::new());

        let found = &lith.json(["inspect", "two"])[0];
        assert_eq!(found["Id"], image.as_str());
        assert_eq!(found["Config"], json!({"Cmd": ["sh"], "Env": ["A=1"]}));
        let step = &found["History"][1];
        assert_eq!(
            (&step["comment"], &step["author"]),
            (&json!("why"), &json!("me"))
        );
        assert_eq!(text(lith.ok(["diff", "base", "two"])), changed);
        let kinds: Vec<Value> = lith.json(["events", "--json"]).as_array().unwrap().clone();
        let kinds: Vec<&str> = kinds.iter().map(|e| e["kind"].as_str().unwrap()).collect();
        assert_eq!(
            kinds,
            ["load", "mount", "unmount", "mount", "commit", "unmount"]
        );
        // The new layer comes back bit for bit, like any.
        let saved = lith.path("two.tar");
        let saved = saved.to_str().unwrap();
        lith.ok(["save", "-o", saved, "two"]);
        lith.ok(["rmi", "two"]);
        assert_eq!(
            text(lith.ok(["load", "-i", saved])),
            "Loaded image: two:latest"
        );
        assert_eq!(lith.json(["inspect", "two"])[0]["Id"], image.as_str());
    });
}

#[test]
fn the_same_edits_make_the_same_image_when_the_time_is_given() {
    on_each_driver(|lith| {
        let mut images = Vec::new();
        for round in 0..2 {
            // Without DIR its last part is the ID.
            let place = text(lith.ok(["mount", "--rw", "base"]));
            edit(Path::new(&place));
            let id = Path::new(&place)
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            lith.ok(["umount", &place]);
            assert!(!Path::new(&place).exists());
            let mut command = lith.command();
            command.args(["commit", &id, "-t", &format!("made:{round}")]);
            let output = command
                .env("SOURCE_DATE_EPOCH", "1500000001")
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            images.push(text(output.stdout));
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert_eq!(images[0], images[1]);
        let found = &lith.json(["inspect", "made:0"])[0];
        assert_eq!(found["Created"], "2017-07-14T02:40:01Z");
        assert_eq!(rows(lith), Vec::<Value>::new(), "committed at once");
    });
}

#[test]
fn what_is_discarded_is_gone_and_frees_what_only_it_kept() {
    on_each_driver(|lith| {
        let target = lith.path("mnt");
        let dir = target.to_str().unwrap();
        let id = text(lith.ok(["mount", "--rw", "base", dir]));
        edit(&target);
        let forced = text(lith.ok(["rmi", "--force", "base"]));
        assert!(
            forced.contains(&format!("writable layer {id} stands on it")),
            "{forced}"
        );
        assert_eq!(lith.listing("layers").len(), 1);
        let done = lith.json(["umount", "--discard", "--json", dir]);
        assert_eq!(done["discarded"], json!([id]));
        assert_eq!(done["layers"].as_array().unwrap().len(), 1);
        lith.assert_empty();
    });
}

#[test]
fn what_was_written_over_a_removed_image_can_still_be_committed() {
    on_each_driver(|lith| {
        let place = text(lith.ok(["mount", "--rw", "base"]));
        edit(Path::new(&place));
        lith.ok(["rmi", "--force", "base"]);
        lith.ok(["commit", &place, "-t", "saved"]);
        lith.ok(["umount", &place]);
        let found = &lith.json(["inspect", "saved"])[0];
        assert_eq!(found["Config"]["Cmd"], json!(["sh"]));
        assert_eq!(found["RootFS"]["Layers"].as_array().unwrap().len(), 2);
    });
}

#[test]
fn an_export_is_the_tree_and_an_import_of_it_is_the_same_tree() {
    on_each_driver(|lith| {
        let nothing = lith.pipe(["import"], b"");
        assert_eq!(nothing.status.code(), Some(1), "{nothing:?}");
        let first = lith.ok(["export", "base"]);
        assert!(first == lith.ok(["export", "base"]));
        let output = lith.pipe(["import", "--tag", "again"], &first);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(text(lith.ok(["diff", "base", "again"])), "");
        lith.ok(["diff", "--exit-code", "base", "again"]);
        assert!(first == lith.ok(["export", "again"]));
        let file = lith.path("out.tar");
        lith.ok(["export", "-o", file.to_str().unwrap(), "base"]);
        assert!(fs::read(file).unwrap() == first);
    });
}

#[test]
fn statuses_tell_differences_from_failures() {
    on_each_driver(|lith| {
        let target = lith.path("mnt");
        let dir = target.to_str().unwrap();
        let id = text(lith.ok(["mount", "--rw", "base", dir]));
        let status = |args: &[&str]| lith.run(args).status.code();
        assert_eq!(status(&["diff", "--exit-code", &id]), Some(0));
        edit(&target);
        assert_eq!(status(&["diff", "--exit-code", &id]), Some(1));
        assert_eq!(status(&["diff", &id]), Some(0));
        assert_eq!(status(&["diff", "--exit-code", "nothing"]), Some(3));
        assert_eq!(status(&["diff", "nothing"]), Some(1));
        assert_eq!(
            status(&["diff", "--exit-code", "base"]),
            Some(3),
            "with what?"
        );
        let rows = lith.json(["diff", "--json", dir]);
        assert_eq!(rows[0], json!({"kind": "C", "path": "/etc"}));
        fs::write(target.join(".wh.x"), "").unwrap();
        assert!(lith.fails(["commit", dir]).contains(".wh.x"));
        fs::remove_file(target.join(".wh.x")).unwrap();
        fs::write(target.join("more"), "it can be written again").unwrap();
        lith.fails(["commit", dir, "--change", "RUN x"]);
        lith.ok(["umount", "--discard", dir]);
    });
}

#[test]
fn drivers_are_tested_in_a_folder_that_goes() {
    if !is_root("the conformance cases") {
        return;
    }
    let lith = Lith::new("vfs");
    lith.ok(["info"]);
    let drivers = lith.json(["driver", "ls", "--json"]);
    let used: Vec<&Value> = drivers.as_array().unwrap().iter().collect();
    assert_eq!(used.len(), 2);
    assert_eq!(
        used.iter().filter(|driver| driver["used"] == true).count(),
        1
    );
    let before = lith.listing(".");
    // Any driver, not only the root's.
    let cases = lith.json(["driver", "test", "overlay", "--json"]);
    let cases = cases.as_array().unwrap();
    assert!(cases.len() > 80);
    for case in cases {
        let reason = case["reason"].as_str();
        match case["outcome"].as_str().unwrap() {
            "passed" => assert_eq!(reason, None),
            "skipped" => assert!(reason.is_some()),
            other => panic!("{case}: {other}"),
        }
    }
    assert_eq!(lith.listing("."), before);
    assert!(
        lith.fails(["driver", "test", "aufs"])
            .contains("no driver is called")
    );
}

/// What is in an archive is compared without becoming part of the store.
#[test]
fn archives_are_compared_with_images_and_with_each_other() {
    on_each_driver(|lith| {
        let id = text(lith.ok(["mount", "--rw", "base", lith.path("mnt").to_str().unwrap()]));
        edit(&lith.path("mnt"));
        lith.ok(["commit", &id, "--tag", "edited"]);
        lith.ok(["umount", lith.path("mnt").to_str().unwrap()]);
        let [base, edited, both] = ["base.tar", "edited.tar", "both.tar"].map(|name| {
            let path = lith.path(name);
            path.to_str().unwrap().to_owned()
        });
        lith.ok(["save", "-o", &base, "base"]);
        lith.ok(["save", "-o", &edited, "edited"]);
        lith.ok(["save", "-o", &both, "base", "edited"]);
        let changed = "C /etc\nC /etc/motd\nA /etc/new\nD /gone";
        assert_eq!(text(lith.ok(["diff", "base", &edited])), changed);
        lith.ok(["rmi", "base", "edited"]);
        assert_eq!(text(lith.ok(["diff", &base, &edited])), changed);
        let one = format!("docker-archive:{both}:edited");
        assert_eq!(text(lith.ok(["diff", &base, &one])), changed);
        assert_eq!(text(lith.ok(["diff", &edited, &one])), "");
        let exported = lith.ok(["export", &edited]);
        let names: Vec<String> = members(&exported)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert!(names.contains(&"etc/new".to_owned()), "{names:?}");
        let error = lith.fails(["diff", &both, &edited]);
        assert!(
            error.contains("base") && error.contains("edited"),
            "{error}"
        );
        lith.fails(["diff", &base, lith.path("nothing.tar").to_str().unwrap()]);
        assert_eq!(lith.json(["images", "--json"]), json!([]));
        let staging = fs::read_dir(lith.root().join("staging")).unwrap();
        assert_eq!(staging.count(), 0);
    });
}
