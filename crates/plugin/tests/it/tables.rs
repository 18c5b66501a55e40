//! Tables of C drivers that are wrong, and tables of other lengths that are right.

use crate::support::Built;

/// What loading a driver with these macros says.
fn refused(macros: &[&str]) -> String {
    let built = Built::broken(macros);
    match built.load() {
        Err(error) => built.said(&error),
        Ok(library) => panic!("{macros:?} was loaded: {library:?}"),
    }
}

fn all_refused(cases: &[(&[&str], &str)]) {
    for (macros, expected) in cases {
        assert_eq!(refused(macros), *expected, "{macros:?}");
    }
}

#[test]
fn entries_that_are_missing_or_return_no_table() {
    all_refused(&[
        (
            &["ENTRY=something_else"],
            "libmine.so is a shared object, but no driver of lith: it has no function \
             `lith_driver_plugin` (`export_driver!` makes it in Rust, `lith_plugin.h` declares it \
             for C)",
        ),
        (
            &["RETURN=NULL"],
            "libmine.so refuses to work with this lith, whose plugin ABI has version 1: \
             build it for that version",
        ),
    ]);
    for address in ["(const char *)&table + 1", "8", "(intptr_t)-64"] {
        assert_eq!(
            refused(&[&format!("RETURN=(const lith_driver *)({address})")]),
            "the plugin libmine.so is broken: its table is at an address that no table can have"
        );
    }
}

#[test]
fn what_is_no_code_is_not_called() {
    let data =
        r#"AFTER=__asm__(".data\n.globl lith_driver_plugin\nlith_driver_plugin: .quad 3\n.text");"#;
    let entry = refused(&["ENTRY=other", data]);
    assert!(
        entry.contains("it has no function `lith_driver_plugin`"),
        "{entry}"
    );
    for function in ["open", "create", "changed"] {
        assert_eq!(
            refused(&[&format!("INSTEAD=.{function}=(void *)&nothing")]),
            format!(
                "the plugin libmine.so has no function `{function}`, but something in its place that is no code"
            )
        );
    }
}

#[test]
fn other_versions() {
    let said = "build it with the header or the crate `lith-plugin` of this lith";
    for version in ["0", "2", "4294967295"] {
        // Nothing else of such a table is read.
        let macros = [&format!("ABI={version}"), "SIZE=0", "NAME={(void *)8, 5}"];
        assert_eq!(
            refused(&macros),
            format!(
                "libmine.so is made for version {version} of the plugin ABI, this lith has \
                 version 1: {said}"
            )
        );
    }
}

#[test]
fn sizes_that_no_table_can_have() {
    let broken = |size: &str| {
        format!(
            "the plugin libmine.so is broken: its table has {size} bytes, which no table can have"
        )
    };
    assert_eq!(refused(&["SIZE=sizeof(lith_driver)+1"]), broken("113"));
    assert_eq!(refused(&["SIZE=0xfffffff8"]), broken("4294967288"));
    for size in ["0", "8", "80"] {
        assert_eq!(
            refused(&[&format!("SIZE={size}")]),
            format!(
                "the table of the plugin libmine.so has {size} bytes, version 1 of the ABI needs at \
                 least 88: its field `size` must be the size of `lith_driver`"
            )
        );
    }
}

#[test]
fn shorter_and_longer_tables_that_are_right() {
    // Made when there were no optional functions, one, all, and more than this lith knows of.
    let cases = [
        (
            "SIZE=offsetof(lith_driver,snapshot)",
            "POWERS=0",
            [false; 3],
        ),
        (
            "SIZE=offsetof(lith_driver,seal)",
            "POWERS=1",
            [true, false, false],
        ),
        ("SIZE=sizeof(lith_driver)", "POWERS=6", [false, true, true]),
        ("SIZE=sizeof(table)", "POWERS=~0ull", [true; 3]),
    ];
    for (size, powers, expected) in cases {
        let built = Built::broken(&[size, powers]);
        let library = built.load().unwrap();
        let info = library.info();
        assert_eq!([info.snapshot, info.seal, info.changed], expected, "{size}");
        library.open(&built.home()).unwrap().status().unwrap();
    }
}

#[test]
fn functions_that_are_missing() {
    for function in ["open", "close", "create", "remove", "status"] {
        assert_eq!(
            refused(&[&format!("INSTEAD=.{function}=NULL")]),
            format!("the plugin libmine.so has no function `{function}`, which every driver has")
        );
    }
    for function in ["snapshot", "seal", "changed"] {
        let promised = format!(
            "the plugin libmine.so has no function `{function}`, though its `powers` say that it has one"
        );
        assert_eq!(refused(&[&format!("INSTEAD=.{function}=NULL")]), promised);
        let size = format!("SIZE=offsetof(lith_driver,{function})");
        let power = format!("POWERS=LITH_POWER_{}", function.to_uppercase());
        assert_eq!(refused(&[&size, &power]), promised);
    }
}

#[test]
fn names_and_versions_that_are_none() {
    let name = |found: &str| {
        format!(
            "the plugin libmine.so calls itself \"{found}\": a driver's name has 1 to 32 of a-z, 0-9 and -, \
             the first a letter"
        )
    };
    let table = |what: &str| format!("the plugin libmine.so is broken: its table gave {what}");
    let cases = [
        ("NAME={NULL, 0}", name("")),
        (r#"NAME=LITH_TEXT("../x")"#, name("../x")),
        (r#"NAME=LITH_TEXT("b\377d")"#, name("b\\xffd")),
        (
            "NAME={(void *)8, 3}",
            table("a name that is at an address where nothing can be read"),
        ),
        (
            "NAME={NULL, 3}",
            table("a name that is null, with a length of 3"),
        ),
        (
            r#"NAME={"x", SIZE_MAX}"#,
            table(
                "a name that has a length of 18446744073709551615, more than the 32 that are allowed",
            ),
        ),
        (r#"VERSION=LITH_TEXT("")"#, table("a version that is empty")),
        (
            "VERSION={NULL, 8}",
            table("a version that is null, with a length of 8"),
        ),
        (
            r#"VERSION={"x", 1 << 20}"#,
            table("a version that has a length of 1048576, more than the 64 that are allowed"),
        ),
        (
            r#"VERSION=LITH_TEXT("1.\377")"#,
            table("a version that is not UTF-8 (byte 2)"),
        ),
        (
            r#"VERSION=LITH_TEXT("1\0332J")"#,
            table("a version that has a control character (byte 1)"),
        ),
    ];
    for (define, expected) in cases {
        assert_eq!(refused(&[define]), expected, "{define}");
    }
}
