//! Death, and a full disk, between any two effects.

use std::sync::atomic::Ordering;

use lith_store::*;

use crate::common::*;

type Op = fn(&Store, &Session) -> Result<(), Box<dyn std::error::Error>>;

/// Two layers, an image of both with a name, a lone layer, an image without a name, an index
/// with three images, two of them its own.
fn setup(store: &Store) {
    let session = store.begin().unwrap();
    for (layer, parent) in [("a", None), ("b", Some("a")), ("lone", None)] {
        add_layer(store, &session, layer, parent).unwrap();
    }
    store.keep_layer(&layer_id("lone")).unwrap();
    store
        .publish_image(&session, &image("one", &["a", "b"]))
        .unwrap();
    store
        .set_name(&session, &name("one:1"), &image("one", &[]).id)
        .unwrap();
    store
        .publish_image(&session, &image("two", &["a"]))
        .unwrap();
    let bare = ImageRecord {
        manifest: None,
        ..image("bare", &["a"])
    };
    store.publish_image(&session, &bare).unwrap();
    store
        .publish_image(&session, &image("plain", &["a"]))
        .unwrap();
    let small = index("small", &["plain", "bare", "one"]);
    store.publish_image(&session, &small).unwrap();
    session.end().unwrap();
    check_whole(store);
}

/// Runs `op` with every effect as the last one; what is found afterwards must be as if it
/// had not run or had run wholly. The recovery itself dies at every effect as well.
fn dies_anywhere(op: Op) {
    dies_as(op, |found, before, after| found == before || found == after);
}

/// The same with other states in between that are fine.
fn dies_as(op: Op, fits: impl Fn(&State, &State, &State) -> bool) {
    let (before, after) = both_states(op);
    let mut stopped = true;
    let mut n = 0;
    while stopped {
        n += 1;
        let fixture = fixture();
        let store = fixture.open();
        setup(&store);
        let session = store.begin().unwrap();
        let count = stop_at(store.effects(), n, true);
        let result = op(&store, &session);
        drop(session);
        stopped = count.load(Ordering::SeqCst) >= n;
        assert!(stopped || result.is_ok(), "{result:?}");
        drop(store);
        die_in_recovery(&fixture, n);
        let store = fixture.open();
        fixture.recover(&store).unwrap();
        check_whole(&store);
        let found = state(&store);
        assert!(fits(&found, &before, &after), "after effect {n}: {found:?}");
        drop(store);
        assert_eq!(rebuild_index(&fixture.path).unwrap().problems, []);
        assert_eq!(state(&fixture.open()), found);
    }
    assert!(n > 3, "the operation has effects");
}

/// Recovers with every effect as the last one, each time a little further.
fn die_in_recovery(fixture: &Fixture, n: usize) {
    for last in 1.. {
        let store = fixture.open();
        let count = stop_at(store.effects(), last, true);
        let result = fixture.recover(&store);
        if count.load(Ordering::SeqCst) < last {
            result.unwrap_or_else(|error| panic!("recovery after effect {n}: {error}"));
            return;
        }
    }
}

/// Runs `op` with every single effect failing: it says so, and nothing has changed.
fn fails_anywhere(op: Op) {
    let (before, after) = both_states(op);
    for n in 1.. {
        let fixture = fixture();
        let store = fixture.open();
        setup(&store);
        let session = store.begin().unwrap();
        let count = stop_at(store.effects(), n, false);
        let result = op(&store, &session);
        store.effects().set_hook(None);
        if count.load(Ordering::SeqCst) < n {
            result.unwrap();
            return;
        }
        let error = result.err().map(|error| error.to_string());
        assert!(
            error.as_ref().is_none_or(|error| error.contains("/root")),
            "{error:?}"
        );
        let trees = store.root().drivers("vfs");
        session
            .into_dead()
            .recover(&mut |cache| {
                let _ = std::fs::remove_dir(trees.join(cache));
                Ok(())
            })
            .unwrap();
        check_whole(&store);
        let found = state(&store);
        // When only the tidying up failed, it is done.
        let undone = error.is_some() && found == before;
        assert!(undone || found == after, "effect {n}: {error:?}: {found:?}");
    }
}

