//! docker's store, made by hand and by docker itself.

use std::fs;
use std::os::unix::fs::symlink;

use lith_archive::{EngineError, FolderError, LoadError, LoadReport};
use lith_store::{ChainId, DiffId, ImageId};
use serde_json::json;

use super::docker::Docker;
use super::made::{causes, extract, load_from, record};
use crate::support::{Image, Root, fixture, tar};

/// A store of docker's overlay2 driver in a folder of its own.
struct Store(tempfile::TempDir);

impl Store {
    fn new(images: &[(&Image, &[&str])]) -> Store {
        let store = Store(tempfile::tempdir().unwrap());
        let mut names = serde_json::Map::new();
        for (image, tags) in images {
            store.add(image);
            for tag in *tags {
                let (repository, _) = tag.split_once([':', '@']).unwrap();
                let tags = names.entry(repository).or_insert_with(|| json!({}));
                tags[*tag] = json!(image.id().to_string());
            }
        }
        let names = json!({ "Repositories": names });
        store.write(
            "image/overlay2/repositories.json",
            names.to_string().as_bytes(),
        );
        store
    }

    fn add(&self, image: &Image) {
        let diff_ids: Vec<DiffId> = (0..image.layers.len())
            .map(|at| image.diff_id(at))
            .collect();
        for (at, chain) in ChainId::chain(&diff_ids).iter().enumerate() {
            let cache = DiffId::of_bytes(chain.hex().as_bytes()).hex();
            let folder = format!("image/overlay2/layerdb/sha256/{}", chain.hex());
            self.write(
                &format!("{folder}/diff"),
                diff_ids[at].to_string().as_bytes(),
            );
            self.write(&format!("{folder}/cache-id"), cache.as_bytes());
            self.write(
                &format!("{folder}/tar-split.json.gz"),
                &record(&image.layers[at]),
            );
            extract(
                &image.layers[at],
                &self.0.path().join(format!("overlay2/{cache}/diff")),
            );
        }
        let content = format!("image/overlay2/imagedb/content/sha256/{}", image.id().hex());
        self.write(&content, &image.config);
    }

