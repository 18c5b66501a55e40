//! Many images in one call: all or none, whatever else happens.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lith_store::*;

use crate::common::*;

/// Layers `a` and `b`; image `old`, with the names `old:1` and `moving:1`.
fn setup() -> Fixture {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    for layer in ["a", "b"] {
        add_layer(&store, &session, layer, None).unwrap();
    }
    let old = new_image("old", &["a"], &["old:1", "moving:1"]);
    store.publish_images(&session, &[old]).unwrap();
    store.keep_layer(&layer_id("b")).unwrap();
    session.end().unwrap();
    check_whole(&store);
    fixture
}

fn id(config: &str) -> ImageId {
    ImageId::of_bytes(config.as_bytes())
}

fn batch() -> Vec<NewImage> {
    vec![
        new_image("one", &["a"], &["one:1", "moving:1"]),
        new_image("two", &["a", "b"], &["two:1"]),
        new_image("old", &["a"], &["old:2"]),
        new_image("three", &["x"], &["three:1"]),
    ]
}

/// Publishes the batch, with a layer `x` of its own, in a session that dies at effect `n`;
/// false when it came to its end before.
fn die_publishing(fixture: &Fixture, n: usize) -> bool {
    let store = fixture.open();
    let session = store.begin().unwrap();
    add_layer(&store, &session, "x", None).unwrap();
    let count = stop_at(store.effects(), n, true);
    let result = store.publish_images(&session, &batch());
    if count.load(Ordering::SeqCst) < n {
        result.unwrap();
    }
    drop(session);
    count.load(Ordering::SeqCst) >= n
}

fn counts(store: &Store) -> (usize, usize) {
    let state = state(store);
    (state.images.len(), state.names.len())
}

const BEFORE: (usize, usize) = (1, 2);
const AFTER: (usize, usize) = (4, 6);

/// Death at every effect; then `between`, in another process's place; then recovery.
fn die_and(between: impl Fn(&Store, usize), check: impl Fn(&Store, usize)) {
    for n in 1.. {
        let fixture = setup();
        let stopped = die_publishing(&fixture, n);
        let store = fixture.open();
        between(&store, n);
        recover(&store).unwrap();
        check_whole(&store);
        check(&store, n);
        if !stopped {
            return;
        }
    }
}

/// Before the recovery nothing of a batch is seen, or all of it.
#[test]
fn half_a_batch_is_never_seen() {
    die_and(
        |store, n| {
            let seen = counts(store);
            assert!(seen == BEFORE || seen == AFTER, "{n}: {seen:?}");
        },
        |store, n| {
            let seen = counts(store);
            assert!(seen == BEFORE || seen == AFTER, "{n}: {seen:?}");
        },
    );
}

/// Power fails anywhere: the first open after the boot compares index and folders. The index
/// is as it was, or lost altogether.
#[test]
fn power_failure_at_any_step() {
    for lose_index in [false, true] {
        for n in 1.. {
            let fixture = setup();
            let stopped = die_publishing(&fixture, n);
            let path = Root::new(&fixture.path).index();
            if lose_index {
                fs::remove_file(&path).unwrap();
                for ending in ["-wal", "-shm"] {
                    let _ = fs::remove_file(format!("{}{ending}", path.display()));
                }
            } else {
                let index = rusqlite::Connection::open(&path).unwrap();
                index.execute("UPDATE meta SET value = 'x'", []).unwrap();
            }
            let store = fixture.open();
            let seen = counts(&store);
            assert!(seen == BEFORE || seen == AFTER, "{n}: {seen:?}");
            recover(&store).unwrap();
            check_whole(&store);
            let seen = counts(&store);
            assert!(seen == BEFORE || seen == AFTER, "{n}: {seen:?}");
            let moving = if seen == BEFORE { id("old") } else { id("one") };
            assert_eq!(store.name(&name("moving:1")).unwrap(), Some(moving));
            if !stopped {
                assert_eq!(seen, AFTER);
                break;
            }
        }
    }
}

