//! Opening a root folder, and making one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::boot;
use crate::effects::Effects;
use crate::error::{IoContext, StoreError};
use crate::index::Index;
use crate::index::schema::{self, Found};
use crate::lock::{self, Mode};
use crate::make;
use crate::ownership::{Ownership, ParseOwnershipError};
use crate::rebuild;
use crate::root::{FORMAT, Root};
use crate::store::{Inner, Store};

/// Byte of `locks/root` that whoever makes, scans or rebuilds the root holds.
const MAINTENANCE: u64 = 0;
/// Byte of `locks/root` that every open store holds shared, and a rebuild exclusively.
const IN_USE: u64 = 1;
/// How long a rebuild waits for others to close the store.
const PATIENCE: Duration = Duration::from_secs(10);

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
        let root = Root::new(&without_links(root).at("find", root)?);
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
            make::make_root(&root, options, &effects)?;
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
        boot::scan_after_boot(&root, &index)?;
        let needs_scan = AtomicBool::new(boot::differs(&index, boot::DRIVER_BOOT)?);
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

    /// Tells whether a root could be made in a folder: it is not there, it is empty, or it holds
    /// what an interrupted making leaves.
    ///
    /// # Errors
    /// [`OpenError::NotAStore`] names what does not belong there.
    pub fn check_place(root: &Path) -> Result<(), OpenError> {
        match make::refuse_foreign(&Root::new(root)) {
            Err(OpenError::Store(StoreError::Io { source, .. }))
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(())
            }
            checked => checked,
        }
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

/// The path of a root without symbolic links, which the index refuses to be opened through. What
/// is not there yet has none.
fn without_links(root: &Path) -> io::Result<PathBuf> {
    let root = std::path::absolute(root)?;
    for there in root.ancestors() {
        match there.canonicalize() {
            Ok(real) => {
                let rest = root.strip_prefix(there).unwrap_or(Path::new(""));
                return Ok(if rest.as_os_str().is_empty() {
                    real
                } else {
                    real.join(rest)
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(root)
}

/// Replaces the index by one made from the folders alone.
///
/// # Errors
/// [`OpenError::InUse`] when other processes have the store open.
pub fn rebuild_index(root: &Path) -> Result<rebuild::RebuildReport, OpenError> {
    let root = Root::new(&without_links(root).at("find", root)?);
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
pub(crate) fn read_word(path: &Path) -> Result<Option<String>, StoreError> {
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
        let index = Index::open(root, Arc::clone(effects))?;
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
                Index::open(root, Arc::clone(effects))?.migrate()?;
            }
        }
    }
}
