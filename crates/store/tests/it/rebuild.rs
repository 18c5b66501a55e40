//! The folders are the truth.

use std::fs;

use lith_store::*;

use crate::common::*;

fn filled() -> (Fixture, State) {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    // Deep, and children sort before their parents as often as not.
    add_layer(&store, &session, "0", None).unwrap();
    for depth in 1..40 {
        let parent = (depth - 1).to_string();
        add_layer(&store, &session, &depth.to_string(), Some(&parent)).unwrap();
    }
    add_layer(&store, &session, "kept", None).unwrap();
    store.keep_layer(&layer_id("kept")).unwrap();
    for text in ["one", "two"] {
        let image = image(text, &["0", "1", "2"]);
        store.publish_image(&session, &image).unwrap();
        store
            .set_name(&session, &name(&format!("{text}:1")), &image.id)
            .unwrap();
        store
            .set_name(&session, &name(&format!("reg.io:5000/{text}")), &image.id)
            .unwrap();
    }
    session.end().unwrap();
    let state = state(&store);
    (fixture, state)
}

fn ruin(fixture: &Fixture, how: impl Fn(&std::path::Path)) {
    let root = Root::new(&fixture.path);
    how(&root.index());
}

#[test]
fn a_lost_index_comes_back_at_open() {
    let (fixture, before) = filled();
    ruin(&fixture, |index| fs::remove_file(index).unwrap());
    let store = fixture.open();
    assert_eq!(state(&store), before);
    check_whole(&store);
    assert!(store.needs_scan());
    let unclaimed = store.unclaimed_layers().unwrap();
    assert_eq!(
        unclaimed,
        [layer_id("39")],
        "the keep mark is in the folder"
    );
}

#[test]
fn a_broken_index_is_named_and_can_be_rebuilt() {
    let noise = vec![0x5a; 5000];
    let cut = |index: &std::path::Path| {
        let text = fs::read(index).unwrap();
        fs::write(index, &text[..text.len() / 2]).unwrap();
    };
    let ways: [&dyn Fn(&std::path::Path); 3] = [
        &|index| fs::write(index, &noise).unwrap(),
        &|index| fs::write(index, b"").unwrap(),
        &cut,
    ];
    for way in ways {
        let (fixture, before) = filled();
        ruin(&fixture, way);
        match Store::open(&fixture.path, &options()) {
            Err(error @ OpenError::Store(StoreError::IndexDamaged { .. })) => {
                assert!(error.to_string().contains("lith.db"), "{error}");
            }
            // Half an index may still answer the first questions.
            Ok(store) => drop(store.layers().unwrap_err()),
            Err(error) => panic!("{error}"),
        }
        let report = rebuild_index(&fixture.path).unwrap();
        assert_eq!(report.problems, []);
        assert_eq!((report.layers, report.images, report.names), (41, 2, 4));
        let store = fixture.open();
        assert_eq!(state(&store), before);
        check_whole(&store);
    }
}

/// The write-ahead log of a lost index is not replayed into its successor.
/// The newest rows stand in the log, which nobody removes who closes the index.
#[test]
fn a_lost_log_costs_nothing_that_stands_in_the_folders() {
    let losses: &[fn(&std::path::Path)] = &[
        |log| fs::remove_file(log).unwrap(),
        |log| fs::write(log, "no log at all").unwrap(),
    ];
    for lose in losses {
        let (fixture, before) = filled();
        ruin(&fixture, |index| lose(&index.with_extension("db-wal")));
        let store = fixture.open();
        assert_eq!(state(&store), before);
        check_whole(&store);
    }
}

#[test]
fn an_old_log_is_not_taken_for_the_new_ones() {
    let (fixture, before) = filled();
    let index = Root::new(&fixture.path).index();
    let log = index.with_extension("db-wal");
    let connection = rusqlite::Connection::open(&index).unwrap();
    connection.execute_batch("DELETE FROM names").unwrap();
    let content = fs::read(&log).unwrap();
    drop(connection);
    fs::remove_file(&index).unwrap();
    fs::write(&log, content).unwrap();
    assert_eq!(state(&fixture.open()), before);
}

#[test]
fn an_index_in_use_is_not_replaced() {
    let (fixture, before) = filled();
    let store = fixture.open();
    let start = std::time::Instant::now();
    // Closed while the rebuild waits for it.
    let waiting = std::thread::spawn({
        let path = fixture.path.clone();
        move || rebuild_index(&path)
    });
    std::thread::sleep(std::time::Duration::from_millis(200));
    drop(store);
    waiting.join().unwrap().unwrap();
    assert!(start.elapsed().as_millis() >= 200);
    assert_eq!(state(&fixture.open()), before);
}

#[test]
fn what_cannot_be_listed_is_reported_and_left() {
    let (fixture, before) = filled();
    let root = Root::new(&fixture.path);
    fs::write(root.names().join("junk"), b"{").unwrap();
    fs::create_dir(root.layers().join("junk")).unwrap();
    fs::remove_dir_all(root.layer(&layer_id("20"))).unwrap();
    let two = image("two", &[]).id;
    fs::write(root.image(&two).join("config"), b"other").unwrap();
    fs::remove_file(root.index()).unwrap();
    let report = rebuild_index(&fixture.path).unwrap();
    let store = fixture.open();
    assert_eq!(store.layers().unwrap().len(), before.layers.len() - 20);
    assert_eq!(state(&store).images, [image("one", &[]).id].into());
    assert_eq!(store.names().unwrap().len(), 2);
    // Two kinds of junk, layer 21, image two and its two names.
    assert_eq!(report.problems.len(), 6 + 18, "{:#?}", report.problems);
    assert!(root.image(&two).is_dir());
}

/// Makes the next open compare the index with the folders, as the first after a boot does.
fn compare_next(store: &Store) {
    let connection = rusqlite::Connection::open(store.root().index()).unwrap();
    connection
        .execute_batch("UPDATE meta SET value = 'other'")
        .unwrap();
}

/// Calls `look` at each effect of `work` that is no transaction, whose lock it would wait for.
fn at_each_effect(
    store: &Store,
    look: impl Fn() + Send + Sync + 'static,
    work: impl FnOnce(),
) -> usize {
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = count.clone();
    store
        .effects()
        .set_hook(Some(std::sync::Arc::new(move |effect: &Effect<'_>| {
            if !matches!(effect, Effect::Commit(_)) {
                seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                look();
            }
            Ok(())
        })));
    work();
    store.effects().set_hook(None);
    count.load(std::sync::atomic::Ordering::SeqCst)
}

#[test]
fn comparing_leaves_alone_what_living_sessions_are_at() {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    add_layer(&store, &session, "a", None).unwrap();
    let one = image("one", &["a"]);
    let path = fixture.path.clone();
    let open = move || {
        let store = Store::open(&path, &options()).unwrap();
        compare_next(&store);
        drop(Store::open(&path, &options()).unwrap());
    };
    let steps = at_each_effect(&store, open, || {
        add_layer(&store, &session, "b", Some("a")).unwrap();
        store.publish_image(&session, &one).unwrap();
        store.set_name(&session, &name("one:1"), &one.id).unwrap();
        store.remove_name(&session, &name("one:1")).unwrap();
        store.remove_image(&session, &one.id).unwrap();
        delete_layer(&store, &session, "b").unwrap();
    });
    assert!(steps > 20, "{steps}");
    session.end().unwrap();
    fixture.recover(&store).unwrap();
    check_whole(&store);
    assert_eq!(state(&store).images.len() + state(&store).names.len(), 0);
}
