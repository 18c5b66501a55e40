//! What the first open after a boot makes of what it finds.

use std::fs;

use lith_graph::{DamagedLayer, Graph};
use lith_store::{LayerId, OpenOptions};

use crate::fixture::{Fixture, empty, id, on_each_driver};

/// Opens a root whose index is lost: it knows of no boot either, so everything is compared.
fn reopen(fixture: &Fixture) -> Graph {
    fs::remove_file(fixture.path("lith.db")).unwrap();
    let graph = fixture.open();
    assert!(
        !graph.store().needs_scan(),
        "compared once, not at every open"
    );
    graph
}

fn fill(fixture: &Fixture) {
    let graph = fixture.open();
    let session = graph.store().begin().unwrap();
    for pair in ["a0", "b0", "c0"] {
        empty(&graph, &session, id(pair), None);
    }
    session.end().unwrap();
}

#[test]
fn folders_are_adopted_when_complete_and_swept_when_not() {
    on_each_driver(|fixture| {
        fill(fixture);
        fs::remove_file(fixture.layer(&id("b0")).join("layer.json")).unwrap();
        fs::create_dir(fixture.layer(&id("ff"))).unwrap();
        let graph = reopen(fixture);
        let map = graph.map().unwrap();
        let ids: Vec<LayerId> = map.layers.keys().copied().collect();
        assert_eq!(ids, [id("a0"), id("c0")]);
        assert!(map.damaged.is_empty(), "{:?}", map.damaged);
        drop(graph);
        fixture.assert_layers(2);
    });
}

#[test]
fn a_layer_whose_description_is_damaged_is_left_with_its_files() {
    on_each_driver(|fixture| {
        fill(fixture);
        let folder = fixture.layer(&id("b0"));
        fs::write(folder.join("layer.json"), "{").unwrap();
        fs::write(fixture.path("layers").join("odd"), "").unwrap();
        let graph = reopen(fixture);
        let map = graph.map().unwrap();
        assert_eq!(map.layers.len(), 2);
        let mut damaged: Vec<_> = map.damaged.iter().map(ToString::to_string).collect();
        damaged.sort();
        assert_eq!(damaged.len(), 2, "{damaged:?}");
        let unlisted = |error: &DamagedLayer| matches!(error, DamagedLayer::Unlisted { .. });
        assert!(map.damaged.iter().all(unlisted));
        assert!(damaged[0].contains(&id("b0").hex()), "{damaged:?}");
        assert_eq!(graph.driver().list().unwrap().len(), 3);
    });
}

#[test]
fn a_layer_that_the_driver_does_not_have_is_not_listed() {
    on_each_driver(|fixture| {
        fill(fixture);
        fixture.lose_tree(&fixture.open(), &id("b0"));
        let graph = reopen(fixture);
        let map = graph.map().unwrap();
        assert_eq!(map.layers.len(), 2);
        assert!(!graph.exists(&id("b0")).unwrap());
        let [DamagedLayer::NoTree { layer, .. }] = &map.damaged[..] else {
            panic!("{:?}", map.damaged);
        };
        assert_eq!(*layer, id("b0"));
    });
}

#[test]
fn a_root_whose_making_was_killed_is_made_by_the_next() {
    on_each_driver(|fixture| {
        drop(fixture.open());
        // The last thing that is written.
        fs::remove_file(fixture.path("format")).unwrap();
        fixture.lose_index();
        let options = OpenOptions {
            create: true,
            ..OpenOptions::default()
        };
        let root = fixture.folder.path().join("root");
        let graph = Graph::open_root(&root, &options).unwrap();
        assert!(graph.store().layers().unwrap().is_empty());
    });
}
