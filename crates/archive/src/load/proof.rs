//! Layers that the store has, read before they are reused, where that is asked for.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use lith_graph::{Event, Graph, Observer};
use lith_store::LayerId;

use crate::LoadError;

/// Which layers of the store may be reused: those that were read and are what they should be, or,
/// where nobody asks for that, all.
pub(super) struct Proof<'a> {
    graph: &'a Graph,
    observer: &'a dyn Observer,
    /// Those that were found to be right; none where nothing is read.
    right: Option<Mutex<HashSet<LayerId>>>,
}

impl<'a> Proof<'a> {
    pub(super) fn new(graph: &'a Graph, observer: &'a dyn Observer, asked: bool) -> Self {
        Proof {
            graph,
            observer,
            right: asked.then(Mutex::default),
        }
    }

    /// Whether layers are to be read.
    pub(super) fn is_asked(&self) -> bool {
        self.right.is_some()
    }

    /// Whether a layer may be reused. One that is found to be damaged is made anew by whoever registers it
    /// next.
    pub(super) fn holds(&self, id: &LayerId) -> Result<bool, LoadError> {
        let Some(right) = &self.right else {
            return Ok(true);
        };
        let right = || right.lock().unwrap_or_else(PoisonError::into_inner);
        if right().contains(id) {
            return Ok(true);
        }
        if self.observer.cancelled() {
            return Err(LoadError::Cancelled);
        }
        match self.graph.verify(id)? {
            None => {
                right().insert(*id);
                Ok(true)
            }
            Some(damage) => {
                let message = format!("{damage}; it is made anew");
                self.observer.event(&Event::Warning { message: &message });
                Ok(false)
            }
        }
    }
}
