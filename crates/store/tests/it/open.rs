//! Opening and making roots.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lith_store::*;

use crate::common::*;

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_new_root() {
    let fixture = fixture();
    let store = fixture.open();
    assert_eq!(mode(&fixture.path), 0o700);
    assert_eq!(mode(&store.root().index()), 0o600);
    assert_eq!(fs::read_to_string(store.root().format()).unwrap(), "1\n");
    assert_eq!(
        fs::read_to_string(store.root().driver_file()).unwrap(),
        "vfs\n"
    );
    assert_eq!(store.driver(), "vfs");
    assert!(!store.needs_scan());
    for folder in [
        store.root().blobs(),
        store.root().archives(),
        store.root().staging(),
    ] {
        assert!(folder.is_dir());
    }
    drop(store);
    let any = OpenOptions {
        create: false,
        ..OpenOptions::default()
    };
    assert_eq!(Store::open(&fixture.path, &any).unwrap().driver(), "vfs");
    assert_eq!(
        Store::driver_of(&fixture.path).unwrap().as_deref(),
        Some("vfs")
    );
}

#[test]
fn an_empty_folder_becomes_a_root() {
    let fixture = fixture();
    fs::create_dir(&fixture.path).unwrap();
    fs::set_permissions(&fixture.path, fs::Permissions::from_mode(0o755)).unwrap();
    drop(fixture.open());
    assert_eq!(mode(&fixture.path), 0o700);
}

#[test]
fn what_is_no_root_is_refused() {
    let fixture = fixture();
    let any = OpenOptions::default();
    assert!(matches!(
        Store::open(&fixture.path, &any),
        Err(OpenError::Missing { .. })
    ));
    assert_eq!(Store::driver_of(&fixture.path).unwrap(), None);
    let create = OpenOptions {
        create: true,
        ..any
    };
    assert!(matches!(
        Store::open(&fixture.path, &create),
        Err(OpenError::DriverNeeded { .. })
    ));
    assert!(!fixture.path.exists());
    fs::create_dir(&fixture.path).unwrap();
    fs::write(fixture.path.join("precious"), b"x").unwrap();
    let error = Store::open(&fixture.path, &options()).unwrap_err();
    assert!(
        matches!(&error, OpenError::NotAStore { found, .. } if found == "precious"),
        "{error}"
    );
    assert_eq!(listing(&fixture.path), ["precious".to_owned()].into());
    for driver in ["", "../x", "A", ".x", "a/b"] {
        let options = OpenOptions {
            driver: Some(driver.into()),
            ..options()
        };
        let result = Store::open(&fixture.path, &options);
        assert!(
            matches!(result, Err(OpenError::DriverName { .. })),
            "{driver}"
        );
    }
}

/// Without its `format` file a full root is not made anew over what it holds.
#[test]
fn a_lost_format_file_loses_nothing() {
    let fixture = fixture();
    drop(fixture.open());
    fs::remove_file(fixture.path.join("format")).unwrap();
    let error = Store::open(&fixture.path, &options()).unwrap_err();
    assert!(matches!(error, OpenError::NotAStore { .. }), "{error}");
}

#[test]
fn other_drivers_ownerships_and_newer_formats_are_refused() {
    let fixture = fixture();
    drop(fixture.open());
    let other = OpenOptions {
        driver: Some("overlay".into()),
        ..options()
    };
    let error = Store::open(&fixture.path, &other).unwrap_err().to_string();
    assert!(
        error.contains("vfs") && error.contains("overlay"),
        "{error}"
    );
    let other = OpenOptions {
        ownership: Some(Ownership::Mapped),
        ..options()
    };
    let error = Store::open(&fixture.path, &other).unwrap_err();
    assert!(matches!(error, OpenError::OtherOwnership { .. }), "{error}");
    fs::write(fixture.path.join("format"), "2\n").unwrap();
    let error = Store::open(&fixture.path, &options()).unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::NewerFormat {
                found: 2,
                supported: 1,
                ..
            }
        ),
        "{error}"
    );
    fs::write(fixture.path.join("format"), "x\n").unwrap();
    let error = Store::open(&fixture.path, &options()).unwrap_err();
    assert!(
        matches!(error, OpenError::Store(StoreError::Damaged { .. })),
        "{error}"
    );
}

