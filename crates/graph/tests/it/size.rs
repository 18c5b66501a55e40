//! How large layers are.

use std::path::Path;
use std::process::Command;

use crate::fixture::{Fixture, id, on_each_driver, plain, register, tar};

/// What `du` says of a folder.
fn du(path: &Path) -> u64 {
    let output = Command::new("du").arg("-sB1").arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

fn du_of_all(fixture: &Fixture) -> u64 {
    let below = |path: &str| -> u64 {
        let names = fixture.listing(path);
        let paths = names.iter().map(|name| fixture.path(path).join(name));
        paths.map(|path| du(&path)).sum()
    };
    below("layers") + below(&format!("drivers/{}", fixture.driver))
}

#[test]
fn what_is_swept_gives_back_what_du_says() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let empty = du_of_all(fixture);
        // One path twice: a payload that is kept beside the record.
        let base = tar(&[("d/a", &[1; 100_000]), ("b", b"x"), ("b", &[2; 9000])]);
        let (chain, lower) = register(&graph, &session, None, &base);
        let upper = tar(&[("d/c", &[3; 50_000])]);
        let (_, upper) = register(&graph, &session, Some(&chain), &upper);
        let before = du_of_all(fixture) - empty;
        let disk = [upper.id, lower.id].map(|id| graph.disk(&id).unwrap());
        assert_eq!(disk.iter().sum::<u64>(), before);

        let swept = graph.sweep_unclaimed(&session, &[upper.id]).unwrap();
        let said: Vec<_> = swept.iter().map(|layer| (layer.id, layer.disk)).collect();
        assert_eq!(said, [(upper.id, disk[0]), (lower.id, disk[1])]);
        assert_eq!(du_of_all(fixture), empty);
        assert!(graph.disk(&lower.id).is_err());
    });
}

#[test]
fn a_layer_without_files_still_takes_its_folder() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        graph
            .register(&session, &plain(id("a0"), None), None, &())
            .unwrap();
        fixture.lose_tree(&graph, &id("a0"));
        let folder = du(&fixture.layer(&id("a0")));
        assert_eq!(graph.disk(&id("a0")).unwrap(), folder);
    });
}

#[test]
fn a_size_that_nobody_counted_is_counted_once() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let base = tar(&[("a", &[1; 100_000]), ("b", b"x")]);
        let (chain, lower) = register(&graph, &session, None, &base);
        let upper = tar(&[("a", b"12345"), (".wh.b", b"")]);
        let (_, upper) = register(&graph, &session, Some(&chain), &upper);
        let (_, none) = register(&graph, &session, Some(&chain), &tar(&[]));
        let expected = [(lower.id, 100_001), (upper.id, 5), (none.id, 0)];
        for (id, size) in expected {
            assert_eq!(graph.size(&session, &id).unwrap(), size);
            graph.keep(&id).unwrap();
            forget_size(fixture, &id);
        }
        session.end().unwrap();
        drop(graph);
        std::fs::remove_file(fixture.path("lith.db")).unwrap();

        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        for (id, size) in expected {
            assert_eq!(graph.layer(&id).unwrap().record.size, None);
            assert_eq!(graph.size(&session, &id).unwrap(), size);
            assert_eq!(graph.layer(&id).unwrap().record.size, Some(size), "stored");
        }
        let error = graph.size(&session, &id("ab")).unwrap_err();
        assert!(
            matches!(error, lith_graph::GraphError::NotFound { .. }),
            "{error}"
        );
    });
}

/// Makes a layer one whose size nobody has counted.
fn forget_size(fixture: &Fixture, id: &lith_store::LayerId) {
    let path = fixture.layer(id).join("layer.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut layer: serde_json::Value = serde_json::from_str(&text).unwrap();
    layer["size"] = serde_json::Value::Null;
    std::fs::write(&path, layer.to_string()).unwrap();
}
