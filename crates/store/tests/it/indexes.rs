//! Images for several platforms.

use lith_store::*;

use crate::common::*;

/// A store with layers `a` and `b`, and images `one` and `two` of both and one of them.
fn with_images() -> (Fixture, Store, Session) {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    add_layer(&store, &session, "a", None).unwrap();
    add_layer(&store, &session, "b", Some("a")).unwrap();
    for (config, layers) in [("one", &["a", "b"][..]), ("two", &["a"])] {
        store
            .publish_image(&session, &image(config, layers))
            .unwrap();
    }
    (fixture, store, session)
}

fn id(config: &str) -> ImageId {
    image(config, &[]).id
}

#[test]
fn an_index_comes_back_with_its_members() {
    let (_fixture, store, session) = with_images();
    let both = index("{ index }", &["one", "two"]);
    let done = store
        .publish_image_as(&session, &both, &[name("both:1")])
        .unwrap();
    assert_eq!(done.published, Published::New);
    assert_eq!(store.image(&both.id).unwrap().unwrap(), both);
    assert_eq!(store.name(&name("both:1")).unwrap(), Some(both.id));
    let members = &both.index.as_ref().unwrap().members;
    assert_eq!(&store.members_of(&both.id).unwrap(), members);
    assert_eq!(store.indexes_of(&id("one")).unwrap(), [both.id]);
    assert_eq!(store.members_of(&id("one")).unwrap(), []);
    assert_eq!(
        store.publish_image(&session, &both).unwrap(),
        Published::AlreadyThere
    );
    assert_eq!(store.find_image(&both.id.hex()[..12]).unwrap(), both.id);
}

#[test]
fn a_listing_sums_up_what_members_have() {
    let (_fixture, store, session) = with_images();
    for (layer, size) in [("a", 100), ("b", 20)] {
        store
            .set_layer_size(&session, &layer_id(layer), size)
            .unwrap();
    }
    let both = index("index", &["one", "two"]);
    store.publish_image(&session, &both).unwrap();
    let other = index("other", &["two"]);
    store.publish_image(&session, &other).unwrap();
    let all = store.images().unwrap();
    let of = |id: ImageId| all.iter().find(|image| image.id == id).unwrap().clone();
    let summed = |image: ImageSummary| (image.layers, image.size, image.unique_size);
    assert_eq!(summed(of(both.id)), (2, 120, 120));
    assert_eq!(summed(of(other.id)), (1, 100, 0), "another image has it");
    assert_eq!(summed(of(id("one"))), (2, 120, 20));
    assert_eq!(of(both.id).manifest, Some(*both.id.digest()));
    assert_eq!(of(both.id).members, both.index.unwrap().members);
    assert!(of(id("one")).in_index && of(id("two")).in_index);
    assert!(!of(both.id).in_index);
    // The same without looking at everything.
    let ids: Vec<ImageId> = all.iter().map(|image| image.id).collect();
    assert_eq!(store.images_of(&ids).unwrap(), all);
}

#[test]
fn members_stay_as_long_as_the_index() {
    let (_fixture, store, session) = with_images();
    let both = index("index", &["one", "two"]);
    store
        .publish_image_as(&session, &both, &[name("both:1")])
        .unwrap();
    store
        .set_name(&session, &name("two:1"), &id("two"))
        .unwrap();
    let error = store.remove_image(&session, &id("one")).unwrap_err();
    match error {
        ImageError::InIndex { image, indexes } => {
            assert_eq!((image, indexes), (id("one"), vec![both.id]));
        }
        other => panic!("{other}"),
    }
    store.remove_name(&session, &name("both:1")).unwrap();
    let removed = store.remove_image(&session, &both.id).unwrap();
    assert_eq!(removed.images, [both.id, id("one")]);
    assert_eq!(removed.layers, [layer_id("a"), layer_id("b")]);
    assert!(store.has_image(&id("two")).unwrap(), "it has a name");
    session.end().unwrap();
}

#[test]
fn what_is_no_index_is_refused() {
    let (_fixture, store, session) = with_images();
    let lacking = index("index", &["one", "three"]);
    match store.publish_image(&session, &lacking).unwrap_err() {
        ImageError::MissingMembers { missing, .. } => assert_eq!(missing, [id("three")]),
        other => panic!("{other}"),
    }
    for wrong in [
        index("index", &[]),
        ImageRecord {
            layers: vec![layer_id("a")],
            ..index("index", &["one"])
        },
        ImageRecord {
            config: b"index".to_vec(),
            ..index("index", &["one"])
        },
    ] {
        let error = store.publish_image(&session, &wrong).unwrap_err();
        assert!(matches!(error, ImageError::NoIndex { .. }), "{error}");
    }
    let mut other = index("index", &["one"]);
    other.index.as_mut().unwrap().document.push(b' ');
    let error = store.publish_image(&session, &other).unwrap_err();
    assert!(matches!(error, ImageError::ConfigDigest { .. }), "{error}");
    assert_eq!(store.images().unwrap().len(), 2);
}

#[test]
fn what_was_lacking_is_added() {
    let (_fixture, store, session) = with_images();
    let bare = ImageRecord {
        manifest: None,
        ..image("bare", &["a"])
    };
    store.publish_image(&session, &bare).unwrap();
    store
        .publish_image(&session, &index("index", &["two"]))
        .unwrap();
    let whole = image("bare", &["a"]);
    store.publish_image(&session, &whole).unwrap();
    assert_eq!(store.image(&bare.id).unwrap().unwrap(), whole);
    let more = index("index", &["one", "bare"]);
    store.publish_image(&session, &more).unwrap();
    let members = store.image(&more.id).unwrap().unwrap().index.unwrap();
    let members: Vec<ImageId> = members.members.iter().map(|one| one.image).collect();
    assert_eq!(members, [id("two"), id("one"), id("bare")]);
    // Who brings less takes nothing away.
    store.publish_image(&session, &bare).unwrap();
    assert_eq!(store.image(&bare.id).unwrap().unwrap(), whole);
    assert_eq!(store.members_of(&more.id).unwrap().len(), 3);
}

#[test]
fn the_index_is_made_anew_from_the_folders() {
    let (fixture, store, session) = with_images();
    let both = index("index", &["one", "two"]);
    store
        .publish_image_as(&session, &both, &[name("both:1")])
        .unwrap();
    session.end().unwrap();
    let before = state(&store);
    drop(store);
    std::fs::remove_file(fixture.path.join("lith.db")).unwrap();
    let store = fixture.open();
    assert_eq!(state(&store), before);
    check_whole(&store);
    drop(store);
    // Without one of its images it cannot be listed, nor can its name.
    std::fs::remove_dir_all(fixture.open().root().image(&id("one"))).unwrap();
    let report = rebuild_index(&fixture.path).unwrap();
    assert_eq!(report.problems.len(), 2, "{:?}", report.problems);
    assert!(report.problems[0].reason.contains(&id("one").to_string()));
}
