//! What is known of layers, and how damage to it is told.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lith_graph::{DamagedLayer, Descriptor, Graph, GraphError, JsonError, RegisterError};
use lith_store::{BlobId, LayerId, Session};

use crate::fixture::{Fixture, empty, id, on_each_driver, plain};

/// Registers an empty layer with JSON.
fn with_json(
    graph: &Graph,
    session: &Session,
    id: LayerId,
    parent: Option<LayerId>,
    json: &str,
) -> Result<(), RegisterError> {
    let descriptor = Descriptor {
        json: Some(json.as_bytes().to_vec()),
        ..plain(id, parent)
    };
    graph.register(session, &descriptor, None, &()).map(drop)
}

#[test]
fn everything_that_was_registered_is_shown() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let hex = id("ab").hex();
        // Odd blanks, an unknown member, a number that no double holds: byte for byte.
        let json = format!(
            "{{ \"id\":\"{hex}\",\n\"created\":\"2015-08-19T16:49:11.5Z\",\"author\":\"A\",\
             \"comment\":\"C\",\"container\":\"c0\",\"container_config\":{{\"Cmd\":[\"x\"]}},\
             \"config\":{{\"Env\":null}},\"architecture\":\"arm64\",\"os\":\"linux\",\
             \"variant\":\"v8\",\"what\":12345678901234567890123 }}\n\n"
        );
        with_json(&graph, &session, id("ab"), None, &json).unwrap();
        let layer = graph.get("ab").unwrap();
        assert_eq!(*layer.id(), id("ab"));
        assert_eq!(layer.parent(), None);
        assert_eq!(layer.created(), "2015-08-19T16:49:11.5Z");
        assert_eq!(layer.json.author.as_deref(), Some("A"));
        assert_eq!(layer.json.comment.as_deref(), Some("C"));
        assert_eq!(layer.json.container.as_deref(), Some("c0"));
        assert_eq!(layer.json.architecture.as_deref(), Some("arm64"));
        assert_eq!(layer.json.os.as_deref(), Some("linux"));
        assert_eq!(layer.json.variant.as_deref(), Some("v8"));
        let config = serde_json::json!({"Env": null});
        assert_eq!(layer.json.config, Some(config));
        let container_config = serde_json::json!({"Cmd": ["x"]});
        assert_eq!(layer.json.container_config, Some(container_config));
        assert_eq!(layer.raw_json.as_deref(), Some(json.as_bytes()));
        assert_eq!(graph.raw_json(&id("ab")).unwrap(), Some(json.into_bytes()));
        assert!(layer.record.diff_id.is_some());
        assert_eq!(layer.record.size, Some(0));
        assert_eq!(layer.checksum, None);

        let file = fixture.layer(&id("ab")).join("json");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    });
}

#[test]
fn a_layer_without_json_has_its_key_and_its_time() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        empty(&graph, &session, id("ab"), None);
        let layer = graph.layer(&id("ab")).unwrap();
        assert_eq!(layer.raw_json, None);
        assert_eq!(graph.raw_json(&id("ab")).unwrap(), None);
        assert_eq!(layer.created(), layer.record.created);
    });
}

#[test]
fn the_parent_in_the_graph_wins_and_both_are_shown() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        empty(&graph, &session, id("aa"), None);
        let json = format!(r#"{{"parent_id":"sha256:{}"}}"#, id("cc"));
        with_json(&graph, &session, id("bb"), Some(id("aa")), &json).unwrap();
        let layer = graph.get("bb").unwrap();
        assert_eq!(layer.parent(), Some(&id("aa")));
        assert_eq!(layer.json_parent(), Some(&*id("cc").hex()));
        assert_eq!(graph.parent(&id("bb")).unwrap(), Some(id("aa")));
        assert_eq!(graph.parent_refs(&id("cc")).unwrap(), 0);
    });
}

