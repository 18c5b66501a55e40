//! Many processes at once: this test binary started again with a role.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lith_store::*;

use crate::common::*;

const ROLE: &str = "LITH_STORE_TEST_ROLE";
const ROOT: &str = "LITH_STORE_TEST_ROOT";

fn start(role: &str, root: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "processes::child",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ROLE, role)
        .env(ROOT, root)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn run_all(role: &str, root: &Path, count: usize) {
    let children: Vec<Child> = (0..count).map(|_| start(role, root)).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// Not a test of its own: what the other processes run.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let root = PathBuf::from(std::env::var_os(ROOT).unwrap());
    match role.as_str() {
        "publish" => publish(&root),
        "churn" => churn(&root),
        "hold" => hold(&root),
        "die" => die(&root),
        "write" => write(&root),
        "publish-many" => publish_many(&root),
        "die-many" => die_many(&root),
        role => panic!("{role}"),
    }
}

/// Publishes the same layers and images as everybody else.
fn publish(root: &Path) {
    let store = Store::open(root, &options()).unwrap();
    recover(&store).unwrap();
    let session = store.begin().unwrap();
    for round in 0..10 {
        let (top, base) = (format!("top{round}"), "base");
        add_layer(&store, &session, base, None).unwrap();
        add_layer(&store, &session, &top, Some(base)).unwrap();
        let image = image(&format!("image{round}"), &[base, &top]);
        store
            .publish_image_as(&session, &image, &[name(&format!("n:{round}"))])
            .unwrap();
        store
            .record_event(EventKind::Load, Some(&image.id), None)
            .unwrap();
    }
    session.end().unwrap();
}