/// A layer that one image needs went before the recovery came: none of them is published.
#[test]
fn undone_when_a_layer_has_gone() {
    let undone = AtomicBool::new(false);
    die_and(
        |store, _| {
            let session = store.begin().unwrap();
            match delete_layer(store, &session, "x") {
                Ok(()) => assert_eq!(counts(store), BEFORE),
                Err(RemoveLayerError::InUse { .. }) => assert_eq!(counts(store), AFTER),
                Err(error) => panic!("{error}"),
            }
            session.end().unwrap();
        },
        |store, n| {
            let gone = !store.has_layer(&layer_id("x")).unwrap();
            assert_eq!(counts(store), if gone { BEFORE } else { AFTER }, "{n}");
            undone.fetch_or(gone, Ordering::SeqCst);
            if gone {
                assert_eq!(store.name(&name("moving:1")).unwrap(), Some(id("old")));
            }
        },
    );
    assert!(undone.into_inner());
}

/// The undoing is stopped at every effect, too.
#[test]
fn undoing_that_dies_is_repeated() {
    // Where all folders and names stand in their places, and no row does.
    let mut longest = 1;
    for n in 1.. {
        let fixture = setup();
        let stopped = die_publishing(&fixture, n);
        if counts(&fixture.open()) == AFTER || !stopped {
            break;
        }
        longest = n;
    }
    for last in 1.. {
        let fixture = setup();
        die_publishing(&fixture, longest);
        let store = fixture.open();
        let session = store.begin().unwrap();
        delete_layer(&store, &session, "x").unwrap();
        session.end().unwrap();
        let count = stop_at(store.effects(), last, true);
        let result = recover(&store);
        store.effects().set_hook(None);
        let finished = count.load(Ordering::SeqCst) < last;
        assert_eq!(result.is_ok(), finished, "{last}");
        drop(store);
        let store = fixture.open();
        recover(&store).unwrap();
        check_whole(&store);
        assert_eq!(counts(&store), BEFORE, "{last}");
        assert_eq!(store.name(&name("moving:1")).unwrap(), Some(id("old")));
        if finished {
            return;
        }
    }
}

/// Somebody publishes one of the images before the recovery comes: it is theirs now, with the
/// name that they gave it, whether the others follow or not.
#[test]
fn somebody_else_takes_an_image_over() {
    for layer_goes in [false, true] {
        die_and(
            |store, _| {
                let session = store.begin().unwrap();
                let theirs = [
                    new_image("one", &["a"], &["theirs:1", "two:1"]),
                    new_image("four", &["b"], &[]),
                ];
                store.publish_images(&session, &theirs).unwrap();
                if layer_goes {
                    let _ = delete_layer(store, &session, "x");
                }
                session.end().unwrap();
            },
            |store, n| {
                for (theirs, image) in [("theirs:1", "one"), ("two:1", "one"), ("old:1", "old")] {
                    assert_eq!(store.name(&name(theirs)).unwrap(), Some(id(image)), "{n}");
                }
                assert!(store.has_image(&id("four")).unwrap());
                let all = store.has_image(&id("two")).unwrap();
                assert_eq!(all, store.has_image(&id("three")).unwrap(), "{n}");
                assert_eq!(all, store.name(&name("old:2")).unwrap().is_some(), "{n}");
                let moving = if all { "one" } else { "old" };
                assert_eq!(
                    store.name(&name("moving:1")).unwrap(),
                    Some(id(moving)),
                    "{n}"
                );
            },
        );
    }
}

/// What is moved, or removed, after the death is not moved back by the recovery.
#[test]
fn names_that_moved_since() {
    die_and(
        |store, _| {
            let session = store.begin().unwrap();
            for text in ["moving:1", "two:1", "elsewhere:1"] {
                store.set_name(&session, &name(text), &id("old")).unwrap();
            }
            session.end().unwrap();
        },
        |store, n| {
            for text in ["two:1", "elsewhere:1"] {
                assert_eq!(store.name(&name(text)).unwrap(), Some(id("old")), "{n}");
            }
            // Set to what it was before: nothing that could be told from not having moved,
            // unless the batch was there by then.
            let moving = store.name(&name("moving:1")).unwrap();
            assert!(moving.is_some());
        },
    );
}

