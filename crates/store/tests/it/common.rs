//! A store in a fresh folder, layers with a pretended driver, and its whole state.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lith_store::*;

pub(crate) struct Fixture {
    _folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

/// A fresh folder, in memory where the machine offers that.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir()
        && let Ok(folder) = tempfile::tempdir_in(memory)
    {
        return folder;
    }
    tempfile::tempdir().unwrap()
}

pub(crate) fn options() -> OpenOptions {
    OpenOptions {
        driver: Some("vfs".into()),
        create: true,
        ..OpenOptions::default()
    }
}

pub(crate) fn fixture() -> Fixture {
    let folder = folder();
    Fixture {
        path: folder.path().join("root"),
        _folder: folder,
    }
}

impl Fixture {
    pub(crate) fn open(&self) -> Store {
        Store::open(&self.path, &options()).unwrap()
    }

    /// Recovers dead sessions as the graph does.
    pub(crate) fn recover(&self, store: &Store) -> Result<Recovery, StoreError> {
        recover(store)
    }
}

pub(crate) fn recover(store: &Store) -> Result<Recovery, StoreError> {
    let trees = store.root().drivers("vfs");
    store.recover(&mut |cache| match fs::remove_dir(trees.join(cache)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    })
}

pub(crate) fn layer_id(name: &str) -> LayerId {
    LayerId::from_bytes(*Digest::of(name.as_bytes()).as_bytes())
}

pub(crate) fn record(name: &str, parent: Option<&str>) -> LayerRecord {
    LayerRecord {
        parent: parent.map(layer_id),
        diff_id: Some(DiffId::of_bytes(name.as_bytes())),
        size: Some(1000),
        tar_size: 2000,
        has_record: true,
        ..LayerRecord::new(
            layer_id(name),
            format!("{name}-{}", LayerId::random().hex()),
        )
    }
}

/// Stages and publishes a layer as the graph does: intent, tree, folder.
pub(crate) fn add_layer(
    store: &Store,
    session: &Session,
    name: &str,
    parent: Option<&str>,
) -> Result<Published, PublishLayerError> {
    let record = record(name, parent);
    let staged = session.scratch("layer")?;
    fs::write(staged.join("tar-data.bin.zst"), b"record").unwrap();
    fs::create_dir(staged.join("kept")).unwrap();
    fs::write(staged.join("kept").join("7"), b"kept").unwrap();
    let tree = store.root().drivers("vfs").join(&record.cache);
    let intent = session.intend(&Intent::Layer {
        id: record.id,
        cache: record.cache.clone(),
    })?;
    fs::create_dir_all(&tree).unwrap();
    let published = store.publish_layer(session, &staged, &record);
    if !matches!(published, Ok(Published::New)) {
        fs::remove_dir(&tree).unwrap();
    }
    if published.is_ok() {
        intent.done()?;
    }
    published
}

pub(crate) fn delete_layer(
    store: &Store,
    session: &Session,
    name: &str,
) -> Result<(), RemoveLayerError> {
    let removal = store.take_layer_for_removal(session, &layer_id(name))?;
    assert!(removal.folder.join("layer.json").is_file());
    fs::remove_dir(store.root().drivers("vfs").join(&removal.record.cache)).unwrap();
    Ok(removal.finish()?)
}

pub(crate) fn image(config: &str, layers: &[&str]) -> ImageRecord {
    ImageRecord {
        id: ImageId::of_bytes(config.as_bytes()),
        config: config.as_bytes().to_vec(),
        manifest: Some(b"{\"manifest\":1}".to_vec()),
        layers: layers.iter().map(|name| layer_id(name)).collect(),
        parent: Some(ImageId::of_bytes(b"parent")),
        created: Some("2024-05-06T07:08:09.123456789Z".into()),
        architecture: Some("amd64".into()),
        os: Some("linux".into()),
        variant: None,
        size: 1000 * layers.len() as u64,
        extra: [("layer-sources.json".to_owned(), b"{}".to_vec())].into(),
        index: None,
    }
}

pub(crate) fn new_image(config: &str, layers: &[&str], names: &[&str]) -> NewImage {
    NewImage {
        record: image(config, layers),
        names: names.iter().map(|text| name(text)).collect(),
    }
}

/// An index with these images, without layers each, as members.
pub(crate) fn index(document: &str, members: &[&str]) -> ImageRecord {
    let member = |config: &&str| IndexMember {
        image: image(config, &[]).id,
        manifest: Digest::of(config.as_bytes()),
        platform: Some(format!("linux/{config}")),
    };
    ImageRecord {
        id: ImageId::of_bytes(document.as_bytes()),
        config: Vec::new(),
        manifest: None,
        parent: None,
        index: Some(ImageIndex {
            document: document.as_bytes().to_vec(),
            members: members.iter().map(member).collect(),
        }),
        extra: [(Digest::of(b"attested").hex(), b"attested".to_vec())].into(),
        ..image(document, &[])
    }
}

