//! Functions of C drivers that fail, half-way or without a word, and that return nonsense.

use std::os::fd::AsFd;

use lith_plugin::{Backend, BackendError, Fault};

use crate::support::{Built, dir};

/// The driver with these macros, opened.
fn opened(macros: &[&str]) -> (Built, Box<dyn Backend>) {
    let built = Built::broken(macros);
    let backend = built.open().unwrap();
    (built, backend)
}

/// What the driver broke.
fn fault<T: std::fmt::Debug>(done: Result<T, BackendError>, called: &str) -> String {
    match done.unwrap_err() {
        BackendError::Broken {
            file,
            function,
            fault,
        } => {
            assert!(file.is_absolute() && file.ends_with("libmine.so"));
            assert_eq!(function, called);
            fault.to_string()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn constructors_that_fail() {
    let broken = |what: &str| {
        format!(
            "the plugin libmine.so is broken: `open` {what}; what it did is not known: report this to \
             those who made it"
        )
    };
    let cases = [
        (
            r#"OPEN=SAY(ENOTTY, "look for subvolumes"); return LITH_FAILED;"#,
            "look for subvolumes: Inappropriate ioctl for device (os error 25)".to_owned(),
        ),
        (
            r#"OPEN=SAY(0, "the moon is full"); return LITH_FAILED;"#,
            "the moon is full".to_owned(),
        ),
        (
            r#"OPEN=SAY(EPERM, ""); return LITH_FAILED;"#,
            "Operation not permitted (os error 1)".to_owned(),
        ),
        (
            "OPEN=return LITH_FAILED;",
            "the driver gives no reason".to_owned(),
        ),
        (
            "OPEN=return LITH_DONE;",
            broken("returned a null state with status 0 (done)"),
        ),
        ("OPEN=return LITH_PANICKED;", broken("panicked: no message")),
        (
            "OPEN=return -1;",
            broken("returned status -1: there are 0 (done), 1 (failed) and 2 (panicked)"),
        ),
        (
            r#"OPEN=SAY(0, "no"); *state = &nothing; return LITH_DONE;"#,
            broken("gave a reason for failing (no) and returned status 0 (done)"),
        ),
        (
            r#"OPEN=SAY(-EPERM, "negative"); return LITH_FAILED;"#,
            broken("gave -1 as error number: `errno` has those from 1 to 4095, and 0 is none"),
        ),
        (
            "OPEN=host->fail(call, 0, (lith_text){NULL, 9}); return LITH_FAILED;",
            broken("gave a reason for failing that is null, with a length of 9"),
        ),
        (
            r#"OPEN=host->fail(call, 0, (lith_text){"x", SIZE_MAX / 2}); return LITH_FAILED;"#,
            broken(
                "gave a reason for failing that has a length of 9223372036854775807, more than the \
                 65536 that are allowed",
            ),
        ),
        (
            r#"OPEN=SAY(0, "bad \377\n\033[2J"); return LITH_FAILED;"#,
            "bad \\xff\\n\\u{1b}[2J".to_owned(),
        ),
    ];
    for (define, reason) in cases {
        let built = Built::broken(&[define]);
        let error = built.open().unwrap_err();
        let expected = format!("the driver broken (libmine.so) cannot be opened on home: {reason}");
        assert_eq!(built.said(&error), expected, "{define}");
    }
}

#[test]
fn a_function_that_fails_half_way() {
    let half =
        r#"CREATE=mkdirat(dir, name.data, 0700); SAY(EIO, "write a mark"); return LITH_FAILED;"#;
    let (built, backend) = opened(&[half]);
    let home = dir(&built.home());
    let error = backend.create(home.as_fd(), c"tree").unwrap_err();
    assert_eq!(error.errno(), Some(5));
    assert_eq!(
        error.to_string(),
        "write a mark: Input/output error (os error 5)"
    );
    assert!(built.home().join("tree").exists());
    assert!(backend.remove(home.as_fd(), c"tree").is_ok());
}

#[test]
fn names_and_paths_end_with_a_byte_that_is_not_counted() {
    let (built, backend) = opened(&[
        "OPEN=*state = &nothing; return home.data[home.len] || strlen(home.data) != home.len;",
        "CREATE=return name.len != 4 || strcmp(name.data, \"tree\") != 0;",
    ]);
    backend.create(dir(&built.home()).as_fd(), c"tree").unwrap();
}

#[test]
fn facts_that_are_none() {
    let cases = [
        (
            r#"FACT("a", {NULL, 2})"#,
            "gave a fact that is null, with a length of 2",
        ),
        (
            r#"FACT("a", {"\377", 1})"#,
            "gave a fact that is not UTF-8 (byte 0)",
        ),
        (
            r#"FACT("a", {"b", SIZE_MAX})"#,
            "gave a fact that has a length of 18446744073709551615, more than the 65536 that are allowed",
        ),
        (r#"FACT("", {"b", 1})"#, "gave a fact's name that is empty"),
        (
            r#"FACT("a\tb", {"b", 1})"#,
            "gave a fact's name that has a control character (byte 1)",
        ),
        (
            r#"for (int i = 0; i < 2000; ++i) FACT("a", {large, 65536})"#,
            "told more than 67108864 bytes in one call",
        ),
    ];
    for (fact, expected) in cases {
        // That lith refuses is ignored.
        let status = format!(
            "STATUS=static char large[65536]; memset(large, 'x', 65536); {fact}; return LITH_DONE;"
        );
        let (_built, backend) = opened(&[&status]);
        assert_eq!(fault(backend.status(), "status"), expected, "{fact}");
    }
    let (_built, backend) = opened(&[r#"STATUS=return FACT("a", {NULL, 0});"#]);
    assert_eq!(backend.status().unwrap(), [("a".to_owned(), String::new())]);
}

#[test]
fn changed_directories_that_are_none() {
    let below = |path: &str| {
        format!("named a changed directory \"{path}\", which is no path below the tree")
    };
    let cases = [
        (r#"CHANGED(LITH_TEXT("/etc"))"#, below("/etc")),
        (r#"CHANGED(LITH_TEXT("a/../.."))"#, below("a/../..")),
        (r#"CHANGED(LITH_TEXT("a\0b"))"#, below("a\\u{0}b")),
        (
            "CHANGED({NULL, 1})",
            "gave a changed directory that is null, with a length of 1".to_owned(),
        ),
        (
            r#"CHANGED({"a", (size_t)1 << 40})"#,
            "gave a changed directory that has a length of 1099511627776, more than the 1048576 that are \
             allowed"
                .to_owned(),
        ),
    ];
    for (changed, expected) in cases {
        let changes = format!("CHANGES={changed}; return LITH_DONE;");
        let (built, backend) = opened(&[&changes]);
        let home = dir(&built.home());
        let mut found = 0;
        let done = backend.changed(home.as_fd(), home.as_fd(), &mut |_| found += 1);
        assert_eq!(fault(done, "changed"), expected, "{changed}");
        assert_eq!(found, 0);
    }
}

#[test]
fn calls_that_are_not_under_way() {
    let stray = Fault::Stray.to_string();
    // From another thread; with null; and late, which the next call hears of.
    for changes in [
        "CHANGES=call_elsewhere(call); return LITH_DONE;",
        r#"CHANGES=call = NULL; CHANGED(LITH_TEXT("a")); return LITH_DONE;"#,
        r#"CHANGES=call = (void *)&nothing; CHANGED(LITH_TEXT("a")); return LITH_DONE;"#,
    ] {
        let (built, backend) = opened(&[changes]);
        let home = dir(&built.home());
        let done = backend.changed(home.as_fd(), home.as_fd(), &mut |_| ());
        assert_eq!(fault(done, "changed"), stray, "{changes}");
        assert!(backend.status().is_ok());
    }
    let (_built, backend) = opened(&[
        r#"OPEN=kept = call; *state = &nothing; return LITH_DONE;"#,
        r#"STATUS=call = kept; return FACT("a", LITH_TEXT("b"));"#,
    ]);
    assert_eq!(fault(backend.status(), "status"), stray);
}

#[test]
fn a_descriptor_that_was_lent_and_closed() {
    let (built, backend) = opened(&["CREATE=close(dir); return LITH_DONE;"]);
    let home = dir(&built.home());
    let done = backend.create(home.as_fd(), c"tree");
    assert_eq!(
        fault(done, "create"),
        "closed a descriptor that was lent to it"
    );
    // That of lith is open.
    assert!(rustix::io::fcntl_getfd(&home).is_ok());
}
