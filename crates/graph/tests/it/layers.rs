//! Registering, reading, mounting and deleting layers.

use std::fs;
use std::io::Write;

use lith_graph::{DeleteError, Descriptor, Graph, GraphError};
use lith_store::{ChainId, DiffId, LayerId, RemoveLayerError};

use crate::fixture::{Fixture, die, on_each_driver, read_back, register, tar};

#[test]
fn every_byte_comes_back() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let mut base = tar(&[("a", b"one"), ("b", &[7; 100_000]), ("a", b"again")]);
        base.extend_from_slice(b"junk behind the end");
        let (chain, lower) = register(&graph, &session, None, &base);
        let (_, upper) = register(&graph, &session, Some(&chain), &tar(&[(".wh.b", b"")]));
        assert!(lower.new && upper.new);
        assert_eq!(lower.tar_size, base.len() as u64);
        assert!(read_back(&graph, &lower).unwrap() == base);
        assert!(read_back(&graph, &upper).unwrap() == tar(&[(".wh.b", b"")]));
    });
}

#[test]
fn compressed_transport_is_recognised() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let plain = tar(&[("a", b"one")]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let compressed = gzip.finish().unwrap();
        let (_, layer) = register(&graph, &session, None, &compressed);
        assert!(read_back(&graph, &layer).unwrap() == plain);
    });
}

#[test]
fn registering_again_reads_nothing() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let (_, layer) = register(&graph, &session, None, &tar(&[("a", b"one")]));
        let descriptor = Descriptor::chain(None, &layer.diff_id.unwrap());
        let mut unread: &[u8] = b"no tar at all";
        let again = graph
            .register(&session, &descriptor, Some(&mut unread), &())
            .unwrap();
        assert!(!again.new);
        assert_eq!(unread, b"no tar at all");
    });
}

#[test]
fn without_data_the_layer_is_the_empty_one() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let id = LayerId::random();
        let descriptor = Descriptor {
            id,
            parent: None,
            diff_id: None,
            json: None,
        };
        let layer = graph.register(&session, &descriptor, None, &()).unwrap();
        let empty = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
        assert_eq!(layer.diff_id, Some(empty.parse().unwrap()));
        assert!(read_back(&graph, &layer).unwrap() == [0; 1024]);
    });
}

#[test]
fn prefixes_find_layers() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let id = |text: &str| text.repeat(32).parse::<LayerId>().unwrap();
        for id in [id("ab"), id("ac")] {
            let descriptor = Descriptor {
                id,
                parent: None,
                diff_id: None,
                json: None,
            };
            graph.register(&session, &descriptor, None, &()).unwrap();
        }
        assert_eq!(*graph.get("ab").unwrap().id(), id("ab"));
        let ambiguous = graph.get("a").unwrap_err();
        assert!(
            matches!(ambiguous, GraphError::Ambiguous { candidates, .. } if candidates.len() == 2)
        );
        assert!(matches!(
            graph.get("ff").unwrap_err(),
            GraphError::NotFound { .. }
        ));
        for bad in ["", "AB", "xy", "ab/../ab"] {
            assert!(
                matches!(graph.get(bad).unwrap_err(), GraphError::BadId { .. }),
                "{bad}"
            );
        }
    });
}

/// Three layers, one on the other.
fn stack(graph: &Graph) -> [(ChainId, LayerId); 3] {
    let session = graph.store().begin().unwrap();
    let mut parent = None;
    let stack = [&b"1"[..], b"2", b"3"].map(|content| {
        let (chain, layer) = register(graph, &session, parent.as_ref(), &tar(&[("f", content)]));
        parent = Some(chain);
        graph.store().keep_layer(&layer.id).unwrap();
        (chain, layer.id)
    });
    session.end().unwrap();
    stack
}

#[test]
fn the_graph_knows_its_relations() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let [lowest, middle, top] = stack(&graph).map(|(_, id)| id);
        assert_eq!(graph.parent(&top).unwrap(), Some(middle));
        assert_eq!(graph.parent(&lowest).unwrap(), None);
        assert_eq!(graph.children(&lowest).unwrap(), [middle]);
        assert_eq!(graph.chain(&top).unwrap(), [lowest, middle, top]);
        assert!(!graph.exists(&LayerId::random()).unwrap());
    });
}

#[test]
fn a_layer_that_is_needed_is_not_deleted() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let [lowest, middle, top] = stack(&graph).map(|(_, id)| id);
        let session = graph.store().begin().unwrap();
        let refused = graph.delete(&session, &middle).unwrap_err();
        let DeleteError::Remove(RemoveLayerError::InUse { children, .. }) = &refused else {
            panic!("{refused}");
        };
        assert_eq!(children, &[top]);

        let other = graph.store().begin().unwrap();
        graph.store().retain(&other, &[top]).unwrap();
        graph.delete(&session, &top).unwrap_err();
        other.end().unwrap();

        let target = fixture.folder.path().join("mounted");
        fs::create_dir(&target).unwrap();
        let mount = graph.mount(&top, &target).unwrap();
        assert_eq!(fs::read(target.join("f")).unwrap(), b"3");
        let refused = graph.delete(&session, &top).unwrap_err();
        assert!(matches!(refused, DeleteError::Mounted { .. }), "{refused}");
        drop(mount);

        for id in [top, middle, lowest] {
            graph.delete(&session, &id).unwrap();
        }
        let missing = graph.delete(&session, &top).unwrap_err();
        assert!(
            matches!(missing, DeleteError::Graph(GraphError::NotFound { .. })),
            "{missing}"
        );
        session.end().unwrap();
        fixture.assert_layers(0);
    });
}

#[test]
fn what_a_session_did_not_hand_over_goes_with_it() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        register(&graph, &session, None, &tar(&[("a", b"one")]));
        let candidates = graph.store().unclaimed_layers().unwrap();
        assert!(candidates.is_empty(), "a living session holds it");
        die(session);
        drop(graph);
        fixture.assert_layers(0);
    });
}

#[test]
fn an_abandoned_session_leaves_nothing() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        register(&graph, &session, None, &tar(&[("a", b"one")]));
        graph.abandon(session).unwrap();
        fixture.assert_layers(0);
    });
}

#[test]
fn a_tree_of_no_layer_goes_at_the_first_open_after_a_boot() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let (_, layer) = register(&graph, &session, None, &tar(&[("a", b"one")]));
        graph.store().keep_layer(&layer.id).unwrap();
        session.end().unwrap();
        let stray: lith_drivers::CacheId = "stray".parse().unwrap();
        let draft = graph.driver().prepare(lith_drivers::Parent::Later).unwrap();
        draft.commit(&stray, None).unwrap();
        drop(graph);
        assert!(
            fixture.open().driver().exists(&stray).unwrap(),
            "no boot, no scan"
        );
        // An index that is made anew knows of no boot.
        std::fs::remove_file(fixture.folder.path().join("root/lith.db")).unwrap();
        let graph = fixture.open();
        assert!(!graph.driver().exists(&stray).unwrap());
        assert!(read_back(&graph, &layer).is_ok());
        drop(graph);
        fixture.assert_layers(1);
    });
}

#[test]
fn another_diff_id_is_refused_and_nothing_is_kept() {
    on_each_driver(|fixture: &Fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let wrong = DiffId::from_bytes([7; 32]);
        let content = tar(&[("a", b"one")]);
        let error = graph
            .stage(&session, &mut &content[..], Some(&wrong), &())
            .err()
            .unwrap();
        assert!(error.to_string().contains(&wrong.to_string()), "{error}");
        session.end().unwrap();
        fixture.assert_layers(0);
    });
}
