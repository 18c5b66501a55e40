//! A driver whose drafts are streams: it keeps the tars, and lith needs no record of them.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;

use lith_archive::{Input, LoadOptions, SaveOptions, Target, load, save, select};
use lith_drivers::{
    CacheId, Draft, DraftBody, Driver, DriverError, DriverInfo, LayerFiles, Mount, MountInfo,
    MountRequest, Parent, Parked, Placed, Usage,
};
use lith_graph::{Graph, GraphError};
use lith_store::{OpenOptions, Store};
use tempfile::NamedTempFile;

use crate::support::Image;

/// Keeps each layer as the tar that came: `HOME/<ID>.tar`.
struct KeepsTars {
    info: DriverInfo,
}

/// A tar that is being written, or was.
struct Tar {
    file: NamedTempFile,
    home: PathBuf,
}

fn io(action: &'static str, path: PathBuf, source: std::io::Error) -> DriverError {
    DriverError::Io {
        action,
        path,
        source,
    }
}

impl KeepsTars {
    fn new(home: PathBuf) -> Self {
        fs::create_dir_all(&home).unwrap();
        let mut info = DriverInfo::new("tars", "1", home);
        info.stand_alone = true;
        info.powers.raw_stream = true;
        Self { info }
    }

    fn path(&self, id: &CacheId) -> PathBuf {
        self.info.home.join(format!("{id}.tar"))
    }

    fn unsupported<T>(&self, what: &str) -> Result<T, DriverError> {
        Err(DriverError::Unsupported {
            driver: self.info.name.clone(),
            what: what.to_owned(),
        })
    }
}

impl Draft for Tar {
    fn body(&mut self) -> DraftBody<'_> {
        DraftBody::Stream(&mut self.file)
    }

    fn park(self: Box<Self>) -> Result<Box<dyn Parked>, DriverError> {
        Ok(self)
    }
}

impl Parked for Tar {
    fn commit(self: Box<Self>, id: &CacheId, _: Option<&CacheId>) -> Result<Placed, DriverError> {
        let place = self.home.join(format!("{id}.tar"));
        match self.file.persist_noclobber(&place) {
            Ok(_) => Ok(Placed::New),
            Err(_) if place.exists() => Ok(Placed::AlreadyThere),
            Err(error) => Err(io("rename", place, error.error)),
        }
    }
}

impl Driver for KeepsTars {
    fn info(&self) -> &DriverInfo {
        &self.info
    }

    fn prepare(&self, _: Parent<'_>) -> Result<Box<dyn Draft>, DriverError> {
        let home = self.info.home.clone();
        let file = NamedTempFile::new_in(&home);
        let file = file.map_err(|error| io("create a file in", home.clone(), error))?;
        Ok(Box::new(Tar { file, home }))
    }

    fn exists(&self, id: &CacheId) -> Result<bool, DriverError> {
        Ok(self.path(id).exists())
    }

    fn list(&self) -> Result<Vec<CacheId>, DriverError> {
        let entries = fs::read_dir(&self.info.home);
        let entries = entries.map_err(|error| io("read", self.info.home.clone(), error))?;
        let id = |name: String| name.strip_suffix(".tar")?.parse().ok();
        let names = entries.flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter_map(id).collect())
    }

    fn remove(&self, id: &CacheId) -> Result<(), DriverError> {
        match fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(io("remove", self.path(id), error))
            }
            _ => Ok(()),
        }
    }

    fn files(&self, id: &CacheId) -> Result<LayerFiles, DriverError> {
        let file = File::open(self.path(id)).map_err(|error| io("open", self.path(id), error))?;
        Ok(LayerFiles::Stream(Box::new(file)))
    }

    fn usage(&self, _: &CacheId) -> Result<Usage, DriverError> {
        Ok(Usage::default())
    }

    fn diff_size(&self, id: &CacheId, _: Option<&CacheId>) -> Result<u64, DriverError> {
        let found = fs::metadata(self.path(id));
        Ok(found
            .map_err(|error| io("look at", self.path(id), error))?
            .len())
    }

    fn mount(&self, _: &MountRequest<'_>) -> Result<Mount, DriverError> {
        self.unsupported("mounts")
    }

    fn mounts(&self) -> Result<Vec<MountInfo>, DriverError> {
        Ok(Vec::new())
    }

    fn status(&self) -> Result<Vec<(String, String)>, DriverError> {
        Ok(Vec::new())
    }

    fn sweep(&self) -> Result<usize, DriverError> {
        Ok(0)
    }

    fn sync(&self) -> Result<(), DriverError> {
        Ok(())
    }
}

fn open(folder: &std::path::Path) -> Graph {
    let options = OpenOptions {
        driver: Some("tars".into()),
        create: true,
        ..OpenOptions::default()
    };
    let store = Store::open(&folder.join("root"), &options).unwrap();
    let home = store.root().drivers("tars");
    Graph::open(store, Box::new(KeepsTars::new(home))).unwrap()
}

#[test]
fn layers_come_and_go_without_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let graph = open(folder.path());
    let image = Image::new(&["one", "two", "three"]);
    let archive = image.archive(&["app:1"]);
    let from = Input::Stream(Box::new(std::io::Cursor::new(archive)));
    let report = load(&graph, from, &LoadOptions::default(), &()).unwrap();
    assert_eq!(report.images[0].layers_new, 3);
    let layers = graph.store().layers().unwrap();
    assert!(layers.iter().all(|layer| !layer.has_record));
    for layer in &layers {
        let folder = graph.store().root().layer(&layer.id);
        for record in ["tar-data.bin.zst", "tar-data.json.gz"] {
            assert!(!folder.join(record).exists());
        }
        // Every byte, checked against the diff ID on its way.
        let mut tar = Vec::new();
        graph
            .tar_layer(&layer.id)
            .unwrap()
            .read_to_end(&mut tar)
            .unwrap();
        assert!(image.layers.contains(&tar));
    }
    let saved = |graph: &Graph| {
        let mut out = Vec::new();
        let selection = select(graph, &["app:1".to_owned()]).unwrap();
        let done = save(
            graph,
            &selection,
            Target::Stream(&mut out),
            &SaveOptions::default(),
            &(),
        );
        done.map(|_| out)
    };
    // Saved by one process, loaded by another into a store of trees: the same image.
    let first = saved(&graph).unwrap();
    let other = crate::support::Root::new();
    let again = other.load_file(&first).unwrap();
    assert_eq!(again.images[0].id, report.images[0].id);
    assert!(other.save(&["app:1"]) == first);
    // What such a driver does not have is refused by name.
    let top = layers.last().unwrap().id;
    for error in [
        graph.tree(&top).map(drop).unwrap_err(),
        graph.mount(&top, folder.path()).map(drop).unwrap_err(),
        graph
            .create_writable(Some(&top), b"")
            .map(drop)
            .unwrap_err(),
    ] {
        let unsupported = matches!(error, GraphError::Driver(DriverError::Unsupported { .. }));
        assert!(unsupported, "{error}");
    }
    // Damage is found, and nothing is saved of it.
    let path = graph
        .driver()
        .info()
        .home
        .join(format!("{}.tar", layers[1].cache));
    let mut tar = fs::read(&path).unwrap();
    tar[600] ^= 1;
    File::create(&path).unwrap().write_all(&tar).unwrap();
    saved(&graph).unwrap_err();
    drop(graph);
    let graph = open(folder.path());
    assert_eq!(graph.driver().list().unwrap().len(), 3);
}
