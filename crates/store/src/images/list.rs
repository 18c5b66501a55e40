//! Questions about images; listings are answered by the index alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusqlite::Row;

use crate::digest::{ImageId, LayerId};
use crate::error::StoreError;
use crate::images::{ImageRecord, ImageSummary, IndexMember, folder, members, table};
use crate::index::{View, column, column_opt};
use crate::layers;
use crate::reference::Reference;
use crate::store::Store;

impl Store {
    /// Reads an image with its documents.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when its folder does not hold that image.
    pub fn image(&self, id: &ImageId) -> Result<Option<ImageRecord>, StoreError> {
        if !self.has_image(id)? {
            return Ok(None);
        }
        match folder::read(&self.root().image(id), id) {
            Ok(record) => Ok(Some(record)),
            // Removed by somebody else since.
            Err(_) if !self.has_image(id)? => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Tells whether an image is there.
    ///
    /// # Errors
    /// The index's.
    pub fn has_image(&self, id: &ImageId) -> Result<bool, StoreError> {
        self.index()
            .read("find image", |view| table::exists(view, id))
    }

    /// Lists all images, newest first, those without a date last.
    ///
    /// # Errors
    /// The index's.
    pub fn images(&self) -> Result<Vec<ImageSummary>, StoreError> {
        self.index().read("list images", summaries)
    }

    /// Lists those of these images that are there, with the same numbers and in the same order
    /// as [`Store::images`]. The cost depends on what is asked for only.
    ///
    /// # Errors
    /// The index's.
    pub fn images_of(&self, ids: &[ImageId]) -> Result<Vec<ImageSummary>, StoreError> {
        self.index()
            .read("list images", |view| some_summaries(view, ids))
    }

    /// Returns the images that have a layer.
    ///
    /// # Errors
    /// The index's.
    pub fn images_using(&self, id: &LayerId) -> Result<Vec<ImageId>, StoreError> {
        let sql = "SELECT DISTINCT i.id FROM layers l
                   JOIN image_layers p ON p.layer = l.num JOIN images i ON i.num = p.image
                   WHERE l.id = ?1 ORDER BY i.id";
        self.index().read("find images", |view| {
            view.all("find images", sql, [id.hex()], |row| column(row, 0))
        })
    }

    /// Returns the layers of an image, bottom first.
    ///
    /// # Errors
    /// The index's.
    pub fn layers_of_image(&self, id: &ImageId) -> Result<Vec<LayerId>, StoreError> {
        self.index()
            .read("find layers of image", |view| table::layers(view, id))
    }
}

/// What the layers of all images say about one of them.
#[derive(Default)]
struct Use {
    layers: usize,
    size: u64,
    unique_size: u64,
    uncounted: usize,
}

fn summaries(view: &View<'_>) -> Result<Vec<ImageSummary>, StoreError> {
    let mut uses = uses(view)?;
    let sql = "SELECT num, id, manifest, parent, created, architecture, os, variant, created_at
               FROM images";
    let images: Vec<Dated> = view.all("list images", sql, [], |row| {
        let mut image = summary(row)?;
        let used = uses.remove(&row.get(0)?).unwrap_or_default();
        image.layers = used.layers;
        image.size = used.size;
        image.unique_size = used.unique_size;
        image.uncounted = used.uncounted;
        Ok((row.get(8)?, image))
    })?;
    let mut images = sorted(images);
    add_names(view, &mut images)?;
    add_members(view, &mut images)?;
    Ok(images)
}

/// A line of a listing with what it is sorted by.
type Dated = (Option<i64>, ImageSummary);

/// Newest first.
fn sorted(mut images: Vec<Dated>) -> Vec<ImageSummary> {
    // `None` is less than any date: last.
    images.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.id.cmp(&other.id)));
    images.into_iter().map(|(_, image)| image).collect()
}

