//! Images and names.

use std::fs;

use lith_store::*;

use crate::common::*;

fn with_layers(names: &[&str]) -> (Fixture, Store, Session) {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    for layer in names {
        add_layer(&store, &session, layer, None).unwrap();
    }
    (fixture, store, session)
}

#[test]
fn documents_come_back_byte_for_byte() {
    let (_fixture, store, session) = with_layers(&["a", "b"]);
    let mut one = image("{ \"odd\":  1}\n\n", &["a", "b", "a"]);
    one.extra.insert("signature-1".into(), vec![0, 255, 10]);
    assert_eq!(store.publish_image(&session, &one).unwrap(), Published::New);
    assert_eq!(
        store.publish_image(&session, &one).unwrap(),
        Published::AlreadyThere
    );
    assert_eq!(store.image(&one.id).unwrap().unwrap(), one);
    assert_eq!(store.layers_of_image(&one.id).unwrap(), one.layers);
    assert_eq!(store.images_using(&layer_id("a")).unwrap(), [one.id]);
    let folder = store.root().image(&one.id);
    assert_eq!(fs::read(folder.join("config")).unwrap(), one.config);
    assert_eq!(
        fs::read(folder.join("manifest")).unwrap(),
        one.manifest.clone().unwrap()
    );
    assert_eq!(store.image(&ImageId::of_bytes(b"none")).unwrap(), None);

    let mut bare = image("bare", &[]);
    (bare.manifest, bare.parent, bare.created) = (None, None, None);
    store.publish_image(&session, &bare).unwrap();
    assert_eq!(store.image(&bare.id).unwrap().unwrap(), bare);
}

