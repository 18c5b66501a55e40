//! A driver in a folder of its own, and what cases do with it.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use lith_tarsplit::Splitter;

use super::Open;
use super::entries::{Entry, tar};
use super::shown::{Tree, shown_at};
use crate::driver::{DraftBody, Driver, Parent, Placed};
use crate::id::CacheId;
use crate::kept::Kept;
use crate::mount::{MountRequest, unmount};
use crate::tree::{ApplySummary, DiffOptions, DiffSummary, changes, diff};
use crate::writable::WritableLayers;

/// Why a case ends early.
#[derive(Debug)]
pub(super) enum Stop {
    Failed(String),
    Skipped(String),
}

pub(super) type Done = Result<(), Stop>;

impl<E: std::error::Error> From<E> for Stop {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        Self::Failed(text)
    }
}

/// Fails the case unless something holds.
pub(super) fn ensure(holds: bool, otherwise: impl AsRef<str>) -> Done {
    match holds {
        true => Ok(()),
        false => Err(Stop::Failed(otherwise.as_ref().to_owned())),
    }
}

/// Fails the case unless two things are equal.
pub(super) fn same<T: PartialEq<U> + std::fmt::Debug, U: std::fmt::Debug>(
    found: &T,
    expected: &U,
    what: &str,
) -> Done {
    let cut = |text: String| text.chars().take(400).collect::<String>();
    ensure(found == expected, {
        let (found, expected) = (cut(format!("{found:?}")), cut(format!("{expected:?}")));
        format!("{what}: expected {expected}, found {found}")
    })
}

/// Skips the case, for a reason.
pub(super) fn skip(reason: &str) -> Done {
    Err(Stop::Skipped(reason.to_owned()))
}

/// What was done in a writable layer.
pub(super) struct Edited {
    /// As `A path`, sorted by path.
    pub(super) changes: Vec<String>,
    pub(super) tar: Vec<u8>,
    pub(super) summary: DiffSummary,
    /// What showed at the end.
    pub(super) shown: Tree,
}

pub(super) struct Case<'a> {
    pub(super) open: &'a Open<'a>,
    pub(super) folder: PathBuf,
    pub(super) driver: Box<dyn Driver>,
    count: Cell<u32>,
}

impl<'a> Case<'a> {
    pub(super) fn new(open: &'a Open<'a>, folder: &Path) -> Result<Self, Stop> {
        fs::create_dir_all(folder)?;
        let driver = open(&folder.join("home"))?;
        Ok(Self {
            open,
            folder: folder.to_owned(),
            driver,
            count: Cell::new(0),
        })
    }

    /// Opens the driver once more, as another process would.
    pub(super) fn reopen(&self) -> Result<Box<dyn Driver>, Stop> {
        Ok((self.open)(&self.folder.join("home"))?)
    }

    /// Takes away what is still mounted; that is an error of the case or the driver.
    pub(super) fn end(&self) -> Done {
        let left = self.driver.mounts()?;
        for mount in left.iter().rev() {
            unmount(&mount.target)?;
        }
        ensure(left.is_empty(), "something was left mounted")
    }

    fn number(&self) -> u32 {
        self.count.set(self.count.get() + 1);
        self.count.get()
    }

    pub(super) fn id(&self) -> Result<CacheId, Stop> {
        Ok(format!("layer-{}", self.number()).parse()?)
    }

    pub(super) fn dir(&self) -> Result<PathBuf, Stop> {
        let dir = self.folder.join(format!("dir-{}", self.number()));
        fs::create_dir(&dir)?;
        Ok(dir)
    }

    /// Makes a layer of entries.
    pub(super) fn layer(
        &self,
        parent: Option<&CacheId>,
        entries: &[Entry],
    ) -> Result<CacheId, Stop> {
        Ok(self.layer_of(parent, &tar(entries))?.0)
    }

    /// Makes a layer of a tar.
    pub(super) fn layer_of(
        &self,
        parent: Option<&CacheId>,
        tar: &[u8],
    ) -> Result<(CacheId, ApplySummary), Stop> {
        let id = self.id()?;
        let summary = self.layer_as(&id, parent, tar)?;
        Ok((id, summary))
    }

