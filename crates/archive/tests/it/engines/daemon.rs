//! Images out of and into an engine: one that answers as a test wants, and docker.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use lith_archive::{
    CopyError, CopyOptions, CopyReport, DaemonImport, Defaults, EngineAddress, EngineError, Format,
    Input, LoadError, LoadOptions, LoadReport, Location, SaveOptions, Target, WriteError, copy,
    load,
};
use lith_graph::Observer;
use lith_store::ImageId;

use super::docker::Docker;
use super::made::causes;
use crate::support::{Image, Root, fixture, manifest, tar};

/// An engine of which only the answers matter.
struct Engine {
    folder: tempfile::TempDir,
    /// What was asked, first line and body.
    asked: Receiver<(String, Vec<u8>)>,
}

impl Engine {
    /// Answers one request with the bytes that `answer` makes of the body.
    fn new(answer: impl FnOnce(&mut UnixStream) + Send + 'static) -> Engine {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("sock")).unwrap();
        let (tell, asked) = channel();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    return;
                }
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let body = if head.contains("transfer-encoding: chunked") {
                chunks(&mut stream)
            } else {
                Vec::new()
            };
            let _ = tell.send((head.lines().next().unwrap().to_owned(), body));
            answer(&mut stream);
        });
        Engine { folder, asked }
    }

    fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("sock").display())
    }

    fn address(&self) -> EngineAddress {
        self.host().parse().unwrap()
    }
}

/// A chunked body; what came of one that breaks off.
fn chunks(stream: &mut UnixStream) -> Vec<u8> {
    let mut reader = std::io::BufReader::new(stream);
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        if std::io::BufRead::read_line(&mut reader, &mut line).unwrap_or(0) == 0 {
            body.extend(b"BROKEN OFF");
            return body;
        }
        let size = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        if reader.read_exact(&mut chunk).is_err() {
            body.extend(b"BROKEN OFF");
            return body;
        }
        if size == 0 {
            return body;
        }
        body.extend(&chunk[..size]);
    }
}

fn chunked(stream: &mut UnixStream, pieces: &[&[u8]]) {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n";
    let _ = stream.write_all(head.as_bytes());
    for piece in pieces {
        let _ = stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes());
        let _ = stream.write_all(piece);
        let _ = stream.write_all(b"\r\n");
    }
}

fn status(stream: &mut UnixStream, status: &str, body: &str) {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes());
}

fn load_daemon(
    root: &Root,
    host: &str,
    name: &str,
    observer: &dyn Observer,
) -> Result<LoadReport, LoadError> {
    let location = Location::parse(format!("docker-daemon:{name}").as_ref()).unwrap();
    let mut defaults = Defaults::default();
    defaults.engine = Some(host.to_owned());
    let input = Input::at(location, &defaults)?;
    load(&root.graph, input, &LoadOptions::default(), observer)
}

/// Asserts that loading fails and keeps nothing.
fn fails(host: &str, name: &str) -> (EngineError, String) {
    let root = Root::new();
    let error = load_daemon(&root, host, name, &()).unwrap_err();
    root.assert_empty(&error.to_string());
    let text = causes(&error);
    assert!(text.contains(host), "{text}");
    match error {
        LoadError::Engine(error) => (error, text),
        other => panic!("{other}"),
    }
}

#[test]
fn an_export_is_streamed_in() {
    let image = Image::new(&["one", "two"]);
    let archive = image.archive(&["example.com/app:1"]);
    let engine = Engine::new(move |stream| {
        let pieces: Vec<&[u8]> = archive.chunks(777).chain([&[][..]]).collect();
        chunked(stream, &pieces);
    });
    let root = Root::new();
    let report = load_daemon(&root, &engine.host(), "example.com/app", &()).unwrap();
    assert_eq!(report.images[0].id, image.id());
    assert_eq!(report.images[0].names[0].familiar(), "example.com/app:1");
    let (line, _) = engine.asked.recv().unwrap();
    assert_eq!(line, "GET /images/example.com/app:latest/get HTTP/1.1");
}

