//! Opening a root folder, and making one.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::effects::Effects;
use crate::error::{IoContext, StoreError};
use crate::index::schema::{self, Found};
use crate::index::{Index, View};
use crate::lock::{self, Mode};
use crate::rebuild;
use crate::root::{FORMAT, Root};
use crate::store::{Inner, Store};

/// Byte of `locks/root` that whoever makes, scans or rebuilds the root holds.
const MAINTENANCE: u64 = 0;
/// Byte of `locks/root` that every open store holds shared, and a rebuild exclusively.
const IN_USE: u64 = 1;
/// How long a rebuild waits for others to close the store.
const PATIENCE: Duration = Duration::from_secs(10);

/// How owners of files in layers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ownership {
    /// As the layer says; needs root.
    Real,
    /// Shifted by an ID map.
    Mapped,
    /// All files belong to the user; the layer's owners are only recorded.
    Recorded,
}

impl Ownership {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Ownership::Real => "real",
            Ownership::Mapped => "mapped",
            Ownership::Recorded => "recorded",
        }
    }
}

impl std::fmt::Display for Ownership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no kind of ownership.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a kind of ownership: expected real, mapped or recorded")]
pub struct ParseOwnershipError {
    /// What was given.
    pub text: String,
}

impl FromStr for Ownership {
    type Err = ParseOwnershipError;

    fn from_str(text: &str) -> Result<Ownership, ParseOwnershipError> {
        [Ownership::Real, Ownership::Mapped, Ownership::Recorded]
            .into_iter()
            .find(|one| one.as_str() == text)
            .ok_or_else(|| ParseOwnershipError {
                text: crate::digest::shorten(text),
            })
    }
}

/// What to expect of a root, and how to make one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// The driver that the root must have been made with, or is made with. `None` takes what
    /// is there.
    pub driver: Option<String>,
    /// The same for ownership; a root is made with [`Ownership::Real`] by root and with
    /// [`Ownership::Recorded`] by anybody else unless this says otherwise.
    pub ownership: Option<Ownership>,
    /// Whether a root that is not there is made.
    pub create: bool,
}

