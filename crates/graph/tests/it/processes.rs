//! Many processes at once: this test binary started again with a role.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lith_graph::{DeleteError, Descriptor, Graph, GraphError, RegisterError};
use lith_store::{ChainId, LayerId, OpenOptions, RemoveLayerError, Session};

use crate::fixture::{Fixture, id, on_each_driver, plain, spawn, tar};

const ROLE: &str = "LITH_GRAPH_TEST_ROLE";
const ROOT: &str = "LITH_GRAPH_TEST_ROOT";
const DRIVER: &str = "LITH_GRAPH_TEST_DRIVER";

/// How many layers each process registers.
const LAYERS: u8 = 50;

fn start(role: &str, fixture: &Fixture) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "processes::child",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ROLE, role)
        .env(ROOT, fixture.path(""))
        .env(DRIVER, fixture.driver)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    spawn(&mut command)
}

/// Waits for a process; gives what it wrote.
fn finish(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

fn wait_until_ready(child: &mut Child) {
    let stderr = child.stderr.as_mut().unwrap();
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"ready\n") {
        let read = stderr.read(&mut byte).unwrap();
        assert_eq!(read, 1, "{}", String::from_utf8_lossy(&text));
        text.push(byte[0]);
    }
}

/// Not a test of its own: what the other processes run.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let root = PathBuf::from(std::env::var_os(ROOT).unwrap());
    let options = OpenOptions {
        driver: std::env::var(DRIVER).ok(),
        create: true,
        ..OpenOptions::default()
    };
    let graph = Graph::open_root(&root, &options).unwrap();
    let (role, argument) = role.split_once(' ').unwrap_or((&role, ""));
    match role {
        "register" => register_all(&graph, argument.parse().unwrap()),
        "churn" => churn(&graph, argument.parse().unwrap()),
        "forever" => forever(&graph),
        "delete" => delete(&graph, &argument.parse().unwrap()),
        "register-child" => register_child(&graph),
        "mount" => mount(&graph, Path::new(argument)),
        "read" => read(&graph, &argument.parse().unwrap()),
        role => panic!("{role}"),
    }
}

/// The content of the layer `n`: five chains of ten layers each.
fn content(n: u8) -> Vec<u8> {
    tar(&[("f", &[n; 3000]), ("shared", b"x")])
}

/// The chain that the layer `n` ends.
fn chain(n: u8) -> Vec<ChainId> {
    let first = n - n % 10;
    let diffs: Vec<_> = (first..=n)
        .map(|n| lith_store::DiffId::of_bytes(&content(n)))
        .collect();
    ChainId::chain(&diffs)
}

fn register_one(graph: &Graph, session: &Session, n: u8) -> Result<bool, RegisterError> {
    let diff = lith_store::DiffId::of_bytes(&content(n));
    let chain = chain(n);
    let parent = chain.len().checked_sub(2).map(|below| &chain[below]);
    let descriptor = Descriptor::chain(parent, &diff);
    let registered = graph.register(session, &descriptor, Some(&mut &content(n)[..]), &())?;
    Ok(registered.new)
}

/// Registers all layers, beginning with another chain than the others.
fn register_all(graph: &Graph, turn: u8) {
    let session = graph.store().begin().unwrap();
    let mut new = 0;
    for n in 0..LAYERS {
        let n = (n + turn * 10) % LAYERS;
        new += usize::from(register_one(graph, &session, n).unwrap());
        graph
            .keep(&LayerId::from(chain(n).last().unwrap()))
            .unwrap();
    }
    session.end().unwrap();
    eprintln!("new {new}");
}

/// Registers what others delete, and deletes what others register.
fn churn(graph: &Graph, turn: u8) {
    for round in 0..5 {
        let session = graph.store().begin().unwrap();
        let first = (turn + round) % 5 * 10;
        for n in first..first + 10 {
            match register_one(graph, &session, n) {
                Ok(_) => {}
                Err(error) => panic!("register {n}: {error:?}"),
            }
        }
        session.end().unwrap();
        let session = graph.store().begin().unwrap();
        for n in (first..first + 10).rev() {
            let id = LayerId::from(chain(n).last().unwrap());
            match graph.delete(&session, &id) {
                Ok(())
                | Err(
                    DeleteError::Graph(GraphError::NotFound { .. })
                    | DeleteError::Remove(
                        RemoveLayerError::NotFound { .. } | RemoveLayerError::InUse { .. },
                    ),
                ) => {}
                Err(error) => panic!("delete {n}: {error:?}"),
            }
        }
        session.end().unwrap();
        let map = graph.map().unwrap();
        assert!(map.damaged.is_empty(), "{:?}", map.damaged);
    }
}

