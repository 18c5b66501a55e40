//! A layer that is being filled, as a whole: begun, parked, opened again.

use std::os::fd::{AsFd, OwnedFd};

use super::copy::Copier;
use super::log::Log;
use super::meta::Meta;
use super::place::{ParkedTree, Tree};
use crate::error::{ApplyError, During, Trouble};

/// The tree of a layer that is being filled, entry by entry in the order of the stream.
///
/// Small files are made by threads of its own. Memory does not grow with the number of entries, but
/// for at most 16 bytes for each.
#[derive(Debug)]
pub struct TreeDraft {
    pub(super) tree: Tree,
    pub(super) meta: Meta,
    pub(super) copier: Copier,
    /// Hard links that wait for their target.
    pub(super) links: Log,
    /// The draft's folder, and where its tree lies below the driver's folder.
    pub(super) work: OwnedFd,
    pub(super) path: Vec<u8>,
    /// Files of an AUFS link folder, which hard links of the layer may want.
    pub(super) aufs: Option<OwnedFd>,
    pub(super) summary: ApplySummary,
    pub(super) failed: bool,
}

/// A filled [`TreeDraft`] that waits for its parent: no descriptor, no memory for its entries.
#[derive(Debug)]
pub(crate) struct ParkedDraft {
    tree: ParkedTree,
    meta: Meta,
    links: u64,
    path: Vec<u8>,
    summary: ApplySummary,
}

impl ParkedDraft {
    /// Opens it again, to be settled; arguments as in [`TreeDraft::new`].
    pub(crate) fn open(self, work: OwnedFd, root: OwnedFd) -> Result<TreeDraft, Trouble> {
        Ok(TreeDraft {
            tree: self.tree.open(root, work.as_fd())?,
            meta: self.meta,
            copier: Copier::default(),
            links: Log::reopen(work.as_fd(), "links", self.links).during("open", b"links")?,
            work,
            path: self.path,
            aufs: None,
            summary: self.summary,
            failed: false,
        })
    }
}

/// What a draft holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApplySummary {
    /// Bytes of regular files in the tree, holes and displaced files included, hard links once.
    pub size: u64,
    /// How many entries were applied.
    pub entries: u64,
    /// Extended attributes that the file system can not hold, and that only the record has.
    pub skipped_xattrs: u64,
}

impl TreeDraft {
    /// Starts in the folder `work`, with the tree in its empty directory `root`, which lies at
    /// `path` below the driver's folder.
    pub(crate) fn new(
        work: OwnedFd,
        root: OwnedFd,
        path: Vec<u8>,
        meta: Meta,
    ) -> Result<Self, Trouble> {
        Ok(Self {
            tree: Tree::new(root, work.as_fd(), &meta)?,
            meta,
            copier: Copier::default(),
            links: Log::create(work.as_fd(), "links").during("create", b"links")?,
            work,
            path,
            aufs: None,
            summary: ApplySummary::default(),
            failed: false,
        })
    }

    /// Says that there are no more entries, and waits until the files of all are there.
    ///
    /// # Errors
    /// When an entry failed, also one that [`TreeDraft::apply`] took without knowing.
    pub fn finish(&mut self) -> Result<ApplySummary, ApplyError> {
        if self.failed {
            return Err(ApplyError::Incomplete);
        }
        let ended = self.tree.writers.end();
        self.failed = ended.is_err();
        self.meta.skipped += ended.map_err(Trouble::of_draft)?;
        self.summary.skipped_xattrs = self.meta.skipped;
        Ok(self.summary)
    }

    /// Closes what it holds open. Nothing more can be applied.
    ///
    /// # Errors
    /// When an entry failed.
    pub(crate) fn park(mut self) -> Result<ParkedDraft, ApplyError> {
        self.finish()?;
        let links = self.links.park().during("write", b"links");
        Ok(ParkedDraft {
            tree: self.tree.park().map_err(Trouble::of_draft)?,
            meta: self.meta,
            links: links.map_err(Trouble::of_draft)?,
            path: self.path,
            summary: self.summary,
        })
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.failed
    }
}