#[test]
fn a_newer_index_is_refused() {
    let fixture = fixture();
    let index = fixture.open().root().index();
    let connection = rusqlite::Connection::open(&index).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = Store::open(&fixture.path, &options()).unwrap_err();
    assert!(
        matches!(error, OpenError::NewerIndex { found: 99, .. }),
        "{error}"
    );
}

#[test]
fn a_root_that_cannot_be_made_says_why() {
    let folder = folder();
    fs::write(folder.path().join("file"), b"").unwrap();
    let error = Store::open(&folder.path().join("file/root"), &options()).unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
    let error = Store::open(&folder.path().join("file"), &options()).unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
}

#[test]
fn the_first_open_after_a_boot_compares() {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    add_layer(&store, &session, "a", None).unwrap();
    store
        .publish_image(&session, &image("one", &["a"]))
        .unwrap();
    store
        .set_name(&session, &name("x"), &image("one", &[]).id)
        .unwrap();
    session.end().unwrap();
    let index = store.root().index();
    drop(store);
    // The machine goes down with the newest rows lost.
    let connection = rusqlite::Connection::open(&index).unwrap();
    connection
        .execute_batch("UPDATE meta SET value = 'other'; DELETE FROM names")
        .unwrap();
    connection
        .execute_batch("DELETE FROM images; DELETE FROM image_layers")
        .unwrap();
    drop(connection);
    let store = fixture.open();
    assert!(store.needs_scan());
    assert_eq!(store.name(&name("x")).unwrap(), Some(image("one", &[]).id));
    assert_eq!(store.images().unwrap()[0].layers, 1);
    assert!(fixture.open().needs_scan());
    store.scan_done().unwrap();
    assert!(!store.needs_scan());
    assert!(!fixture.open().needs_scan());
}

/// An index of an earlier version is brought up to date by whoever opens it.
#[test]
fn an_older_index_is_migrated() {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    add_layer(&store, &session, "a", None).unwrap();
    store.keep_layer(&layer_id("a")).unwrap();
    session.end().unwrap();
    let expected = state(&store);
    drop(store);
    let open = || rusqlite::Connection::open(Root::new(&fixture.path).index()).unwrap();
    open()
        .execute_batch(
            "DROP TABLE image_members; DROP INDEX events_subject; DELETE FROM migrations WHERE version > 1;
             PRAGMA user_version = 1;",
        )
        .unwrap();
    let store = fixture.open();
    assert_eq!(state(&store), expected);
    let plan: String = open()
        .query_row(
            "EXPLAIN QUERY PLAN SELECT seq FROM events WHERE kind = 'x' AND subject = 'y'",
            [],
            |row| row.get(3),
        )
        .unwrap();
    assert!(plan.contains("events_subject"), "{plan}");
}

/// Who waited to make or to migrate the index, and finds that another did it, does not wait
/// for that other to close the store.
#[test]
fn who_comes_second_to_a_new_index_uses_it_at_once() {
    let fixture = fixture();
    drop(fixture.open());
    let index = Root::new(&fixture.path).index();
    let aside = fixture.path.join("aside");
    let older = |version: &str| {
        let connection = rusqlite::Connection::open(&index).unwrap();
        connection.execute_batch(version).unwrap();
    };
    for migrated in [false, true] {
        // A store that is open only to hold the lock: its index is not looked at again.
        let first = fixture.open();
        let maintenance = first.lock_maintenance().unwrap();
        if migrated {
            older(
                "DROP TABLE image_members; DROP INDEX events_subject; DELETE FROM migrations WHERE version > 1;
                 PRAGMA user_version = 1;",
            );
        } else {
            fs::rename(&index, &aside).unwrap();
        }
        std::thread::scope(|scope| {
            let second = scope.spawn(|| Store::open(&fixture.path, &options()).map(drop));
            // Time for the second to find that there is something to do. Too little of it
            // makes the test see less, never fail.
            std::thread::sleep(std::time::Duration::from_millis(100));
            if migrated {
                older("PRAGMA user_version = 3;");
            } else {
                fs::rename(&aside, &index).unwrap();
            }
            drop(maintenance);
            second.join().unwrap().unwrap();
        });
        drop(first);
    }
}

