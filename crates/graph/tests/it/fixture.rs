//! A root in a temporary folder, and small tars.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Mutex;

use lith_graph::{Descriptor, Graph, Registered};
use lith_store::{ChainId, LayerId, OpenOptions, Session};

/// A root that goes with the test.
pub(crate) struct Fixture {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) driver: &'static str,
}

impl Fixture {
    pub(crate) fn new(driver: &'static str) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            driver,
        }
    }

    /// A root in memory, for what waits for the disk too often.
    pub(crate) fn in_memory(driver: &'static str) -> Self {
        let memory = std::path::Path::new("/dev/shm");
        let folder = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        Self {
            folder: folder.unwrap(),
            driver,
        }
    }

    /// A root of its own, on the same driver, beside those of other rounds.
    pub(crate) fn like(other: &Self, round: usize) -> Self {
        let folder = other.folder.path().join(format!("round{round}"));
        fs::create_dir(&folder).unwrap();
        Self {
            folder: tempfile::tempdir_in(folder).unwrap(),
            driver: other.driver,
        }
    }

    /// A path below the root.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join("root").join(below)
    }

    /// The folder of a layer.
    pub(crate) fn layer(&self, id: &LayerId) -> PathBuf {
        self.path("layers").join(id.hex())
    }

    /// Loses the driver's files of a layer.
    pub(crate) fn lose_tree(&self, graph: &Graph, id: &LayerId) {
        let cache = graph.store().layer(id).unwrap().unwrap().cache;
        let tree = self.path("drivers").join(self.driver).join(cache);
        fs::remove_dir_all(tree).unwrap();
    }

    /// Loses the index: the next open makes it anew from the folders.
    pub(crate) fn lose_index(&self) {
        for ending in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(self.path(&format!("lith.db{ending}")));
        }
    }

    /// Names of what is in work, in staging and in the driver, and of sessions' locks.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let work = format!("drivers/{}/.work", self.driver);
        ["staging", &work, "locks/sessions"]
            .iter()
            .flat_map(|folder| {
                let list = self.listing(folder);
                list.into_iter().map(move |name| format!("{folder}/{name}"))
            })
            .collect()
    }

    pub(crate) fn open(&self) -> Graph {
        let options = OpenOptions {
            driver: Some(self.driver.to_owned()),
            create: true,
            ..OpenOptions::default()
        };
        Graph::open_root(&self.folder.path().join("root"), &options).unwrap()
    }

    /// Names in a folder of the root.
    pub(crate) fn listing(&self, folder: &str) -> Vec<String> {
        let path = self.folder.path().join("root").join(folder);
        let Ok(entries) = fs::read_dir(path) else {
            return Vec::new();
        };
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// Asserts that index, folders and driver have `layers` layers, and staging nothing.
    pub(crate) fn assert_layers(&self, layers: usize) {
        let graph = self.open();
        assert_eq!(
            graph.store().layers().unwrap().len(),
            layers,
            "in the index"
        );
        assert_eq!(self.listing("layers").len(), layers, "folders");
        assert_eq!(
            graph.driver().list().unwrap().len(),
            layers,
            "in the driver"
        );
        assert_eq!(self.leftovers(), Vec::<String>::new());
    }

    /// All files below the driver's folder with this name.
    pub(crate) fn tree_files(&self, name: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().join("root/drivers").join(self.driver)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else if entry.file_name() == name {
                    found.push(entry.path());
                }
            }
        }
        found
    }
}

/// Runs a test on every built-in driver, as root.
pub(crate) fn on_each_driver(test: fn(&Fixture)) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: real ownership needs root");
        return;
    }
    for driver in ["vfs", "overlay"] {
        eprintln!("driver {driver}");
        test(&Fixture::new(driver));
    }
}

pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_600_000_000);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Held while a process is started: until it runs its own program it has every lock of this one.
static STARTING: Mutex<()> = Mutex::new(());

/// Starts a process.
pub(crate) fn spawn(command: &mut Command) -> Child {
    let _alone = STARTING.lock().unwrap();
    command.spawn().unwrap()
}

/// Lets go of a session as if its process had died.
pub(crate) fn die(session: Session) {
    let _alone = STARTING.lock().unwrap();
    drop(session.into_dead());
}

/// An ID of one digit pair, repeated.
pub(crate) fn id(pair: &str) -> LayerId {
    pair.repeat(32).parse().unwrap()
}

/// Describes a layer that has no more than an ID and perhaps a parent.
pub(crate) fn plain(id: LayerId, parent: Option<LayerId>) -> Descriptor {
    Descriptor {
        id,
        parent,
        diff_id: None,
        json: None,
    }
}

/// Registers an empty layer, and keeps it.
pub(crate) fn empty(graph: &Graph, session: &Session, id: LayerId, parent: Option<LayerId>) {
    let descriptor = plain(id, parent);
    graph.register(session, &descriptor, None, &()).unwrap();
    graph.keep(&id).unwrap();
}

/// Registers a tar under its chain ID.
pub(crate) fn register(
    graph: &Graph,
    session: &Session,
    parent: Option<&ChainId>,
    tar: &[u8],
) -> (ChainId, Registered) {
    let staged = graph.stage(session, &mut &tar[..], None, &()).unwrap();
    let chain = ChainId::of(parent, staged.diff_id());
    let descriptor = Descriptor::chain(parent, staged.diff_id());
    (chain, graph.publish(session, staged, &descriptor).unwrap())
}

pub(crate) fn read_back(graph: &Graph, layer: &Registered) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    graph
        .tar_layer(&layer.id)
        .unwrap()
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}