#[test]
fn engines_that_fail_are_named_and_nothing_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = format!("unix://{}", folder.path().join("none").display());
    let (error, text) = fails(&nowhere, "app");
    assert!(matches!(error, EngineError::Unreachable { .. }), "{text}");
    let (error, text) = fails("tcp://127.0.0.1:1", "app");
    assert!(matches!(error, EngineError::Unreachable { .. }), "{text}");

    let body = r#"{"message":"No such image: app:latest"}"#;
    let engine = Engine::new(move |stream| status(stream, "404 Not Found", body));
    let (error, text) = fails(&engine.host(), "app");
    assert!(matches!(error, EngineError::Refused { .. }), "{text}");
    assert!(text.ends_with("No such image: app:latest"), "{text}");

    // The last chunk never comes: at any point, even behind a whole archive.
    let archive = Image::new(&["one"]).archive(&["app:1"]);
    for cut in [0, 100, archive.len() / 2, archive.len()] {
        let part = archive[..cut].to_vec();
        let engine = Engine::new(move |stream| {
            if part.is_empty() {
                chunked(stream, &[]);
            } else {
                chunked(stream, &[&part]);
            }
        });
        let (error, text) = fails(&engine.host(), "app");
        assert!(matches!(error, EngineError::HungUp { .. }), "{cut}: {text}");
    }
    let engine = Engine::new(|_| {});
    let (error, text) = fails(&engine.host(), "app");
    assert!(matches!(error, EngineError::HungUp { .. }), "{text}");
}

#[test]
fn one_image_is_expected() {
    let (one, two) = (Image::new(&["one"]), Image::new(&["two"]));
    let item = |config: &str, image: &Image| {
        let list = manifest(config, &[], &[image.layer_name(0)]);
        list[1..list.len() - 1].to_owned()
    };
    let manifest = format!("[{},{}]", item("1.json", &one), item("2.json", &two));
    let archive = tar(&[
        (&one.layer_name(0), &one.layers[0]),
        (&two.layer_name(0), &two.layers[0]),
        ("1.json", &one.config),
        ("2.json", &two.config),
        ("manifest.json", manifest.as_bytes()),
    ]);
    let engine = Engine::new(move |stream| chunked(stream, &[&archive, &[]]));
    let (error, text) = fails(&engine.host(), "app");
    assert!(
        matches!(error, EngineError::NotOne { images: 2, .. }),
        "{text}"
    );
}

/// Stops after a while.
struct Stop(Instant, AtomicBool);

impl Stop {
    fn new() -> Stop {
        Stop(Instant::now(), AtomicBool::new(false))
    }
}

impl Observer for Stop {
    fn cancelled(&self) -> bool {
        if self.0.elapsed() > Duration::from_millis(200) {
            self.1.store(true, Ordering::Release);
        }
        self.1.load(Ordering::Acquire)
    }
}

#[test]
fn an_engine_that_hangs_can_be_left() {
    let archive = Image::new(&["one"]).archive(&["app:1"]);
    for cut in [0, 1024] {
        let part = archive[..cut].to_vec();
        let engine = Engine::new(move |stream| {
            if !part.is_empty() {
                chunked(stream, &[&part]);
            }
            // Until the other side goes away.
            let _ = stream.read(&mut [0]);
        });
        let (root, stop) = (Root::new(), Stop::new());
        let error = load_daemon(&root, &engine.host(), "app", &stop).unwrap_err();
        assert!(matches!(error, LoadError::Cancelled), "{error}");
        assert!(stop.0.elapsed() < Duration::from_secs(3));
        root.assert_empty("cancelled");
    }
}

#[test]
fn an_import_is_streamed_out() {
    let answer =
        "{\"stream\":\"Loaded image: app:1\\n\"}\n{\"stream\":\"Loaded image: app:2\\n\"}\n";
    let engine = Engine::new(move |stream| status(stream, "200 OK", answer));
    let content: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    let mut import = DaemonImport::start(&engine.address(), &()).unwrap();
    import.write_all(&content).unwrap();
    assert_eq!(
        import.finish().unwrap(),
        ["Loaded image: app:1", "Loaded image: app:2"]
    );
    let (line, body) = engine.asked.recv().unwrap();
    assert!(line.starts_with("POST /images/load?"), "{line}");
    assert_eq!(body, content);
}

#[test]
fn an_import_that_is_given_up_does_not_end_well() {
    let engine = Engine::new(|stream| status(stream, "200 OK", "{}"));
    let mut import = DaemonImport::start(&engine.address(), &()).unwrap();
    import.write_all(&vec![1; 300 << 10]).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    drop(import);
    let (_, body) = engine.asked.recv().unwrap();
    assert!(body.ends_with(b"BROKEN OFF"));
}

#[test]
fn imports_that_fail_name_the_engine() {
    let import = |address: &EngineAddress| {
        let mut import = DaemonImport::start(address, &()).unwrap();
        // Writes may still succeed: there are buffers in between.
        let _ = import.write_all(&vec![1; 8 << 20]);
        import.finish().unwrap_err()
    };
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix://{}", folder.path().join("none").display());
    let error = import(&address.parse().unwrap());
    assert!(matches!(error, EngineError::Unreachable { .. }), "{error}");
    for (code, body) in [
        (
            "500 Internal Server Error",
            "{\"message\":\"no space left\"}",
        ),
        (
            "200 OK",
            "{\"errorDetail\":{\"message\":\"no space left\"},\"error\":\"no space left\"}\n",
        ),
    ] {
        let engine = Engine::new(move |stream| status(stream, code, body));
        let error = import(&engine.address());
        assert!(matches!(error, EngineError::Refused { .. }), "{error}");
        assert!(error.to_string().contains("no space left"), "{error}");
        assert!(error.to_string().contains(&engine.host()), "{error}");
    }
    let engine = Engine::new(|_| {});
    let error = import(&engine.address());
    assert!(matches!(error, EngineError::HungUp { .. }), "{error}");
}

