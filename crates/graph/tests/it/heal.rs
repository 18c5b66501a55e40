//! Layers that are damaged: files that the driver lost, records that are torn.

use std::fs;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use lith_graph::{DeleteError, Descriptor, Graph, GraphError, RegisterError};
use lith_store::{ChainId, LayerId, LayerRecord};

use crate::fixture::{Fixture, on_each_driver, read_back, register, tar};

const BASE: &[(&str, &[u8])] = &[("a", b"one"), ("dup", b"first"), ("dup", b"second")];
const CHILD: &[(&str, &[u8])] = &[("b", b"two")];

/// Two layers, one on the other, kept.
fn stack(graph: &Graph) -> [(ChainId, LayerId); 2] {
    let session = graph.store().begin().unwrap();
    let (base_chain, base) = register(graph, &session, None, &tar(BASE));
    let (child_chain, child) = register(graph, &session, Some(&base_chain), &tar(CHILD));
    graph.keep(&base.id).unwrap();
    graph.keep(&child.id).unwrap();
    session.end().unwrap();
    [(base_chain, base.id), (child_chain, child.id)]
}

#[test]
fn registering_again_brings_the_files_back_under_the_same_cache_id() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let [(_, base), (_, child)] = stack(&graph);
        let before = graph.layer(&base).unwrap().record;
        fixture.lose_tree(&graph, &base);
        let session = graph.store().begin().unwrap();
        assert!(matches!(
            graph.tar_layer(&base).err(),
            Some(GraphError::NoTree { .. })
        ));
        let missing = graph.retain(&session, &[base]).unwrap_err();
        assert!(matches!(missing, GraphError::Retain(_)), "{missing}");

        let (_, healed) = register(&graph, &session, None, &tar(BASE));
        assert!(healed.new, "its files are");
        session.end().unwrap();
        // What is made anew is waited for.
        let whole = LayerRecord {
            synced: true,
            ..before
        };
        assert_eq!(graph.layer(&base).unwrap().record, whole);
        assert!(read_back(&graph, &healed).unwrap() == tar(BASE));

        let target = fixture.folder.path().join("mounted");
        fs::create_dir(&target).unwrap();
        let mount = graph.mount(&child, &target).unwrap();
        assert_eq!(fs::read(target.join("a")).unwrap(), b"one");
        assert_eq!(fs::read(target.join("b")).unwrap(), b"two");
        drop(mount);
        drop(graph);
        fixture.assert_layers(2);
    });
}

#[test]
fn a_torn_record_is_replaced_with_the_files() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let [(_, base), _] = stack(&graph);
        fixture.lose_tree(&graph, &base);
        let folder = fixture.layer(&base);
        fs::write(folder.join("tar-data.bin.zst"), b"torn").unwrap();
        fs::remove_dir_all(folder.join("kept")).unwrap();
        let session = graph.store().begin().unwrap();
        let (_, healed) = register(&graph, &session, None, &tar(BASE));
        assert!(read_back(&graph, &healed).unwrap() == tar(BASE));
        session.end().unwrap();
        drop(graph);
        fixture.assert_layers(2);
    });
}

#[test]
fn other_content_does_not_heal() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let [(_, base), _] = stack(&graph);
        fixture.lose_tree(&graph, &base);
        let session = graph.store().begin().unwrap();
        let descriptor = Descriptor {
            id: base,
            parent: None,
            diff_id: None,
            json: None,
        };
        let error = graph
            .register(&session, &descriptor, Some(&mut &tar(CHILD)[..]), &())
            .unwrap_err();
        assert!(
            matches!(error, RegisterError::DiffIdMismatch { .. }),
            "{error}"
        );
        assert!(!graph.exists(&base).unwrap());
        session.end().unwrap();
        assert_eq!(fixture.leftovers(), Vec::<String>::new());
    });
}

