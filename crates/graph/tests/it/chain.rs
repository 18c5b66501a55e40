//! A thousand layers, one on the other.

use lith_store::LayerId;

use crate::fixture::{Fixture, plain, tar};

const LAYERS: u16 = 1000;

fn number(n: u16) -> LayerId {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&n.to_be_bytes());
    LayerId::from_bytes(bytes)
}

#[test]
fn a_thousand_layers_are_registered_listed_and_deleted() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: real ownership needs root");
        return;
    }
    for driver in ["overlay", "vfs"] {
        let fixture = Fixture::in_memory(driver);
        // A stack of an eighth of what a test thread has: whatever recurses is found out.
        let run = || thousand(&fixture);
        std::thread::scope(|scope| {
            let small = std::thread::Builder::new().stack_size(256 << 10);
            small.spawn_scoped(scope, run).unwrap().join().unwrap();
        });
        fixture.assert_layers(0);
    }
}

fn thousand(fixture: &Fixture) {
    let start = std::time::Instant::now();
    let graph = fixture.open();
    let session = graph.store().begin().unwrap();
    let content = tar(&[("f", b"x")]);
    for n in 0..LAYERS {
        let descriptor = plain(number(n), n.checked_sub(1).map(number));
        graph
            .register(&session, &descriptor, Some(&mut &content[..]), &())
            .unwrap();
    }
    eprintln!("registered after {:?}", start.elapsed());
    let top = number(LAYERS - 1);
    let chain = graph.chain(&top).unwrap();
    assert_eq!(chain.len(), usize::from(LAYERS));
    assert_eq!((chain[0], chain[999]), (number(0), top));
    assert_eq!(graph.heads().unwrap(), [top]);
    assert_eq!(graph.by_parent().unwrap().len(), 999);
    let map = graph.map().unwrap();
    assert_eq!((map.layers.len(), map.damaged.len()), (1000, 0));
    eprintln!("listed after {:?}", start.elapsed());
    let v1 = graph.v1_chain(&session, &top).unwrap();
    let v1: serde_json::Value = serde_json::from_slice(&v1).unwrap();
    assert_eq!(v1["parent"], number(LAYERS - 2).hex());
    assert!(graph.v1(&number(0)).is_ok());
    eprintln!("v1 chain after {:?}", start.elapsed());
    let swept = graph.sweep_unclaimed(&session, &[top]).unwrap();
    assert_eq!(swept.len(), 1000);
    eprintln!("deleted after {:?}", start.elapsed());
    session.end().unwrap();
}
