//! Layers that are made here.

use lith_graph::{Container, CreateOptions, RegisterError};

use crate::fixture::{empty, id, on_each_driver, read_back, tar};

#[test]
fn a_layer_of_a_container_says_so() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        empty(&graph, &session, id("a0"), None);
        let object = |text: &str| Some(serde_json::from_str(text).unwrap());
        let options = CreateOptions {
            container: Some(Container {
                id: "c0ffee".into(),
                parent: Some(id("a0")),
                config: object(r#"{"Cmd":["make"]}"#),
            }),
            comment: Some("a comment".into()),
            author: Some("somebody".into()),
            config: object(r#"{"Env":["A=1"]}"#),
        };
        let content = tar(&[("f", b"x")]);
        let before = jiff::Timestamp::now();
        let made = graph
            .create(&session, &options, Some(&mut &content[..]), &())
            .unwrap();
        assert!(made.new);
        assert!(read_back(&graph, &made).unwrap() == content);
        let layer = graph.layer(&made.id).unwrap();
        assert_eq!(layer.parent(), Some(&id("a0")));
        assert_eq!(layer.json_parent(), Some(&*id("a0").hex()));
        assert_eq!(layer.json.id, Some(made.id.hex()));
        assert_eq!(layer.json.container.as_deref(), Some("c0ffee"));
        assert_eq!(
            layer.json.container_config,
            Some(serde_json::json!({"Cmd": ["make"]}))
        );
        assert_eq!(layer.json.config, Some(serde_json::json!({"Env": ["A=1"]})));
        assert_eq!(layer.json.comment.as_deref(), Some("a comment"));
        assert_eq!(layer.json.author.as_deref(), Some("somebody"));
        assert_eq!(layer.json.os.as_deref(), Some("linux"));
        let architecture = layer.json.architecture.as_deref().unwrap();
        assert!(
            !["x86_64", "aarch64"].contains(&architecture),
            "{architecture}"
        );
        assert!(
            layer
                .json
                .docker_version
                .as_deref()
                .unwrap()
                .starts_with("lith ")
        );
        let created: jiff::Timestamp = layer.created().parse().unwrap();
        assert!(before <= created && created <= jiff::Timestamp::now());
        assert!(layer.created().ends_with('Z'), "UTC");
    });
}

#[test]
fn without_a_container_there_is_neither_parent_nor_its_config() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let options = CreateOptions::default();
        let one = graph.create(&session, &options, None, &()).unwrap();
        let two = graph.create(&session, &options, None, &()).unwrap();
        assert_ne!(one.id, two.id);
        let layer = graph.layer(&one.id).unwrap();
        assert_eq!(layer.parent(), None);
        assert_eq!(layer.json.container, None);
        assert_eq!(layer.json.container_config, None);
        assert!(read_back(&graph, &one).unwrap() == [0; 1024]);
    });
}

#[test]
fn a_parent_that_is_not_there_is_named_and_nothing_is_kept() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let options = CreateOptions {
            container: Some(Container {
                id: "c0".into(),
                parent: Some(id("a0")),
                config: None,
            }),
            ..CreateOptions::default()
        };
        let error = graph.create(&session, &options, None, &()).unwrap_err();
        let RegisterError::ParentMissing { parent, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(parent, id("a0"));
        session.end().unwrap();
        fixture.assert_layers(0);
    });
}