#[test]
fn a_child_cannot_be_registered_on_a_layer_without_files() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let [(base_chain, base), _] = stack(&graph);
        fixture.lose_tree(&graph, &base);
        let session = graph.store().begin().unwrap();
        let staged = graph
            .stage(&session, &mut &tar(&[("c", b"3")])[..], None, &())
            .unwrap();
        let descriptor = Descriptor::chain(Some(&base_chain), staged.diff_id());
        let error = graph.publish(&session, staged, &descriptor).unwrap_err();
        let RegisterError::ParentMissing { parent, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(parent, base);
    });
}

#[test]
fn many_heal_while_others_read() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let [(_, base), (_, child)] = stack(&graph);
        let reads = AtomicUsize::new(0);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let mut stream = graph.tar_layer(&child).unwrap();
                    std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
            for _ in 0..5 {
                fixture.lose_tree(&graph, &base);
                let healed = AtomicUsize::new(0);
                thread::scope(|scope| {
                    for _ in 0..3 {
                        scope.spawn(|| {
                            let graph = fixture.open();
                            let session = graph.store().begin().unwrap();
                            let (_, layer) = register(&graph, &session, None, &tar(BASE));
                            healed.fetch_add(usize::from(layer.new), Ordering::Relaxed);
                            assert!(read_back(&graph, &layer).unwrap() == tar(BASE));
                        });
                    }
                });
                assert_eq!(healed.load(Ordering::Relaxed), 1);
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(reads.load(Ordering::Relaxed) > 0);
        drop(graph);
        fixture.assert_layers(2);
    });
}

#[test]
fn a_layer_without_files_can_be_deleted() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let [(_, base), (_, child)] = stack(&graph);
        fixture.lose_tree(&graph, &base);
        let session = graph.store().begin().unwrap();
        let refused = graph.delete(&session, &base).unwrap_err();
        assert!(matches!(refused, DeleteError::Remove(_)), "{refused}");
        graph.delete(&session, &child).unwrap();
        assert_eq!(
            graph.delete_prefix(&session, &base.hex()[..20]).unwrap(),
            base
        );
        session.end().unwrap();
        drop(graph);
        fixture.assert_layers(0);
    });
}

#[test]
fn a_folder_that_was_left_without_row_and_files_is_no_layer() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let (_, layer) = register(&graph, &session, None, &tar(BASE));
        graph.keep(&layer.id).unwrap();
        let folder = fixture.layer(&layer.id);
        let copy = fixture.folder.path().join("copy");
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
            }
        }
        graph.delete(&session, &layer.id).unwrap();
        fs::rename(&copy, &folder).unwrap();
        let (_, again) = register(&graph, &session, None, &tar(BASE));
        assert!(again.new);
        assert!(read_back(&graph, &again).unwrap() == tar(BASE));
        graph.keep(&again.id).unwrap();
        session.end().unwrap();
        drop(graph);
        fixture.assert_layers(1);
    });
}

#[test]
fn layers_whose_parent_was_lost_are_made_anew_over_the_new_one() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let [(base_chain, base), _] = stack(&graph);
        drop(graph);
        // Nothing of the base is left, and the index does not know that it ever was.
        fs::remove_dir_all(fixture.layer(&base)).unwrap();
        fixture.lose_index();
        let graph = fixture.open();
        assert!(graph.store().layers().unwrap().is_empty());
        let session = graph.store().begin().unwrap();
        let (_, base) = register(&graph, &session, None, &tar(BASE));
        let (child_chain, child) = register(&graph, &session, Some(&base_chain), &tar(CHILD));
        assert!(child.new, "the old one stands on nothing");
        graph.keep(&base.id).unwrap();
        graph.keep(&child.id).unwrap();
        session.end().unwrap();

        let target = fixture.folder.path().join("mounted");
        fs::create_dir(&target).unwrap();
        let mount = graph.mount(&child.id, &target).unwrap();
        assert_eq!(fs::read(target.join("a")).unwrap(), b"one");
        assert_eq!(fs::read(target.join("b")).unwrap(), b"two");
        drop(mount);
        let session = graph.store().begin().unwrap();
        let above = tar(&[("c", b"three")]);
        let (_, above) = register(&graph, &session, Some(&child_chain), &above);
        assert!(above.new, "it finds what it stands on");
    });
}

