//! Stores in temporary folders, and archives made on the spot.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::Path;

use lith_archive::{
    Input, LoadError, LoadOptions, LoadReport, RemoveError, RemoveOptions, RemoveReport, SaveError,
    SaveOptions, SaveReport, Target, load, remove, save, select,
};
use lith_graph::Graph;
use lith_store::{DiffId, ImageId, OpenOptions};
use tempfile::TempDir;

/// A fresh store.
pub(crate) struct Root {
    pub(crate) graph: Graph,
    dir: TempDir,
}

impl Root {
    pub(crate) fn new() -> Root {
        Root::with_driver("vfs")
    }

    pub(crate) fn with_driver(driver: &str) -> Root {
        let dir = tempfile::tempdir().unwrap();
        let options = OpenOptions {
            create: true,
            driver: Some(driver.into()),
            ..OpenOptions::default()
        };
        let graph = Graph::open_root(&dir.path().join("root"), &options).unwrap();
        Root { graph, dir }
    }

    /// Opens the store as another process would, which cleans up after dead sessions.
    pub(crate) fn reopen(&self) {
        Graph::open_root(&self.dir.path().join("root"), &OpenOptions::default()).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Loads from a file.
    pub(crate) fn load_file(&self, archive: &[u8]) -> Result<LoadReport, LoadError> {
        self.load_file_with(archive, &LoadOptions::default())
    }

    pub(crate) fn load_file_with(
        &self,
        archive: &[u8],
        options: &LoadOptions,
    ) -> Result<LoadReport, LoadError> {
        let path = self.dir.path().join("archive");
        fs::write(&path, archive).unwrap();
        load(&self.graph, Input::File(path), options, &())
    }

    /// Loads from a stream that gives a few bytes at a time.
    pub(crate) fn load_stream(&self, archive: &[u8]) -> Result<LoadReport, LoadError> {
        self.load_stream_with(archive, &LoadOptions::default())
    }

    pub(crate) fn load_stream_with(
        &self,
        archive: &[u8],
        options: &LoadOptions,
    ) -> Result<LoadReport, LoadError> {
        let stream = Trickle(Cursor::new(archive.to_vec()));
        let stream = Input::Stream(Box::new(stream));
        load(&self.graph, stream, options, &())
    }

    pub(crate) fn save(&self, wanted: &[&str]) -> Vec<u8> {
        self.save_stream(wanted, &SaveOptions::default())
    }

    pub(crate) fn save_stream(&self, wanted: &[&str], options: &SaveOptions) -> Vec<u8> {
        let mut out = Vec::new();
        let report = self
            .save_to(wanted, Target::Stream(&mut out), options)
            .unwrap();
        assert_eq!(report.bytes, out.len() as u64);
        out
    }

    pub(crate) fn save_to(
        &self,
        wanted: &[&str],
        target: Target<'_>,
        options: &SaveOptions,
    ) -> Result<SaveReport, SaveError> {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        let selection = select(&self.graph, &wanted).unwrap();
        save(&self.graph, &selection, target, options, &())
    }

    /// Removes images.
    pub(crate) fn remove(&self, wanted: &[&str], force: bool) -> Result<RemoveReport, RemoveError> {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        let mut options = RemoveOptions::default();
        options.force = force;
        remove(&self.graph, &wanted, &options, &())
    }

    /// Asserts that the store has no image, name, layer or session, and nothing in staging.
    pub(crate) fn assert_empty(&self, context: &str) {
        let store = self.graph.store();
        assert!(
            store.images().unwrap().is_empty(),
            "{context}: an image is left"
        );
        assert!(
            store.names().unwrap().is_empty(),
            "{context}: a name is left"
        );
        assert!(
            store.layers().unwrap().is_empty(),
            "{context}: a layer is left"
        );
        for folder in [store.root().staging(), store.root().layers()] {
            let left = fs::read_dir(&folder).unwrap().count();
            assert_eq!(
                left,
                0,
                "{context}: something is left in {}",
                folder.display()
            );
        }
    }
}

/// Gives odd, small pieces, as pipes may.
struct Trickle(Cursor<Vec<u8>>);

impl Read for Trickle {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let want = buf.len().min(701);
        self.0.read(&mut buf[..want])
    }
}

/// A fixture, inflated.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name);
    let mut inflated = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(path).unwrap())
        .read_to_end(&mut inflated)
        .unwrap();
    inflated
}

