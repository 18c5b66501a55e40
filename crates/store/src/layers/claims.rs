//! Who needs a layer, in a few words: the cost does not depend on how many do.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use crate::digest::{ImageId, LayerId};
use crate::error::{IoContext, StoreError};
use crate::index::{View, column, size};
use crate::layers::{LayerRecord, table};
use crate::store::Store;

/// Tells what needs a layer that the store knows nothing of: a writable layer of the driver, say.
/// Each is named by a few words.
pub type OutsideClaims = dyn Fn(&LayerRecord) -> io::Result<Vec<String>> + Send + Sync;

/// Who is asked besides the index.
#[derive(Default)]
pub(crate) struct Outside(RwLock<Option<Arc<OutsideClaims>>>);

impl std::fmt::Debug for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outside")
    }
}

impl Store {
    /// Has `claims` asked before a layer is removed, whoever removes it and why, recoveries included;
    /// a layer of which it names anything stays.
    ///
    /// It is asked with the layer's lock held: what takes the same lock to make a claim is never
    /// overlooked.
    pub fn set_outside_claims(&self, claims: Arc<OutsideClaims>) {
        let outside = &self.outside().0;
        *outside.write().unwrap_or_else(PoisonError::into_inner) = Some(claims);
    }

    /// What [`Store::set_outside_claims`] names for a layer.
    ///
    /// # Errors
    /// Its own.
    pub(crate) fn outside_claims(&self, layer: &LayerRecord) -> Result<Vec<String>, StoreError> {
        let claims = self.outside().0.read();
        let claims = claims.unwrap_or_else(PoisonError::into_inner).clone();
        match claims {
            Some(claims) => claims(layer).at("find out who needs", &self.root().layer(&layer.id)),
            None => Ok(Vec::new()),
        }
    }
}

/// The images and layers that need a layer: how many, and the first few of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerClaims {
    /// Images that have it, the oldest here first, at most [`LayerClaims::SHOWN`].
    pub images: Vec<ImageId>,
    /// How many images have it.
    pub image_count: u64,
    /// Layers on top of it, the oldest here first, at most [`LayerClaims::SHOWN`].
    pub layers: Vec<LayerId>,
    /// How many layers are on top of it.
    pub layer_count: u64,
}

impl LayerClaims {
    /// How many of each are listed.
    pub const SHOWN: usize = 10;

    /// Whether no image and no layer needs it.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty() && self.layers.is_empty()
    }
}

impl Store {
    /// Tells which images and layers need a layer; nothing does when it is not there.
    ///
    /// # Errors
    /// The index's.
    pub fn layer_claims(&self, id: &LayerId) -> Result<LayerClaims, StoreError> {
        self.index().read("find claims", |view| claims(view, id))
    }
}

fn claims(view: &View<'_>, id: &LayerId) -> Result<LayerClaims, StoreError> {
    let action = "find claims";
    let Some(number) = table::number(view, id)? else {
        return Ok(LayerClaims::default());
    };
    let limit = i64::try_from(LayerClaims::SHOWN).unwrap_or(i64::MAX);
    // The index of layers has them in the order of images.
    let sql = "SELECT i.id FROM
                   (SELECT DISTINCT image FROM image_layers WHERE layer = ?1
                    ORDER BY image LIMIT ?2) p
               JOIN images i ON i.num = p.image ORDER BY p.image";
    let images = view.all(action, sql, [number, limit], |row| column(row, 0))?;
    let sql = "SELECT count(DISTINCT image) FROM image_layers WHERE layer = ?1";
    let image_count = view.first(action, sql, [number], |row| size(row, 0))?;
    let sql = "SELECT id FROM layers WHERE parent = ?1 ORDER BY num LIMIT ?2";
    let layers = view.all(action, sql, (id.hex(), limit), |row| column(row, 0))?;
    let sql = "SELECT count(*) FROM layers WHERE parent = ?1";
    let layer_count = view.first(action, sql, [id.hex()], |row| size(row, 0))?;
    Ok(LayerClaims {
        images,
        image_count: image_count.unwrap_or(0),
        layers,
        layer_count: layer_count.unwrap_or(0),
    })
}
