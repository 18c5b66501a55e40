//! Drafts of the drivers that keep trees.

use std::sync::Arc;

use rustix::fs::Mode;

use crate::driver::{Draft, DraftBody, Parent, Placed};
use crate::error::{DriverError, Trouble};
use crate::home::{Facts, Home};
use crate::id::CacheId;
use crate::tree::TreeDraft;
use crate::tree::handle;
use crate::tree::lower::LowerView;
use crate::tree::settle::Form;
use crate::work::WorkFolder;

const LAYER: &str = "layer";

/// Finds the trees below a layer, topmost first, as paths below the driver's folder.
pub(crate) type Chain = fn(&Home, &CacheId) -> Result<Vec<String>, DriverError>;

/// A layer being filled.
#[derive(Debug)]
pub(crate) struct LayerDraft {
    home: Arc<Home>,
    tree: TreeDraft,
    form: Form,
    chain: Chain,
    prepared: Option<Option<CacheId>>,
    work: WorkFolder,
}

impl LayerDraft {
    pub(crate) fn prepare(
        home: &Arc<Home>,
        parent: Parent<'_>,
        form: Form,
        chain: Chain,
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
        let failed = |error: rustix::io::Errno| DriverError::io("create", work.path(), error);
        let path = format!("{LAYER}/{}", home.tree);
        rustix::fs::mkdirat(work.fd(), LAYER, Mode::RWXU).map_err(failed)?;
        rustix::fs::mkdirat(work.fd(), path.as_str(), Mode::RWXU).map_err(failed)?;
        let root =
            handle::open_below(work.fd(), path.as_bytes(), handle::LISTING).map_err(failed)?;
        let folder = work
            .fd()
            .try_clone_to_owned()
            .map_err(|error| DriverError::io("open", work.path(), error))?;
        let below = format!("{}/{path}", work.below_home()).into_bytes();
        let tree =
            TreeDraft::new(folder, root, below, home.ownership).map_err(Trouble::of_draft)?;
        Ok(Self {
            home: Arc::clone(home),
            tree,
            form,
            chain,
            prepared,
            work,
        })
    }
}

impl Draft for LayerDraft {
    fn body(&mut self) -> DraftBody<'_> {
        DraftBody::Tree(&mut self.tree)
    }

    fn commit(
        mut self: Box<Self>,
        id: &CacheId,
        parent: Option<&CacheId>,
    ) -> Result<Placed, DriverError> {
        let named =
            |parent: Option<&CacheId>| parent.map_or("no layer".to_owned(), CacheId::to_string);
        if let Some(prepared) = &self.prepared
            && prepared.as_ref() != parent
        {
            let (prepared, given) = (named(prepared.as_ref()), named(parent));
            return Err(DriverError::OtherParent { prepared, given });
        }
        if self.tree.is_failed() {
            return Err(DriverError::Incomplete);
        }
        if self.home.exists(id)? {
            self.work.remove()?;
            return Ok(Placed::AlreadyThere);
        }
        let trees = match parent {
            Some(parent) => (self.chain)(&self.home, parent)?,
            None => Vec::new(),
        };
        let home = self.home.fd().try_clone_to_owned();
        let home = home.map_err(|error| DriverError::io("open", &self.home.path, error))?;
        let mut lower = LowerView::new(home, trees.into_iter().map(String::into_bytes).collect());
        self.tree.settle(&mut lower, self.form)?;
        let facts = Facts::new(parent, self.tree.hides_all() && self.form == Form::Upper);
        let placed = self.home.publish(&self.work, LAYER, id, &facts)?;
        self.work.remove()?;
        Ok(placed)
    }
}
