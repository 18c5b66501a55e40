//! Roots whose files belong to other users than their layers say.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use lith_graph::{Graph, GraphError, RegisterError};
use lith_store::{IdMaps, IdRange, OpenError, OpenOptions};

use crate::fixture::{Fixture, id, on_each_driver, plain, read_back};

fn range(container: u32, host: u32, count: u32) -> IdRange {
    IdRange {
        container,
        host,
        count,
    }
}

fn maps() -> IdMaps {
    IdMaps {
        uids: vec![range(0, 100_000, 1000), range(5000, 200_000, 10)],
        gids: vec![range(0, 300_000, 1000)],
    }
}

fn options(fixture: &Fixture, maps: IdMaps) -> OpenOptions {
    OpenOptions {
        driver: Some(fixture.driver.to_owned()),
        id_maps: Some(maps),
        create: true,
        ..OpenOptions::default()
    }
}

/// A tar of one file with an owner.
fn owned(name: &str, user: u64, group: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    header.set_uid(user);
    header.set_gid(group);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, name, &b"x"[..]).unwrap();
    builder.into_inner().unwrap()
}

fn owner(path: &Path) -> (u32, u32) {
    let found = path.symlink_metadata().unwrap();
    (found.uid(), found.gid())
}

#[test]
fn owners_are_shifted_and_the_bytes_come_back() {
    on_each_driver(|fixture| {
        let open = || Graph::open_root(&fixture.path(""), &options(fixture, maps())).unwrap();
        let graph = open();
        let root = fixture.path("").metadata().unwrap();
        assert_eq!((root.uid(), root.gid()), (100_000, 300_000));
        assert_eq!(root.mode() & 0o777, 0o700);
        let session = graph.store().begin().unwrap();
        let layers = [
            ("one", 0, 999, (100_000, 300_999)),
            ("two", 5009, 5, (200_009, 300_005)),
        ];
        let mut parent = None;
        for (pair, (name, user, group, host)) in ["a0", "b0"].into_iter().zip(layers) {
            let content = owned(name, user, group);
            let made = graph
                .register(
                    &session,
                    &plain(id(pair), parent),
                    Some(&mut &content[..]),
                    &(),
                )
                .unwrap();
            assert!(read_back(&graph, &made).unwrap() == content);
            for file in fixture.tree_files(name) {
                assert_eq!(owner(&file), host, "{name}");
            }
            parent = Some(id(pair));
        }
        // What the root was made with need not be said again.
        let plain_options = OpenOptions::default();
        let again = Graph::open_root(&fixture.path(""), &plain_options).unwrap();
        assert_eq!(again.store().id_maps(), Some(&maps()));
        let other = IdMaps {
            uids: vec![range(0, 1, 1000)],
            ..maps()
        };
        match Graph::open_root(&fixture.path(""), &options(fixture, other)).err() {
            Some(GraphError::Open(OpenError::OtherIdMaps { .. })) => {}
            error => panic!("{error:?}"),
        }
    });
}

#[test]
fn an_id_outside_the_maps_is_named_and_nothing_is_kept() {
    on_each_driver(|fixture| {
        let graph = Graph::open_root(&fixture.path(""), &options(fixture, maps())).unwrap();
        let session = graph.store().begin().unwrap();
        for (user, group, named) in [(1000, 0, "1000"), (5010, 0, "5010"), (0, 1000, "1000")] {
            let content = owned("some/file", user, group);
            let error = graph
                .register(
                    &session,
                    &plain(id("a0"), None),
                    Some(&mut &content[..]),
                    &(),
                )
                .unwrap_err();
            let RegisterError::Apply(source) = &error else {
                panic!("{error}");
            };
            let text = source.to_string();
            assert!(text.contains("some/file") && text.contains(named), "{text}");
        }
        assert_eq!(graph.driver().list().unwrap(), []);
        assert_eq!(graph.store().layers().unwrap(), []);
        session.end().unwrap();
        assert_eq!(fixture.leftovers(), Vec::<String>::new());
    });
}
