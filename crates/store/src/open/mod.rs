//! Opening a root folder, and making one.

mod error;
mod facts;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::boot;
use crate::effects::Effects;
use crate::error::{IoContext, StoreError};
use crate::idmap::IdMaps;
use crate::index::schema::{self, Found};
use crate::index::{self, Index};
use crate::layers::Outside;
use crate::lock::{self, Mode};
use crate::make;
use crate::ownership::Ownership;
use crate::rebuild;
use crate::root::{FORMAT, Root};
use crate::store::{Inner, Store};

use facts::{check_driver, check_id_maps, check_ownership, is_driver_name, read_format};

pub use error::OpenError;
pub(crate) use facts::{read_plugin, read_word};

/// Byte of `locks/root` that whoever makes, scans or rebuilds the root holds.
const MAINTENANCE: u64 = 0;
/// Byte of `locks/root` that every open store holds shared; exclusively a rebuild, and the last step of
/// a move to another driver.
pub(crate) const IN_USE: u64 = 1;
/// Byte of `locks/root` that whoever moves the store to another driver holds.
pub(crate) const MIGRATION: u64 = 2;
/// How long a rebuild waits for others to close the store.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to expect of a root, and how to make one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// The driver that the root must have been made with, or is made with. `None` takes what
    /// is there.
    pub driver: Option<String>,
    /// The plugin that the driver comes from, by an absolute path; none where it is built in. The
    /// root remembers it, also when it was made with another one of the same driver.
    pub plugin: Option<PathBuf>,
    /// The same for ownership; a root is made with what
    /// [`OpenOptions::ownership_of_new_root`] says.
    pub ownership: Option<Ownership>,
    /// The same for the maps that [`Ownership::Mapped`] goes by. Their order is of no concern.
    pub id_maps: Option<IdMaps>,
    /// Whether a root that is not there is made.
    pub create: bool,
}