    fn write(&self, below: &str, content: &[u8]) {
        let path = self.0.path().join(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn layer(&self, image: &Image, file: &str) -> std::path::PathBuf {
        let diff_ids: Vec<DiffId> = (0..image.layers.len())
            .map(|at| image.diff_id(at))
            .collect();
        let chain = *ChainId::chain(&diff_ids).last().unwrap();
        self.0.path().join(format!(
            "image/overlay2/layerdb/sha256/{}/{file}",
            chain.hex()
        ))
    }

    fn tree(&self, image: &Image) -> std::path::PathBuf {
        let cache = fs::read_to_string(self.layer(image, "cache-id")).unwrap();
        self.0.path().join(format!("overlay2/{cache}/diff"))
    }

    fn location(&self, name: &str) -> String {
        let root = self.0.path().display();
        if name.is_empty() {
            format!("docker-store:{root}")
        } else {
            format!("docker-store:{root}:{name}")
        }
    }

    fn load(&self, name: &str) -> Result<LoadReport, LoadError> {
        load_from(&Root::new(), &self.location(name), &[], self.0.path())
    }

    fn fails(&self) -> (LoadError, String) {
        let root = Root::new();
        let error = load_from(&root, &self.location(""), &[], self.0.path()).unwrap_err();
        root.assert_empty(&error.to_string());
        let text = causes(&error);
        (error, text)
    }
}

fn ids(report: &LoadReport) -> Vec<ImageId> {
    let mut ids: Vec<ImageId> = report.images.iter().map(|image| image.id).collect();
    ids.sort();
    ids
}

fn engine(error: &LoadError) -> &EngineError {
    match error {
        LoadError::Engine(error) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn images_are_chosen_as_docker_lists_them() {
    let (one, two, step) = (
        Image::new(&["base", "one"]),
        Image::new(&["two"]),
        Image::new(&["base"]),
    );
    let digest = format!("one@sha256:{}", "ab".repeat(32));
    let store = Store::new(&[(&one, &["one:1", &digest]), (&two, &[]), (&step, &[])]);
    let parent = format!(
        "image/overlay2/imagedb/metadata/sha256/{}/parent",
        one.id().hex()
    );
    store.write(&parent, step.id().to_string().as_bytes());
    let mut both = [one.id(), two.id()];
    both.sort();
    assert_eq!(
        ids(&store.load("").unwrap()),
        both,
        "steps of builds are left out"
    );
    let report = store.load("one:1").unwrap();
    assert_eq!(ids(&report), [one.id()]);
    assert_eq!(report.images[0].names[0].familiar(), "one:1");
    assert_eq!(report.images[0].names.len(), 1);
    assert_eq!(ids(&store.load(&digest).unwrap()), [one.id()]);
    assert_eq!(
        ids(&store.load(&step.id().to_string()).unwrap()),
        [step.id()]
    );
    let error = store.load("none").unwrap_err();
    assert!(
        matches!(engine(&error), EngineError::NoImage { .. }),
        "{error}"
    );
}

#[test]
fn damage_and_lies_are_told_and_nothing_is_kept() {
    let image = Image::of(vec![
        tar(&[("etc/base", b"base")]),
        tar(&[("etc/bad", b"as it was")]),
    ]);
    let made = || Store::new(&[(&image, &["app:1"])]);

    let store = made();
    fs::write(store.tree(&image).join("etc/bad"), "as it is!").unwrap();
    let (_, text) = store.fails();
    assert!(text.contains("etc/bad"), "{text}");

    let store = made();
    fs::remove_file(store.layer(&image, "tar-split.json.gz")).unwrap();
    let (error, _) = store.fails();
    assert!(
        matches!(engine(&error), EngineError::NoRecord { .. }),
        "{error}"
    );

    for cache in ["../../../../etc", "", "ABCDEF"] {
        let store = made();
        fs::write(store.layer(&image, "cache-id"), cache).unwrap();
        let (error, _) = store.fails();
        assert!(
            matches!(engine(&error), EngineError::BadId { .. }),
            "{error}"
        );
    }

    let store = made();
    fs::write(store.layer(&image, "diff"), image.diff_id(0).to_string()).unwrap();
    let (error, _) = store.fails();
    assert!(
        matches!(engine(&error), EngineError::OtherLayer { .. }),
        "{error}"
    );

    let store = made();
    fs::remove_dir_all(store.layer(&image, "")).unwrap();
    let (error, _) = store.fails();
    assert!(
        matches!(engine(&error), EngineError::NoLayer { .. }),
        "{error}"
    );

    let store = made();
    let tree = store.tree(&image);
    fs::remove_dir_all(&tree).unwrap();
    symlink("/", &tree).unwrap();
    let (error, _) = store.fails();
    assert!(
        matches!(
            engine(&error),
            EngineError::Folder(FolderError::Kind { .. })
        ),
        "{error}"
    );

    let store = made();
    let content = format!("image/overlay2/imagedb/content/sha256/{}", image.id().hex());
    store.write(&content, b"{}");
    let (error, _) = store.fails();
    assert!(
        matches!(engine(&error), EngineError::ConfigChanged { .. }),
        "{error}"
    );
}

#[test]
fn other_folders_are_no_stores_of_docker() {
    let empty = tempfile::tempdir().unwrap();
    let root = Root::new();
    let location = format!("docker-store:{}", empty.path().display());
    let load = || load_from(&root, &location, &[], empty.path()).unwrap_err();
    let error = load();
    assert!(
        matches!(engine(&error), EngineError::NotAStore { .. }),
        "{error}"
    );
    fs::create_dir_all(empty.path().join("image/btrfs/imagedb/content/sha256")).unwrap();
    let error = load();
    assert!(
        matches!(engine(&error), EngineError::Driver { .. }),
        "{error}"
    );
    fs::create_dir_all(empty.path().join("image/overlay2/imagedb/content/sha256")).unwrap();
    let error = load();
    assert!(
        matches!(engine(&error), EngineError::Empty { .. }),
        "{error}"
    );
}

#[test]
fn what_docker_has_is_loaded_bit_for_bit() {
    for driver in ["overlay2", "vfs"] {
        let Some(mut docker) = Docker::start(driver) else {
            continue;
        };
        docker.load(&fixture("docker-multi.tar.gz"));
        docker.load(&fixture("podman-multi.tar.gz"));
        let listed = docker.ok(&["images", "-q", "--no-trunc"]);
        let mut listed: Vec<ImageId> = listed.lines().map(|id| id.parse().unwrap()).collect();
        listed.sort();
        listed.dedup();
        let store = docker.data();
        let location = format!("docker-store:{}", store.display());
        // Beside the running daemon, and when it has stopped. It writes things of its own.
        let untouched = store.join("image");
        let root = Root::new();
        let report = load_from(&root, &location, &[], &untouched).unwrap();
        assert_eq!(ids(&report), listed, "{driver}");
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
        let names = ["example.com/team/tiny:1", "example.com/team/tiny2:latest"];
        let archive = docker.save(&names);
        docker.stop();
        let through = Root::new();
        through.load_file(&archive).unwrap();
        assert_eq!(root.save(&names), through.save(&names), "{driver}");
        let again = Root::new();
        let report = load_from(&again, &location, &[], &store).unwrap();
        assert_eq!(ids(&report), listed, "{driver}");
    }
}
