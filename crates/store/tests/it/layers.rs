//! Layers: publication, holders, removal.

use std::fs;

use lith_store::*;

use crate::common::*;

#[test]
fn publish_and_find() {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    assert_eq!(
        add_layer(&store, &session, "a", None).unwrap(),
        Published::New
    );
    assert_eq!(
        add_layer(&store, &session, "a", None).unwrap(),
        Published::AlreadyThere
    );
    assert_eq!(
        add_layer(&store, &session, "b", Some("a")).unwrap(),
        Published::New
    );
    assert_eq!(
        add_layer(&store, &session, "c", Some("b")).unwrap(),
        Published::New
    );

    let found = store.layer(&layer_id("b")).unwrap().unwrap();
    assert_eq!(found.parent, Some(layer_id("a")));
    assert_eq!(found.size, Some(1000));
    assert_eq!(store.children(&layer_id("a")).unwrap(), [layer_id("b")]);
    assert_eq!(
        store.layers_by_diff(&DiffId::of_bytes(b"b")).unwrap(),
        [found]
    );
    let chain = store.layer_chain(&layer_id("c")).unwrap();
    assert_eq!(
        chain.iter().map(|layer| layer.id).collect::<Vec<_>>(),
        [layer_id("a"), layer_id("b"), layer_id("c")]
    );
    assert_eq!(store.layer_chain(&layer_id("none")).unwrap(), []);
    let kept = store.root().layer(&layer_id("a")).join("kept/7");
    assert_eq!(fs::read(kept).unwrap(), b"kept");
    session.end().unwrap();
    check_whole(&store);
}