#[test]
fn what_is_not_right_is_refused() {
    let (_fixture, store, session) = with_layers(&["a"]);
    let mut one = image("one", &["a", "x", "y"]);
    match store.publish_image(&session, &one) {
        Err(ImageError::MissingLayers { missing, .. }) => {
            assert_eq!(missing, [layer_id("x"), layer_id("y")]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(listing(&store.root().images()).len(), 0);
    one = image("one", &["a"]);
    one.config.push(b'!');
    let error = store.publish_image(&session, &one).unwrap_err();
    assert!(matches!(error, ImageError::ConfigDigest { .. }), "{error}");
    for file in ["../x", "config", "image.json", "", "a/b", ".x", "A"] {
        let mut one = image("one", &["a"]);
        one.extra.insert(file.into(), vec![]);
        let error = store.publish_image(&session, &one).unwrap_err();
        assert!(matches!(error, ImageError::FileName { .. }), "{file}");
    }
    store
        .publish_image(&session, &image("one", &["a"]))
        .unwrap();
    let error = store
        .publish_image(&session, &image("one", &[]))
        .unwrap_err();
    assert!(matches!(error, ImageError::OtherLayers { .. }), "{error}");
}

#[test]
fn a_damaged_config_is_not_given_out() {
    let (_fixture, store, session) = with_layers(&["a"]);
    let one = image("one", &["a"]);
    store.publish_image(&session, &one).unwrap();
    fs::write(store.root().image(&one.id).join("config"), b"two").unwrap();
    let error = store.image(&one.id).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn a_damaged_image_is_written_anew_when_it_is_published_again() {
    let damages: &[fn(&std::path::Path)] = &[
        |folder| fs::write(folder.join("config"), "other").unwrap(),
        |folder| fs::remove_file(folder.join("config")).unwrap(),
        |folder| fs::remove_file(folder.join("manifest")).unwrap(),
        |folder| fs::write(folder.join("image.json"), "{").unwrap(),
        |folder| fs::remove_dir_all(folder).unwrap(),
    ];
    for damage in damages {
        let (_fixture, store, session) = with_layers(&["a"]);
        let one = image("one", &["a"]);
        let two = image("two", &["a"]);
        let tag = name("app:1");
        store.publish_image(&session, &one).unwrap();
        store.publish_image(&session, &two).unwrap();
        store.set_name(&session, &tag, &one.id).unwrap();
        damage(&store.root().image(&one.id));
        store.image(&one.id).unwrap_err();

        let published = store.publish_image_as(&session, &one, std::slice::from_ref(&tag));
        assert_eq!(published.unwrap().published, Published::AlreadyThere);
        assert_eq!(store.image(&one.id).unwrap().unwrap(), one);
        assert_eq!(store.image(&two.id).unwrap().unwrap(), two);
        assert_eq!(store.names_of(&one.id).unwrap(), [tag]);
        session.end().unwrap();
        check_whole(&store);
    }
}

#[test]
fn names_move() {
    let (_fixture, store, session) = with_layers(&["a"]);
    let (one, two) = (image("one", &["a"]), image("two", &[]));
    store.publish_image(&session, &one).unwrap();
    store.publish_image(&session, &two).unwrap();
    let alpine = name("alpine");
    assert_eq!(store.set_name(&session, &alpine, &one.id).unwrap(), None);
    assert_eq!(store.set_name(&session, &alpine, &one.id).unwrap(), None);
    assert_eq!(
        store.set_name(&session, &alpine, &two.id).unwrap(),
        Some(one.id)
    );
    assert_eq!(
        store
            .name(&name("docker.io/library/alpine:latest"))
            .unwrap(),
        Some(two.id)
    );
    let by_digest = name(&format!("x@{}", Digest::of(b"m")));
    store.set_name(&session, &by_digest, &two.id).unwrap();
    store
        .set_name(&session, &name("alpine:3"), &one.id)
        .unwrap();
    assert_eq!(
        store.names_of(&two.id).unwrap(),
        [alpine.clone(), by_digest.clone()]
    );
    assert_eq!(
        store.tags_of_repository(&alpine).unwrap(),
        [(name("alpine:3"), one.id), (alpine.clone(), two.id)]
    );
    match store.remove_image(&session, &two.id) {
        Err(ImageError::InUse { names, .. }) => assert_eq!(names.len(), 2),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.remove_name(&session, &alpine).unwrap(), Some(two.id));
    assert_eq!(store.remove_name(&session, &alpine).unwrap(), None);
    assert_eq!(store.name(&alpine).unwrap(), None);
    store.remove_name(&session, &by_digest).unwrap();
    assert_eq!(store.remove_image(&session, &two.id).unwrap().layers, []);
    let gone = store.remove_image(&session, &two.id);
    assert!(matches!(gone, Err(ImageError::NotFound { .. })));
    let error = store.set_name(&session, &alpine, &two.id).unwrap_err();
    assert!(matches!(error, NameError::NoImage { .. }), "{error}");
    let error = store
        .set_name(&session, &name("sha256:1"), &one.id)
        .unwrap_err();
    assert!(matches!(error, NameError::Reserved { .. }), "{error}");
    let bare = Reference::parse_bare("alpine").unwrap();
    let error = store.set_name(&session, &bare, &one.id).unwrap_err();
    assert!(matches!(error, NameError::NoTag { .. }), "{error}");
    session.end().unwrap();
    check_whole(&store);
}

#[test]
fn listing_counts_what_is_shared() {
    let (_fixture, store, session) = with_layers(&["a", "b", "c"]);
    let mut one = image("one", &["a", "b", "b"]);
    one.created = Some("2020-01-01T00:00:00Z".into());
    let mut two = image("two", &["a", "c"]);
    two.created = Some("2020-01-01T01:30:00+01:00".into());
    let mut three = image("three", &[]);
    (three.created, three.manifest) = (Some("no date".into()), None);
    for image in [&one, &two, &three] {
        store.publish_image(&session, image).unwrap();
    }
    store.set_name(&session, &name("z:1"), &one.id).unwrap();
    store
        .set_name(&session, &name("reg.io/a:1"), &one.id)
        .unwrap();
    let images = store.images().unwrap();
    let ids: Vec<ImageId> = images.iter().map(|image| image.id).collect();
    assert_eq!(ids, [two.id, one.id, three.id]);
    assert_eq!(
        (images[1].layers, images[1].size, images[1].unique_size),
        (3, 2000, 1000)
    );
    assert_eq!((images[0].size, images[0].unique_size), (2000, 1000));
    assert_eq!((images[2].size, images[2].unique_size), (0, 0));
    assert_eq!(images[1].names, [name("reg.io/a:1"), name("z:1")]);
    assert_eq!(images[0].manifest, Some(Digest::of(b"{\"manifest\":1}")));
    assert_eq!(images[2].manifest, None);
    assert_eq!(images[2].created.as_deref(), Some("no date"));
}

#[test]
fn images_by_truncated_id() {
    let (_fixture, store, session) = with_layers(&[]);
    let one = image("one", &[]);
    store.publish_image(&session, &one).unwrap();
    let hex = one.id.hex();
    for text in [
        &hex,
        &hex[..1],
        &hex[..12],
        &one.id.to_string(),
        &format!("sha256:{}", &hex[..9]),
    ] {
        assert_eq!(store.find_image(text).unwrap(), one.id, "{text}");
        assert_eq!(store.images_by_prefix(text).unwrap(), [one.id]);
    }
    for text in ["", "sha256:", "sha256", "zz", "sha512:aa"] {
        assert!(
            matches!(store.find_image(text), Err(FindError::NotFound { .. })),
            "{text}"
        );
    }
}

#[test]
fn events() {
    let (_fixture, store, _session) = with_layers(&[]);
    let id = ImageId::of_bytes(b"x");
    let first = store
        .record_event(EventKind::Load, Some(&id), Some("alpine:3"))
        .unwrap();
    store.record_event(EventKind::Unmount, None, None).unwrap();
    let events = store.events(0, 10).unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].kind, EventKind::Load);
    assert_eq!(events[0].image, Some(id));
    assert_eq!(events[0].subject.as_deref(), Some("alpine:3"));
    assert_eq!(store.events(first, 10).unwrap(), events[1..]);
    assert_eq!(store.events(0, 1).unwrap(), events[..1]);
    // Only the newest are kept.
    let index = rusqlite::Connection::open(store.root().index()).unwrap();
    let sql = "INSERT INTO events (seq, time, kind) VALUES (?1, '', 'tag')";
    index.execute(sql, [EVENTS_KEPT as i64 + 1]).unwrap();
    store.record_event(EventKind::Push, None, None).unwrap();
    let left: Vec<u64> = store
        .events(0, 10)
        .unwrap()
        .iter()
        .map(|event| event.seq)
        .collect();
    assert_eq!(left, [EVENTS_KEPT + 1, EVENTS_KEPT + 2]);
}

#[test]
fn an_image_that_is_held_goes_only_when_that_is_wanted() {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    add_layer(&store, &session, "low", None).unwrap();
    add_layer(&store, &session, "top", Some("low")).unwrap();
    let record = image("held", &["low", "top"]);
    store.publish_image(&session, &record).unwrap();
    let other = store.begin().unwrap();
    store
        .release(&session, &[layer_id("low"), layer_id("top")])
        .unwrap();
    // Who holds what is below does not hold the image.
    store.retain(&other, &[layer_id("low")]).unwrap();
    let holder = store.begin().unwrap();
    store.retain(&holder, &[layer_id("top")]).unwrap();
    let refused = store.remove_unheld_image(&other, &record.id);
    let Err(ImageError::Held { sessions, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(sessions, [holder.id().clone()]);
    assert!(store.image(&record.id).unwrap().is_some());
    holder.end().unwrap();
    store.remove_unheld_image(&other, &record.id).unwrap();
    assert!(store.image(&record.id).unwrap().is_none());
}
