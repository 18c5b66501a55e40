//! A driver in Rust that panics, fails half-way, or says what nobody may say.

use std::os::fd::AsFd;

use lith_plugin::Backend;

use crate::support::{Built, dir};

/// The driver, opened with these orders.
fn ordered(orders: &str) -> (Built, Box<dyn Backend>) {
    let built = Built::rust("misbehaves");
    std::fs::write(built.home().join("behave"), orders).unwrap();
    let backend = built.open().unwrap();
    (built, backend)
}

const UNKNOWN: &str = "what it did is not known: report this to those who made it";

#[test]
fn without_orders_it_does_its_work() {
    let (built, backend) = ordered("");
    let info = backend.info();
    assert_eq!(info.version, "0.0.1-\u{3b1}");
    assert!(info.snapshot && info.seal && info.changed);
    let home = dir(&built.home());
    backend.create(home.as_fd(), c"one").unwrap();
    backend
        .snapshot(home.as_fd(), home.as_fd(), c"two")
        .unwrap();
    backend.seal(home.as_fd()).unwrap();
    let mut found = Vec::new();
    let mut tell = |path: &[u8]| found.push(path.to_vec());
    backend
        .changed(home.as_fd(), home.as_fd(), &mut tell)
        .unwrap();
    assert_eq!(found, [b"".to_vec(), b"etc/a".to_vec()]);
    assert_eq!(backend.status().unwrap()[0].1, "a\u{3b2}");
    backend.remove(home.as_fd(), c"one").unwrap();
    assert!(!built.home().join("one").exists() && built.home().join("two").exists());
}

#[test]
fn a_constructor_that_panics_or_fails_is_an_error() {
    let cases = [
        (
            "open panic",
            format!(
                "the plugin libmine.so is broken: `open` panicked: ordered to panic in open; {UNKNOWN}"
            ),
        ),
        (
            "open fail",
            "open: No space left on device (os error 28)".to_owned(),
        ),
    ];
    for (order, reason) in cases {
        let built = Built::rust("misbehaves");
        std::fs::write(built.home().join("behave"), order).unwrap();
        let error = built.open().unwrap_err();
        let expected =
            format!("the driver misbehaves (libmine.so) cannot be opened on home: {reason}");
        let shortened = built.said(&error);
        assert_eq!(shortened.replace("/home", "home"), expected);
    }
}

#[test]
fn a_function_that_panics_is_an_error_and_the_next_call_works() {
    let orders = "create panic\nsnapshot panic\nseal panic-oddly\nchanged panic\nremove panic";
    let (built, backend) = ordered(orders);
    let home = dir(&built.home());
    let (home, mut ignore) = (home.as_fd(), |_: &[u8]| ());
    let failures = [
        (
            "create",
            "ordered to panic in create",
            backend.create(home, c"x"),
        ),
        (
            "snapshot",
            "ordered to panic in snapshot",
            backend.snapshot(home, home, c"y"),
        ),
        ("seal", "no message", backend.seal(home)),
        (
            "changed",
            "ordered to panic in changed",
            backend.changed(home, home, &mut ignore),
        ),
        (
            "remove",
            "ordered to panic in remove",
            backend.remove(home, c"y"),
        ),
    ];
    for (function, message, result) in failures {
        let said = built.said(&result.unwrap_err());
        let expected =
            format!("the plugin libmine.so is broken: `{function}` panicked: {message}; {UNKNOWN}");
        assert_eq!(said, expected);
    }
    assert_eq!(backend.status().unwrap().len(), 1);
}

#[test]
fn a_destructor_that_panics_harms_nobody() {
    let (_built, backend) = ordered("close panic");
    drop(backend);
}

#[test]
fn a_function_that_fails_half_way_says_what_the_system_said() {
    let (built, backend) = ordered("snapshot fail");
    let home = dir(&built.home());
    let error = backend
        .snapshot(home.as_fd(), home.as_fd(), c"half")
        .unwrap_err();
    assert_eq!(error.errno(), Some(28));
    assert_eq!(
        error.to_string(),
        "snapshot: No space left on device (os error 28)"
    );
    // What it left can be removed.
    backend.remove(home.as_fd(), c"half").unwrap();
}

#[test]
fn what_nobody_may_say_is_not_passed_on() {
    let (built, backend) = ordered("changed nonsense\nstatus nonsense");
    let home = dir(&built.home());
    let mut found = 0;
    let error = backend
        .changed(home.as_fd(), home.as_fd(), &mut |_| found += 1)
        .unwrap_err();
    assert_eq!(found, 0, "nothing of an answer that is nonsense is used");
    let named =
        "`changed` named a changed directory \"../../etc\", which is no path below the tree";
    assert!(built.said(&error).contains(named), "{error}");
    let error = backend.status().unwrap_err();
    let control = "`status` gave a fact that has a control character (byte 3)";
    assert!(built.said(&error).contains(control), "{error}");
}

#[test]
fn a_panic_of_lith_itself_passes_by_the_driver() {
    let (built, backend) = ordered("");
    let home = dir(&built.home());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        backend.changed(home.as_fd(), home.as_fd(), &mut |_| panic!("of lith"))
    }));
    let message = panicked.unwrap_err();
    assert_eq!(message.downcast_ref::<&str>(), Some(&"of lith"));
    assert!(backend.status().is_ok());
}