#[test]
fn a_descriptor_is_read_from_json() {
    let json = |text: String| text.into_bytes();
    let whole = json(format!(
        r#"{{"id":"{}","parent":"{}"}}"#,
        id("ab"),
        id("cd")
    ));
    let read = Descriptor::from_json(None, whole.clone()).unwrap();
    assert_eq!((read.id, read.parent), (id("ab"), Some(id("cd"))));
    assert_eq!(read.json, Some(whole));

    let by_digest = json(format!(r#"{{"parent_id":"sha256:{}"}}"#, id("cd")));
    let read = Descriptor::from_json(Some(&id("ee")), by_digest.clone()).unwrap();
    assert_eq!((read.id, read.parent), (id("ee"), Some(id("cd"))));

    let error = Descriptor::from_json(None, by_digest).unwrap_err();
    assert!(
        matches!(error, JsonError::Missing { member: "id" }),
        "{error}"
    );
    for (bad, named) in [
        (r#"{"id":"short"}"#.to_owned(), "id"),
        (
            format!(
                r#"{{"id":"{}"}}"#,
                id("AB".to_lowercase().as_str()).hex().to_uppercase()
            ),
            "id",
        ),
        (format!(r#"{{"id":"{}","parent":"x"}}"#, id("ab")), "parent"),
    ] {
        match Descriptor::from_json(None, bad.into_bytes()).unwrap_err() {
            JsonError::Member { member, .. } => assert_eq!(member, named),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn json_that_cannot_be_used_is_refused_before_data_is_read() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let other = format!(r#"{{"id":"{}"}}"#, id("cd"));
        for bad in ["", "nonsense", "[]", r#"{"author":1}"#, &other] {
            let mut unread: &[u8] = b"no tar at all";
            let descriptor = Descriptor {
                json: Some(bad.as_bytes().to_vec()),
                ..plain(id("ab"), None)
            };
            let error = graph
                .register(&session, &descriptor, Some(&mut unread), &())
                .unwrap_err();
            if bad == other {
                let text = error.to_string();
                assert!(matches!(error, RegisterError::JsonId { .. }), "{text}");
                assert!(text.contains(&id("ab").hex()) && text.contains(&id("cd").hex()));
            } else {
                assert!(
                    matches!(error, RegisterError::Json { .. }),
                    "{bad}: {error}"
                );
            }
            assert_eq!(unread, b"no tar at all");
        }
        session.end().unwrap();
        fixture.assert_layers(0);
    });
}

#[test]
fn damaged_json_is_told_and_never_taken_for_none() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        with_json(&graph, &session, id("ab"), None, r#"{"author":"A"}"#).unwrap();
        let file = fixture.layer(&id("ab")).join("json");
        let damages: [&dyn Fn(); 3] = [
            &|| fs::write(&file, r#"{"author":"B"}"#).unwrap(),
            &|| fs::write(&file, "").unwrap(),
            &|| fs::remove_file(&file).unwrap(),
        ];
        for damage in damages {
            damage();
            for error in [
                graph.get("ab").err(),
                graph.raw_json(&id("ab")).err(),
                graph.layer(&id("ab")).err(),
            ] {
                let error = error.unwrap();
                assert!(matches!(error, GraphError::Corrupt { .. }), "{error}");
                assert!(error.to_string().contains(&id("ab").hex()), "{error}");
            }
            let map = graph.map().unwrap();
            assert_eq!((map.layers.len(), map.damaged.len()), (0, 1));
        }
    });
}

#[test]
fn an_id_that_differs_from_its_key_is_corruption_that_names_both() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        // Such a record cannot be registered; written by something else, it could be there.
        empty(&graph, &session, id("ab"), None);
        let json = format!(r#"{{"id":"{}"}}"#, id("cd"));
        fs::write(fixture.layer(&id("ab")).join("json"), json).unwrap();
        let error = graph.get("ab").unwrap_err();
        let GraphError::IdMismatch { key, found } = &error else {
            panic!("{error}");
        };
        assert_eq!((*key, found.clone()), (id("ab"), id("cd").hex()));
    });
}

#[test]
fn prefixes_that_fit_several_name_them() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        for pair in ["ab", "ac", "b0"] {
            empty(&graph, &session, id(pair), None);
        }
        assert_eq!(*graph.get("b").unwrap().id(), id("b0"));
        assert_eq!(*graph.get(&id("ac").hex()).unwrap().id(), id("ac"));
        match graph.get("a").unwrap_err() {
            GraphError::Ambiguous { prefix, candidates } => {
                assert_eq!(prefix, "a");
                assert_eq!(candidates, [id("ab"), id("ac")]);
            }
            other => panic!("{other}"),
        }
        let long = "a".repeat(65);
        for bad in ["", "g", "AB", "ab ", "sha256:ab", &long] {
            let error = graph.get(bad).unwrap_err();
            assert!(matches!(error, GraphError::BadId { .. }), "{bad}: {error}");
        }
        // One of two whose files are gone makes no prefix ambiguous, but it is still registered.
        fixture.lose_tree(&graph, &id("ab"));
        assert_eq!(*graph.get("a").unwrap().id(), id("ac"));
        let ambiguous = graph.find_id("a").unwrap_err();
        assert!(matches!(ambiguous, GraphError::Ambiguous { .. }));
        assert_eq!(graph.find_id("ab").unwrap(), id("ab"));
    });
}