fn some_summaries(view: &View<'_>, ids: &[ImageId]) -> Result<Vec<ImageSummary>, StoreError> {
    let sql = "SELECT num, id, manifest, parent, created, architecture, os, variant, created_at
               FROM images WHERE id = ?1";
    let ids: BTreeSet<&ImageId> = ids.iter().collect();
    let mut images: Vec<Dated> = Vec::with_capacity(ids.len());
    for id in ids {
        let found = view.first("list images", sql, [id.to_string()], |row| {
            Ok((row.get::<_, i64>(0)?, row.get(8)?, summary(row)?))
        })?;
        let Some((number, date, mut image)) = found else {
            continue;
        };
        image.members = members::of_index(view, id)?;
        let parts = match image.members.is_empty() {
            true => PARTS,
            false => PARTS_OF_MEMBERS,
        };
        add_sizes(view, parts, number, &mut image)?;
        image.in_index = !members::indexes(view, id)?.is_empty();
        image.names = table::names(view, id)?;
        image.names.sort_by_cached_key(Reference::familiar);
        images.push((date, image));
    }
    Ok(sorted(images))
}

/// The layers of an image with their sizes, and whether another image has them too. Layers of
/// many images are not gone through: the look-ups end at the first other one.
const PARTS: &str = "
    SELECT p.layer, l.size,
           EXISTS (SELECT 1 FROM image_layers o WHERE o.layer = p.layer AND o.image < p.image)
           OR EXISTS (SELECT 1 FROM image_layers o WHERE o.layer = p.layer AND o.image > p.image)
    FROM image_layers p JOIN layers l ON l.num = p.layer WHERE p.image = ?1";

/// The same for the images of an index.
const PARTS_OF_MEMBERS: &str = "
    SELECT p.layer, l.size,
           EXISTS (SELECT 1 FROM image_layers o JOIN images i ON i.num = o.image
                   WHERE o.layer = p.layer
                     AND i.id NOT IN (SELECT member FROM image_members WHERE image = ?1))
    FROM image_layers p JOIN layers l ON l.num = p.layer
    WHERE p.image IN (SELECT i.num FROM image_members m JOIN images i ON i.id = m.member
                      WHERE m.image = ?1)
    GROUP BY p.layer";

/// Sums up the sizes of one image's layers, as [`uses`] does for all.
fn add_sizes(
    view: &View<'_>,
    parts: &str,
    number: i64,
    image: &mut ImageSummary,
) -> Result<(), StoreError> {
    let parts: Vec<(i64, Option<u64>, bool)> =
        view.all("list layers of images", parts, [number], |row| {
            Ok((row.get(0)?, layers::table::size(row, 1)?, row.get(2)?))
        })?;
    image.layers = parts.len();
    let mut counted = BTreeSet::new();
    for (layer, size, shared) in parts {
        if !counted.insert(layer) {
            continue;
        }
        image.uncounted += usize::from(size.is_none());
        let size = size.unwrap_or(0);
        image.size = image.size.saturating_add(size);
        if !shared {
            image.unique_size = image.unique_size.saturating_add(size);
        }
    }
    Ok(())
}

fn summary(row: &Row<'_>) -> rusqlite::Result<ImageSummary> {
    Ok(ImageSummary {
        id: column(row, 1)?,
        names: Vec::new(),
        manifest: column_opt(row, 2)?,
        parent: column_opt(row, 3)?,
        created: row.get(4)?,
        architecture: row.get(5)?,
        os: row.get(6)?,
        variant: row.get(7)?,
        layers: 0,
        size: 0,
        unique_size: 0,
        uncounted: 0,
        members: Vec::new(),
        in_index: false,
    })
}

