//! Writable layers: what they stand on stays, and what was written becomes a layer.

use std::fs;

use lith_drivers::DiffOptions;
use lith_graph::{DeleteError, Descriptor, GraphError, StageDiffError};
use lith_store::{ChainId, RemoveLayerError};

use crate::fixture::{die, on_each_driver, read_back, register, tar};

#[test]
fn what_a_writable_layer_stands_on_stays_whoever_removes_it() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let (low_chain, low) = register(&graph, &session, None, &tar(&[("f", b"low")]));
        let (_, top) = register(&graph, &session, Some(&low_chain), &tar(&[("g", b"top")]));
        let id = graph.create_writable(Some(&top.id), b"note").unwrap();
        let found = graph.writable_layer(&id).unwrap();
        assert_eq!((found.layer, &*found.label), (Some(top.id), &b"note"[..]));
        let prefix = &id.as_str()[..6];
        assert_eq!(graph.find_writable(prefix).unwrap(), Some(id.clone()));
        assert_eq!(graph.find_writable(&id.as_str()[..3]).unwrap(), None);
        let refused = graph.delete(&session, &top.id).unwrap_err();
        let DeleteError::Remove(RemoveLayerError::Claimed { outside, .. }) = &refused else {
            panic!("{refused}");
        };
        assert_eq!(outside, &[format!("writable layer {id}")]);
        assert!(
            graph
                .sweep_unclaimed(&session, &[top.id, low.id])
                .unwrap()
                .is_empty()
        );
        // No image has the layers: the recovery of their session would sweep them.
        die(session);
        drop(graph);
        fixture.lose_index();
        let graph = fixture.open();
        assert!(graph.exists(&top.id).unwrap() && graph.exists(&low.id).unwrap());
        assert_eq!(graph.writable_layers().unwrap(), [found]);
        graph.discard_writable(&id).unwrap();
        let session = graph.store().begin().unwrap();
        assert_eq!(graph.sweep_unclaimed(&session, &[top.id]).unwrap().len(), 2);
        session.end().unwrap();
        fixture.assert_layers(0);
    });
}

#[test]
fn what_was_written_becomes_a_layer_like_any_other() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let (chain, base) = register(&graph, &session, None, &tar(&[("f", b"low"), ("g", b"g")]));
        let id = graph.create_writable(Some(&base.id), b"").unwrap();
        let target = fixture.folder.path().join("mnt");
        fs::create_dir(&target).unwrap();
        let mount = graph.mount_writable(&id, &target).unwrap();
        fs::write(target.join("f"), vec![b'x'; 3 << 20]).unwrap();
        fs::remove_file(target.join("g")).unwrap();
        mount.unmount().unwrap();
        let new = graph.tree_of_writable(&id).unwrap();
        let old = graph.tree_below_writable(&id).unwrap();
        let trees = (&new, old.as_ref());
        let options = DiffOptions::default();
        let (staged, summary) = graph.stage_diff(&session, trees, &options, &()).unwrap();
        assert_eq!((summary.entries, summary.size), (2, 3 << 20));
        let diff_id = *staged.diff_id();
        let descriptor = Descriptor::chain(Some(&chain), &diff_id);
        let made = graph.publish(&session, staged, &descriptor).unwrap();
        assert_eq!(
            made.id.hex(),
            ChainId::of(Some(&chain), &diff_id).digest().hex()
        );
        let again = read_back(&graph, &made).unwrap();
        assert_eq!(lith_store::DiffId::of_bytes(&again), diff_id);
        let mount = graph.mount(&made.id, &target).unwrap();
        assert_eq!(fs::read(target.join("f")).unwrap().len(), 3 << 20);
        assert!(!target.join("g").exists());
        mount.unmount().unwrap();
    });
}

#[test]
fn what_no_layer_can_hold_leaves_nothing() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let (_, base) = register(&graph, &session, None, &tar(&[("f", b"low")]));
        let id = graph.create_writable(Some(&base.id), b"").unwrap();
        let target = fixture.folder.path().join("mnt");
        fs::create_dir(&target).unwrap();
        let mount = graph.mount_writable(&id, &target).unwrap();
        fs::write(target.join("a"), vec![b'x'; 1 << 20]).unwrap();
        fs::write(target.join("z.wh."), "").unwrap();
        fs::write(target.join(".wh.z"), "").unwrap();
        let new = graph.tree_of_writable(&id).unwrap();
        let old = graph.tree_below_writable(&id).unwrap();
        let trees = (&new, old.as_ref());
        let options = DiffOptions::default();
        let refused = graph.stage_diff(&session, trees, &options, &());
        let Err(StageDiffError::Diff(error)) = refused else {
            panic!("{:?}", refused.map(|(_, summary)| summary));
        };
        assert!(error.to_string().contains(".wh.z"), "{error}");
        mount.unmount().unwrap();
        assert_eq!(graph.driver().list().unwrap().len(), 1);
        let missing = "ab".repeat(32).parse().unwrap();
        let error = graph.create_writable(Some(&missing), b"").unwrap_err();
        assert!(matches!(error, GraphError::NotFound { .. }), "{error}");
        assert_eq!(graph.writable_layers().unwrap().len(), 1);
    });
}

#[test]
fn a_layer_that_is_written_over_can_be_made_anew() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let content = tar(&[("f", b"low"), ("g", b"g")]);
        let (_, base) = register(&graph, &session, None, &content);
        let id = graph.create_writable(Some(&base.id), b"").unwrap();
        let target = fixture.folder.path().join("mnt");
        fs::create_dir(&target).unwrap();
        let mount = graph.mount_writable(&id, &target).unwrap();
        fs::write(target.join("new"), "n").unwrap();
        mount.unmount().unwrap();
        fixture.lose_tree(&graph, &base.id);
        let (_, again) = register(&graph, &session, None, &content);
        assert_eq!(again.id, base.id);
        let mount = graph.mount_writable(&id, &target).unwrap();
        assert_eq!(fs::read(target.join("f")).unwrap(), b"low");
        assert_eq!(fs::read(target.join("new")).unwrap(), b"n");
        mount.unmount().unwrap();
        let new = graph.tree_of_writable(&id).unwrap();
        let old = graph.tree_below_writable(&id).unwrap();
        let found = lith_drivers::changes(&new, old.as_ref()).unwrap();
        assert_eq!(found.len(), 1);
    });
}