pub(crate) fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

/// Everything that a store shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct State {
    pub(crate) layers: BTreeSet<LayerId>,
    pub(crate) images: BTreeSet<ImageId>,
    pub(crate) names: BTreeMap<String, ImageId>,
    /// What the index says of manifests and members.
    pub(crate) manifests: BTreeMap<ImageId, (bool, Vec<ImageId>)>,
    /// What is put into layers later: sizes, and the file `json`.
    pub(crate) later: BTreeMap<LayerId, Later>,
}

pub(crate) type Later = (Option<u64>, Option<Vec<u8>>);

/// What the index says.
pub(crate) fn state(store: &Store) -> State {
    let json = |id: &LayerId| store.layer_file(id, "json").unwrap();
    State {
        later: store
            .layers()
            .unwrap()
            .into_iter()
            .map(|layer| (layer.id, (layer.size, json(&layer.id))))
            .collect(),
        layers: store
            .layers()
            .unwrap()
            .iter()
            .map(|layer| layer.id)
            .collect(),
        images: store
            .images()
            .unwrap()
            .iter()
            .map(|image| image.id)
            .collect(),
        manifests: store.images().unwrap().iter().map(manifests).collect(),
        names: store
            .names()
            .unwrap()
            .into_iter()
            .map(|(n, i)| (n.to_string(), i))
            .collect(),
    }
}

fn manifests(image: &ImageSummary) -> (ImageId, (bool, Vec<ImageId>)) {
    let members = image.members.iter().map(|member| member.image).collect();
    (image.id, (image.manifest.is_some(), members))
}

pub(crate) fn listing(path: &Path) -> BTreeSet<String> {
    fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Index equals folders equals trees, and nothing is left of any work.
pub(crate) fn check_whole(store: &Store) {
    let state = state(store);
    let root = store.root();
    let hex = |ids: &BTreeSet<LayerId>| ids.iter().map(LayerId::hex).collect::<BTreeSet<_>>();
    assert_eq!(listing(&root.layers()), hex(&state.layers), "layers");
    let images: BTreeSet<String> = state.images.iter().map(ImageId::hex).collect();
    assert_eq!(listing(&root.images()), images, "images");
    let names: BTreeSet<String> = state
        .names
        .keys()
        .map(|name| Digest::of(name.as_bytes()).hex())
        .collect();
    assert_eq!(listing(&root.names()), names, "names");
    let trees: BTreeSet<String> = store
        .layers()
        .unwrap()
        .into_iter()
        .map(|layer| layer.cache)
        .collect();
    if root.drivers("vfs").is_dir() {
        assert_eq!(listing(&root.drivers("vfs")), trees, "trees");
    }
    for id in &state.images {
        let image = store.image(id).unwrap().unwrap();
        assert!(
            image
                .layers
                .iter()
                .all(|layer| state.layers.contains(layer))
        );
        let members = image.index.map_or(Vec::new(), |index| index.members);
        let (manifest, listed) = &state.manifests[id];
        let members: Vec<ImageId> = members.iter().map(|member| member.image).collect();
        assert_eq!(&members, listed, "members");
        assert!(members.iter().all(|member| state.images.contains(member)));
        assert_eq!(*manifest, image.manifest.is_some() || !members.is_empty());
    }
    for layer in store.layers().unwrap() {
        assert!(
            layer
                .parent
                .is_none_or(|parent| state.layers.contains(&parent))
        );
        let folder = root.layer(&layer.id);
        assert_eq!(LayerRecord::read(&folder, &layer.id).unwrap(), layer);
    }
    assert!(
        state
            .names
            .values()
            .all(|image| state.images.contains(image))
    );
    assert_eq!(listing(&root.staging()), BTreeSet::new(), "staging");
    assert_eq!(
        listing(&root.session_locks()),
        BTreeSet::new(),
        "session locks"
    );
}

/// Lets the `n`-th effect (from 1) fail, and with `dead` all after it; counts them.
pub(crate) fn stop_at(effects: &Effects, n: usize, dead: bool) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    effects.set_hook(Some(Arc::new(move |_: &Effect<'_>| {
        let now = seen.fetch_add(1, Ordering::SeqCst) + 1;
        if now == n || (dead && now > n) {
            return Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
        }
        Ok(())
    })));
    count
}

/// Time that this thread has spent on a processor: other work on the machine does not count.
pub(crate) fn on_cpu() -> std::time::Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    std::time::Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}