/// Publishes and removes what others publish and remove.
fn churn(root: &Path) {
    let store = Store::open(root, &options()).unwrap();
    let image = image("image", &["x", "y"]);
    for _ in 0..15 {
        recover(&store).unwrap();
        let session = store.begin().unwrap();
        add_layer(&store, &session, "x", None).unwrap();
        add_layer(&store, &session, "y", Some("x")).unwrap();
        store
            .publish_image_as(&session, &image, &[name("n")])
            .unwrap();
        store.images().unwrap();
        session.end().unwrap();

        let session = store.begin().unwrap();
        store.remove_name(&session, &name("n")).unwrap();
        match store.remove_image(&session, &image.id) {
            Ok(_) | Err(ImageError::NotFound { .. } | ImageError::InUse { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        for layer in ["y", "x"] {
            match delete_layer(&store, &session, layer) {
                Ok(())
                | Err(RemoveLayerError::NotFound { .. } | RemoveLayerError::InUse { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        session.end().unwrap();
    }
}

/// Holds a layer until it is killed.
fn hold(root: &Path) {
    let store = Store::open(root, &options()).unwrap();
    let session = store.begin().unwrap();
    store.retain(&session, &[layer_id("a")]).unwrap();
    let _lock = store.lock_layer(&layer_id("locked")).unwrap();
    eprintln!("ready");
    std::thread::sleep(std::time::Duration::from_secs(60));
}

/// Loads for ever, until it is killed.
fn die(root: &Path) {
    let store = Store::open(root, &options()).unwrap();
    recover(&store).unwrap();
    for round in 0.. {
        let session = store.begin().unwrap();
        let layer = format!("{}-{round}", session.id());
        add_layer(&store, &session, &layer, None).unwrap();
        let image = image(&layer, &[&layer]);
        store
            .publish_image_as(&session, &image, &[name("killed")])
            .unwrap();
        session.end().unwrap();
        if round == 0 {
            eprintln!("ready");
        }
    }
}

/// Writes to the index as fast as it goes.
fn write(root: &Path) {
    let store = Store::open(root, &options()).unwrap();
    for _ in 0..200 {
        store.record_event(EventKind::Tag, None, None).unwrap();
    }
}

/// Publishes sets of images that overlap with those of others, and removes some of them.
fn publish_many(root: &Path) {
    let store = Store::open(root, &options()).unwrap();
    for round in 0..12 {
        recover(&store).unwrap();
        let session = store.begin().unwrap();
        add_layer(&store, &session, "base", None).unwrap();
        let mut images: Vec<NewImage> = (round..round + 8)
            .map(|n| new_image(&n.to_string(), &["base"], &[&format!("n:{n}"), "last:1"]))
            .collect();
        if session.id().as_str() < "8" {
            images.reverse();
        }
        store.publish_images(&session, &images).unwrap();
        session.end().unwrap();
        let session = store.begin().unwrap();
        store
            .remove_name(&session, &name(&format!("n:{round}")))
            .unwrap();
        match store.remove_image(&session, &images[0].record.id) {
            Ok(_) | Err(ImageError::NotFound { .. } | ImageError::InUse { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        session.end().unwrap();
    }
}

/// Publishes batches of ten for ever, until it is killed.
fn die_many(root: &Path) {
    let store = Store::open(root, &options()).unwrap();
    for round in 0.. {
        let session = store.begin().unwrap();
        let layer = format!("{}-{round}", session.id());
        add_layer(&store, &session, &layer, None).unwrap();
        let images: Vec<NewImage> = (0..10)
            .map(|n| {
                let text = format!("{layer}-{n}");
                new_image(
                    &text,
                    &[&layer],
                    &[&format!("n{}:{round}-{n}", session.id())],
                )
            })
            .collect();
        store.publish_images(&session, &images).unwrap();
        session.end().unwrap();
        if round == 0 {
            eprintln!("ready");
        }
    }
}

fn wait_until_ready(child: &mut Child) {
    let stderr = child.stderr.as_mut().unwrap();
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"ready") {
        assert_eq!(
            stderr.read(&mut byte).unwrap(),
            1,
            "{}",
            String::from_utf8_lossy(&text)
        );
        text.push(byte[0]);
    }
}

#[test]
fn eight_processes_open_and_fill_one_empty_root() {
    let fixture = fixture();
    run_all("publish", &fixture.path, 8);
    let store = fixture.open();
    check_whole(&store);
    let found = state(&store);
    assert_eq!(
        (found.layers.len(), found.images.len(), found.names.len()),
        (11, 10, 10)
    );
    assert_eq!(store.events(0, 1000).unwrap().len(), 80);
}

#[test]
fn processes_publish_and_remove_the_same() {
    let fixture = fixture();
    run_all("churn", &fixture.path, 4);
    let store = fixture.open();
    recover(&store).unwrap();
    check_whole(&store);
}

#[test]
fn a_killed_process_holds_nothing() {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    add_layer(&store, &session, "a", None).unwrap();
    store.keep_layer(&layer_id("a")).unwrap();
    session.end().unwrap();
    let mut child = start("hold", &fixture.path);
    wait_until_ready(&mut child);
    assert_eq!(store.holders(&layer_id("a")).unwrap().len(), 1);
    assert_eq!(store.dead_sessions().unwrap().len(), 0);
    let session = store.begin().unwrap();
    let refused = delete_layer(&store, &session, "a");
    assert!(matches!(refused, Err(RemoveLayerError::InUse { .. })));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(store.holders(&layer_id("a")).unwrap(), []);
    drop(store.lock_layer(&layer_id("locked")).unwrap());
    delete_layer(&store, &session, "a").unwrap();
    session.end().unwrap();
    assert_eq!(store.dead_sessions().unwrap().len(), 1);
    recover(&store).unwrap();
    check_whole(&store);
}

#[test]
fn killed_at_random_moments() {
    let fixture = fixture();
    for round in 0..12_u64 {
        let mut children: Vec<Child> = (0..2).map(|_| start("die", &fixture.path)).collect();
        for child in &mut children {
            wait_until_ready(child);
        }
        std::thread::sleep(std::time::Duration::from_micros(1700 * round));
        for mut child in children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let store = fixture.open();
        recover(&store).unwrap();
        check_whole(&store);
        assert_eq!(store.unclaimed_layers().unwrap(), []);
    }
}

/// Writers wait for each other, however many they are, and none gives up.
#[test]
fn writers_queue() {
    let fixture = fixture();
    let store = fixture.open();
    run_all("write", &fixture.path, 8);
    assert_eq!(store.events(0, 10_000).unwrap().len(), 1600);

    // Whoever waits does nothing else meanwhile.
    let queue = std::fs::File::options()
        .write(true)
        .open(store.root().locks().join("index"))
        .unwrap();
    let lock = |kind| nix::libc::flock {
        l_type: kind as nix::libc::c_short,
        l_whence: 0,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    };
    let set = |kind| {
        use nix::fcntl::{FcntlArg, fcntl};
        fcntl(&queue, FcntlArg::F_OFD_SETLK(&lock(kind))).unwrap();
    };
    set(nix::libc::F_WRLCK);
    let (sender, receiver) = std::sync::mpsc::channel();
    let other = store.clone();
    let writer = std::thread::spawn(move || {
        let before = on_cpu();
        other.record_event(EventKind::Tag, None, None).unwrap();
        sender.send(on_cpu() - before).unwrap();
    });
    let patience = std::time::Duration::from_millis(200);
    assert!(receiver.recv_timeout(patience).is_err());
    // Readers do not.
    assert_eq!(store.events(0, 10_000).unwrap().len(), 1600);
    set(nix::libc::F_UNLCK);
    assert!(receiver.recv().unwrap() < patience / 2);
    writer.join().unwrap();
}

#[test]
fn processes_publish_sets_that_overlap() {
    let fixture = fixture();
    run_all("publish-many", &fixture.path, 4);
    let store = fixture.open();
    recover(&store).unwrap();
    check_whole(&store);
    assert!(store.name(&name("last:1")).unwrap().is_some());
}

#[test]
fn batches_of_processes_that_are_killed_are_whole() {
    let fixture = fixture();
    for round in 0..10_u64 {
        let mut children: Vec<Child> = (0..2).map(|_| start("die-many", &fixture.path)).collect();
        for child in &mut children {
            wait_until_ready(child);
        }
        std::thread::sleep(std::time::Duration::from_micros(2300 * round));
        for mut child in children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let store = fixture.open();
        recover(&store).unwrap();
        check_whole(&store);
        let found = state(&store);
        assert_eq!(found.images.len(), found.names.len());
        for used in store.layer_uses().unwrap() {
            assert_eq!(used.images.len(), 10);
        }
    }
}
