//! Files that are no plugin.

use std::path::{Path, PathBuf};

use lith_plugin::{Library, PluginError};

use crate::support::Built;

fn refused(file: &Path) -> PluginError {
    match Library::load(file) {
        Err(error) => error,
        Ok(library) => panic!("{} was loaded: {library:?}", file.display()),
    }
}

/// A file with this content.
fn written(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("libmine.so");
    std::fs::write(&file, content).unwrap();
    (folder, file)
}

#[test]
fn files_that_are_something_else() {
    let hint = "name the file that `cargo build` (of a cdylib) or `cc -shared` made";
    let cases: [(&[u8], &str); 4] = [
        (b"", "it is empty"),
        (b"ab", "it has 2 bytes"),
        (b"driver = \"plain\"\n", "it begins with \"driv\""),
        (
            b"\x7fELF\x02\x01\x01",
            "it is cut off (7 bytes of 64 or more)",
        ),
    ];
    for (content, expected) in cases {
        let (_folder, file) = written(content);
        assert_eq!(
            refused(&file).to_string(),
            format!("{} is no shared object: {expected}; {hint}", file.display())
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let error = refused(folder.path()).to_string();
    assert!(error.contains("it is a directory"), "{error}");
    let error = refused(Path::new("/dev/null")).to_string();
    assert!(
        error.contains("it is a device, a pipe or a socket"),
        "{error}"
    );
}

#[test]
fn programs_and_objects_for_other_machines() {
    // Position-independent programs look like shared objects; the loader knows them.
    let itself = std::env::current_exe().unwrap();
    let PluginError::Load { file, reason } = refused(&itself) else {
        panic!("a program is no plugin");
    };
    assert_eq!(file, itself);
    assert!(reason.contains("executable"), "{reason}");

    let whole = std::fs::read(Built::broken(&[]).file).unwrap();
    let other = |at: usize, byte: u8| {
        let mut content = whole.clone();
        content[at] = byte;
        written(&content)
    };
    // 32 bits; another machine.
    for (at, byte) in [(4, 1), (18, 0xf3)] {
        let (_folder, file) = other(at, byte);
        let error = refused(&file);
        assert!(matches!(error, PluginError::Load { .. }), "{error:?}");
    }
    // A core dump, or what says so.
    let (_folder, file) = other(16, 4);
    let error = refused(&file).to_string();
    assert!(error.contains("an ELF file of type 4, not 3"), "{error}");
}

#[test]
fn an_object_that_was_cut_off_is_refused_wherever() {
    let whole = std::fs::read(Built::broken(&[]).file).unwrap();
    let mut refusals = 0;
    for length in (0..whole.len()).step_by(509) {
        let (_folder, file) = written(&whole[..length]);
        // The last bytes, which only debuggers read, may be missing.
        refusals += usize::from(Library::load(&file).is_err());
    }
    assert!(refusals > 10, "{refusals}");
}

#[test]
fn what_it_needs_and_is_not_there_is_named() {
    let built = Built::broken(&[
        "OPEN=extern int nobody_has_this(void); *state = &nothing; return nobody_has_this();",
    ]);
    let error = built.said(&built.load().unwrap_err());
    assert!(
        error.starts_with("cannot load the plugin libmine.so: ")
            && error.contains("nobody_has_this"),
        "{error}"
    );
}

#[test]
fn only_the_file_that_is_named_is_loaded() {
    // The system has one of this name; it is not looked for.
    let error = refused(Path::new("libc.so.6"));
    let here = std::env::current_dir().unwrap().join("libc.so.6");
    let PluginError::Io {
        action,
        file,
        source,
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!((action, file), ("find", here.clone()));
    assert_eq!(source.kind(), std::io::ErrorKind::NotFound);

    // A way that begins here.
    let built = Built::broken(&[]);
    let up = here.components().skip(2).map(|_| "..").collect::<PathBuf>();
    let relative = up.join(built.file.strip_prefix("/").unwrap());
    assert!(relative.is_relative());
    let library = Library::load(&relative).unwrap();
    assert!(library.path().is_absolute());
    library.open(&built.home()).unwrap();
}
