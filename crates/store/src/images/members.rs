//! Images for several platforms: an index, and the images in it.
//!
//! To the store an index is an image whose document is the index and that has no layers of its
//! own: it is published, named, found and removed like any other. What it has instead are
//! members, images with layers, which stay for as long as the index does.

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, ImageId};
use crate::error::StoreError;
use crate::images::ImageError;
use crate::index::{View, column};
use crate::store::Store;

/// The index of an image for several platforms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageIndex {
    /// The index as it came; its digest is the ID.
    pub document: Vec<u8>,
    /// Those of its images that are in the store, in its order; at least one.
    pub members: Vec<IndexMember>,
}

/// An image in an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexMember {
    /// The image.
    pub image: ImageId,
    /// The digest of the manifest that the index lists.
    pub manifest: Digest,
    /// The platform that the index says it is for, or else its config: `linux/arm64/v8`.
    pub platform: Option<String>,
}

impl Store {
    /// Returns the images of an index; none when `id` is no index.
    ///
    /// # Errors
    /// The index's.
    pub fn members_of(&self, id: &ImageId) -> Result<Vec<IndexMember>, StoreError> {
        self.index()
            .read("find members of index", |view| of_index(view, id))
    }

    /// Returns the indexes that an image is a member of.
    ///
    /// # Errors
    /// The index's.
    pub fn indexes_of(&self, image: &ImageId) -> Result<Vec<ImageId>, StoreError> {
        self.index()
            .read("find indexes of image", |view| indexes(view, image))
    }
}

/// The members of an index, in its order.
pub(crate) fn of_index(view: &View<'_>, id: &ImageId) -> Result<Vec<IndexMember>, StoreError> {
    let sql = "SELECT m.member, m.manifest, m.platform
               FROM images i JOIN image_members m ON m.image = i.num
               WHERE i.id = ?1 ORDER BY m.position";
    view.all("find members of index", sql, [id.to_string()], |row| {
        member(row, 0)
    })
}

/// Reads the columns of a member, from `at` on.
pub(crate) fn member(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<IndexMember> {
    Ok(IndexMember {
        image: column(row, at)?,
        manifest: column(row, at + 1)?,
        platform: row.get(at + 2)?,
    })
}

/// The indexes that have an image.
pub(crate) fn indexes(view: &View<'_>, image: &ImageId) -> Result<Vec<ImageId>, StoreError> {
    let sql = "SELECT DISTINCT i.id FROM image_members m JOIN images i ON i.num = m.image
               WHERE m.member = ?1 ORDER BY i.id";
    view.all("find indexes of image", sql, [image.to_string()], |row| {
        column(row, 0)
    })
}

/// Makes sure that all members of an index are there.
pub(crate) fn check(
    view: &View<'_>,
    id: &ImageId,
    members: &[IndexMember],
) -> Result<(), ImageError> {
    let mut missing = Vec::new();
    for member in members {
        if !super::table::exists(view, &member.image)? {
            missing.push(member.image);
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(ImageError::MissingMembers {
            index: *id,
            missing,
        }),
    }
}

/// Adds the members of the index with the number `number`.
pub(crate) fn insert(
    view: &View<'_>,
    number: i64,
    members: &[IndexMember],
) -> Result<(), StoreError> {
    let sql = "INSERT INTO image_members (image, position, member, manifest, platform)
               VALUES (?1, ?2, ?3, ?4, ?5)";
    for (position, member) in (0_i64..).zip(members) {
        view.execute(
            "add index",
            sql,
            (
                number,
                position,
                member.image.to_string(),
                member.manifest.to_string(),
                &member.platform,
            ),
        )?;
    }
    Ok(())
}

/// Those members of an index that nothing but it keeps: they have no name, and no other index
/// has them.
pub(crate) fn kept_by_it_alone(view: &View<'_>, id: &ImageId) -> Result<Vec<ImageId>, StoreError> {
    let mut alone = Vec::new();
    for member in of_index(view, id)? {
        let image = member.image;
        if !alone.contains(&image)
            && super::table::names(view, &image)?.is_empty()
            && indexes(view, &image)?.iter().all(|other| other == id)
        {
            alone.push(image);
        }
    }
    Ok(alone)
}

/// Removes the rows of indexes that lack a member, and says which they were.
pub(crate) fn unlist_incomplete(view: &View<'_>) -> Result<Vec<(ImageId, ImageId)>, StoreError> {
    let sql = "SELECT i.id, m.member FROM image_members m JOIN images i ON i.num = m.image
               WHERE NOT EXISTS (SELECT 1 FROM images o WHERE o.id = m.member)";
    let lacking: Vec<(ImageId, ImageId)> = view.all("find members of index", sql, [], |row| {
        Ok((column(row, 0)?, column(row, 1)?))
    })?;
    for (index, _) in &lacking {
        super::table::delete(view, index)?;
    }
    Ok(lacking)
}