fn both_states(op: Op) -> (State, State) {
    let fixture = fixture();
    let store = fixture.open();
    setup(&store);
    let before = state(&store);
    let session = store.begin().unwrap();
    op(&store, &session).unwrap();
    session.end().unwrap();
    let after = state(&store);
    assert_ne!(before, after);
    (before, after)
}

fn publish_layer(store: &Store, session: &Session) -> Result<(), Box<dyn std::error::Error>> {
    add_layer(store, session, "c", Some("b"))?;
    // Else it belongs to the session and goes with it.
    Ok(store.keep_layer(&layer_id("c"))?)
}

fn publish_image(store: &Store, session: &Session) -> Result<(), Box<dyn std::error::Error>> {
    store.publish_image(session, &image("three", &["a"]))?;
    Ok(())
}

/// A whole load: layers, image, names.
fn load(store: &Store, session: &Session) -> Result<(), Box<dyn std::error::Error>> {
    add_layer(store, session, "c", Some("b"))?;
    add_layer(store, session, "d", Some("c"))?;
    let names = [name("new:1"), name("one:1")];
    let image = image("three", &["a", "b", "c", "d"]);
    let done = store.publish_image_as(session, &image, &names)?;
    assert_eq!(done.moved.len(), 1);
    Ok(())
}

/// Many images at once: new ones, one that is there, one that is given twice, names that are
/// new, that move, that two of them give.
fn publish_many(store: &Store, session: &Session) -> Result<(), Box<dyn std::error::Error>> {
    add_layer(store, session, "c", Some("b"))?;
    let batch = [
        new_image("three", &["a", "b", "c"], &["three:1", "both:1"]),
        new_image("two", &["a"], &["two:2"]),
        new_image("four", &["a", "c"], &["one:1", "both:1"]),
        new_image("three", &["a", "b", "c"], &["three:2"]),
        new_image("five", &[], &[]),
    ];
    let done = store.publish_images(session, &batch)?;
    let new: Vec<bool> = done
        .iter()
        .map(|one| one.published == Published::New)
        .collect();
    assert_eq!(new, [true, false, true, false, true]);
    let (one, three) = (image("one", &[]).id, image("three", &[]).id);
    assert_eq!(
        done[2].moved,
        [(name("one:1"), one), (name("both:1"), three)]
    );
    Ok(())
}

fn set_name(store: &Store, session: &Session) -> Result<(), Box<dyn std::error::Error>> {
    store.set_name(session, &name("two:2"), &image("two", &[]).id)?;
    Ok(())
}

fn move_name(store: &Store, session: &Session) -> Result<(), Box<dyn std::error::Error>> {
    let before = store.set_name(session, &name("one:1"), &image("two", &[]).id)?;
    assert_eq!(before, Some(image("one", &[]).id));
    Ok(())
}

fn remove_name(store: &Store, session: &Session) -> Result<(), Box<dyn std::error::Error>> {
    store.remove_name(session, &name("one:1"))?;
    Ok(())
}

fn remove_image(store: &Store, session: &Session) -> Result<(), Box<dyn std::error::Error>> {
    store.remove_image(session, &image("two", &[]).id)?;
    Ok(())
}

/// An index with an image that is there and one that is new.
fn publish_index(store: &Store, session: &Session) -> Result<(), Box<dyn std::error::Error>> {
    let batch = [
        NewImage {
            record: index("index", &["two", "three"]),
            names: vec![name("index:1"), name("one:1")],
        },
        new_image("three", &["a", "b"], &[]),
    ];
    let done = store.publish_images(session, &batch)?;
    assert_eq!(done[0].published, Published::New);
    Ok(())
}

/// More of an index that is there, and the manifest of an image that came without.
fn complete_images(store: &Store, session: &Session) -> Result<(), Box<dyn std::error::Error>> {
    let batch = [
        new_image("bare", &["a"], &[]),
        new_image("three", &["a", "b"], &[]),
        NewImage {
            record: index("small", &["plain", "bare", "three"]),
            names: Vec::new(),
        },
    ];
    store.publish_images(session, &batch)?;
    Ok(())
}

