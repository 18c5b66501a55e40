//! Who needs a layer, in a few words: the cost does not depend on how many do.

use crate::digest::{ImageId, LayerId};
use crate::error::StoreError;
use crate::index::{View, column, size};
use crate::layers::table;
use crate::store::Store;

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
