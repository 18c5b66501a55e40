//! The same content under another chain.

use std::fs;
use std::io::{self, Read};

use lith_graph::{Descriptor, Event, Observer, RegisterError};
use lith_store::{ChainId, DiffId};

use crate::fixture::{id, on_each_driver, plain, read_back, register, tar};

/// Data that nobody is to read.
struct Untouched;

impl Read for Untouched {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the data was read"))
    }
}

const SHARED: &[(&str, &[u8])] = &[("shared", &[7; 5000])];

#[test]
fn it_is_made_from_the_layer_that_is_there() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let (_, first) = register(&graph, &session, None, &tar(SHARED));
        let (other, _) = register(&graph, &session, None, &tar(&[("x", b"y")]));
        let diff_id = first.diff_id.unwrap();
        let descriptor = Descriptor::chain(Some(&other), &diff_id);
        let made = graph
            .register(&session, &descriptor, Some(&mut Untouched), &())
            .unwrap();
        assert!(made.new);
        assert_eq!(made.diff_id, Some(diff_id));
        assert!(read_back(&graph, &made).unwrap() == tar(SHARED));

        let chain = ChainId::of(Some(&other), &diff_id);
        let descriptor = Descriptor::chain(Some(&chain), &diff_id);
        let made = graph.register(&session, &descriptor, None, &()).unwrap();
        assert!(read_back(&graph, &made).unwrap() == tar(SHARED));
    });
}

#[test]
fn a_damaged_layer_is_not_trusted_and_the_data_is_read() {
    struct Warned(std::sync::Mutex<Vec<String>>);
    impl Observer for Warned {
        fn event(&self, event: &Event<'_>) {
            if let Event::Warning { message } = event {
                self.0.lock().unwrap().push((*message).to_owned());
            }
        }
    }
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let (_, first) = register(&graph, &session, None, &tar(SHARED));
        let diff_id = first.diff_id.unwrap();
        for (pair, damage) in [("b1", false), ("b2", true)] {
            match damage {
                false => fs::write(&fixture.tree_files("shared")[0], [8; 5000]).unwrap(),
                true => {
                    graph.delete(&session, &id("b1")).unwrap();
                    fixture.lose_tree(&graph, &first.id);
                }
            }
            let descriptor = Descriptor {
                diff_id: Some(diff_id),
                ..plain(id(pair), None)
            };
            let without = graph
                .register(&session, &descriptor, None, &())
                .unwrap_err();
            assert!(matches!(without, RegisterError::NoData { .. }), "{without}");
            let warned = Warned(std::sync::Mutex::default());
            let content = tar(SHARED);
            let made = graph
                .register(&session, &descriptor, Some(&mut &content[..]), &warned)
                .unwrap();
            assert!(read_back(&graph, &made).unwrap() == content);
            let warnings = warned.0.into_inner().unwrap();
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            assert!(warnings[0].contains(&first.id.hex()), "{warnings:?}");
        }
        session.end().unwrap();
    });
}

#[test]
fn what_nobody_has_needs_data() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let descriptor = Descriptor {
            diff_id: Some(DiffId::from_bytes([1; 32])),
            ..plain(id("ab"), None)
        };
        let error = graph
            .register(&session, &descriptor, None, &())
            .unwrap_err();
        assert!(matches!(error, RegisterError::NoData { .. }), "{error}");
        session.end().unwrap();
        fixture.assert_layers(0);
    });
}

#[test]
fn a_held_layers_own_stream_can_be_the_data_of_another() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let (chain, first) = register(&graph, &session, None, &tar(SHARED));
        graph.retain(&session, &[first.id]).unwrap();
        // Under an ID of its own, without a diff ID: the stream itself is read.
        let mut stream = graph.tar_layer(&first.id).unwrap();
        let descriptor = plain(id("ab"), Some(first.id));
        let made = graph
            .register(&session, &descriptor, Some(&mut stream), &())
            .unwrap();
        assert!(read_back(&graph, &made).unwrap() == tar(SHARED));
        // And of the very ID that is being read.
        let mut stream = graph.tar_layer(&first.id).unwrap();
        let again = Descriptor::chain(None, &first.diff_id.unwrap());
        assert_eq!(again.id, (&chain).into());
        let known = graph
            .register(&session, &again, Some(&mut stream), &())
            .unwrap();
        assert!(!known.new);
    });
}