/// With two of its images; the third has a name.
fn remove_index(store: &Store, session: &Session) -> Result<(), Box<dyn std::error::Error>> {
    let removed = store.remove_image(session, &index("small", &[]).id)?;
    let small = index("small", &[]).id;
    let gone = [small, image("plain", &[]).id, image("bare", &[]).id];
    assert_eq!(removed.images, gone);
    Ok(())
}

fn set_size(store: &Store, session: &Session) -> Result<(), Box<dyn std::error::Error>> {
    Ok(store.set_layer_size(session, &layer_id("a"), 7)?)
}

fn set_file(store: &Store, session: &Session) -> Result<(), Box<dyn std::error::Error>> {
    Ok(store.set_layer_file(session, &layer_id("a"), "json", b"{}")?)
}

fn remove_layer(store: &Store, session: &Session) -> Result<(), Box<dyn std::error::Error>> {
    Ok(delete_layer(store, session, "lone")?)
}

#[test]
fn death_while_publishing_a_layer() {
    dies_anywhere(publish_layer);
}

#[test]
fn death_while_publishing_an_image() {
    dies_anywhere(publish_image);
}

#[test]
fn death_while_loading() {
    dies_anywhere(load);
}

#[test]
fn death_while_setting_a_name() {
    dies_anywhere(set_name);
    dies_anywhere(move_name);
}

#[test]
fn death_while_publishing_many_images() {
    dies_anywhere(publish_many);
}

#[test]
fn death_while_publishing_an_index() {
    dies_anywhere(publish_index);
}

#[test]
fn death_while_completing_images() {
    // All that is new appears first, then each of those that were there gets what it lacked.
    dies_as(complete_images, |found, before, after| {
        let new = found.images == after.images && found.names == after.names;
        let one_of_both = |(id, of): (&ImageId, &_)| {
            before.manifests.get(id) == Some(of) || after.manifests.get(id) == Some(of)
        };
        found == before || (new && found.manifests.iter().all(one_of_both))
    });
}

#[test]
fn death_while_removing_an_index() {
    dies_anywhere(remove_index);
}

#[test]
fn death_while_revising_a_layer() {
    dies_anywhere(set_size);
    dies_anywhere(set_file);
}

#[test]
fn death_while_removing_a_name() {
    dies_anywhere(remove_name);
}

#[test]
fn death_while_removing_an_image() {
    dies_anywhere(remove_image);
}

#[test]
fn death_while_removing_a_layer() {
    dies_anywhere(remove_layer);
}

#[test]
fn full_disk_at_any_step() {
    for op in [
        publish_image,
        set_name,
        move_name,
        remove_name,
        remove_image,
        publish_index,
        remove_index,
        set_size,
        set_file,
    ] {
        fails_anywhere(op);
    }
}

#[test]
fn full_disk_at_any_step_with_layers() {
    for op in [publish_layer, load, publish_many, remove_layer] {
        fails_anywhere(op);
    }
}

/// A kill while an image is removed leaves its layers to be swept, not for ever.
#[test]
fn layers_of_an_image_whose_removal_was_killed_are_swept() {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    add_layer(&store, &session, "a", None).unwrap();
    add_layer(&store, &session, "b", Some("a")).unwrap();
    let one = image("one", &["a", "b"]);
    store.publish_image(&session, &one).unwrap();
    session.end().unwrap();

    let session = store.begin().unwrap();
    let layers = store.remove_image(&session, &one.id).unwrap();
    assert_eq!(layers.layers, one.layers);
    stop_at(store.effects(), 1, true);
    drop(session);
    drop(store);

    let store = fixture.open();
    let done = fixture.recover(&store).unwrap();
    assert_eq!(done.swept, [layer_id("b"), layer_id("a")]);
    check_whole(&store);
    assert_eq!(state(&store), State::default());
}

