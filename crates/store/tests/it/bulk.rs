//! Questions about everything at once agree with those about one thing.

use std::collections::BTreeMap;

use lith_store::*;

use crate::common::*;

/// A small forest: `a` - `b` - `c`, `a` - `d`, and `e` alone.
fn forest() -> (Fixture, Store, Session) {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    for (layer, parent) in [
        ("a", None),
        ("b", Some("a")),
        ("c", Some("b")),
        ("d", Some("a")),
        ("e", None),
    ] {
        add_layer(&store, &session, layer, parent).unwrap();
    }
    (fixture, store, session)
}

#[test]
fn heads_and_children() {
    let (_fixture, store, session) = forest();
    let ids = |names: &[&str]| names.iter().map(|name| layer_id(name)).collect::<Vec<_>>();
    assert_eq!(store.heads().unwrap(), ids(&["c", "d", "e"]));
    let children: BTreeMap<LayerId, Vec<LayerId>> = [
        (layer_id("a"), ids(&["b", "d"])),
        (layer_id("b"), ids(&["c"])),
    ]
    .into();
    assert_eq!(store.by_parent().unwrap(), children);
    for (layer, count) in [("a", 2), ("b", 1), ("c", 0), ("none", 0)] {
        assert_eq!(store.parent_refs(&layer_id(layer)).unwrap(), count);
    }
    delete_layer(&store, &session, "c").unwrap();
    assert_eq!(store.heads().unwrap(), ids(&["b", "d", "e"]));
    assert_eq!(store.parent_refs(&layer_id("b")).unwrap(), 0);
}

#[test]
fn uses_of_layers() {
    let (fixture, store, session) = forest();
    let (one, two) = (image("one", &["a", "b", "b"]), image("two", &["a", "d"]));
    for image in [&one, &two] {
        store.publish_image(&session, image).unwrap();
    }
    store.keep_layer(&layer_id("e")).unwrap();
    // Dead, and no longer a holder.
    let dead = store.begin().unwrap();
    store.retain(&dead, &[layer_id("c")]).unwrap();
    stop_at(store.effects(), 1, true);
    drop(dead);
    store.effects().set_hook(None);
    let other = fixture.open();
    let second = other.begin().unwrap();
    other.retain(&second, &[layer_id("a")]).unwrap();

    let uses = store.layer_uses().unwrap();
    let layers: Vec<LayerRecord> = uses.iter().map(|used| used.layer.clone()).collect();
    assert_eq!(layers, store.layers().unwrap());
    for used in &uses {
        let id = &used.layer.id;
        assert_eq!(used.images, store.images_using(id).unwrap());
        assert_eq!(used.held_by, store.holders(id).unwrap());
        assert_eq!(used.kept, *id == layer_id("e"));
    }
    assert_eq!(uses[0].held_by.len(), 2);
    assert_eq!(uses[0].images.len(), 2);
}

/// What is asked for some images is what the listing of all says of them.
#[test]
fn some_images_as_in_the_whole_listing() {
    let (_fixture, store, session) = forest();
    let uncounted = LayerRecord {
        size: None,
        ..record("f", None)
    };
    let staged = session.scratch("layer").unwrap();
    store.publish_layer(&session, &staged, &uncounted).unwrap();
    let layers = ["a", "b", "c", "d", "e", "f"];
    for number in 0..64_usize {
        let mut chosen: Vec<&str> = layers
            .iter()
            .enumerate()
            .filter(|(bit, _)| number & (1 << bit) != 0)
            .map(|(_, layer)| *layer)
            .collect();
        if number % 3 == 0 {
            chosen.extend(chosen.clone());
        }
        let mut image = image(&number.to_string(), &chosen);
        image.created =
            (number % 5 != 0).then(|| format!("2024-01-{:02}T00:00:00Z", number % 7 + 1));
        store.publish_image(&session, &image).unwrap();
        for tag in 0..number % 4 {
            let name = name(&format!("r{}.io/x{number}:{tag}", 9 - tag));
            store.set_name(&session, &name, &image.id).unwrap();
        }
        // From one image, that has its layers alone, to many.
        let all = store.images().unwrap();
        let ids: Vec<ImageId> = all.iter().map(|image| image.id).collect();
        for step in [1, 2, 7] {
            let mut asked: Vec<ImageId> = ids.iter().step_by(step).copied().collect();
            asked.reverse();
            asked.push(ImageId::of_bytes(b"none"));
            asked.extend(asked.first().copied());
            let expected: Vec<_> = all.iter().step_by(step).cloned().collect();
            assert_eq!(store.images_of(&asked).unwrap(), expected);
        }
    }
    assert_eq!(store.images_of(&[]).unwrap(), []);
}

/// Loops and gaps, which only damage can make, are told, not followed.
#[test]
fn chains_of_a_damaged_index() {
    let (_fixture, store, _session) = forest();
    let index = rusqlite::Connection::open(store.root().index()).unwrap();
    let set = "UPDATE layers SET parent = ?2,
               record = json_set(record, '$.parent', ?2) WHERE id = ?1";
    let chain = |top: &str| store.layer_chain(&layer_id(top));
    for (parent, said) in [
        ("c", "comes after"),
        ("a", "comes after"),
        ("none", "no parent"),
    ] {
        let ids = (layer_id("a").hex(), layer_id(parent).hex());
        index.execute(set, ids).unwrap();
        for top in ["a", "c", "d"] {
            let error = chain(top).unwrap_err();
            assert!(matches!(error, StoreError::IndexDamaged { .. }), "{error}");
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}

#[test]
fn claims_are_the_first_few_and_how_many() {
    let (_fixture, store, session) = forest();
    for number in 0..12 {
        let name = format!("on-a-{number}");
        add_layer(&store, &session, &name, Some("a")).unwrap();
        // Twice in one image counts once.
        let record = image(&name, &["a", "a", &name]);
        store.publish_image(&session, &record).unwrap();
    }
    for layer in ["a", "b", "c", "on-a-3", "none"] {
        let id = layer_id(layer);
        let claims = store.layer_claims(&id).unwrap();
        let (images, layers) = (
            store.images_using(&id).unwrap(),
            store.children(&id).unwrap(),
        );
        assert_eq!(claims.image_count, images.len() as u64, "{layer}");
        assert_eq!(claims.layer_count, layers.len() as u64, "{layer}");
        assert!(claims.images.iter().all(|image| images.contains(image)));
        let shown = layers.len().min(LayerClaims::SHOWN);
        assert_eq!(claims.layers, layers[..shown], "{layer}");
        assert_eq!(claims.images.len(), images.len().min(LayerClaims::SHOWN));
        assert_eq!(claims.is_empty(), images.is_empty() && layers.is_empty());
    }
}