    /// The same under a name that is given.
    pub(super) fn layer_as(
        &self,
        id: &CacheId,
        parent: Option<&CacheId>,
        tar: &[u8],
    ) -> Result<ApplySummary, Stop> {
        let prepared = match (self.driver.info().stand_alone, parent) {
            (true, _) => Parent::Later,
            (false, Some(parent)) => Parent::Known(parent),
            (false, None) => Parent::None,
        };
        let mut draft = self.driver.prepare(prepared)?;
        let summary = self.fill(draft.body(), tar)?;
        // That layers reach the disk is no case, and waiting for it takes most of the time.
        match draft.park()?.commit_unsynced(id, parent)? {
            Placed::New => Ok(summary),
            Placed::AlreadyThere => Err(Stop::Failed(format!("layer {id} is there already"))),
        }
    }

    pub(super) fn fill(&self, body: DraftBody<'_>, tar: &[u8]) -> Result<ApplySummary, Stop> {
        let tree = match body {
            DraftBody::Tree(tree) => tree,
            DraftBody::Stream(out) => {
                out.write_all(tar)?;
                return Ok(ApplySummary::default());
            }
        };
        let mut kept = Kept::new(&self.folder.join(format!("kept-{}", self.number())));
        let mut splitter = Splitter::new(tar, std::io::sink());
        while let Some(mut entry) = splitter.next_entry()? {
            let (metadata, payload) = entry.into_parts();
            tree.apply(metadata, payload, &mut kept)?;
        }
        Ok(tree.finish()?)
    }

    /// Shows a layer for as long as something is done with it.
    pub(super) fn mounted<T>(
        &self,
        id: &CacheId,
        look: impl FnOnce(&Path) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let dir = self.dir()?;
        let mount = self.driver.mount(&MountRequest::new(id, &dir))?;
        let looked = look(mount.target());
        mount.unmount()?;
        looked
    }

    pub(super) fn shown(&self, id: &CacheId) -> Result<Tree, Stop> {
        self.mounted(id, shown_at)
    }

    /// Names and contents alone.
    pub(super) fn brief(&self, id: &CacheId) -> Result<Vec<String>, Stop> {
        Ok(super::shown::brief(&self.shown(id)?))
    }

    pub(super) fn writable(&self) -> Result<&dyn WritableLayers, Stop> {
        self.driver
            .writable()
            .ok_or_else(|| Stop::Skipped("the driver has no layers that can be written".to_owned()))
    }

    /// Makes a writable layer over another, mounts it, and has something done in it.
    pub(super) fn edit(
        &self,
        parent: Option<&CacheId>,
        work: impl FnOnce(&Path) -> Done,
    ) -> Result<Edited, Stop> {
        let writable = self.writable()?;
        let id = self.id()?;
        writable.create(&id, parent, b"")?;
        let dir = self.dir()?;
        let mount = self.driver.mount(&MountRequest::writable(&id, &dir))?;
        let worked = work(mount.target());
        let shown = shown_at(mount.target());
        mount.unmount()?;
        worked?;
        let new = writable.tree(&id)?;
        let old = parent.map(|parent| self.driver.tree(parent)).transpose()?;
        let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        let changes = changes(&new, old.as_ref())?;
        let changes = changes
            .iter()
            .map(|change| format!("{} {}", change.kind.letter(), text(&change.path)))
            .collect();
        let mut tar = Vec::new();
        let summary = diff(&new, old.as_ref(), &DiffOptions::default(), &mut tar)?;
        writable.remove(&id)?;
        Ok(Edited {
            changes,
            tar,
            summary,
            shown: shown?,
        })
    }

    /// The same, and makes a layer of what was changed; it must show what was there.
    pub(super) fn child(
        &self,
        parent: Option<&CacheId>,
        work: impl FnOnce(&Path) -> Done,
    ) -> Result<CacheId, Stop> {
        let edited = self.edit(parent, work)?;
        let (id, _) = self.layer_of(parent, &edited.tar)?;
        let shown = self.shown(&id)?;
        super::shown::expect_same(&shown, &edited.shown)?;
        Ok(id)
    }
}