fn maps(uids: &[&str], gids: &[&str]) -> IdMaps {
    let ranges = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    IdMaps {
        uids: ranges(uids),
        gids: ranges(gids),
    }
}

/// Maps that this user may give the root folder away by.
fn usable() -> IdMaps {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let (uid, gid) = if user.is_root() {
        (1234, 2345)
    } else {
        (user.as_raw(), group.as_raw())
    };
    let (uid, gid) = (format!("0:{uid}:1"), format!("0:{gid}:1"));
    maps(&["1:100000:65535", &uid], &[&gid])
}

fn mapped(maps: IdMaps) -> OpenOptions {
    OpenOptions {
        ownership: Some(Ownership::Mapped),
        id_maps: Some(maps),
        ..options()
    }
}

#[test]
fn a_root_remembers_its_maps() {
    use std::os::unix::fs::MetadataExt;

    let fixture = fixture();
    let given = usable();
    let store = Store::open(&fixture.path, &mapped(given.clone())).unwrap();
    let found = store.id_maps().unwrap().clone();
    assert_eq!(found.gids, given.gids);
    assert_eq!(found.uids, [given.uids[1], given.uids[0]], "in order");
    let folder = fs::metadata(&fixture.path).unwrap();
    assert_eq!(Some((folder.uid(), folder.gid())), found.root());
    assert_eq!(folder.mode() & 0o777, 0o700);
    assert_eq!(store.ownership(), Ownership::Mapped);
    drop(store);
    for options in [mapped(given), mapped(found.clone()), OpenOptions::default()] {
        let store = Store::open(&fixture.path, &options).unwrap();
        assert_eq!(store.id_maps(), Some(&found));
    }
    let other = mapped(maps(&["0:7:1"], &["0:8:1"]));
    let error = Store::open(&fixture.path, &other).unwrap_err();
    assert!(matches!(error, OpenError::OtherIdMaps { .. }), "{error}");
    let error = error.to_string();
    assert!(
        error.contains("0:7:1") && error.contains("1:100000:65535"),
        "{error}"
    );
    for damage in [&b"{"[..], b"{}", b"{\"uids\":[],\"gids\":[]}"] {
        fs::write(fixture.path.join("id-maps"), damage).unwrap();
        let error = Store::open(&fixture.path, &OpenOptions::default()).unwrap_err();
        assert!(error.to_string().contains("id-maps is damaged"), "{error}");
    }
    fs::remove_file(fixture.path.join("id-maps")).unwrap();
    let error = Store::open(&fixture.path, &OpenOptions::default()).unwrap_err();
    assert!(error.to_string().contains("it is missing"), "{error}");
}

#[test]
fn maps_and_ownership_go_together() {
    let fixture = fixture();
    let refused = |options: &OpenOptions| {
        let error = Store::open(&fixture.path, options).unwrap_err();
        assert!(!fixture.path.exists());
        error
    };
    let mut without = mapped(usable());
    without.id_maps = None;
    let error = refused(&without);
    assert!(matches!(error, OpenError::IdMapsNeeded { .. }), "{error}");
    let mut real = mapped(usable());
    real.ownership = Some(Ownership::Real);
    let error = refused(&real);
    assert!(matches!(error, OpenError::IdMapsUnused { .. }), "{error}");
    let error = refused(&mapped(maps(&["0:1:5", "3:9:1"], &["0:1:1"])));
    assert!(
        matches!(error, OpenError::IdMaps(IdMapError::Overlap { .. })),
        "{error}"
    );

    let mut unsaid = mapped(usable());
    unsaid.ownership = None;
    let store = Store::open(&fixture.path, &unsaid).unwrap();
    assert_eq!(store.ownership(), Ownership::Mapped);
    drop(store);
    // A root without maps, of which some are expected.
    let fixture = crate::common::fixture();
    drop(fixture.open());
    let mut asked = options();
    asked.id_maps = Some(usable());
    let error = Store::open(&fixture.path, &asked).unwrap_err().to_string();
    assert!(error.contains("no maps of IDs"), "{error}");
}
