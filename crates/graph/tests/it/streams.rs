//! Layers read while others want them gone, and spooled ones.

use std::io::{Read, Seek, SeekFrom};
use std::sync::Mutex;

use lith_graph::{DeleteError, Event, GraphError, Observer, SpoolError};
use lith_store::RemoveLayerError;

use crate::fixture::{id, on_each_driver, register, tar};

#[test]
fn a_stream_keeps_its_layer() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let content = tar(&[("f", &[3; 3_000_000])]);
        let (_, layer) = register(&graph, &session, None, &content);
        graph.keep(&layer.id).unwrap();
        session.end().unwrap();
        let mut stream = graph.tar_layer(&layer.id).unwrap();
        let mut read = vec![0; 1000];
        stream.read_exact(&mut read).unwrap();
        let other = fixture.open();
        let session = other.store().begin().unwrap();
        let refused = other.delete(&session, &layer.id).unwrap_err();
        let DeleteError::Remove(RemoveLayerError::InUse { sessions, .. }) = refused else {
            panic!("{refused}");
        };
        assert_eq!(sessions.len(), 1);
        stream.read_to_end(&mut read).unwrap();
        assert!(read == content);
        drop(stream);
        other.delete(&session, &layer.id).unwrap();
        session.end().unwrap();
        drop((graph, other));
        fixture.assert_layers(0);
    });
}

#[derive(Default)]
struct Seen {
    events: Mutex<Vec<String>>,
    cancel: bool,
}

impl Observer for Seen {
    fn event(&self, event: &Event<'_>) {
        self.events.lock().unwrap().push(format!("{event:?}"));
    }

    fn cancelled(&self) -> bool {
        self.cancel
    }
}

#[test]
fn a_spooled_layer_is_read_at_will_and_has_no_name() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let content = tar(&[("f", &[3; 3_000_000])]);
        let (_, layer) = register(&graph, &session, None, &content);
        graph.keep(&layer.id).unwrap();
        session.end().unwrap();
        let seen = Seen::default();
        let mut spooled = graph.temp_layer_archive(&layer.id, &seen).unwrap();
        assert_eq!(fixture.leftovers(), Vec::<String>::new());
        assert_eq!(spooled.len(), content.len() as u64);
        let mut read = Vec::new();
        spooled.read_to_end(&mut read).unwrap();
        assert!(read == content);
        spooled.seek(SeekFrom::Start(100)).unwrap();
        let mut some = [0; 50];
        spooled.read_exact(&mut some).unwrap();
        assert_eq!(some, content[100..150]);

        let events = seen.events.into_inner().unwrap();
        assert!(events[0].contains("LayerStart"), "{events:?}");
        assert!(events[0].contains(&content.len().to_string()), "{events:?}");
        assert!(events[1].contains("LayerBytes"), "{events:?}");
        assert!(events.last().unwrap().contains("LayerDone"), "{events:?}");

        // It needs the layer no more.
        let session = graph.store().begin().unwrap();
        graph.delete(&session, &layer.id).unwrap();
        session.end().unwrap();
        spooled.rewind().unwrap();
        read.clear();
        spooled.read_to_end(&mut read).unwrap();
        assert!(read == content);
        drop(graph);
        fixture.assert_layers(0);
    });
}

#[test]
fn a_damaged_layer_is_not_spooled() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let (_, layer) = register(&graph, &session, None, &tar(&[("f-file", &[3; 3000])]));
        std::fs::write(&fixture.tree_files("f-file")[0], b"short").unwrap();
        let error = graph.temp_layer_archive(&layer.id, &()).unwrap_err();
        let SpoolError::Damaged(damage) = error else {
            panic!("{error}");
        };
        assert_eq!(damage.layer, layer.id);
        assert!(damage.reason.contains("f-file"), "{damage}");
        let cancel = Seen {
            cancel: true,
            ..Seen::default()
        };
        let error = graph.temp_layer_archive(&layer.id, &cancel).unwrap_err();
        assert!(matches!(error, SpoolError::Cancelled { .. }), "{error}");
        let error = graph.temp_layer_archive(&id("ab"), &()).unwrap_err();
        assert!(
            matches!(error, SpoolError::Graph(GraphError::NotFound { .. })),
            "{error}"
        );
        session.end().unwrap();
        assert_eq!(fixture.leftovers(), Vec::<String>::new());
    });
}
