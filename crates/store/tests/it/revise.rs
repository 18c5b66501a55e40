//! What is put into a layer after it was published.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lith_store::*;

use crate::common::*;

fn with_layer() -> (Fixture, Store, Session) {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    let record = LayerRecord {
        size: None,
        ..record("a", None)
    };
    let staged = session.scratch("layer").unwrap();
    store.publish_layer(&session, &staged, &record).unwrap();
    store.keep_layer(&layer_id("a")).unwrap();
    (fixture, store, session)
}

#[test]
fn a_size_is_counted_once() {
    let (fixture, store, session) = with_layer();
    let (id, none) = (layer_id("a"), layer_id("none"));
    assert_eq!(store.layer(&id).unwrap().unwrap().size, None);
    let text = fs::read_to_string(store.root().layer(&id).join("layer.json")).unwrap();
    assert!(text.contains("\"size\": null"), "{text}");
    let one = image("one", &["a"]);
    store.publish_image(&session, &one).unwrap();
    let listed = &store.images().unwrap()[0];
    assert_eq!(
        (listed.size, listed.unique_size, listed.uncounted),
        (0, 0, 1)
    );

    store.set_layer_size(&session, &id, 7).unwrap();
    let listed = &store.images().unwrap()[0];
    assert_eq!(
        (listed.size, listed.unique_size, listed.uncounted),
        (7, 7, 0)
    );
    let found = store.layer(&id).unwrap().unwrap();
    assert_eq!(found.size, Some(7));
    assert_eq!(
        LayerRecord::read(&store.root().layer(&id), &id).unwrap(),
        found
    );
    store.set_layer_size(&session, &id, 0).unwrap();
    let error = store.set_layer_size(&session, &none, 0).unwrap_err();
    assert!(matches!(error, StoreError::NoLayer { .. }), "{error}");
    session.end().unwrap();
    drop(store);
    rebuild_index(&fixture.path).unwrap();
    let store = fixture.open();
    assert_eq!(store.layer(&id).unwrap().unwrap().size, Some(0));
}

#[test]
fn further_files() {
    let (fixture, store, session) = with_layer();
    let id = layer_id("a");
    assert_eq!(store.layer_file(&id, "json").unwrap(), None);
    for content in [&b"{}"[..], b"", b"\0\xff"] {
        store
            .set_layer_file(&session, &id, "json", content)
            .unwrap();
        assert_eq!(store.layer_file(&id, "json").unwrap().unwrap(), content);
    }
    let there = store.add_layer_file(&session, &id, "json", b"new").unwrap();
    assert_eq!(there.unwrap(), b"\0\xff", "it is left alone");
    let there = store
        .add_layer_file(&session, &id, "other", b"new")
        .unwrap();
    assert_eq!(there, None);
    assert_eq!(store.layer_file(&id, "other").unwrap().unwrap(), b"new");
    let place = store.root().layer(&id).join("json");
    assert_eq!(
        fs::metadata(place).unwrap().permissions().mode() & 0o777,
        0o600
    );
    for bad in [
        "",
        ".",
        "..",
        "a/b",
        "/",
        ".x",
        "layer.json",
        "keep",
        "kept",
        "ä",
        "a\n",
    ] {
        let error = store.set_layer_file(&session, &id, bad, b"").unwrap_err();
        assert!(matches!(error, StoreError::LayerFileName { .. }), "{bad}");
        let error = store.layer_file(&id, bad).unwrap_err();
        assert!(matches!(error, StoreError::LayerFileName { .. }), "{bad}");
    }
    let none = layer_id("none");
    let error = store.set_layer_file(&session, &none, "x", b"").unwrap_err();
    assert!(matches!(error, StoreError::NoLayer { .. }), "{error}");
    let error = store.layer_file(&none, "x").unwrap_err();
    assert!(matches!(error, StoreError::NoLayer { .. }), "{error}");
    session.end().unwrap();
    drop(store);
    assert_eq!(rebuild_index(&fixture.path).unwrap().problems, []);
    let store = fixture.open();
    assert_eq!(store.layer_file(&id, "json").unwrap().unwrap(), b"\0\xff");
}

/// Whoever holds the lock of a layer already, removes it without asking for it again.
#[test]
fn removal_under_a_lock_that_is_held() {
    let (_fixture, store, session) = with_layer();
    let id = layer_id("a");
    let other = store.lock_layer(&layer_id("b")).unwrap();
    let error = store
        .take_layer_for_removal_locked(other, &session, &id)
        .unwrap_err();
    assert!(
        matches!(error, RemoveLayerError::OtherLock { .. }),
        "{error}"
    );
    let lock = store.lock_layer(&id).unwrap();
    let error = store
        .take_unclaimed_layer_locked(lock, &session, &id)
        .unwrap_err();
    assert!(
        matches!(error, RemoveLayerError::InUse { kept: true, .. }),
        "{error}"
    );
    let lock = store.lock_layer(&id).unwrap();
    let removal = store
        .take_layer_for_removal_locked(lock, &session, &id)
        .unwrap();
    removal.finish().unwrap();
    drop(store.lock_layer(&id).unwrap());
    session.end().unwrap();
    check_whole(&store);
}