/// Once the index has it, the batch is done: an intent that stays by accident moves nothing.
#[test]
fn a_batch_that_is_listed_is_not_repeated() {
    let fixture = setup();
    let store = fixture.open();
    let session = store.begin().unwrap();
    add_layer(&store, &session, "x", None).unwrap();
    let dead = AtomicBool::new(false);
    store
        .effects()
        .set_hook(Some(Arc::new(move |effect: &Effect<'_>| {
            if let Effect::RemoveFile(path) = effect
                && path.to_string_lossy().contains("/intent-")
            {
                dead.store(true, Ordering::SeqCst);
            }
            if dead.load(Ordering::SeqCst) {
                return Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
            }
            Ok(())
        })));
    store.publish_images(&session, &batch()).unwrap();
    drop(session);
    store.effects().set_hook(None);
    let session = store.begin().unwrap();
    store.remove_name(&session, &name("one:1")).unwrap();
    store
        .set_name(&session, &name("moving:1"), &id("old"))
        .unwrap();
    store.remove_name(&session, &name("two:1")).unwrap();
    store.remove_image(&session, &id("two")).unwrap();
    session.end().unwrap();
    let expected = state(&store);
    recover(&store).unwrap();
    assert_eq!(state(&store), expected);
    check_whole(&store);
}

/// What failed and could not be undone either is not published later.
#[test]
fn a_failure_that_cannot_be_undone_now_is_undone_later() {
    let fixture = setup();
    let store = fixture.open();
    let session = store.begin().unwrap();
    add_layer(&store, &session, "x", None).unwrap();
    let failing = AtomicBool::new(false);
    store
        .effects()
        .set_hook(Some(Arc::new(move |effect: &Effect<'_>| {
            let full = || Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
            if matches!(effect, Effect::Commit("publish images")) {
                failing.store(true, Ordering::SeqCst);
                return full();
            }
            match effect {
                Effect::Rename { to, .. } if to.to_string_lossy().contains("/undone-") => {
                    let into = to.parent().and_then(|folder| folder.file_name()).unwrap();
                    if into.to_string_lossy().starts_with("undone-") {
                        full()
                    } else {
                        Ok(())
                    }
                }
                Effect::Write(_) if failing.load(Ordering::SeqCst) => full(),
                _ => Ok(()),
            }
        })));
    let error = store.publish_images(&session, &batch()).unwrap_err();
    assert!(error.to_string().contains("publish images"), "{error}");
    assert_eq!(counts(&store), BEFORE);
    store.effects().set_hook(None);
    session.end().unwrap();
    assert!(!listing(&store.root().staging()).is_empty());
    recover(&store).unwrap();
    check_whole(&store);
    assert_eq!(counts(&store), BEFORE);
}

#[test]
fn what_is_wrong_is_named_and_nothing_is_done() {
    let fixture = setup();
    let store = fixture.open();
    let session = store.begin().unwrap();
    let before = state(&store);
    let mut wrong: Vec<(NewImage, &str)> = vec![
        (new_image("x", &["none"], &[]), "not in the store"),
        (new_image("old", &["b"], &[]), "other layers"),
        (new_image("one", &["b"], &[]), "other layers"),
    ];
    let mut other = new_image("x", &[], &[]);
    other.record.config = b"y".to_vec();
    wrong.push((other, "has digest"));
    let mut unnamed = new_image("x", &[], &[]);
    unnamed.names = vec![Reference::parse_bare("alpine").unwrap()];
    wrong.push((unnamed, "names a repository"));
    for (image, said) in wrong {
        let images = [new_image("one", &["a"], &["moving:1"]), image];
        let error = store.publish_images(&session, &images).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(state(&store), before);
        assert_eq!(listing(session.dir()).len(), 0, "{said}");
    }
    assert_eq!(store.publish_images(&session, &[]).unwrap(), []);
    session.end().unwrap();
    check_whole(&store);
}

/// A folder that a dead process left without a row, and that is not whole, is replaced; so is
/// the file of a name that is damaged.
#[test]
fn what_is_damaged_is_replaced() {
    let fixture = setup();
    let store = fixture.open();
    let session = store.begin().unwrap();
    add_layer(&store, &session, "x", None).unwrap();
    fs::create_dir(store.root().image(&id("one"))).unwrap();
    fs::write(store.root().image(&id("two")), b"a file").unwrap();
    fs::write(store.root().name(&name("moving:1")), b"noise").unwrap();
    let done = store.publish_images(&session, &batch()).unwrap();
    assert_eq!(done[0].moved, [(name("moving:1"), id("old"))]);
    assert_eq!(counts(&store), AFTER);
    session.end().unwrap();
    check_whole(&store);
}

