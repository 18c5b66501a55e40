//! Deleting, and what keeps a layer from it.

use std::sync::Arc;
use std::thread;

use lith_graph::{DeleteError, Descriptor, GraphError, RegisterError};
use lith_store::{Effect, RemoveLayerError};

use crate::fixture::{die, empty, id, on_each_driver, plain, register, tar};

#[test]
fn a_prefix_is_enough() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        empty(&graph, &session, id("ab"), None);
        empty(&graph, &session, id("ac"), None);
        let error = graph.delete_prefix(&session, "a").unwrap_err();
        let ambiguous = matches!(error, DeleteError::Graph(GraphError::Ambiguous { .. }));
        assert!(ambiguous, "{error}");
        assert_eq!(graph.delete_prefix(&session, "ab").unwrap(), id("ab"));
        assert_eq!(graph.delete_prefix(&session, "a").unwrap(), id("ac"));
        let error = graph.delete_prefix(&session, "a").unwrap_err();
        let gone = matches!(error, DeleteError::Graph(GraphError::NotFound { .. }));
        assert!(gone, "{error}");
        session.end().unwrap();
        drop(graph);
        fixture.assert_layers(0);
    });
}

/// Fails at every step of a deletion in turn: the layer is whole or gone, and the next open
/// leaves nothing.
#[test]
fn whatever_fails_leaves_it_whole_or_gone() {
    on_each_driver(|fixture| {
        for step in 0.. {
            let graph = fixture.open();
            let session = graph.store().begin().unwrap();
            let content = tar(&[("f", b"x")]);
            let (_, layer) = register(&graph, &session, None, &content);
            graph.keep(&layer.id).unwrap();
            session.end().unwrap();

            let session = graph.store().begin().unwrap();
            let left = std::sync::atomic::AtomicI32::new(step);
            let hook = move |_: &Effect<'_>| match left
                .fetch_sub(1, std::sync::atomic::Ordering::Relaxed)
            {
                0 => Err(std::io::Error::other("the power failed")),
                _ => Ok(()),
            };
            graph.store().effects().set_hook(Some(Arc::new(hook)));
            let deleted = graph.delete(&session, &layer.id);
            graph.store().effects().set_hook(None);
            die(session);
            drop(graph);

            let graph = fixture.open();
            let there = graph.exists(&layer.id).unwrap();
            if there {
                let mut stream = graph.tar_layer(&layer.id).unwrap();
                std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
            }
            drop(graph);
            fixture.assert_layers(usize::from(there));
            if deleted.is_ok() {
                assert!(!there);
                assert!(step > 3, "{step} steps are too few");
                break;
            }
        }
    });
}

/// Fails at every step of a registration in turn.
#[test]
fn whatever_fails_leaves_nothing_of_a_registration() {
    on_each_driver(|fixture| {
        for step in 0.. {
            let graph = fixture.open();
            let session = graph.store().begin().unwrap();
            let left = std::sync::atomic::AtomicI32::new(step);
            let hook = move |_: &Effect<'_>| match left
                .fetch_sub(1, std::sync::atomic::Ordering::Relaxed)
            {
                0 => Err(std::io::Error::other("the power failed")),
                _ => Ok(()),
            };
            graph.store().effects().set_hook(Some(Arc::new(hook)));
            let descriptor = Descriptor {
                json: Some(b"{}".to_vec()),
                ..plain(id("ab"), None)
            };
            let content = tar(&[("f", b"x")]);
            let made = graph.register(&session, &descriptor, Some(&mut &content[..]), &());
            graph.store().effects().set_hook(None);
            if made.is_err() {
                assert_eq!(graph.store().layers().unwrap(), []);
                assert_eq!(graph.driver().list().unwrap(), []);
                assert_eq!(fixture.listing("layers"), Vec::<String>::new());
            }
            session.end().unwrap();
            if made.is_err() {
                drop(graph);
                fixture.assert_layers(0);
                continue;
            }
            assert!(step > 6, "{step} steps are too few");
            break;
        }
    });
}

#[test]
fn a_refused_layer_leaves_nothing() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        // A hard link whose target is in no layer is met when the draft is committed.
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Link);
        header.set_size(0);
        header.set_mode(0o644);
        builder.append_link(&mut header, "link", "nowhere").unwrap();
        let content = builder.into_inner().unwrap();
        let error = graph
            .register(
                &session,
                &plain(id("ab"), None),
                Some(&mut &content[..]),
                &(),
            )
            .unwrap_err();
        let named = matches!(error, RegisterError::Driver(_) | RegisterError::Apply(_));
        assert!(named, "{error}");
        assert_eq!(graph.driver().list().unwrap(), []);
        let staging = fixture.path("staging").join(session.id().as_str());
        assert_eq!(std::fs::read_dir(staging).unwrap().count(), 0);
        session.end().unwrap();
        drop(graph);
        fixture.assert_layers(0);
    });
}

/// A child is registered while its parent is deleted: one of the two is refused.
#[test]
fn no_child_is_left_dangling() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        for _ in 0..12 {
            let session = graph.store().begin().unwrap();
            empty(&graph, &session, id("a0"), None);
            session.end().unwrap();
            thread::scope(|scope| {
                let registering = scope.spawn(|| {
                    let graph = fixture.open();
                    let session = graph.store().begin().unwrap();
                    let descriptor = plain(id("b0"), Some(id("a0")));
                    let made = graph.register(&session, &descriptor, None, &());
                    if made.is_ok() {
                        graph.keep(&id("b0")).unwrap();
                    }
                    made
                });
                let graph = fixture.open();
                let session = graph.store().begin().unwrap();
                let deleted = graph.delete(&session, &id("a0"));
                let made = registering.join().unwrap();
                match (&made, &deleted) {
                    (Ok(_), Err(DeleteError::Remove(RemoveLayerError::InUse { .. }))) => {}
                    (Err(RegisterError::ParentMissing { .. }), Ok(())) => {}
                    // Refused to both: the parent was held when it was to be deleted, and that
                    // is the worst that may happen.
                    other => panic!("{other:?}"),
                }
            });
            let session = graph.store().begin().unwrap();
            for pair in ["b0", "a0"] {
                match graph.delete(&session, &id(pair)) {
                    Ok(()) | Err(DeleteError::Graph(GraphError::NotFound { .. })) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        drop(graph);
        fixture.assert_layers(0);
    });
}