/// Why a root cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no root folder, or an empty one, and none was to be made.
    #[error("there is no store at {}", path.display())]
    Missing {
        /// Where it was expected.
        path: PathBuf,
    },
    /// The folder holds something else.
    #[error("{} is not a store: it has no `format` file but holds {found:?}", path.display())]
    NotAStore {
        /// The folder.
        path: PathBuf,
        /// Something that does not belong in an empty store.
        found: String,
    },
    /// A newer version of the program made the root.
    #[error(
        "store {} has format {found}, made by a newer version: expected at most {supported}",
        path.display()
    )]
    NewerFormat {
        /// The root.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that is understood.
        supported: u32,
    },
    /// A newer version of the program made the index.
    #[error(
        "index {} has schema {found}, made by a newer version: expected at most {supported}",
        path.display()
    )]
    NewerIndex {
        /// The index.
        path: PathBuf,
        /// Its schema version.
        found: i32,
        /// The newest that is understood.
        supported: i32,
    },
    /// The root was made with another driver.
    #[error("store {} was made with driver {found}, not {expected}", path.display())]
    OtherDriver {
        /// The root.
        path: PathBuf,
        /// The driver it was made with.
        found: String,
        /// The driver that was asked for.
        expected: String,
    },
    /// The root was made with another kind of ownership.
    #[error("store {} was made with ownership {found}, not {expected}", path.display())]
    OtherOwnership {
        /// The root.
        path: PathBuf,
        /// What it was made with.
        found: Ownership,
        /// What was asked for.
        expected: Ownership,
    },
    /// A root has to be made and nobody said with which driver.
    #[error("making a store at {} needs the name of a driver", path.display())]
    DriverNeeded {
        /// The root.
        path: PathBuf,
    },
    /// The name of the driver cannot be the name of a folder.
    #[error("{name:?} is not a driver name: expected lower-case letters, digits, '_', '.' and '-'")]
    DriverName {
        /// What was given.
        name: String,
    },
    /// The index has to be replaced while others use it.
    #[error("the index of store {} must be rebuilt, but other processes use it", path.display())]
    InUse {
        /// The root.
        path: PathBuf,
    },
    /// Anything else.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Opens the store at `root`; makes it when that was asked for and it is not there.
    ///
    /// A missing index is rebuilt from the folders; after a boot the index is compared with
    /// them once. Otherwise the cost does not depend on what the store holds.
    ///
    /// # Errors
    /// [`OpenError`] tells what was found and what was expected.
    pub fn open(root: &Path, options: &OpenOptions) -> Result<Store, OpenError> {
        Store::open_with(root, options, Arc::default())
    }

    /// As [`Store::open`], with effects that a test may already watch.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(
        root: &Path,
        options: &OpenOptions,
        effects: Arc<Effects>,
    ) -> Result<Store, OpenError> {
        let root = Root::new(&std::path::absolute(root).at("find", root)?);
        if let Some(name) = options
            .driver
            .as_deref()
            .filter(|name| !is_driver_name(name))
        {
            return Err(OpenError::DriverName {
                name: crate::digest::shorten(name),
            });
        }
        if read_word(&root.format())?.is_none() {
            make_root(&root, options, &effects)?;
        }
        let format = read_format(&root)?;
        if format > FORMAT {
            let path = root.path().to_owned();
            return Err(OpenError::NewerFormat {
                path,
                found: format,
                supported: FORMAT,
            });
        }
        let driver = check_driver(&root, options)?;
        let ownership = check_ownership(&root, options)?;
        let (index, in_use) = open_index(&root, &effects)?;
        scan_after_boot(&root, &index)?;
        let needs_scan = AtomicBool::new(meta_differs(&index, DRIVER_BOOT)?);
        Ok(Store::new(Inner {
            root,
            driver,
            ownership,
            effects,
            index,
            needs_scan,
            _in_use: in_use,
        }))
    }

    /// Returns the driver that the store at `root` was made with; `None` when there is no
    /// store.
    ///
    /// # Errors
    /// The file system's.
    pub fn driver_of(root: &Path) -> Result<Option<String>, StoreError> {
        read_word(&Root::new(root).driver_file())
    }
}

/// Replaces the index by one made from the folders alone.
///
/// # Errors
/// [`OpenError::InUse`] when other processes have the store open.
pub fn rebuild_index(root: &Path) -> Result<rebuild::RebuildReport, OpenError> {
    let root = Root::new(&std::path::absolute(root).at("find", root)?);
    if read_word(&root.format())?.is_none() {
        return Err(OpenError::Missing {
            path: root.path().to_owned(),
        });
    }
    let found = read_format(&root)?;
    if found > FORMAT {
        let path = root.path().to_owned();
        return Err(OpenError::NewerFormat {
            path,
            found,
            supported: FORMAT,
        });
    }
    let _alone = wait_alone(&root)?;
    Ok(rebuild::replace_index(&root, &Effects::default())?)
}

fn is_driver_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 64
        && name.bytes().next().is_some_and(plain)
        && name
            .bytes()
            .all(|byte| plain(byte) || matches!(byte, b'_' | b'.' | b'-'))
}

/// Reads a file that holds one word; `None` when it is not there.
fn read_word(path: &Path) -> Result<Option<String>, StoreError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("read", path),
    }
}

fn read_format(root: &Root) -> Result<u32, StoreError> {
    let path = root.format();
    let text = read_word(&path)?.unwrap_or_default();
    text.parse().map_err(|_| StoreError::Damaged {
        path,
        reason: format!(
            "expected a version number, found {:?}",
            crate::digest::shorten(&text)
        ),
    })
}

fn check_driver(root: &Root, options: &OpenOptions) -> Result<String, OpenError> {
    let path = root.driver_file();
    let found = read_word(&path)?.unwrap_or_default();
    if !is_driver_name(&found) {
        let found = crate::digest::shorten(&found);
        let reason = format!("expected the name of a driver, found {found:?}");
        return Err(StoreError::Damaged { path, reason }.into());
    }
    match &options.driver {
        Some(expected) if *expected != found => Err(OpenError::OtherDriver {
            path: root.path().to_owned(),
            found,
            expected: expected.clone(),
        }),
        _ => Ok(found),
    }
}