#[test]
fn an_import_into_an_engine_that_hangs_can_be_left() {
    let folder = tempfile::tempdir().unwrap();
    // Accepts, and never reads.
    let _listener = UnixListener::bind(folder.path().join("sock")).unwrap();
    let address = format!("unix://{}", folder.path().join("sock").display());
    let stop = Stop::new();
    let mut import = DaemonImport::start(&address.parse().unwrap(), &stop).unwrap();
    let failed = import.write_all(&vec![1; 64 << 20]).is_err();
    assert!(failed, "nobody took 64 MiB");
    let error = import.finish().unwrap_err();
    assert!(stop.0.elapsed() < Duration::from_secs(3));
    assert!(!matches!(error, EngineError::Refused { .. }), "{error}");
}

#[test]
fn docker_gives_and_takes_what_it_has() {
    let Some(docker) = Docker::start("vfs") else {
        return;
    };
    docker.load(&fixture("docker-multi.tar.gz"));
    let name = "example.com/team/tiny2:latest";
    let id = docker.ok(&["images", "-q", "--no-trunc", name]);
    let root = Root::new();
    let report = load_daemon(&root, &docker.host(), name, &()).unwrap();
    assert_eq!(report.images[0].id.to_string(), id);
    assert_eq!(report.images[0].names[0].to_string(), name);
    let again = Root::new();
    let report = load_daemon(&again, &docker.host(), &id, &()).unwrap();
    assert_eq!(
        (
            report.images[0].id.to_string(),
            report.images[0].names.len()
        ),
        (id.clone(), 0)
    );
    let (error, text) = fails(&docker.host(), "none");
    assert!(matches!(error, EngineError::Refused { .. }), "{text}");

    let saved = root.save(&[name]);
    docker.ok(&["image", "prune", "-af"]);
    assert_eq!(docker.ok(&["images", "-q"]), "");
    // Broken off: nothing of it is kept.
    let address: EngineAddress = docker.host().parse().unwrap();
    let mut import = DaemonImport::start(&address, &()).unwrap();
    import.write_all(&saved[..saved.len() / 2]).unwrap();
    drop(import);
    assert_eq!(docker.ok(&["images", "-aq"]), "");
    let mut import = DaemonImport::start(&address, &()).unwrap();
    import.write_all(&saved).unwrap();
    let said = import.finish().unwrap();
    assert!(said.iter().any(|line| line.contains(name)), "{said:?}");
    assert_eq!(docker.ok(&["images", "-q", "--no-trunc", name]), id);
    let loaded: ImageId = id.parse().unwrap();
    assert_eq!(report.images[0].id, loaded);
}

fn into_engine(
    source: &[u8],
    address: &EngineAddress,
    observer: &dyn Observer,
) -> Result<CopyReport, CopyError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    std::fs::write(&path, source).unwrap();
    let mut options = CopyOptions::default();
    options.format = Format::DockerDaemon;
    let (source, target) = (Input::File(path), Target::Daemon(address));
    let copied = copy(source, target, folder.path(), &options, observer);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    copied
}

/// An image that does not fit into the buffers on the way.
fn large() -> Image {
    let mut state = 1_u32;
    let byte = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let content: Vec<u8> = (0..24 << 20).map(byte).collect();
    Image::of(vec![tar(&[("large", &content)])])
}

#[test]
fn a_copy_is_streamed_out() {
    let image = Image::new(&["one", "two"]);
    let source = image.archive(&["app:1", "app:2"]);
    let answer = "{\"stream\":\"Loaded image: app:1\\n\"}\n{\"stream\":\"something else\\n\"}\n";
    let engine = Engine::new(move |stream| status(stream, "200 OK", answer));
    let report = into_engine(&source, &engine.address(), &()).unwrap();
    assert_eq!(report.warnings, ["something else"]);
    assert_eq!(report.images[0].id, image.id());
    let (_, body) = engine.asked.recv().unwrap();
    let root = Root::new();
    root.load_file(&source).unwrap();
    assert!(body == root.save(&["app"]));
    assert_eq!(report.bytes, body.len() as u64);
    // And out of the store.
    let engine = Engine::new(move |stream| status(stream, "200 OK", answer));
    let mut options = SaveOptions::default();
    options.format = Format::DockerDaemon;
    let address = engine.address();
    root.save_to(&["app"], Target::Daemon(&address), &options)
        .unwrap();
    assert!(engine.asked.recv().unwrap().1 == body);
}