#[test]
fn relations_are_counted() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        assert_eq!(graph.heads().unwrap(), []);
        assert!(graph.by_parent().unwrap().is_empty());
        for (pair, parent) in [
            ("a0", None),
            ("b1", Some("a0")),
            ("b2", Some("a0")),
            ("c0", None),
        ] {
            empty(&graph, &session, id(pair), parent.map(id));
        }
        let mut heads = graph.heads().unwrap();
        heads.sort_unstable();
        assert_eq!(heads, [id("b1"), id("b2"), id("c0")]);
        let by_parent = graph.by_parent().unwrap();
        assert_eq!(by_parent.len(), 1, "no entry without children");
        assert_eq!(by_parent[&id("a0")], [id("b1"), id("b2")]);
        assert_eq!(graph.children(&id("a0")).unwrap(), [id("b1"), id("b2")]);
        assert_eq!(graph.parent_refs(&id("a0")).unwrap(), 2);
        assert!(graph.has_children(&id("a0")).unwrap());
        assert!(!graph.has_children(&id("b1")).unwrap());
        assert_eq!(graph.parent_refs(&id("b1")).unwrap(), 0);
        graph.delete(&session, &id("b1")).unwrap();
        assert_eq!(graph.parent_refs(&id("a0")).unwrap(), 1);
        graph.delete(&session, &id("b2")).unwrap();
        assert!(graph.by_parent().unwrap().is_empty());
        assert_eq!(graph.heads().unwrap().len(), 2);
    });
}

#[test]
fn all_layers_are_listed_and_damage_is_reported() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        for pair in ["a0", "b0", "c0"] {
            empty(&graph, &session, id(pair), None);
        }
        let map = graph.map().unwrap();
        let ids: Vec<LayerId> = map.layers.keys().copied().collect();
        assert_eq!(ids, [id("a0"), id("b0"), id("c0")]);
        assert!(map.damaged.is_empty());

        fixture.lose_tree(&graph, &id("b0"));
        let stray = fixture.layer(&id("ff"));
        fs::create_dir(&stray).unwrap();
        let mut listed = Vec::new();
        let mut damaged = Vec::new();
        for layer in graph.layers().unwrap() {
            match layer {
                Ok(layer) => listed.push(*layer.id()),
                Err(error) => damaged.push(error),
            }
        }
        assert_eq!(listed, [id("a0"), id("c0")]);
        let [
            DamagedLayer::NoTree { layer, .. },
            DamagedLayer::Unlisted { path },
        ] = &damaged[..]
        else {
            panic!("{damaged:?}");
        };
        assert_eq!((*layer, path), (id("b0"), &stray));

        assert!(!graph.exists(&id("b0")).unwrap());
        for error in [
            graph.get("b0").err(),
            graph.layer(&id("b0")).err(),
            graph.raw_json(&id("b0")).err(),
        ] {
            assert!(
                matches!(error, Some(GraphError::NotFound { .. })),
                "{error:?}"
            );
        }
    });
}

#[test]
fn the_digest_of_the_transport_is_kept() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        empty(&graph, &session, id("ab"), None);
        let error = graph.layer_digest(&id("ab")).unwrap_err();
        assert!(matches!(error, GraphError::DigestNotSet { .. }), "{error}");
        for content in [b"one", b"two"] {
            let digest = BlobId::of_bytes(content);
            graph
                .set_layer_digest(&session, &id("ab"), &digest)
                .unwrap();
            assert_eq!(graph.layer_digest(&id("ab")).unwrap(), digest);
            assert_eq!(fixture.open().get("ab").unwrap().checksum, Some(digest));
        }
        fs::write(fixture.layer(&id("ab")).join("checksum"), "sha256:torn").unwrap();
        let error = graph.layer_digest(&id("ab")).unwrap_err();
        assert!(matches!(error, GraphError::Corrupt { .. }), "{error}");

        let digest = BlobId::of_bytes(b"");
        for error in [
            graph.layer_digest(&id("cd")).err(),
            graph.set_layer_digest(&session, &id("cd"), &digest).err(),
        ] {
            assert!(
                matches!(error, Some(GraphError::NotFound { .. })),
                "{error:?}"
            );
        }
    });
}

#[test]
fn the_driver_tells_what_it_is_and_what_space_there_is() {
    on_each_driver(|fixture: &Fixture| {
        let graph = fixture.open();
        let status = graph.driver_status().unwrap();
        assert_eq!(status.name, graph.store().driver());
        assert!(!status.backing.is_empty());
        assert!(status.total > 0 && status.free <= status.total);
    });
}