fn check_ownership(root: &Root, options: &OpenOptions) -> Result<Ownership, OpenError> {
    let path = root.ownership();
    let text = read_word(&path)?.unwrap_or_default();
    let found = text
        .parse()
        .map_err(|error: ParseOwnershipError| StoreError::Damaged {
            path,
            reason: error.to_string(),
        })?;
    match options.ownership {
        Some(expected) if expected != found => Err(OpenError::OtherOwnership {
            path: root.path().to_owned(),
            found,
            expected,
        }),
        _ => Ok(found),
    }
}

/// Makes the root; several processes may try at once.
///
/// The `format` file comes last: without it there is no store yet.
fn make_root(root: &Root, options: &OpenOptions, effects: &Effects) -> Result<(), OpenError> {
    let path = root.path();
    if !options.create {
        return Err(OpenError::Missing {
            path: path.to_owned(),
        });
    }
    let Some(driver) = &options.driver else {
        return Err(OpenError::DriverNeeded {
            path: path.to_owned(),
        });
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).at("create folder", parent)?;
    }
    effects.ensure_dir(path)?;
    refuse_foreign(root)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).at("set mode of", path)?;
    effects.ensure_dir(&root.locks())?;
    let _alone = wait_maintenance(root)?;
    if read_word(&root.format())?.is_some() {
        return Ok(());
    }
    refuse_foreign(root)?;
    for folder in root.folders() {
        effects.ensure_dir(&folder)?;
    }
    let ownership = options.ownership.unwrap_or_else(|| {
        if nix::unistd::geteuid().is_root() {
            Ownership::Real
        } else {
            Ownership::Recorded
        }
    });
    put_word(effects, &root.driver_file(), driver)?;
    put_word(effects, &root.ownership(), ownership.as_str())?;
    effects.sync_dir(path)?;
    put_word(effects, &root.format(), &FORMAT.to_string())?;
    effects.sync_dir(path)?;
    if let Some(parent) = path.parent() {
        effects.sync_dir(parent)?;
    }
    Ok(())
}

fn put_word(effects: &Effects, path: &Path, word: &str) -> Result<(), StoreError> {
    let draft = path.with_extension("new");
    effects.remove_file(&draft)?;
    effects.write_synced(&draft, format!("{word}\n").as_bytes())?;
    effects.rename(&draft, path)
}

/// Refuses to make a store in a folder that holds anything but what the making of a store
/// that was interrupted leaves.
fn refuse_foreign(root: &Root) -> Result<(), OpenError> {
    const OURS: &[&str] = &[
        "archives",
        "blobs",
        "driver",
        "driver.new",
        "drivers",
        "format",
        "format.new",
        "images",
        "layers",
        "locks",
        "lost+found",
        "names",
        "ownership",
        "ownership.new",
        "staging",
    ];
    let path = root.path();
    // A complete root may have appeared in the meantime.
    if read_word(&root.format())?.is_some() {
        return Ok(());
    }
    let refuse = |found: &Path| {
        let found = found
            .strip_prefix(path)
            .unwrap_or(found)
            .to_string_lossy()
            .into_owned();
        if root.format().exists() {
            return Ok(());
        }
        Err(OpenError::NotAStore {
            path: path.to_owned(),
            found,
        })
    };
    for entry in fs::read_dir(path).at("read folder", path)? {
        let entry = entry.at("read folder", path)?;
        if !entry
            .file_name()
            .to_str()
            .is_some_and(|name| OURS.contains(&name))
        {
            refuse(&entry.path())?;
        }
    }
    for full in [root.layers(), root.images(), root.names()] {
        match fs::read_dir(&full) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("read folder", &full)?,
            Ok(mut entries) => {
                if let Some(entry) = entries.next() {
                    refuse(&entry.at("read folder", &full)?.path())?;
                }
            }
        }
    }
    Ok(())
}

fn root_lock(root: &Root) -> PathBuf {
    root.locks().join("root")
}