/// Says that a test was not run, past what catches the output of tests that pass.
pub(crate) fn skipped(what: &str, why: &str) {
    let line = format!("SKIPPED {what}: {}\n", why.trim());
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// A tar with regular files, in order.
pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Tar::new();
    for (name, content) in files {
        tar.file(name, content);
    }
    tar.finish()
}

/// An outer tar being made.
pub(crate) struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    pub(crate) fn new() -> Tar {
        Tar(tar::Builder::new(Vec::new()))
    }

    fn entry(&mut self, name: &str, kind: tar::EntryType, link: &str, content: &[u8]) {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
    }

    pub(crate) fn file(&mut self, name: &str, content: &[u8]) {
        self.entry(name, tar::EntryType::Regular, "", content);
    }

    pub(crate) fn symlink(&mut self, name: &str, target: &str) {
        self.entry(name, tar::EntryType::Symlink, target, b"");
    }

    pub(crate) fn hard_link(&mut self, name: &str, target: &str) {
        self.entry(name, tar::EntryType::Link, target, b"");
    }

    pub(crate) fn folder(&mut self, name: &str) {
        self.entry(name, tar::EntryType::Directory, "", b"");
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// The members of a tar: name to type, link target and content.
pub(crate) fn members(archive: &[u8]) -> BTreeMap<String, (u8, String, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let link = entry.link_name_bytes().unwrap_or_default();
        let link = String::from_utf8(link.into_owned()).unwrap();
        let kind = entry.header().entry_type().as_byte();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        all.insert(name, (kind, link, content));
    }
    all
}

/// The names of a tar's members, in order.
pub(crate) fn order(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| entry.unwrap().path().unwrap().to_str().unwrap().to_owned())
        .collect()
}

/// An image made on the spot.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) config: Vec<u8>,
    pub(crate) layers: Vec<Vec<u8>>,
}

impl Image {
    /// An image of one layer for each text, which is the content of that layer's only file.
    pub(crate) fn new(texts: &[&str]) -> Image {
        let layer = |text: &&str| tar(&[(&format!("file-{text}"), text.as_bytes())]);
        Image::of(texts.iter().map(layer).collect())
    }

    pub(crate) fn of(layers: Vec<Vec<u8>>) -> Image {
        let ids: Vec<String> = layers
            .iter()
            .map(|layer| format!("\"{}\"", DiffId::of_bytes(layer)))
            .collect();
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            ids.join(",")
        );
        Image {
            config: config.into_bytes(),
            layers,
        }
    }

    pub(crate) fn id(&self) -> ImageId {
        ImageId::of_bytes(&self.config)
    }

    pub(crate) fn diff_id(&self, index: usize) -> DiffId {
        DiffId::of_bytes(&self.layers[index])
    }

    pub(crate) fn layer_name(&self, index: usize) -> String {
        format!("{}.tar", self.diff_id(index).hex())
    }

    /// An archive with nothing unusual: layers, config, manifest.
    pub(crate) fn archive(&self, tags: &[&str]) -> Vec<u8> {
        let names: Vec<String> = (0..self.layers.len()).map(|i| self.layer_name(i)).collect();
        let mut tar = Tar::new();
        for (index, layer) in self.layers.iter().enumerate() {
            if !names[..index].contains(&names[index]) {
                tar.file(&names[index], layer);
            }
        }
        tar.file("config.json", &self.config);
        tar.file(
            "manifest.json",
            manifest("config.json", tags, &names).as_bytes(),
        );
        tar.finish()
    }
}

/// A manifest.json with one image.
pub(crate) fn manifest<S: AsRef<str>>(config: &str, tags: &[&str], layers: &[S]) -> String {
    let layers: Vec<&str> = layers.iter().map(AsRef::as_ref).collect();
    let item = serde_json::json!([{ "Config": config, "RepoTags": tags, "Layers": layers }]);
    item.to_string()
}

pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(content).unwrap();
    out.finish().unwrap()
}

pub(crate) fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 1).unwrap()
}

pub(crate) fn bzip2(content: &[u8]) -> Vec<u8> {
    let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    out.write_all(content).unwrap();
    out.finish().unwrap()
}

pub(crate) fn xz(content: &[u8]) -> Vec<u8> {
    let mut out = liblzma::write::XzEncoder::new(Vec::new(), 1);
    out.write_all(content).unwrap();
    out.finish().unwrap()
}
