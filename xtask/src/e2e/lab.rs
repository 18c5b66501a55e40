//! What cases share: the program, folders, peers, images and stores made once.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, anyhow};
use tempfile::TempDir;

use super::cases::machine::MachineRun;
use super::guards::{self, Mounted};
use super::images::{Built, Image, Made, Writer};
use super::peers::{Docker, Podman, Reference, Settings};
use super::report::{Stop, skip};
use crate::lith::{Driver, Lith, PLUGIN};
use crate::process;

/// Size of the work folder's own file system, where that much is free; its file is sparse.
const ROOM: u64 = 32 << 30;
/// With less than this the images alone might fill it.
const LEAST_ROOM: u64 = 4 << 30;
/// What all stores on btrfs together may take.
const BTRFS_ROOM: u64 = 8 << 30;

/// Something that is made when it is first asked for; a failure is kept, too.
pub(crate) struct Once<T>(OnceCell<Result<T, Stop>>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Once(OnceCell::new())
    }
}

impl<T> Once<T> {
    pub(crate) fn get(&self, make: impl FnOnce() -> Result<T>) -> Result<&T> {
        self.0
            .get_or_init(|| make().map_err(Stop::from))
            .as_ref()
            .map_err(|s| s.clone().into())
    }
}

/// [`Once`] for each of several keys.
pub(crate) struct Each<K, T>(RefCell<HashMap<K, Result<Rc<T>, Stop>>>);

impl<K, T> Default for Each<K, T> {
    fn default() -> Self {
        Each(RefCell::default())
    }
}

impl<K: Eq + Hash, T> Each<K, T> {
    pub(crate) fn get(&self, key: K, make: impl FnOnce() -> Result<T>) -> Result<Rc<T>> {
        if let Some(made) = self.0.borrow().get(&key) {
            return made.clone().map_err(Into::into);
        }
        // Not borrowed while it is made: making one may ask for another.
        let made = make().map(Rc::new).map_err(Stop::from);
        self.0.borrow_mut().insert(key, made.clone());
        made.map_err(Into::into)
    }

    fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

/// How long cases go on that depend on chance, and which chance it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Rounds of several processes at once, with each driver.
    pub(crate) rounds: u32,
    /// Processes to kill, with both drivers together.
    pub(crate) kills: u32,
    pub(crate) seed: u64,
}

/// The place in which cases run.
pub(crate) struct Lab {
    program: PathBuf,
    work: PathBuf,
    /// What is worth keeping between runs: downloads and builds that do not depend on lith.
    pub(crate) cache: PathBuf,
    pub(crate) keep: bool,
    pub(crate) effort: Effort,
    pub(crate) settings: Settings,
    counter: Cell<usize>,
    /// What the work folder is on, where it has a file system of its own.
    disk: Option<Mounted>,
    /// Held as long as this lives.
    _lock: File,
    pub(crate) builder: Once<Podman>,
    pub(crate) built: Each<Image, Built>,
    pub(crate) archives: Each<(Image, Writer), PathBuf>,
    pub(crate) made: Once<Made>,
    pub(crate) machine: Once<Made>,
    pub(crate) machine_runs: Each<Driver, MachineRun>,
    pub(crate) references: Each<&'static str, PathBuf>,
    podman: Once<Podman>,
    docker: Once<Docker>,
    reference: Once<Reference>,
    standing: Each<Driver, Lith>,
    btrfs: Once<Mounted>,
}

impl Lab {
    /// Makes the work folder; what an earlier run left in it is unmounted and removed.
    pub(crate) fn new(
        work: &Path,
        cache: &Path,
        program: PathBuf,
        keep: bool,
        effort: Effort,
    ) -> Result<Lab> {
        fs::create_dir_all(work).with_context(|| format!("cannot make {}", work.display()))?;
        fs::create_dir_all(cache)?;
        let (work, cache) = (work.canonicalize()?, cache.canonicalize()?);
        let lock = lock(&work.join("lock"))?;
        guards::sweep_inside(&cache)?;
        // Only what this program makes is removed: a folder given by hand may hold other things.
        let work = work.join("lab");
        guards::sweep(&work)?;
        if work.exists() {
            fs::remove_dir_all(&work)
                .with_context(|| format!("cannot clear {}", work.display()))?;
        }
        fs::create_dir(&work)?;
        let disk = if keep { None } else { disk(&work)? };
        let settings = Settings::new(&work.join("home"))?;
        Ok(Lab {
            program,
            cache,
            keep,
            effort,
            settings,
            counter: Cell::new(0),
            disk,
            _lock: lock,
            builder: Once::default(),
            built: Each::default(),
            archives: Each::default(),
            made: Once::default(),
            machine: Once::default(),
            machine_runs: Each::default(),
            references: Each::default(),
            podman: Once::default(),
            docker: Once::default(),
            reference: Once::default(),
            standing: Each::default(),
            btrfs: Once::default(),
            work,
        })
    }

    /// A folder that stays until the run ends.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.work.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// A folder that goes when the case ends (short names: sockets are made in some).
    pub(crate) fn scratch(&self) -> Result<TempDir> {
        self.counter.set(self.counter.get() + 1);
        let prefix = format!("{}-", self.counter.get());
        let mut folder = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir_in(&self.work)?;
        folder.disable_cleanup(self.keep);
        Ok(folder)
    }