/// Sums up sizes in one pass over the layers of images. A layer that an image has twice
/// counts once.
fn uses(view: &View<'_>) -> Result<HashMap<i64, Use>, StoreError> {
    let action = "list layers of images";
    let sql = "SELECT num, size FROM layers INDEXED BY layers_size";
    let sizes: HashMap<i64, Option<u64>> = view
        .all(action, sql, [], |row| {
            Ok((row.get(0)?, layers::table::size(row, 1)?))
        })?
        .into_iter()
        .collect();
    // Ordered by layer, so that those of one layer stand together.
    let sql = "SELECT layer, image FROM image_layers ORDER BY layer, image";
    let rows: Vec<(i64, i64)> = view.all(action, sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let indexes = indexes(view)?;
    let mut uses: HashMap<i64, Use> = HashMap::with_capacity(rows.len() / 2);
    for one_layer in rows.chunk_by(|a, b| a.0 == b.0) {
        let Some((layer, first)) = one_layer.first() else {
            continue;
        };
        let counted = sizes.get(layer).copied().flatten();
        let size = counted.unwrap_or(0);
        let mut last = None;
        for (_, image) in one_layer {
            let used = uses.entry(*image).or_default();
            used.layers += 1;
            if last != Some(*image) {
                used.size = used.size.saturating_add(size);
                used.uncounted += usize::from(counted.is_none());
            }
            last = Some(*image);
        }
        if last == Some(*first) {
            let used = uses.entry(*first).or_default();
            used.unique_size = used.unique_size.saturating_add(size);
        }
        let images: BTreeSet<i64> = one_layer.iter().map(|(_, image)| *image).collect();
        for (index, all) in with_members(&indexes, &images) {
            let used = uses.entry(index).or_default();
            used.layers += 1;
            used.size = used.size.saturating_add(size);
            used.uncounted += usize::from(counted.is_none());
            if all {
                used.unique_size = used.unique_size.saturating_add(size);
            }
        }
    }
    Ok(uses)
}

/// For each member of an index the numbers of the indexes that have it.
type Indexes = HashMap<i64, Vec<i64>>;

fn indexes(view: &View<'_>) -> Result<Indexes, StoreError> {
    let sql = "SELECT i.num, m.image FROM image_members m JOIN images i ON i.id = m.member";
    let rows: Vec<(i64, i64)> = view.all("list members of indexes", sql, [], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    let mut indexes = Indexes::new();
    for (member, index) in rows {
        let of_member = indexes.entry(member).or_default();
        if !of_member.contains(&index) {
            of_member.push(index);
        }
    }
    Ok(indexes)
}

/// The indexes that have one of the images, and whether they have all.
fn with_members(indexes: &Indexes, images: &BTreeSet<i64>) -> Vec<(i64, bool)> {
    if indexes.is_empty() {
        return Vec::new();
    }
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    for index in images.iter().flat_map(|image| indexes.get(image)).flatten() {
        *counts.entry(*index).or_default() += 1;
    }
    let counts = counts.into_iter();
    counts
        .map(|(index, count)| (index, count == images.len()))
        .collect()
}

/// Says of indexes which images they have, and of images whether an index has them.
fn add_members(view: &View<'_>, images: &mut [ImageSummary]) -> Result<(), StoreError> {
    let sql = "SELECT i.id, m.member, m.manifest, m.platform
               FROM image_members m JOIN images i ON i.num = m.image
               ORDER BY m.image, m.position";
    let rows: Vec<(ImageId, IndexMember)> =
        view.all("list members of indexes", sql, [], |row| {
            Ok((column(row, 0)?, members::member(row, 1)?))
        })?;
    if rows.is_empty() {
        return Ok(());
    }
    let members: BTreeSet<ImageId> = rows.iter().map(|(_, member)| member.image).collect();
    let mut by_index: HashMap<ImageId, Vec<IndexMember>> = HashMap::new();
    for (index, member) in rows {
        by_index.entry(index).or_default().push(member);
    }
    for image in images {
        image.in_index = members.contains(&image.id);
        image.members = by_index.remove(&image.id).unwrap_or_default();
    }
    Ok(())
}

/// Gives the images their names.
fn add_names(view: &View<'_>, images: &mut [ImageSummary]) -> Result<(), StoreError> {
    let place: HashMap<ImageId, usize> = images
        .iter()
        .enumerate()
        .map(|(place, image)| (image.id, place))
        .collect();
    let rows: Vec<(Reference, ImageId)> =
        view.all("list names", "SELECT name, image FROM names", [], |row| {
            Ok((crate::names::column(row, 0)?, column(row, 1)?))
        })?;
    for (name, id) in rows {
        if let Some(image) = place.get(&id).and_then(|place| images.get_mut(*place)) {
            image.names.push(name);
        }
    }
    for image in images.iter_mut().filter(|image| image.names.len() > 1) {
        image.names.sort_by_cached_key(Reference::familiar);
    }
    Ok(())
}