/// Registers layers until it is killed. Its session never ends: what it registered is its own.
fn forever(graph: &Graph) {
    let session = graph.store().begin().unwrap();
    for n in (0..LAYERS).cycle() {
        let descriptor = plain(LayerId::random(), None);
        let data = content(n);
        graph
            .register(&session, &descriptor, Some(&mut &data[..]), &())
            .unwrap();
        if n == 1 {
            eprintln!("ready");
        }
    }
}

/// Waits for a line, so that two begin at the same time.
fn wait_for_word() {
    eprintln!("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

fn delete(graph: &Graph, id: &LayerId) {
    let session = graph.store().begin().unwrap();
    wait_for_word();
    let word = match graph.delete(&session, id) {
        Ok(()) => "deleted",
        Err(DeleteError::Remove(RemoveLayerError::InUse { .. })) => "in use",
        Err(DeleteError::Mounted { .. }) => "mounted",
        Err(DeleteError::Graph(GraphError::NotFound { .. })) => "not found",
        Err(error) => panic!("{error:?}"),
    };
    session.end().unwrap();
    eprintln!("{word}");
}

fn register_child(graph: &Graph) {
    let session = graph.store().begin().unwrap();
    wait_for_word();
    let descriptor = plain(id("b0"), Some(id("a0")));
    let word = match graph.register(&session, &descriptor, None, &()) {
        Ok(_) => {
            graph.keep(&id("b0")).unwrap();
            "registered"
        }
        Err(RegisterError::ParentMissing { .. }) => "no parent",
        Err(error) => panic!("{error:?}"),
    };
    session.end().unwrap();
    eprintln!("{word}");
}

fn mount(graph: &Graph, target: &Path) {
    let mount = graph.mount(&id("a0"), target).unwrap();
    wait_for_word();
    mount.unmount().unwrap();
}

fn read(graph: &Graph, id: &LayerId) {
    let mut stream = graph.tar_layer(id).unwrap();
    stream.read_exact(&mut [0; 100]).unwrap();
    wait_for_word();
    std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
}

/// Lets processes that wait go on, all at once.
fn go(children: &mut [Child]) {
    for child in children.iter_mut() {
        wait_until_ready(child);
    }
    for child in children {
        drop(child.stdin.take());
    }
}

/// Every listed layer gives its bytes back, and nothing else is there.
fn check_whole(fixture: &Fixture) -> usize {
    let graph = fixture.open();
    let map = graph.map().unwrap();
    assert!(map.damaged.is_empty(), "{:?}", map.damaged);
    for id in map.layers.keys() {
        let mut stream = graph.tar_layer(id).unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    }
    drop(graph);
    fixture.assert_layers(map.layers.len());
    map.layers.len()
}

#[test]
fn processes_that_register_the_same_make_each_layer_once() {
    on_each_driver(|fixture| {
        for (round, count) in [2, 4].into_iter().enumerate() {
            let fixture = Fixture::like(fixture, round);
            let children: Vec<Child> = (0..count)
                .map(|turn| start(&format!("register {turn}"), &fixture))
                .collect();
            let texts: Vec<String> = children.into_iter().map(finish).collect();
            let new = texts.iter().map(|text| {
                let line = text.lines().find_map(|line| line.strip_prefix("new "));
                line.unwrap().parse::<usize>().unwrap()
            });
            assert_eq!(new.sum::<usize>(), usize::from(LAYERS));
            assert_eq!(check_whole(&fixture), usize::from(LAYERS));
        }
    });
}

#[test]
fn processes_register_and_delete_the_same() {
    on_each_driver(|fixture| {
        let children: Vec<Child> = (0..4)
            .map(|turn| start(&format!("churn {turn}"), fixture))
            .collect();
        children.into_iter().for_each(|child| drop(finish(child)));
        check_whole(fixture);
    });
}

#[test]
fn nothing_remains_of_a_process_that_was_killed() {
    on_each_driver(|fixture| {
        for round in 0..5_u64 {
            let mut children = [start("forever", fixture), start("forever", fixture)];
            for child in &mut children {
                wait_until_ready(child);
            }
            std::thread::sleep(std::time::Duration::from_millis(17 * round));
            for mut child in children {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            fixture.assert_layers(0);
        }
    });
}

fn keep_empty(fixture: &Fixture, pair: &str, parent: Option<LayerId>) {
    let graph = fixture.open();
    let session = graph.store().begin().unwrap();
    crate::fixture::empty(&graph, &session, id(pair), parent);
    session.end().unwrap();
}

#[test]
fn a_layer_that_another_process_mounted_is_not_deleted() {
    on_each_driver(|fixture| {
        keep_empty(fixture, "a0", None);
        let target = fixture.folder.path().join("mounted");
        fs::create_dir(&target).unwrap();
        let mut mounted = start(&format!("mount {}", target.display()), fixture);
        wait_until_ready(&mut mounted);
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        let refused = graph.delete(&session, &id("a0")).unwrap_err();
        let DeleteError::Mounted { target: named, .. } = refused else {
            panic!("{refused}");
        };
        assert_eq!(named, target.canonicalize().unwrap());
        drop(mounted.stdin.take());
        finish(mounted);
        graph.delete(&session, &id("a0")).unwrap();
        session.end().unwrap();
        drop(graph);
        fixture.assert_layers(0);
    });
}

#[test]
fn a_layer_that_another_process_reads_is_not_deleted() {
    on_each_driver(|fixture| {
        keep_empty(fixture, "a0", None);
        let mut reading = start(&format!("read {}", id("a0")), fixture);
        wait_until_ready(&mut reading);
        let mut refused = start(&format!("delete {}", id("a0")), fixture);
        go(std::slice::from_mut(&mut refused));
        assert!(finish(refused).contains("in use"));
        drop(reading.stdin.take());
        finish(reading);
        let mut deleted = start(&format!("delete {}", id("a0")), fixture);
        go(std::slice::from_mut(&mut deleted));
        assert!(finish(deleted).contains("deleted"));
        fixture.assert_layers(0);
    });
}

#[test]
fn parent_and_child_deleted_at_once_leave_no_child_behind() {
    on_each_driver(|fixture| {
        for _ in 0..3 {
            keep_empty(fixture, "a0", None);
            keep_empty(fixture, "b0", Some(id("a0")));
            let mut children =
                ["a0", "b0"].map(|pair| start(&format!("delete {}", id(pair)), fixture));
            go(&mut children);
            let [parent, child] = children.map(finish);
            assert!(child.contains("deleted"), "{child}");
            let left = usize::from(parent.contains("in use"));
            assert!(left == 1 || parent.contains("deleted"), "{parent}");
            assert_eq!(check_whole(fixture), left);
            let graph = fixture.open();
            let session = graph.store().begin().unwrap();
            if left == 1 {
                graph.delete(&session, &id("a0")).unwrap();
            }
        }
    });
}

#[test]
fn a_child_is_registered_or_its_parent_is_deleted() {
    on_each_driver(|fixture| {
        for _ in 0..4 {
            keep_empty(fixture, "a0", None);
            let mut children = [
                start(&format!("delete {}", id("a0")), fixture),
                start("register-child", fixture),
            ];
            go(&mut children);
            let [parent, child] = children.map(finish);
            let left = match (parent.contains("deleted"), child.contains("registered")) {
                (true, false) => 0,
                (false, true) => 2,
                _ => panic!("{parent}{child}"),
            };
            assert_eq!(check_whole(fixture), left);
            let graph = fixture.open();
            let session = graph.store().begin().unwrap();
            for pair in ["b0", "a0"] {
                let _ = graph.delete(&session, &id(pair));
            }
        }
    });
}