/// Waits to be the only one who does maintenance; so for as long as the file is open.
pub(crate) fn wait_maintenance(root: &Root) -> Result<File, StoreError> {
    let path = root_lock(root);
    let file = lock::open(&path)?;
    lock::wait(&file, Mode::Exclusive, MAINTENANCE).at("lock", &path)?;
    Ok(file)
}

/// Waits to be the only one who uses the store; so for as long as the file is open.
fn wait_alone(root: &Root) -> Result<File, OpenError> {
    let path = root_lock(root);
    let file = wait_maintenance(root)?;
    if lock::take_within(&file, Mode::Exclusive, IN_USE, PATIENCE).at("lock", &path)? {
        return Ok(file);
    }
    Err(OpenError::InUse {
        path: root.path().to_owned(),
    })
}

/// Opens the index; makes or migrates it where that has to be done first.
///
/// The file that comes with it keeps others from replacing the index.
fn open_index(root: &Root, effects: &Arc<Effects>) -> Result<(Index, File), OpenError> {
    let path = root.index();
    let lock_path = root_lock(root);
    effects.ensure_dir(&root.locks())?;
    loop {
        let in_use = lock::open(&lock_path)?;
        lock::wait(&in_use, Mode::Shared, IN_USE).at("lock", &lock_path)?;
        if !path.try_exists().at("inspect", &path)? {
            drop(in_use);
            let _alone = wait_alone(root)?;
            if !path.try_exists().at("inspect", &path)? {
                rebuild::replace_index(root, effects)?;
            }
            continue;
        }
        let index = Index::open(&path, Arc::clone(effects))?;
        match index.found()? {
            Found::Current => return Ok((index, in_use)),
            Found::Newer(found) => {
                return Err(OpenError::NewerIndex {
                    path,
                    found,
                    supported: schema::current(),
                });
            }
            Found::Foreign => {
                let reason = "it has none of the marks of an index".to_owned();
                return Err(StoreError::IndexDamaged { path, reason }.into());
            }
            Found::Older(_) => {
                drop((index, in_use));
                let _alone = wait_alone(root)?;
                Index::open(&path, Arc::clone(effects))?.migrate()?;
            }
        }
    }
}

/// Boot in which the index was last compared with the folders.
const INDEX_BOOT: &str = "boot";
/// Boot in which the driver's trees were last compared with the layers.
const DRIVER_BOOT: &str = "driver-boot";

/// The ID of this boot, where the kernel tells one.
fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

fn meta_differs(index: &Index, key: &str) -> Result<bool, StoreError> {
    let Some(boot) = boot_id() else {
        return Ok(true);
    };
    let read = |view: &View<'_>| {
        view.first(
            "read boot ID",
            "SELECT value FROM meta WHERE key = ?1",
            [key],
            |row| row.get::<_, String>(0),
        )
    };
    Ok(index.read::<_, StoreError>("read boot ID", read)? != Some(boot))
}

/// Takes note of this boot under `key`.
fn note_boot(view: &View<'_>, key: &str) -> Result<(), StoreError> {
    let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2)
               ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    view.execute("note boot ID", sql, (key, boot_id().unwrap_or_default()))
        .map(drop)
}

/// Takes note that a new index agrees with the folders, and with the driver where there
/// is nothing to compare.
pub(crate) fn note_new_index(view: &View<'_>, empty: bool) -> Result<(), StoreError> {
    note_boot(view, INDEX_BOOT)?;
    if empty {
        note_boot(view, DRIVER_BOOT)
    } else {
        Ok(())
    }
}

pub(crate) fn note_scan(index: &Index) -> Result<(), StoreError> {
    index.write("note scan", |view| note_boot(view, DRIVER_BOOT))
}

/// Compares the index with the folders once a boot.
fn scan_after_boot(root: &Root, index: &Index) -> Result<(), StoreError> {
    if !meta_differs(index, INDEX_BOOT)? {
        return Ok(());
    }
    let _alone = wait_maintenance(root)?;
    if !meta_differs(index, INDEX_BOOT)? {
        return Ok(());
    }
    let report = index.write("compare index with folders", |view| {
        let report = rebuild::reconcile(root, view)?;
        note_boot(view, INDEX_BOOT)?;
        Ok::<_, StoreError>(report)
    })?;
    report.trace();
    Ok(())
}