#[test]
fn prefixes() {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    let ids: Vec<LayerId> = ["00a1", "00a2", "ffff"]
        .iter()
        .map(|start| format!("{start}{}", "0".repeat(60)).parse().unwrap())
        .collect();
    for id in &ids {
        let staged = session.scratch("layer").unwrap();
        store
            .publish_layer(&session, &staged, &LayerRecord::new(*id, id.hex()))
            .unwrap();
    }
    assert_eq!(store.layers_by_prefix("00a").unwrap(), ids[..2]);
    assert_eq!(store.layers_by_prefix("f").unwrap(), ids[2..]);
    assert_eq!(store.find_layer("ffff").unwrap(), ids[2]);
    assert_eq!(store.find_layer(&ids[0].hex()).unwrap(), ids[0]);
    for text in ["", "g", "FFFF", "sha256:ff", "01", "%", &"0".repeat(65)] {
        assert!(
            matches!(store.find_layer(text), Err(FindError::NotFound { .. })),
            "{text}"
        );
    }
    match store.find_layer("00a") {
        Err(FindError::Ambiguous { candidates, .. }) => {
            assert_eq!(candidates, [ids[0].hex(), ids[1].hex()]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_parent_must_be_there() {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    let error = add_layer(&store, &session, "b", Some("a")).unwrap_err();
    assert!(
        matches!(error, PublishLayerError::MissingParent { .. }),
        "{error}"
    );
    session.into_dead().recover(&mut |_| Ok(())).unwrap();
    check_whole(&store);
}

#[test]
fn a_staged_layer_json_must_say_the_same() {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    let mut record = record("a", None);
    let staged = session.scratch("layer").unwrap();
    fs::write(
        staged.join("layer.json"),
        serde_json::to_vec(&record).unwrap(),
    )
    .unwrap();
    record.size = Some(1001);
    let error = store.publish_layer(&session, &staged, &record).unwrap_err();
    assert!(matches!(error, PublishLayerError::Staged { .. }), "{error}");
    record.size = Some(1000);
    record.extra.insert("checksum".into(), "x".into());
    fs::write(
        staged.join("layer.json"),
        serde_json::to_vec(&record).unwrap(),
    )
    .unwrap();
    store.publish_layer(&session, &staged, &record).unwrap();
    assert_eq!(store.layer(&record.id).unwrap(), Some(record));
}

#[test]
fn what_is_needed_is_not_removed() {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    add_layer(&store, &session, "a", None).unwrap();
    add_layer(&store, &session, "b", Some("a")).unwrap();
    store
        .publish_image(&session, &image("one", &["a", "b"]))
        .unwrap();
    let other = store.begin().unwrap();
    store.retain(&other, &[layer_id("b")]).unwrap();
    assert_eq!(store.holders(&layer_id("b")).unwrap().len(), 2);

    match delete_layer(&store, &session, "a") {
        Err(RemoveLayerError::InUse {
            children,
            images,
            sessions,
            ..
        }) => {
            assert_eq!(children, [layer_id("b")]);
            assert_eq!(images, [image("one", &[]).id]);
            assert_eq!(sessions, []);
        }
        other => panic!("{other:?}"),
    }
    store.remove_image(&session, &image("one", &[]).id).unwrap();
    match delete_layer(&store, &session, "b") {
        Err(error @ RemoveLayerError::InUse { .. }) => {
            assert!(error.to_string().contains(other.id().as_str()), "{error}");
        }
        other => panic!("{other:?}"),
    }
    store.release(&other, &[layer_id("b")]).unwrap();
    delete_layer(&store, &session, "b").unwrap();
    delete_layer(&store, &session, "a").unwrap();
    let gone = delete_layer(&store, &session, "a");
    assert!(matches!(gone, Err(RemoveLayerError::NotFound { .. })));
    match store.retain(&other, &[layer_id("a"), layer_id("b")]) {
        Err(RetainError::Missing { missing }) => {
            assert_eq!(missing, [layer_id("a"), layer_id("b")]);
        }
        other => panic!("{other:?}"),
    }
    session.end().unwrap();
    other.end().unwrap();
    check_whole(&store);
}

#[test]
fn unclaimed_layers() {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    for (layer, parent) in [("a", None), ("b", Some("a")), ("c", None), ("d", None)] {
        add_layer(&store, &session, layer, parent).unwrap();
    }
    store
        .publish_image(&session, &image("one", &["c"]))
        .unwrap();
    assert_eq!(store.unclaimed_layers().unwrap(), []);
    store.keep_layer(&layer_id("d")).unwrap();
    session.end().unwrap();
    assert_eq!(store.unclaimed_layers().unwrap(), [layer_id("b")]);
    store.unkeep_layer(&layer_id("d")).unwrap();
    assert_eq!(
        store.unclaimed_layers().unwrap(),
        [layer_id("b"), layer_id("d")]
    );
}

/// What was published since the boot waits for a sync; what is of another boot is in doubt.
#[test]
fn trees_are_marked_and_doubted() {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    for layer in ["a", "b", "c"] {
        add_layer(&store, &session, layer, None).unwrap();
    }
    session.end().unwrap();
    let unsynced = store.unsynced_layers().unwrap();
    assert_eq!(unsynced.len(), 3);
    assert!(!store.has_doubtful_layers().unwrap());
    store.mark_synced(&unsynced[..1]).unwrap();
    let a = store.layer(&layer_id("a")).unwrap().unwrap();
    assert!(a.synced && !a.is_doubtful());
    // Another tree than the one that was waited for.
    let other = (layer_id("b"), "other".to_owned());
    store.mark_synced(&[other]).unwrap();
    assert!(!store.layer(&layer_id("b")).unwrap().unwrap().synced);
    assert_eq!(store.unsynced_layers().unwrap(), unsynced[1..]);
    store.keep_layer(&layer_id("b")).unwrap();
    drop(store);

    // A boot ago.
    let file = fixture.path.join("layers").join(layer_id("b").hex());
    let file = file.join(LayerRecord::FILE);
    let mut layer: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    layer["boot"] = "another".into();
    std::fs::write(&file, layer.to_string()).unwrap();
    std::fs::remove_file(fixture.path.join("lith.db")).unwrap();
    let store = fixture.open();
    assert!(store.has_doubtful_layers().unwrap());
    let doubtful = |layer| {
        store
            .layer(&layer_id(layer))
            .unwrap()
            .unwrap()
            .is_doubtful()
    };
    assert!(doubtful("b") && !doubtful("a") && !doubtful("c"));
    assert_eq!(store.unsynced_layers().unwrap().len(), 2);
    assert!(store.has_unsynced_layers().unwrap());
    let all = store.layers().unwrap();
    let all: Vec<_> = all
        .into_iter()
        .map(|layer| (layer.id, layer.cache))
        .collect();
    store.mark_synced(&all).unwrap();
    assert!(!store.has_doubtful_layers().unwrap());
    assert!(!store.has_unsynced_layers().unwrap());
    store.mark_unsynced(&[layer_id("b")]).unwrap();
    assert!(store.has_doubtful_layers().unwrap() && doubtful("b"));
}

/// Held by two sessions: held until the last lets go, however it does.
#[test]
fn a_session_that_is_gone_holds_nothing() {
    let fixture = fixture();
    let store = fixture.open();
    let first = store.begin().unwrap();
    add_layer(&store, &first, "a", None).unwrap();
    let second = store.begin().unwrap();
    store.retain(&second, &[layer_id("a")]).unwrap();
    first.end().unwrap();
    assert_eq!(
        store.holders(&layer_id("a")).unwrap(),
        [second.id().clone()]
    );
    drop(second);
    assert_eq!(store.holders(&layer_id("a")).unwrap(), []);
    assert_eq!(store.unclaimed_layers().unwrap(), [layer_id("a")]);
}

/// Either the retain or the removal wins, never both, never neither.
#[test]
fn retain_races_with_removal() {
    let fixture = fixture();
    let store = fixture.open();
    for round in 0..30 {
        let name = format!("l{round}");
        let session = store.begin().unwrap();
        add_layer(&store, &session, &name, None).unwrap();
        session.end().unwrap();
        std::thread::scope(|scope| {
            let keeper = scope.spawn(|| {
                let session = store.begin().unwrap();
                let kept = store.retain(&session, &[layer_id(&name)]).is_ok();
                (session, kept)
            });
            let remover = scope.spawn(|| {
                let session = store.begin().unwrap();
                match delete_layer(&store, &session, &name) {
                    Ok(()) => true,
                    Err(RemoveLayerError::InUse { .. }) => false,
                    Err(error) => panic!("{error}"),
                }
            });
            let removed = remover.join().unwrap();
            let (_session, kept) = keeper.join().unwrap();
            // The keeper may have come after a failed removal but not before a done one.
            assert!(
                kept != removed,
                "round {round}: kept {kept}, removed {removed}"
            );
            assert_eq!(store.has_layer(&layer_id(&name)).unwrap(), kept);
        });
    }
}

#[test]
fn the_lock_of_a_layer_excludes_threads() {
    let fixture = fixture();
    let store = fixture.open();
    let held = store.lock_layer(&layer_id("a")).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let (store, wait) = (&store, std::time::Duration::from_millis(50));
        scope.spawn(move || {
            let _lock = store.lock_layer(&layer_id("a")).unwrap();
            sender.send(()).unwrap();
        });
        drop(store.lock_layer(&layer_id("b")).unwrap());
        assert!(receiver.recv_timeout(wait).is_err());
        drop(held);
        receiver.recv().unwrap();
    });
}

/// A folder that a process left without a row is taken for what it is: complete.
#[test]
fn a_folder_without_a_row_is_adopted_or_replaced() {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    let left = record("a", None);
    let folder = store.root().layer(&left.id);
    fs::create_dir(&folder).unwrap();
    fs::write(
        folder.join("layer.json"),
        serde_json::to_vec(&left).unwrap(),
    )
    .unwrap();
    assert_eq!(
        add_layer(&store, &session, "a", None).unwrap(),
        Published::AlreadyThere
    );
    assert_eq!(store.layer(&left.id).unwrap(), Some(left));

    let folder = store.root().layer(&layer_id("b"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("layer.json"), b"{").unwrap();
    assert_eq!(
        add_layer(&store, &session, "b", None).unwrap(),
        Published::New
    );
}