#[test]
fn a_rebuilt_index_lists_no_layer_over_the_wrong_tree() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let [(_, base), (_, child)] = stack(&graph);
        drop(graph);
        fs::remove_dir_all(fixture.layer(&base)).unwrap();
        fixture.lose_index();
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let (_, base) = register(&graph, &session, None, &tar(BASE));
        graph.keep(&base.id).unwrap();
        session.end().unwrap();
        drop(graph);
        fixture.lose_index();
        let graph = fixture.open();
        assert!(graph.exists(&base.id).unwrap());
        assert!(!graph.exists(&child).unwrap());
    });
}

/// Reads a layer whole; true when that worked.
fn reads(graph: &Graph, id: &LayerId) -> bool {
    let mut bytes = Vec::new();
    graph
        .tar_layer(id)
        .is_ok_and(|mut stream| stream.read_to_end(&mut bytes).is_ok())
}

/// A way to damage the base of a [`stack`].
type Damage = fn(&Fixture, &LayerId);

const DAMAGES: &[(&str, Damage)] = &[
    ("a file has changed", |fixture, _| {
        for file in fixture.tree_files("a") {
            fs::write(file, "ONE").unwrap();
        }
    }),
    ("a file is gone", |fixture, _| {
        for file in fixture.tree_files("a") {
            fs::remove_file(file).unwrap();
        }
    }),
    ("the record is torn", |fixture, base| {
        fs::write(fixture.layer(base).join("tar-data.bin.zst"), "torn").unwrap();
    }),
    ("the record is gone", |fixture, base| {
        fs::remove_file(fixture.layer(base).join("tar-data.bin.zst")).unwrap();
    }),
    ("a payload is gone", |fixture, base| {
        fs::remove_dir_all(fixture.layer(base).join("kept")).unwrap();
    }),
    ("its folder is gone", |fixture, base| {
        fs::remove_dir_all(fixture.layer(base)).unwrap();
    }),
];

#[test]
fn damage_that_was_found_is_gone_when_the_layer_is_registered_again() {
    on_each_driver(|fixture| {
        for (round, (what, damage)) in DAMAGES.iter().enumerate() {
            let fixture = Fixture::like(fixture, round);
            let graph = fixture.open();
            let [(base_chain, base), (_, child)] = stack(&graph);
            damage(&fixture, &base);
            assert!(!reads(&graph, &base), "{what}");

            let session = graph.store().begin().unwrap();
            let (_, healed) = register(&graph, &session, None, &tar(BASE));
            assert!(healed.new, "{what}");
            assert!(read_back(&graph, &healed).unwrap() == tar(BASE), "{what}");
            let (_, again) = register(&graph, &session, None, &tar(BASE));
            assert!(!again.new, "{what}: it is whole now");
            let (_, above) = register(&graph, &session, Some(&base_chain), &tar(CHILD));
            assert!(!above.new, "{what}: nothing is wrong with it");
            assert!(reads(&graph, &child), "{what}");
            session.end().unwrap();
            drop(graph);
            fixture.lose_index();
            fixture.assert_layers(2);
        }
    });
}

#[test]
fn damage_below_a_mount_is_left_until_it_ends() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let [(_, base), _] = stack(&graph);
        for file in fixture.tree_files("a") {
            fs::write(file, "ONE").unwrap();
        }
        assert!(!reads(&graph, &base));
        let target = fixture.folder.path().join("mounted");
        fs::create_dir(&target).unwrap();
        let mount = graph.mount(&base, &target).unwrap();
        let session = graph.store().begin().unwrap();
        let staged = graph
            .stage(&session, &mut &tar(BASE)[..], None, &())
            .unwrap();
        let descriptor = Descriptor::chain(None, staged.diff_id());
        let refused = graph.publish(&session, staged, &descriptor).unwrap_err();
        let text = with_causes(&refused);
        assert!(text.contains(&target.display().to_string()), "{text}");
        drop(mount);
        let (_, healed) = register(&graph, &session, None, &tar(BASE));
        assert!(healed.new);
        session.end().unwrap();
        assert!(reads(&graph, &base));
    });
}

/// An error with its causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