/// One session is swept while another, dead as well, still holds the top: with the top goes
/// all that had to stay because of it, whatever step the second recovery is killed at.
#[test]
fn ancestors_that_another_session_kept_go_with_it() {
    let prepare = |store: &Store| {
        let [builder, reader] = [store.begin().unwrap(), store.begin().unwrap()];
        for (layer, parent) in [("a", None), ("b", Some("a")), ("c", Some("b"))] {
            add_layer(store, &builder, layer, parent).unwrap();
        }
        store.retain(&reader, &[layer_id("c")]).unwrap();
        let trees = store.root().drivers("vfs");
        let mut remove = |cache: &str| Ok(std::fs::remove_dir(trees.join(cache))?);
        let done = builder.into_dead().recover(&mut remove).unwrap();
        assert_eq!(done.swept, []);
        reader
    };
    let mut step = 1;
    loop {
        let fixture = fixture();
        let store = fixture.open();
        let reader = prepare(&store);
        stop_at(store.effects(), step, true);
        let trees = store.root().drivers("vfs");
        let recovered = reader
            .into_dead()
            .recover(&mut |cache| match std::fs::remove_dir(trees.join(cache)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            });
        drop(store);
        let store = fixture.open();
        fixture.recover(&store).unwrap();
        check_whole(&store);
        assert_eq!(state(&store), State::default(), "killed at step {step}");
        if recovered.is_ok() {
            break;
        }
        step += 1;
    }
    assert!(step > 3, "{step} steps");
}

/// What a dead session had published and an image claimed stays.
#[test]
fn claimed_layers_of_a_dead_session_stay() {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    for layer in ["a", "b", "c"] {
        add_layer(&store, &session, layer, None).unwrap();
    }
    store
        .publish_image(&session, &image("one", &["a"]))
        .unwrap();
    store.keep_layer(&layer_id("b")).unwrap();
    stop_at(store.effects(), 1, true);
    drop(session);
    drop(store);

    let store = fixture.open();
    assert_eq!(fixture.recover(&store).unwrap().swept, [layer_id("c")]);
    assert_eq!(state(&store).layers, [layer_id("a"), layer_id("b")].into());
    check_whole(&store);
}

/// A tree that cannot be removed is tried again.
#[test]
fn recovery_that_fails_is_repeated() {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    let intent = Intent::Layer {
        id: layer_id("x"),
        cache: "tree".into(),
    };
    drop(session.intend(&intent).unwrap());
    session.end().unwrap();
    let error = store.recover(&mut |_| Err("no".into())).unwrap_err();
    assert!(matches!(error, StoreError::AbandonedTree { .. }), "{error}");
    let dead = store.dead_sessions().unwrap();
    assert_eq!(
        dead.iter()
            .map(|dead| dead.intents().unwrap())
            .collect::<Vec<_>>(),
        [[intent]]
    );
    drop(dead);
    assert_eq!(store.recover(&mut |_| Ok(())).unwrap().trees, ["tree"]);
    check_whole(&store);
}

/// One damaged file does not keep everything else from being recovered.
#[test]
fn recovery_leaves_what_is_damaged() {
    let fixture = fixture();
    let store = fixture.open();
    setup(&store);
    let session = store.begin().unwrap();
    std::fs::write(session.dir().join("intent-99999999.json"), b"").unwrap();
    let one = name("one:1");
    std::fs::write(store.root().name(&one), b"noise").unwrap();
    drop(session.intend(&Intent::Name { name: one.clone() }).unwrap());
    let intent = Intent::Layer {
        id: layer_id("x"),
        cache: "tree".into(),
    };
    drop(session.intend(&intent).unwrap());
    let done = session.into_dead().recover(&mut |_| Ok(())).unwrap();
    assert_eq!(done.trees, ["tree"]);
    assert_eq!(done.problems.len(), 2, "{done:?}");
    assert_eq!(store.dead_sessions().unwrap().len(), 0);
    // Setting the name heals it.
    let session = store.begin().unwrap();
    store
        .set_name(&session, &one, &image("two", &[]).id)
        .unwrap();
    session.end().unwrap();
    check_whole(&store);
}

/// The making of a root is stopped at every effect, then done again.
#[test]
fn death_while_making_a_root() {
    for n in 1.. {
        let folder = folder();
        let path = folder.path().join("root");
        let effects = std::sync::Arc::new(Effects::default());
        let count = stop_at(&effects, n, true);
        let result = Store::open_with(&path, &options(), effects);
        let finished = count.load(Ordering::SeqCst) < n;
        assert_eq!(result.is_ok(), finished);
        drop(result);
        let store = Store::open(&path, &options()).unwrap();
        setup(&store);
        if finished {
            return;
        }
    }
}
