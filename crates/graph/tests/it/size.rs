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
