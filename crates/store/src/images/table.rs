//! Rows of images.

use crate::digest::{Digest, ImageId, LayerId};
use crate::error::StoreError;
use crate::images::{ImageError, ImageRecord, members};
use crate::index::{View, column};
use crate::layers;
use crate::reference::Reference;

pub(crate) fn number(view: &View<'_>, id: &ImageId) -> Result<Option<i64>, StoreError> {
    view.first(
        "find image",
        "SELECT num FROM images WHERE id = ?1",
        [id.to_string()],
        |row| row.get(0),
    )
}

pub(crate) fn exists(view: &View<'_>, id: &ImageId) -> Result<bool, StoreError> {
    Ok(number(view, id)?.is_some())
}

/// Adds the row of an image; all its layers must be there, and all members of an index.
pub(crate) fn insert(view: &View<'_>, record: &ImageRecord) -> Result<(), ImageError> {
    let mut layers = Vec::with_capacity(record.layers.len());
    let mut missing = Vec::new();
    for id in &record.layers {
        match layers::table::number(view, id)? {
            Some(number) => layers.push(number),
            None => missing.push(*id),
        }
    }
    if !missing.is_empty() {
        return Err(ImageError::MissingLayers {
            image: record.id,
            missing,
        });
    }
    members::check(view, &record.id, record.members())?;
    view.execute(
        "add image",
        "INSERT INTO images
             (id, parent, manifest, created, created_at, architecture, os, variant)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        (
            record.id.to_string(),
            record.parent.map(|parent| parent.to_string()),
            record
                .manifest
                .as_deref()
                .map(|manifest| Digest::of(manifest).to_string())
                .or_else(|| record.index.as_ref().map(|_| record.id.to_string())),
            &record.created,
            record
                .created
                .as_deref()
                .and_then(crate::time::microseconds),
            &record.architecture,
            &record.os,
            &record.variant,
        ),
    )?;
    let image = view.transaction.last_insert_rowid();
    for (position, layer) in (0_i64..).zip(layers) {
        let sql = "INSERT INTO image_layers (image, position, layer) VALUES (?1, ?2, ?3)";
        view.execute("add image", sql, (image, position, layer))?;
    }
    members::insert(view, image, record.members())?;
    Ok(())
}

/// Adds the rows of images: members before the indexes that have them.
pub(crate) fn insert_all(view: &View<'_>, records: &[&ImageRecord]) -> Result<(), ImageError> {
    let (indexes, images): (Vec<&ImageRecord>, Vec<&ImageRecord>) =
        records.iter().partition(|record| record.index.is_some());
    let mut ordered = images.iter().chain(&indexes);
    ordered.try_for_each(|record| insert(view, record))
}

/// Removes an image's row.
pub(crate) fn delete(view: &View<'_>, id: &ImageId) -> Result<(), StoreError> {
    if let Some(number) = number(view, id)? {
        let sql = "DELETE FROM image_layers WHERE image = ?1";
        view.execute("remove image", sql, [number])?;
        let sql = "DELETE FROM image_members WHERE image = ?1";
        view.execute("remove image", sql, [number])?;
        view.execute(
            "remove image",
            "DELETE FROM images WHERE num = ?1",
            [number],
        )?;
    }
    Ok(())
}

/// Layers of an image, bottom first.
pub(crate) fn layers(view: &View<'_>, id: &ImageId) -> Result<Vec<LayerId>, StoreError> {
    let sql = "SELECT l.id FROM images i
               JOIN image_layers p ON p.image = i.num JOIN layers l ON l.num = p.layer
               WHERE i.id = ?1 ORDER BY p.position";
    view.all("find layers of image", sql, [id.to_string()], |row| {
        column(row, 0)
    })
}

pub(crate) fn names(view: &View<'_>, id: &ImageId) -> Result<Vec<Reference>, StoreError> {
    let sql = "SELECT name FROM names WHERE image = ?1 ORDER BY name";
    view.all("find names of image", sql, [id.to_string()], |row| {
        crate::names::column(row, 0)
    })
}
