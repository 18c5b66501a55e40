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
            "DROP INDEX events_subject; DELETE FROM migrations WHERE version > 1;
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
