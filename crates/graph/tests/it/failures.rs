//! Damage is named, and failure leaves nothing.

use std::fs;
use std::io::{self, Read};

use lith_graph::{Damage, GraphError, RegisterError};

use crate::fixture::{Fixture, on_each_driver, read_back, register, tar};

const CONTENT: &[u8] = &[b'x'; 70_000];

/// Registers one layer, damages its tree or record, and gives what reading says then.
fn damaged(fixture: &Fixture, damage: impl FnOnce(&Fixture)) -> String {
    let graph = fixture.open();
    let session = graph.store().begin().unwrap();
    let (_, layer) = register(&graph, &session, None, &tar(&[("name-of-file", CONTENT)]));
    damage(fixture);
    let error = match graph.tar_layer(&layer.id) {
        Ok(_) => read_back(&graph, &layer).unwrap_err(),
        Err(error) => io::Error::other(error),
    };
    let text = error.to_string();
    assert!(text.contains(&layer.id.to_string()), "{text}");
    text
}

fn damage_file(fixture: &Fixture, damage: impl FnOnce(&std::path::Path)) {
    let files = fixture.tree_files("name-of-file");
    assert_eq!(files.len(), 1);
    damage(&files[0]);
}

#[test]
fn changed_truncated_and_missing_files_are_named() {
    on_each_driver(|fixture| {
        let text = damaged(fixture, |f| {
            damage_file(f, |p| fs::write(p, [b'y'; 70_000]).unwrap());
        });
        assert!(text.contains("name-of-file"), "{text}");
    });
    on_each_driver(|fixture| {
        let text = damaged(fixture, |f| {
            damage_file(f, |p| fs::write(p, b"short").unwrap());
        });
        assert!(text.contains("name-of-file"), "{text}");
    });
    on_each_driver(|fixture| {
        let text = damaged(fixture, |f| damage_file(f, |p| fs::remove_file(p).unwrap()));
        assert!(text.contains("name-of-file"), "{text}");
    });
    on_each_driver(|fixture| {
        let text = damaged(fixture, |f| {
            damage_file(f, |p| {
                fs::remove_file(p).unwrap();
                std::os::unix::fs::symlink("/etc/passwd", p).unwrap();
            });
        });
        assert!(text.contains("name-of-file"), "{text}");
    });
}

fn record_of(fixture: &Fixture) -> std::path::PathBuf {
    let layer = fixture.listing("layers").remove(0);
    fixture
        .folder
        .path()
        .join("root/layers")
        .join(layer)
        .join("tar-data.bin.zst")
}

#[test]
fn a_torn_or_missing_record_is_damage() {
    on_each_driver(|fixture| {
        damaged(fixture, |fixture| {
            fs::remove_file(record_of(fixture)).unwrap();
        });
    });
    on_each_driver(|fixture| {
        damaged(fixture, |fixture| {
            let path = record_of(fixture);
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        });
    });
    on_each_driver(|fixture| {
        damaged(fixture, |fixture| {
            fs::write(record_of(fixture), b"").unwrap();
        });
    });
}

#[test]
fn a_reader_of_the_announced_length_meets_damage_too() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        // The record's own zero blocks are changed: no file's checksum can tell.
        let (_, layer) = register(&graph, &session, None, &tar(&[("name-of-file", CONTENT)]));
        let path = record_of(fixture);
        let mut plain = zstd::decode_all(fs::File::open(&path).unwrap()).unwrap();
        let zeros = plain.windows(512).position(|window| window == [0; 512]);
        plain[zeros.unwrap() + 300] = 1;
        fs::write(&path, zstd::encode_all(&plain[..], 1).unwrap()).unwrap();

        let mut stream = graph.tar_layer(&layer.id).unwrap();
        let mut bytes = vec![0; usize::try_from(stream.len()).unwrap()];
        let error = stream.read_exact(&mut bytes).unwrap_err();
        let damage = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Damage>());
        assert!(damage.is_some(), "{error}");
    });
}

#[test]
fn what_is_no_tar_is_refused() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let whole = tar(&[("a", CONTENT)]);
        for input in [
            &b"plain text, and not a short one at all"[..],
            &whole[..30_000],
            &whole[..700],
        ] {
            let error = graph
                .stage(&session, &mut &input[..], None, &())
                .err()
                .unwrap();
            // A stream that ends inside a file is met while that file is written.
            let named = matches!(error, RegisterError::Split(_) | RegisterError::Apply(_));
            assert!(named, "{error}");
        }
        session.end().unwrap();
        fixture.assert_layers(0);
    });
}

#[test]
fn a_missing_parent_is_named() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let staged = graph
            .stage(&session, &mut &tar(&[("a", b"1")])[..], None, &())
            .unwrap();
        let parent = lith_store::ChainId::of(None, &lith_store::DiffId::from_bytes([1; 32]));
        let descriptor = lith_graph::Descriptor::chain(Some(&parent), staged.diff_id());
        let error = graph.publish(&session, staged, &descriptor).unwrap_err();
        assert!(
            matches!(error, RegisterError::ParentMissing { .. }),
            "{error}"
        );
        session.end().unwrap();
        fixture.assert_layers(0);
    });
}

#[test]
fn a_cancelled_stage_keeps_nothing() {
    struct Cancel;
    impl lith_graph::Observer for Cancel {
        fn cancelled(&self) -> bool {
            true
        }
    }
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let result = graph.stage(&session, &mut &tar(&[("a", CONTENT)])[..], None, &Cancel);
        assert!(result.is_err());
        drop(result);
        session.end().unwrap();
        fixture.assert_layers(0);
    });
}

#[test]
fn unknown_layers_have_no_stream() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let error = graph
            .tar_layer(&lith_store::LayerId::random())
            .err()
            .unwrap();
        assert!(matches!(error, GraphError::NotFound { .. }), "{error}");
        drop(graph);
        fixture.assert_layers(0);
    });
}
