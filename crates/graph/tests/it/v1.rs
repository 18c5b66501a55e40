//! Layers as v1 images.

use std::os::unix::fs::PermissionsExt;

use lith_graph::{Descriptor, Graph, GraphError};
use lith_store::{LayerId, Session};
use serde_json::Value;

use crate::fixture::{empty, id, on_each_driver, plain};

fn with_json(graph: &Graph, session: &Session, id: LayerId, parent: LayerId, json: &str) {
    let descriptor = Descriptor {
        json: Some(json.as_bytes().to_vec()),
        ..plain(id, Some(parent))
    };
    graph.register(session, &descriptor, None, &()).unwrap();
}

fn parsed(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap()
}

#[test]
fn what_is_missing_is_generated_from_the_lowest_up() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        empty(&graph, &session, id("a0"), None);
        let json = format!(
            r#"{{"parent":"{}","created":"2020-01-02T03:04:05Z","odd":1.50,"author":"A"}}"#,
            id("ee")
        );
        with_json(&graph, &session, id("b0"), id("a0"), &json);
        empty(&graph, &session, id("c0"), Some(id("b0")));
        let error = graph.v1(&id("a0")).unwrap_err();
        assert!(matches!(error, GraphError::V1NotSet { .. }), "{error}");

        let top = graph.v1_chain(&session, &id("c0")).unwrap();
        assert_eq!(graph.v1(&id("c0")).unwrap(), top);
        assert_eq!(parsed(&top)["id"], id("c0").hex());
        assert_eq!(parsed(&top)["parent"], id("b0").hex());
        let middle = graph.v1(&id("b0")).unwrap();
        assert_eq!(
            parsed(&middle)["parent"],
            id("a0").hex(),
            "the graph's parent"
        );
        assert_eq!(parsed(&middle)["created"], "2020-01-02T03:04:05Z");
        assert_eq!(parsed(&middle)["author"], "A");
        let text = String::from_utf8(middle).unwrap();
        assert!(text.contains(r#""odd":1.50"#), "{text}");
        let lowest = parsed(&graph.v1(&id("a0")).unwrap());
        assert!(lowest.get("parent").is_none());
        assert_eq!(lowest["created"], "1970-01-01T00:00:00Z");

        assert_eq!(graph.v1_chain(&session, &id("c0")).unwrap(), top, "again");
        let file = fixture.layer(&id("c0")).join("v1.json");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    });
}

#[test]
fn what_is_there_is_left_alone_and_ends_the_walk() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        empty(&graph, &session, id("a0"), None);
        empty(&graph, &session, id("b0"), Some(id("a0")));
        empty(&graph, &session, id("c0"), Some(id("b0")));
        let set = format!("{{ \"id\" : \"sha256:{}\" }}", id("99"));
        graph.set_v1(&session, &id("b0"), set.as_bytes()).unwrap();
        let top = graph.v1_chain(&session, &id("c0")).unwrap();
        assert_eq!(
            parsed(&top)["parent"],
            id("99").hex(),
            "without the algorithm"
        );
        assert_eq!(graph.v1(&id("b0")).unwrap(), set.as_bytes());
        let below = graph.v1(&id("a0")).unwrap_err();
        assert!(matches!(below, GraphError::V1NotSet { .. }), "{below}");

        graph.set_v1(&session, &id("c0"), set.as_bytes()).unwrap();
        assert_eq!(graph.v1_chain(&session, &id("c0")).unwrap(), set.as_bytes());
    });
}

#[test]
fn what_cannot_be_a_parent_is_refused() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        empty(&graph, &session, id("a0"), None);
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"id":""}"#,
            r#"{"id":"ab"}"#,
            r#"{"id":7}"#,
        ] {
            let error = graph
                .set_v1(&session, &id("a0"), bad.as_bytes())
                .unwrap_err();
            assert!(matches!(error, GraphError::V1Json { .. }), "{bad}: {error}");
        }
        let fine = format!(r#"{{"id":"{}"}}"#, id("a0"));
        for error in [
            graph.set_v1(&session, &id("77"), fine.as_bytes()).err(),
            graph.v1(&id("77")).err(),
            graph.v1_chain(&session, &id("77")).err(),
        ] {
            assert!(
                matches!(error, Some(GraphError::NotFound { .. })),
                "{error:?}"
            );
        }
    });
}
