//! What is made, after a crash of the machine, of layers that nobody knew to be on disk.

use std::fs;
use std::path::PathBuf;

use lith_graph::{Descriptor, Graph, GraphError, RegisterError};
use lith_store::{ChainId, LayerId, LayerRecord};

use crate::fixture::{Fixture, on_each_driver, read_back, register, tar};

const BASE: &[(&str, &[u8])] = &[("a", b"one"), ("c", b"three")];
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

/// Says of all layers that they were published in another boot, and opens the root anew.
fn reboot(fixture: &Fixture, graph: Graph) -> Graph {
    let session = graph.store().begin().unwrap();
    for layer in graph.store().layers().unwrap() {
        let file = fixture.layer(&layer.id).join(LayerRecord::FILE);
        let mut text: serde_json::Value =
            serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert!(text["boot"].is_string(), "{text}");
        text["boot"] = "another".into();
        fs::write(&file, text.to_string()).unwrap();
        // The row is brought in line with the file.
        let size = layer.size.unwrap();
        graph
            .store()
            .set_layer_size(&session, &layer.id, size)
            .unwrap();
    }
    session.end().unwrap();
    drop(graph);
    fixture.open()
}

/// The file of a layer's own tree.
fn file(fixture: &Fixture, graph: &Graph, id: &LayerId, name: &str) -> PathBuf {
    let cache = graph.store().layer(id).unwrap().unwrap().cache;
    let mut files = fixture.tree_files(name).into_iter();
    files
        .find(|path| path.to_string_lossy().contains(&cache))
        .unwrap()
}

/// What a mount shows of a file.
fn shown(
    fixture: &Fixture,
    graph: &Graph,
    id: &LayerId,
    name: &str,
) -> Result<Vec<u8>, GraphError> {
    let target = fixture.folder.path().join("mounted");
    fs::create_dir_all(&target).unwrap();
    let mount = graph.mount(id, &target)?;
    let content = fs::read(target.join(name)).unwrap();
    mount.unmount().unwrap();
    Ok(content)
}

fn synced(graph: &Graph, id: &LayerId) -> bool {
    graph.store().layer(id).unwrap().unwrap().synced
}

/// The layers that are in doubt; the index is of the same opinion.
fn doubtful(graph: &Graph) -> Vec<LayerId> {
    let layers = graph.store().layers().unwrap().into_iter();
    let doubtful = layers.filter(LayerRecord::is_doubtful);
    let doubtful: Vec<LayerId> = doubtful.map(|layer| layer.id).collect();
    let any = graph.store().has_doubtful_layers().unwrap();
    assert_eq!(any, !doubtful.is_empty());
    doubtful
}

#[test]
fn what_was_not_known_to_be_on_disk_is_read_once_before_it_is_mounted() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let [(_, base), (_, child)] = stack(&graph);
        let graph = reboot(fixture, graph);
        assert_eq!(doubtful(&graph), [base, child]);
        assert_eq!(shown(fixture, &graph, &child, "a").unwrap(), b"one");
        assert!(synced(&graph, &base) && synced(&graph, &child));
        assert_eq!(doubtful(&graph), []);
        // Not again: what happens to it from now on is no crash.
        fs::write(file(fixture, &graph, &base, "c"), "THREE").unwrap();
        drop(graph);
        let graph = fixture.open();
        assert_eq!(shown(fixture, &graph, &child, "a").unwrap(), b"one");
        drop(graph);
        fixture.assert_layers(2);
    });
}

#[test]
fn a_lost_file_is_an_error_that_names_the_layer_until_it_is_loaded_again() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let [(base_chain, base), (_, child)] = stack(&graph);
        let lost = file(fixture, &graph, &base, "a");
        let graph = reboot(fixture, graph);
        // What ext4 makes of a file whose content was not written.
        fs::write(&lost, "").unwrap();
        for _ in 0..2 {
            let error = shown(fixture, &graph, &child, "a").unwrap_err();
            let text = error.to_string();
            assert!(
                matches!(&error, GraphError::LostInCrash { layer, .. } if *layer == base),
                "{text}"
            );
            assert!(text.contains("load the archive"), "{text}");
        }
        // Nor is it built upon, or read in another way.
        assert!(
            graph
                .tree(&child)
                .err()
                .unwrap()
                .to_string()
                .contains("lost files")
        );
        let session = graph.store().begin().unwrap();
        let descriptor = Descriptor {
            parent: Some(base),
            ..Descriptor::chain(Some(&base_chain), &lith_store::DiffId::of_bytes(&tar(&[])))
        };
        let refused = graph.register(&session, &descriptor, Some(&mut &tar(&[])[..]), &());
        assert!(
            matches!(
                refused,
                Err(RegisterError::Graph(GraphError::LostInCrash { .. }))
            ),
            "{refused:?}"
        );

        let (_, healed) = register(&graph, &session, None, &tar(BASE));
        assert!(healed.new, "its files are");
        session.end().unwrap();
        assert!(synced(&graph, &base), "nobody doubts it again");
        assert_eq!(shown(fixture, &graph, &child, "a").unwrap(), b"one");
        assert_eq!(doubtful(&graph), []);
        drop(graph);
        fixture.assert_layers(2);
    });
}