    /// lith with a store in `folder`; a skip where this driver cannot work at all.
    pub(crate) fn lith(&self, driver: Driver, folder: &Path) -> Result<Lith> {
        if driver == Driver::Overlay && self.settings.storage != "overlay" {
            return skip("the kernel mounts no overlay on this file system");
        }
        let root = match driver {
            // Where the case is, is no btrfs: its stores lie elsewhere, each under a name of its own.
            Driver::Btrfs => {
                self.counter.set(self.counter.get() + 1);
                self.btrfs()?.join(self.counter.get().to_string())
            }
            _ => folder.join("store"),
        };
        Ok(Lith {
            program: self.program.clone(),
            root,
            driver: Some(driver),
        })
    }

    /// A btrfs for the stores of its driver; a skip where there can be none.
    fn btrfs(&self) -> Result<PathBuf> {
        if !self.program.with_file_name(PLUGIN).exists() {
            return skip("the plugin does not lie beside the program");
        }
        if process::find("mkfs.btrfs").is_none() {
            return skip("mkfs.btrfs is not installed");
        }
        let place = self.folder("btrfs")?;
        self.btrfs.get(|| Mounted::btrfs(&place, BTRFS_ROOM))?;
        Ok(place)
    }

    /// A store into which the peers' images were loaded once; cases only read it.
    pub(crate) fn standing(&self, driver: Driver) -> Result<Rc<Lith>> {
        self.standing.get(driver, || {
            let folder = self.folder(&format!("standing-{}", driver.name()))?;
            let lith = self.lith(driver, &folder)?;
            for image in [Image::Tiny, Image::Odd] {
                lith.load(&self.archive(image, Writer::Skopeo)?)?;
            }
            Ok(lith)
        })
    }

    /// A podman store with the same images, loaded from the same archives.
    pub(crate) fn podman(&self) -> Result<&Podman> {
        self.podman.get(|| {
            let podman = Podman::new(&self.settings, &self.folder("podman")?)?;
            for image in [Image::Tiny, Image::Odd] {
                podman.load(&self.archive(image, Writer::Skopeo)?)?;
            }
            Ok(podman)
        })
    }

    /// The docker daemon of this run.
    pub(crate) fn docker(&self) -> Result<&Docker> {
        self.docker
            .get(|| Docker::start(&self.settings, &self.work.join("docker")))
    }

    /// The reference tar-split command.
    pub(crate) fn reference(&self) -> Result<&Reference> {
        self.reference
            .get(|| Reference::build(&self.settings, &self.cache.join("reference")))
    }

    /// Undoes everything; gives what cases had left mounted.
    pub(crate) fn finish(self) -> Vec<String> {
        let Lab {
            work,
            keep,
            machine_runs,
            standing,
            podman,
            docker,
            builder,
            btrfs,
            disk,
            _lock,
            ..
        } = self;
        machine_runs.clear();
        standing.clear();
        drop((docker, podman, builder, btrfs));
        let mut left = Vec::new();
        match guards::sweep_inside(&work) {
            Ok(mounts) => left.extend(
                mounts
                    .iter()
                    .map(|m| format!("still mounted: {}", m.display())),
            ),
            Err(error) => left.push(format!("{error:#}")),
        }
        // With the file system all that is in it goes at once.
        drop(disk);
        fs::remove_file(image(&work)).ok();
        if keep {
            println!("kept: {}", work.display());
        } else if let Err(error) = fs::remove_dir_all(&work) {
            left.push(format!("cannot remove {}: {error}", work.display()));
        }
        left
    }
}

/// A fresh file system on `work`, where this user may mount one and there is room for it; without
/// one the run goes on, and says so.
///
/// Cases make and remove hundreds of thousands of files. On a large file system in use (an
/// ext4 without journal, above all, which searches past every inode freed of late) that can take
/// longer than everything else.
fn disk(work: &Path) -> Result<Option<Mounted>> {
    let there = rustix::fs::statvfs(work).with_context(|| format!("{}", work.display()))?;
    let free = there.f_bavail.saturating_mul(there.f_frsize);
    let made = if !rustix::process::geteuid().is_root() {
        Err(anyhow!("only root can mount one"))
    } else if free < LEAST_ROOM {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let (free, least) = (gib(free), gib(LEAST_ROOM));
        Err(anyhow!("{free:.1} GiB are free, it needs {least}"))
    } else {
        // Its file grows as it is filled. That must not fill the disk below: what is written here would
        // be lost then, where a full file system says that it is full.
        Mounted::roomy_ext4(work, ROOM.min(free / 8 * 7))
    };
    match made {
        Ok(disk) => Ok(Some(disk)),
        Err(error) => {
            eprintln!(
                "warning: {} gets no file system of its own, which can make this run many times as \
                 long: {error:#}",
                work.display()
            );
            fs::remove_file(image(work)).ok();
            Ok(None)
        }
    }
}

/// The file that the work folder's own file system is in.
fn image(work: &Path) -> PathBuf {
    work.with_extension("ext4")
}

/// Two runs in one folder would clear away each other's work.
fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .with_context(|| format!("another run is at work: {} is locked", path.display()))?;
    Ok(file)
}