impl OpenOptions {
    /// Returns the ownership that a root is made with: the one that these options name, else
    /// mapped where there are maps, else real for root and recorded for anybody else.
    pub fn ownership_of_new_root(&self) -> Ownership {
        self.ownership.unwrap_or_else(|| match self.id_maps {
            Some(_) => Ownership::Mapped,
            None => Ownership::of_this_user(),
        })
    }
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
        // Here so that a refusal touches nothing.
        check_driver(&root, options)?;
        let ownership = check_ownership(&root, options)?;
        let id_maps = check_id_maps(&root, options, ownership)?;
        let Opened {
            index,
            in_use,
            lost_log,
        } = open_index(&root, &effects)?;
        // From here on it stays what it is.
        let driver = check_driver(&root, options)?;
        if let Some(plugin) = &options.plugin {
            remember_plugin(&root, &driver, plugin, &effects)?;
        }
        boot::scan_after_boot(&root, &index, lost_log)?;
        let needs_scan = AtomicBool::new(boot::differs(&index, boot::DRIVER_BOOT)?);
        Ok(Store::new(Inner {
            root,
            driver,
            ownership,
            id_maps,
            effects,
            index,
            needs_scan,
            outside: Outside::default(),
            in_use,
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

    /// Returns the plugin that the driver of the store at `root` comes from; `None` when it is built
    /// in, and when there is no store.
    ///
    /// # Errors
    /// The file system's.
    pub fn plugin_of(root: &Path) -> Result<Option<PathBuf>, StoreError> {
        let root = Root::new(root);
        match read_word(&root.driver_file())? {
            Some(driver) => read_plugin(&root, &driver),
            None => Ok(None),
        }
    }

    /// Returns the driver that the store at `root` was made with; `None` when there is no
    /// store, or one whose making was interrupted.
    ///
    /// # Errors
    /// The file system's.
    pub fn driver_of(root: &Path) -> Result<Option<String>, StoreError> {
        let root = Root::new(root);
        match read_word(&root.format())? {
            Some(_) => read_word(&root.driver_file()),
            None => Ok(None),
        }
    }
}

impl Store {
    /// Returns how the store at `root` keeps owners, and its maps of IDs where it has any; `None`
    /// when there is no store, or one whose making was interrupted.
    ///
    /// For who has to know before the store can be opened: a user enters the namespace of a
    /// mapped store first.
    ///
    /// # Errors
    /// When the root's files cannot be read, or say nothing that is understood.
    pub fn ownership_of(root: &Path) -> Result<Option<(Ownership, Option<IdMaps>)>, OpenError> {
        let root = Root::new(root);
        if read_word(&root.format())?.is_none() {
            return Ok(None);
        }
        let any = OpenOptions::default();
        let ownership = check_ownership(&root, &any)?;
        Ok(Some((ownership, check_id_maps(&root, &any, ownership)?)))
    }
}

/// Notes where the driver comes from, unless that is known.
pub(crate) fn remember_plugin(
    root: &Root,
    driver: &str,
    plugin: &Path,
    effects: &Effects,
) -> Result<(), StoreError> {
    if read_plugin(root, driver)?.as_deref() == Some(plugin) {
        return Ok(());
    }
    make::note_plugin(root, effects, driver, plugin)
}

/// The path of a root without symbolic links, which the index refuses to be opened through. What
/// is not there yet has none.
pub(crate) fn without_links(root: &Path) -> io::Result<PathBuf> {
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
    let _alone = alone(&root, wait_maintenance(&root)?)?;
    Ok(rebuild::replace_index(&root, &Effects::default())?)
}

pub(crate) fn root_lock(root: &Root) -> PathBuf {
    root.locks().join("root")
}

/// Waits to be the only one who does maintenance; so for as long as the file is open.
pub(crate) fn wait_maintenance(root: &Root) -> Result<File, StoreError> {
    let path = root_lock(root);
    let file = lock::open(&path)?;
    lock::wait(&file, Mode::Exclusive, MAINTENANCE).at("lock", &path)?;
    Ok(file)
}

/// Waits for a while to be the only one who uses the store; so for as long as the file is open.
///
/// Only one who does the maintenance may ask, and only after it has looked whether there is
/// still something to do: whoever did it before uses the store since, perhaps for long.
fn alone(root: &Root, maintenance: File) -> Result<File, OpenError> {
    let path = root_lock(root);
    if lock::take_within(&maintenance, Mode::Exclusive, IN_USE, PATIENCE).at("lock", &path)? {
        return Ok(maintenance);
    }
    Err(OpenError::InUse {
        path: root.path().to_owned(),
    })
}

/// An index that was opened.
struct Opened {
    index: Index,
    /// Keeps others from replacing it.
    in_use: File,
    /// Its newest rows may be gone.
    lost_log: bool,
}

/// Opens the index; makes or migrates it where that has to be done first.
fn open_index(root: &Root, effects: &Arc<Effects>) -> Result<Opened, OpenError> {
    let path = root.index();
    let mut made = false;
    let lock_path = root_lock(root);
    // Those that hold nothing for long may have been cleared away by hand.
    for folder in [root.locks(), root.session_locks(), root.staging()] {
        effects.ensure_dir(&folder)?;
    }
    loop {
        let in_use = lock::open(&lock_path)?;
        lock::wait(&in_use, Mode::Shared, IN_USE).at("lock", &lock_path)?;
        if !path.try_exists().at("inspect", &path)? {
            drop(in_use);
            let maintenance = wait_maintenance(root)?;
            if !path.try_exists().at("inspect", &path)? {
                let _alone = alone(root, maintenance)?;
                rebuild::replace_index(root, effects)?;
                made = true;
            }
            continue;
        }
        // Looked at first: opening makes one.
        let lost_log = !made && !index::has_log(&path)?;
        let index = Index::open(root, Arc::clone(effects))?;
        match index.found()? {
            Found::Current => {
                return Ok(Opened {
                    index,
                    in_use,
                    lost_log,
                });
            }
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
                let maintenance = wait_maintenance(root)?;
                let index = Index::open(root, Arc::clone(effects))?;
                if matches!(index.found()?, Found::Older(_)) {
                    let _alone = alone(root, maintenance)?;
                    index.migrate()?;
                }
            }
        }
    }
}
