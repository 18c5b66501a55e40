//! Drafts of the drivers that keep trees.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::Mode;

use crate::driver::{Draft, DraftBody, Parent, Parked, Placed};
use crate::error::{DriverError, Trouble};
use crate::facts::Facts;
use crate::home::Home;
use crate::id::CacheId;
use crate::tree::handle;
use crate::tree::lower::LowerView;
use crate::tree::settle::Form;
use crate::tree::{ParkedDraft, TreeDraft};
use crate::trees::LAYER;
use crate::work::{ParkedFolder, WorkFolder};
use crate::writable;

/// What a layer lies over.
#[derive(Debug, Default)]
pub(crate) struct Beneath {
    /// The trees that show in its parent, topmost first, as paths below the driver's folder.
    pub(crate) trees: Vec<String>,
    /// What it is to note of the layers below its parent.
    pub(crate) lowers: Vec<String>,
}

/// Finds what a layer over this parent lies over.
pub(crate) type FindBeneath = fn(&Home, &CacheId) -> Result<Beneath, DriverError>;

/// A layer being filled.
#[derive(Debug)]
pub(crate) struct LayerDraft {
    tree: TreeDraft,
    work: WorkFolder,
    plan: Plan,
}

/// A layer that was filled, and waits.
#[derive(Debug)]
struct ParkedLayer {
    tree: ParkedDraft,
    work: ParkedFolder,
    plan: Plan,
}

/// How a draft becomes a layer.
#[derive(Debug)]
struct Plan {
    home: Arc<Home>,
    form: Form,
    beneath: FindBeneath,
    prepared: Option<Option<CacheId>>,
    /// Where the draft lies in a tree that has all of the parent's files already.
    own: Option<String>,
}

impl LayerDraft {
    pub(crate) fn prepare(
        home: &Arc<Home>,
        parent: Parent<'_>,
        form: Form,
        beneath: FindBeneath,
    ) -> Result<Self, DriverError> {
        let prepared = match parent {
            Parent::None => Some(None),
            Parent::Known(parent) => {
                home.expect(parent)?;
                Some(Some(parent.clone()))
            }
            Parent::Later => None,
        };
        let work = home.work_folder()?;
        let plan = Plan {
            home: Arc::clone(home),
            form,
            beneath,
            own: make_tree(&work, home, parent, form)?,
            prepared,
        };
        let (folder, root) = plan.open_draft(&work)?;
        let below = format!("{}/{}", work.below_home(), plan.draft()).into_bytes();
        let tree = TreeDraft::new(folder, root, below, home.meta()).map_err(Trouble::of_draft)?;
        Ok(Self { tree, work, plan })
    }
}

/// Makes the tree of a layer that is to be filled: empty, or with all that is in that of its
/// parent. Then the draft lies in a folder inside, whose name is returned.
fn make_tree(
    work: &WorkFolder,
    home: &Home,
    parent: Parent<'_>,
    form: Form,
) -> Result<Option<String>, DriverError> {
    let failed = |error: rustix::io::Errno| DriverError::io("create", work.path(), error);
    rustix::fs::mkdirat(work.fd(), LAYER, Mode::RWXU).map_err(failed)?;
    let layer = rustix::fs::openat(work.fd(), LAYER, handle::LISTING, Mode::empty());
    let layer = layer.map_err(failed)?;
    match parent {
        Parent::Known(parent) if form == Form::Full && home.can_snapshot() => {
            let path = work.path().join(LAYER);
            let from = home.open_tree_for_reading(parent)?;
            home.trees.snapshot(from.as_fd(), layer.as_fd(), &path)?;
            // No layer has this name.
            let own = format!(".lith-{}", CacheId::random());
            let place = format!("{}/{own}", home.trees.name);
            rustix::fs::mkdirat(&layer, place, Mode::RWXU).map_err(failed)?;
            Ok(Some(own))
        }
        _ => home.trees.create(layer.as_fd(), work.path()).map(|()| None),
    }
}

impl Plan {
    /// Where the tree of the layer lies in its work folder.
    fn tree(&self) -> String {
        format!("{LAYER}/{}", self.home.trees.name)
    }

    /// Where the draft lies there: it is the tree, or in it.
    fn draft(&self) -> String {
        match &self.own {
            None => self.tree(),
            Some(own) => format!("{}/{own}", self.tree()),
        }
    }

    /// Opens the work folder and the draft in it.
    fn open_draft(&self, work: &WorkFolder) -> Result<(OwnedFd, OwnedFd), DriverError> {
        let root = self.open(work, &self.draft())?;
        let folder = work
            .fd()
            .try_clone_to_owned()
            .map_err(|error| DriverError::io("open", work.path(), error))?;
        Ok((folder, root))
    }

    fn open(&self, work: &WorkFolder, place: &str) -> Result<OwnedFd, DriverError> {
        handle::open_below(work.fd(), place.as_bytes(), handle::LISTING)
            .map_err(|error| DriverError::io("open", work.path().join(place), error))
    }
}

