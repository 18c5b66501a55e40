//! Many at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::fixture::{on_each_driver, register, tar};

#[test]
fn the_same_layers_from_many_threads_are_there_once() {
    on_each_driver(|fixture| {
        let new = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    // A store of its own, as another process would have.
                    let graph = fixture.open();
                    let session = graph.store().begin().unwrap();
                    let mut parent = None;
                    for n in 0..6_u8 {
                        let content = tar(&[("f", &[n; 2000]), ("g", b"shared")]);
                        let (chain, layer) = register(&graph, &session, parent.as_ref(), &content);
                        new.fetch_add(usize::from(layer.new), Ordering::Relaxed);
                        graph.store().keep_layer(&layer.id).unwrap();
                        parent = Some(chain);
                    }
                    session.end().unwrap();
                });
            }
        });
        assert_eq!(new.load(Ordering::Relaxed), 6);
        fixture.assert_layers(6);
    });
}