/// More images than are locked one by one.
#[test]
fn more_than_a_thousand_images() {
    let fixture = setup();
    let store = fixture.open();
    let session = store.begin().unwrap();
    let images: Vec<NewImage> = (0..1100)
        .map(|n| new_image(&n.to_string(), &["a", "b"], &[&format!("many:{n}")]))
        .collect();
    let done = store.publish_images(&session, &images).unwrap();
    assert!(done.iter().all(|one| one.published == Published::New));
    assert_eq!(counts(&store), (1101, 1102));
    let again = store.publish_images(&session, &images).unwrap();
    assert!(again.iter().all(|one| one.moved.is_empty()));
    session.end().unwrap();
    check_whole(&store);
}

/// A name that a batch has placed and not yet listed is not taken for a dangling one by the
/// recovery of another session that died over the same name.
#[test]
fn two_sessions_died_over_one_name() {
    for longest in 1.. {
        let fixture = setup();
        let store = fixture.open();
        // Both orders of recovery: sessions are recovered in the order of their IDs.
        let first = store.begin().unwrap();
        let second = fixture.open().begin().unwrap();
        for session in [&first, &second] {
            let intent = Intent::Name {
                name: name("moving:1"),
            };
            drop(session.intend(&intent).unwrap());
        }
        drop((first, second));
        drop(store);
        let stopped = die_publishing(&fixture, longest);
        let store = fixture.open();
        recover(&store).unwrap();
        check_whole(&store);
        let seen = counts(&store);
        assert!(seen == BEFORE || seen == AFTER, "{longest}: {seen:?}");
        let moving = if seen == BEFORE { "old" } else { "one" };
        assert_eq!(store.name(&name("moving:1")).unwrap(), Some(id(moving)));
        if !stopped {
            return;
        }
    }
}

/// A session dies while another waits for the same images: the other goes on with what it
/// finds, and the dead one's batch is finished all the same.
#[test]
fn death_while_another_waits_for_the_same_images() {
    use std::sync::mpsc::channel;

    let fixture = setup();
    let store = fixture.open();
    let session = store.begin().unwrap();
    add_layer(&store, &session, "x", None).unwrap();
    let (ready, is_ready) = channel();
    let (die, dies) = channel::<()>();
    let (dies, dead) = (std::sync::Mutex::new(dies), AtomicBool::new(false));
    store
        .effects()
        .set_hook(Some(Arc::new(move |effect: &Effect<'_>| {
            if *effect == Effect::Commit("publish images") {
                ready.send(()).unwrap();
                dies.lock().unwrap().recv().unwrap();
                dead.store(true, Ordering::SeqCst);
            }
            if dead.load(Ordering::SeqCst) {
                return Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
            }
            Ok(())
        })));
    let dying = std::thread::spawn(move || {
        let error = store.publish_images(&session, &batch()).unwrap_err();
        drop(session);
        error
    });
    is_ready.recv().unwrap();
    let other = fixture.open();
    let (done, is_done) = channel();
    let waiting = std::thread::spawn(move || {
        let session = other.begin().unwrap();
        let theirs = [
            new_image("one", &["a"], &["theirs:1"]),
            new_image("four", &["b"], &["moving:1"]),
        ];
        let published = other.publish_images(&session, &theirs).unwrap();
        session.end().unwrap();
        done.send(published).unwrap();
    });
    let patience = std::time::Duration::from_millis(100);
    assert!(is_done.recv_timeout(patience).is_err());
    die.send(()).unwrap();
    dying.join().unwrap();
    waiting.join().unwrap();
    let published = is_done.recv().unwrap();
    assert_eq!(published[0].published, Published::AlreadyThere);
    assert_eq!(published[1].published, Published::New);
    assert_eq!(published[1].moved, [(name("moving:1"), id("old"))]);

    let store = fixture.open();
    recover(&store).unwrap();
    check_whole(&store);
    assert_eq!(counts(&store), (5, 7));
    assert_eq!(store.name(&name("moving:1")).unwrap(), Some(id("four")));
}
