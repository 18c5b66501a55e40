//! Who holds a layer, and until when.

use lith_graph::GraphError;
use lith_store::RetainError;

use crate::fixture::{die, empty, id, on_each_driver, plain};

#[test]
fn a_layer_is_held_until_the_last_lets_go() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        empty(&graph, &session, id("a0"), None);
        assert!(graph.is_held(&id("a0")).unwrap(), "by who registered it");
        session.end().unwrap();
        assert!(!graph.is_held(&id("a0")).unwrap());

        let [one, two, three] = [(), (), ()].map(|()| fixture.open().store().begin().unwrap());
        graph.retain(&one, &[id("a0")]).unwrap();
        graph.retain(&two, &[id("a0")]).unwrap();
        graph.retain(&two, &[id("a0")]).unwrap();
        graph.retain(&three, &[id("a0")]).unwrap();
        assert_eq!(graph.holders(&id("a0")).unwrap().len(), 3);
        let asking = graph.store().begin().unwrap();
        graph.delete(&asking, &id("a0")).unwrap_err();
        graph.release(&one, &[id("a0")]).unwrap();
        graph.delete(&asking, &id("a0")).unwrap_err();
        assert_eq!(graph.sweep_unclaimed(&asking, &[id("a0")]).unwrap(), []);
        two.end().unwrap();
        assert!(graph.is_held(&id("a0")).unwrap());
        die(three);
        assert!(!graph.is_held(&id("a0")).unwrap(), "the dead hold nothing");
        graph.delete(&asking, &id("a0")).unwrap();
        assert!(!graph.is_held(&id("a0")).unwrap());
    });
}

#[test]
fn all_are_held_or_none() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        empty(&graph, &session, id("a0"), None);
        session.end().unwrap();
        let session = graph.store().begin().unwrap();
        let error = graph
            .retain(&session, &[id("a0"), id("b0"), id("c0")])
            .unwrap_err();
        let GraphError::Retain(RetainError::Missing { missing }) = error else {
            panic!("{error}");
        };
        assert_eq!(missing, [id("b0"), id("c0")]);
        assert!(!graph.is_held(&id("a0")).unwrap());
        let error = graph.keep(&id("b0")).unwrap_err();
        assert!(matches!(error, GraphError::Retain(_)), "{error}");
    });
}

#[test]
fn what_is_kept_outlives_its_session_and_its_process() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        for pair in ["a0", "b0"] {
            let descriptor = plain(id(pair), None);
            graph.register(&session, &descriptor, None, &()).unwrap();
        }
        graph.keep(&id("a0")).unwrap();
        die(session);
        drop(graph);
        let graph = fixture.open();
        assert!(graph.exists(&id("a0")).unwrap());
        assert!(!graph.exists(&id("b0")).unwrap(), "nobody claimed it");
        let session = graph.store().begin().unwrap();
        assert_eq!(graph.sweep_unclaimed(&session, &[id("a0")]).unwrap(), []);
        graph.unkeep(&id("a0")).unwrap();
        assert_eq!(
            graph.sweep_unclaimed(&session, &[id("a0")]).unwrap().len(),
            1
        );
        session.end().unwrap();
        drop(graph);
        fixture.assert_layers(0);
    });
}