impl LayerDraft {
    /// Publishes the draft, into which nothing was put, as the writable layer `id` over `parent`.
    ///
    /// A full copy is on the disk before it appears: nobody could tell what a crash took of it from
    /// what its user took.
    pub(crate) fn publish_writable(
        mut self,
        id: &CacheId,
        parent: Option<&CacheId>,
        label: &[u8],
    ) -> Result<(), DriverError> {
        self.plan.settle(&mut self.tree, &self.work, parent)?;
        let (home, work) = (&self.plan.home, &self.work);
        match self.plan.form {
            // A snapshot is on the disk as soon as it is made.
            Form::Full if self.plan.own.is_some() => {}
            Form::Full => home.sync()?,
            Form::Upper => {
                let folder = format!("{LAYER}/{}", writable::WORK);
                rustix::fs::mkdirat(work.fd(), folder.as_str(), Mode::RWXU)
                    .and_then(|()| home.meta().give_to_root(work.fd(), folder.as_bytes()))
                    .map_err(|error| DriverError::io("create", work.path(), error))?;
            }
        }
        // What lies further down is for the parent to say.
        let facts = Facts::new(parent, Vec::new(), false);
        home.publish_writable(work, LAYER, (id, &facts), label)?;
        self.work.remove()
    }
}

impl Draft for LayerDraft {
    fn body(&mut self) -> DraftBody<'_> {
        DraftBody::Tree(&mut self.tree)
    }

    fn park(self: Box<Self>) -> Result<Box<dyn Parked>, DriverError> {
        if self.tree.is_failed() {
            return Err(DriverError::Incomplete);
        }
        Ok(Box::new(ParkedLayer {
            tree: self.tree.park()?,
            work: self.work.park(),
            plan: self.plan,
        }))
    }

    fn commit(
        self: Box<Self>,
        id: &CacheId,
        parent: Option<&CacheId>,
    ) -> Result<Placed, DriverError> {
        self.plan.commit(self.tree, self.work, (id, parent), true)
    }
}

impl Parked for ParkedLayer {
    fn commit(
        self: Box<Self>,
        id: &CacheId,
        parent: Option<&CacheId>,
    ) -> Result<Placed, DriverError> {
        self.place((id, parent), true)
    }

    fn commit_unsynced(
        self: Box<Self>,
        id: &CacheId,
        parent: Option<&CacheId>,
    ) -> Result<Placed, DriverError> {
        self.place((id, parent), false)
    }
}

impl ParkedLayer {
    fn place(
        self,
        place: (&CacheId, Option<&CacheId>),
        synced: bool,
    ) -> Result<Placed, DriverError> {
        let work = self.work.open()?;
        let (folder, root) = self.plan.open_draft(&work)?;
        let tree = self.tree.open(folder, root).map_err(Trouble::of_draft)?;
        self.plan.commit(tree, work, place, synced)
    }
}

impl Plan {
    fn commit(
        &self,
        mut tree: TreeDraft,
        work: WorkFolder,
        (id, parent): (&CacheId, Option<&CacheId>),
        synced: bool,
    ) -> Result<Placed, DriverError> {
        let named =
            |parent: Option<&CacheId>| parent.map_or("no layer".to_owned(), CacheId::to_string);
        if let Some(prepared) = &self.prepared
            && prepared.as_ref() != parent
        {
            let (prepared, given) = (named(prepared.as_ref()), named(parent));
            return Err(DriverError::OtherParent { prepared, given });
        }
        if tree.is_failed() {
            return Err(DriverError::Incomplete);
        }
        if self.home.exists(id)? {
            work.remove()?;
            return Ok(Placed::AlreadyThere);
        }
        let lowers = self.settle(&mut tree, &work, parent)?;
        let whole = self.open(&work, &self.tree())?;
        self.home.trees.seal(whole.as_fd(), work.path())?;
        let facts = Facts::new(parent, lowers, tree.hides_all() && self.form == Form::Upper);
        let placed = self.home.publish(&work, LAYER, (id, &facts), synced)?;
        work.remove()?;
        Ok(placed)
    }

    /// Makes the tree what it is to be over `parent`. Returns what it is to note of the layers below
    /// that.
    fn settle(
        &self,
        tree: &mut TreeDraft,
        work: &WorkFolder,
        parent: Option<&CacheId>,
    ) -> Result<Vec<String>, DriverError> {
        let Beneath { trees, lowers } = match parent {
            Some(parent) => (self.beneath)(&self.home, parent)?,
            None => Beneath::default(),
        };
        let home = self.home.fd().try_clone_to_owned();
        let home = home.map_err(|error| DriverError::io("open", &self.home.path, error))?;
        let trees = trees.into_iter().map(String::into_bytes).collect();
        let lower = LowerView::new(home, trees, self.home.meta().means);
        match &self.own {
            None => tree.settle(lower, self.form)?,
            Some(own) => {
                // First as if it lay over the parent, as it then does.
                tree.settle(lower, Form::Upper)?;
                let around = self.open(work, &self.tree())?;
                let merged = tree.merge(&around, own.as_bytes());
                merged.map_err(Trouble::of_draft)?;
            }
        }
        Ok(lowers)
    }
}