#[test]
fn a_load_does_not_reuse_what_was_lost() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let [(base_chain, base), (_, child)] = stack(&graph);
        let lost = file(fixture, &graph, &child, "b");
        let graph = reboot(fixture, graph);
        fs::write(&lost, "TWO").unwrap();
        let session = graph.store().begin().unwrap();
        let there = graph.retain_present(&session, &[base, child]).unwrap();
        let there: Vec<LayerId> = there.iter().map(|layer| layer.id).collect();
        assert_eq!(there, [base]);
        let (_, healed) = register(&graph, &session, Some(&base_chain), &tar(CHILD));
        assert!(healed.new && healed.id == child);
        assert!(read_back(&graph, &healed).unwrap() == tar(CHILD));
        session.end().unwrap();
        assert_eq!(shown(fixture, &graph, &child, "b").unwrap(), b"two");
    });
}

/// A full copy has files that its own record tells nothing of.
#[test]
fn lost_copies_of_a_parents_files_are_found() {
    let fixture = Fixture::new("vfs");
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: layers keep their real owners, which needs root");
        return;
    }
    let graph = fixture.open();
    let [(base_chain, base), (_, child)] = stack(&graph);
    let copy = file(&fixture, &graph, &child, "a");
    let graph = reboot(&fixture, graph);
    fs::write(&copy, "").unwrap();
    let error = shown(&fixture, &graph, &child, "a").unwrap_err();
    assert!(
        matches!(&error, GraphError::LostInCrash { layer, .. } if *layer == child),
        "{error}"
    );
    assert!(error.to_string().contains("its copy of a "), "{error}");
    assert_eq!(shown(&fixture, &graph, &base, "a").unwrap(), b"one");
    let session = graph.store().begin().unwrap();
    let (_, healed) = register(&graph, &session, Some(&base_chain), &tar(CHILD));
    assert!(healed.new);
    session.end().unwrap();
    assert_eq!(shown(&fixture, &graph, &child, "a").unwrap(), b"one");
    drop(graph);
    fixture.assert_layers(2);
}

/// What a layer says of files of the one below is its own, whatever it looks like.
#[test]
fn files_that_a_layer_replaces_are_not_lost() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let below: &[(&str, &[u8])] = &[("d/a", b"one"), ("d/b", b"two"), ("d/c", b"three")];
        let (chain, base) = register(&graph, &session, None, &tar(below));
        // One emptied, one replaced, one removed.
        let above: &[(&str, &[u8])] = &[("./d/a", b""), ("d/b", b"TWO"), ("d/.wh.c", b"")];
        let (_, child) = register(&graph, &session, Some(&chain), &tar(above));
        graph.keep(&base.id).unwrap();
        graph.keep(&child.id).unwrap();
        session.end().unwrap();
        let graph = reboot(fixture, graph);
        assert_eq!(shown(fixture, &graph, &child.id, "d/a").unwrap(), b"");
        assert_eq!(doubtful(&graph), []);
    });
}

#[test]
fn what_was_waited_for_is_not_read() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let [(_, base), (_, child)] = stack(&graph);
        assert_eq!(graph.sync_layers().unwrap(), 2);
        assert_eq!(graph.sync_layers().unwrap(), 0);
        assert_eq!(graph.sync_layers_if_cheap().unwrap(), 0);
        assert!(synced(&graph, &base) && synced(&graph, &child));
        let changed = file(fixture, &graph, &base, "c");
        let graph = reboot(fixture, graph);
        assert_eq!(doubtful(&graph), []);
        // If it were read, this would be found.
        fs::write(&changed, "THREE").unwrap();
        assert_eq!(shown(fixture, &graph, &child, "a").unwrap(), b"one");
    });
}

/// Nobody knows what the disk has of a layer that was being made anew: it is read.
#[test]
fn what_was_being_made_anew_is_in_doubt_after_a_crash() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let [(_, base), (_, child)] = stack(&graph);
        graph.sync_layers().unwrap();
        for layer in [base, child] {
            fs::write(fixture.layer(&layer).join("damaged"), "said before\n").unwrap();
        }
        let lost = file(fixture, &graph, &child, "b");
        drop(reboot(fixture, graph));
        // The first open after a boot compares everything.
        fixture.lose_index();
        let graph = fixture.open();
        assert_eq!(doubtful(&graph), [base, child]);
        fs::write(&lost, "").unwrap();
        let error = shown(fixture, &graph, &child, "b").unwrap_err();
        assert!(
            matches!(&error, GraphError::LostInCrash { layer, .. } if *layer == child),
            "{error}"
        );
        // This one is whole, whatever was said before.
        assert_eq!(doubtful(&graph), [child]);
        assert!(!fixture.layer(&base).join("damaged").exists());
        assert_eq!(shown(fixture, &graph, &base, "a").unwrap(), b"one");
    });
}

/// What the disk refused once is not there because it takes something else.
#[test]
fn a_layer_that_could_not_be_written_is_not_marked() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let [(base_chain, base), (_, child)] = stack(&graph);
        // As a sync does that failed.
        fs::write(
            fixture.layer(&child).join("damaged"),
            "its files may not be on the disk: I/O error\n",
        )
        .unwrap();
        let error = graph.sync_layers().unwrap_err().to_string();
        assert!(
            error.contains(&child.to_string()) && error.contains("may not be on the disk"),
            "{error}"
        );
        assert!(synced(&graph, &base) && !synced(&graph, &child));
        let session = graph.store().begin().unwrap();
        let (_, healed) = register(&graph, &session, Some(&base_chain), &tar(CHILD));
        assert!(healed.new);
        session.end().unwrap();
        assert!(synced(&graph, &child));
        assert_eq!(graph.sync_layers().unwrap(), 0);
    });
}