#[test]
fn a_copy_into_an_engine_that_fails_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix://{}", folder.path().join("none").display());
    let explained = |address: &EngineAddress| {
        let mut found = Vec::new();
        for source in [Image::new(&["one"]), large()] {
            let error = into_engine(&source.archive(&["app:1"]), address, &()).unwrap_err();
            let text = causes(&error);
            let CopyError::Write(WriteError::Engine(error)) = error else {
                panic!("{text}");
            };
            assert!(text.contains(&address.to_string()), "{text}");
            found.push(error);
        }
        found
    };
    for error in explained(&address.parse().unwrap()) {
        assert!(matches!(error, EngineError::Unreachable { .. }), "{error}");
    }
    let refused = "{\"errorDetail\":{\"message\":\"no space left\"},\"error\":\"no space left\"}\n";
    let engine = Engine::new(move |stream| status(stream, "200 OK", refused));
    let error = into_engine(&large().archive(&["app:1"]), &engine.address(), &()).unwrap_err();
    assert!(error.to_string().contains("no space left"), "{error}");
    let engine = Engine::new(|_| {});
    let error = into_engine(&large().archive(&["app:1"]), &engine.address(), &()).unwrap_err();
    let hung_up = CopyError::Write(WriteError::Engine(EngineError::HungUp {
        address: String::new(),
        source: std::io::ErrorKind::Other.into(),
    }));
    assert_eq!(
        std::mem::discriminant(&error),
        std::mem::discriminant(&hung_up),
        "{error}"
    );
    // Goes away in the middle.
    let listener = UnixListener::bind(folder.path().join("sock")).unwrap();
    let leaving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read_exact(&mut [0; 1 << 20]);
    });
    let address = format!("unix://{}", folder.path().join("sock").display());
    let address = address.parse().unwrap();
    let error = into_engine(&large().archive(&["app:1"]), &address, &()).unwrap_err();
    leaving.join().unwrap();
    assert!(
        matches!(error, CopyError::Write(WriteError::Engine(_))),
        "{error:?}"
    );
}

/// A layer that proves wrong ends the archive without its end, and the engine keeps nothing.
#[test]
fn a_copy_that_fails_does_not_end_well() {
    let image = large();
    let mut other = image.layers[0].clone();
    other[600] ^= 1;
    let manifest = manifest("c.json", &["app:1"], &["layer"]);
    let archive = tar(&[
        ("layer", &other),
        ("c.json", &image.config),
        ("manifest.json", manifest.as_bytes()),
    ]);
    let engine = Engine::new(|stream| status(stream, "200 OK", "{}"));
    let error = into_engine(&archive, &engine.address(), &()).unwrap_err();
    assert!(matches!(error, CopyError::DiffId { .. }), "{error:?}");
    let (_, body) = engine.asked.recv().unwrap();
    assert!(body.ends_with(b"BROKEN OFF"));
}

#[test]
fn a_copy_into_an_engine_that_hangs_can_be_left() {
    let folder = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(folder.path().join("sock")).unwrap();
    let address = format!("unix://{}", folder.path().join("sock").display());
    let source = large().archive(&["app:1"]);
    let stop = Stop::new();
    let error = into_engine(&source, &address.parse().unwrap(), &stop).unwrap_err();
    assert!(matches!(error, CopyError::Cancelled), "{error:?}");
    assert!(stop.0.elapsed() < Duration::from_secs(5));
}

#[test]
fn docker_takes_copies() {
    let Some(docker) = Docker::start("vfs") else {
        return;
    };
    let address: EngineAddress = docker.host().parse().unwrap();
    let source = fixture("podman-multi.tar.gz");
    let report = into_engine(&source, &address, &()).unwrap();
    for image in &report.images {
        for name in &image.names {
            let id = docker.ok(&["images", "-q", "--no-trunc", &name.familiar()]);
            assert_eq!(id, image.id.to_string());
        }
    }
    docker.ok(&["image", "prune", "-af"]);
    let damaged = {
        let image = large();
        let mut other = image.layers[0].clone();
        other[600] ^= 1;
        let manifest = manifest("c.json", &["app:1"], &["layer"]);
        tar(&[
            ("layer", &other),
            ("c.json", &image.config),
            ("manifest.json", manifest.as_bytes()),
        ])
    };
    into_engine(&damaged, &address, &()).unwrap_err();
    assert_eq!(docker.ok(&["images", "-aq"]), "");
}
