//! Names: a file each, moved by one rename.

use std::fs;
use std::io;
use std::path::Path;

use rusqlite::Row;
use serde::{Deserialize, Serialize};

use crate::digest::{Digest, ImageId};
use crate::effects::Effects;
use crate::error::{IoContext, StoreError};
use crate::images;
use crate::images::pending::Pending;
use crate::index::{self, View};
use crate::intent::Intent;
use crate::reference::Reference;
use crate::session::Session;
use crate::store::Store;

/// What can go wrong with names.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The image is not there.
    #[error("cannot name {name}: no such image: {image}")]
    NoImage {
        /// The name.
        name: Reference,
        /// The image.
        image: ImageId,
    },
    /// The name would be taken for a digest wherever it is typed.
    #[error("{name} cannot be a name: `sha256` stands for a digest")]
    Reserved {
        /// The name.
        name: Reference,
    },
    /// The reference has neither tag nor digest: it names a repository.
    #[error("{name} names a repository, not an image: expected a tag or a digest")]
    NoTag {
        /// The name.
        name: Reference,
    },
    /// Anything else.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Content of a name's file.
#[derive(Serialize, Deserialize)]
struct NameFile {
    name: Reference,
    image: ImageId,
}

impl Store {
    /// Points a name to an image; gives the other image it pointed to before.
    ///
    /// # Errors
    /// [`NameError::NoImage`] when the image is not there at that moment.
    pub fn set_name(
        &self,
        session: &Session,
        name: &Reference,
        image: &ImageId,
    ) -> Result<Option<ImageId>, NameError> {
        check(name)?;
        let _lock = self.lock_name(name)?;
        let no_image = || NameError::NoImage {
            name: name.clone(),
            image: *image,
        };
        if !self.has_image(image)? {
            return Err(no_image());
        }
        let before = match read(&self.root().name(name), name) {
            // Healed by being written anew.
            Err(StoreError::Damaged { .. }) => self.name(name)?,
            other => other?,
        };
        let intent = session.note(&Intent::Name { name: name.clone() })?;
        let run = || {
            put(self, session, name, image)?;
            self.index().write("set name", |view| {
                if !images::table::exists(view, image)? {
                    return Err(no_image());
                }
                insert(view, name, image)?;
                Ok(())
            })
        };
        if let Err(error) = run() {
            match before {
                Some(before) => put(self, session, name, &before)?,
                None => drop(take(self, name)?),
            }
            intent.settled();
            return Err(error);
        }
        intent.settled();
        Ok(before.filter(|before| before != image))
    }

    /// Finds what a name points to.
    ///
    /// # Errors
    /// The index's.
    pub fn name(&self, name: &Reference) -> Result<Option<ImageId>, StoreError> {
        self.index().read("find name", |view| find(view, name))
    }

    /// Removes a name; gives the image it pointed to.
    ///
    /// # Errors
    /// The index's and the file system's.
    pub fn remove_name(
        &self,
        session: &Session,
        name: &Reference,
    ) -> Result<Option<ImageId>, NameError> {
        self.remove_name_if(session, name, |_| true)
    }

    /// Removes a name if it points to `image`: whoever decided to remove it may have seen it
    /// before somebody moved it. Tells whether it did.
    ///
    /// # Errors
    /// The index's and the file system's.
    pub fn remove_name_of(
        &self,
        session: &Session,
        name: &Reference,
        image: &ImageId,
    ) -> Result<bool, NameError> {
        let removed = self.remove_name_if(session, name, |found| found == image)?;
        Ok(removed.is_some())
    }

    fn remove_name_if(
        &self,
        session: &Session,
        name: &Reference,
        fits: impl Fn(&ImageId) -> bool,
    ) -> Result<Option<ImageId>, NameError> {
        let _lock = self.lock_name(name)?;
        let before = self.index().read("find name", |view| find(view, name))?;
        let Some(image) = before.filter(fits) else {
            return Ok(None);
        };
        let intent = session.note(&Intent::Name { name: name.clone() })?;
        let run = || {
            take(self, name)?;
            self.index().write("remove name", |view| delete(view, name))
        };
        if let Err(error) = run() {
            put(self, session, name, &image)?;
            intent.settled();
            return Err(error.into());
        }
        intent.settled();
        Ok(before)
    }

    /// Returns the names of an image.
    ///
    /// # Errors
    /// The index's.
    pub fn names_of(&self, image: &ImageId) -> Result<Vec<Reference>, StoreError> {
        self.index().read("find names of image", |view| {
            images::table::names(view, image)
        })
    }

    /// Returns all names with what they point to, sorted by name.
    ///
    /// # Errors
    /// The index's.
    pub fn names(&self) -> Result<Vec<(Reference, ImageId)>, StoreError> {
        let sql = "SELECT name, image FROM names ORDER BY name";
        self.index()
            .read("list names", |view| view.all("list names", sql, [], pair))
    }

    /// Returns the names in the repository of `name`, whatever its tag, with what they
    /// point to.
    ///
    /// # Errors
    /// The index's.
    pub fn tags_of_repository(
        &self,
        name: &Reference,
    ) -> Result<Vec<(Reference, ImageId)>, StoreError> {
        let sql = "SELECT name, image FROM names WHERE repository = ?1 ORDER BY name";
        self.index().read("list names", |view| {
            view.all("list names", sql, [name.repository()], pair)
        })
    }
}

pub(crate) fn check(name: &Reference) -> Result<(), NameError> {
    if name.tag().is_none() && name.digest().is_none() {
        return Err(NameError::NoTag { name: name.clone() });
    }
    if name.familiar_repository() == "sha256" {
        return Err(NameError::Reserved { name: name.clone() });
    }
    Ok(())
}

fn pair(row: &Row<'_>) -> rusqlite::Result<(Reference, ImageId)> {
    Ok((column(row, 0)?, index::column(row, 1)?))
}

/// Reads a column that holds a name. It may be one with a digest alone.
pub(crate) fn column(row: &Row<'_>, at: usize) -> rusqlite::Result<Reference> {
    index::column(row, at)
}

pub(crate) fn find(view: &View<'_>, name: &Reference) -> Result<Option<ImageId>, StoreError> {
    view.first(
        "find name",
        "SELECT image FROM names WHERE name = ?1",
        [name.to_string()],
        |row| index::column(row, 0),
    )
}

pub(crate) fn insert(view: &View<'_>, name: &Reference, image: &ImageId) -> Result<(), StoreError> {
    let sql = "INSERT INTO names (name, repository, image) VALUES (?1, ?2, ?3)
               ON CONFLICT (name) DO UPDATE SET image = excluded.image";
    view.execute(
        "set name",
        sql,
        (name.to_string(), name.repository(), image.to_string()),
    )
    .map(drop)
}

pub(crate) fn delete(view: &View<'_>, name: &Reference) -> Result<(), StoreError> {
    let sql = "DELETE FROM names WHERE name = ?1";
    view.execute("remove name", sql, [name.to_string()])
        .map(drop)
}

/// Puts the file of a name in place in one rename, on disk when this returns.
fn put(
    store: &Store,
    session: &Session,
    name: &Reference,
    image: &ImageId,
) -> Result<(), StoreError> {
    let place = store.root().name(name);
    let draft = session.fresh_path("name");
    let effects = store.effects();
    write_draft(effects, &draft, name, image)?;
    effects.sync_file(&draft)?;
    effects.rename(&draft, &place)?;
    effects.sync_dir(&store.root().names())
}

/// Writes what belongs into the file of a name; not synced.
pub(crate) fn write_draft(
    effects: &Effects,
    draft: &Path,
    name: &Reference,
    image: &ImageId,
) -> Result<(), StoreError> {
    let content = NameFile {
        name: name.clone(),
        image: *image,
    };
    let mut text = serde_json::to_vec(&content)
        .map_err(io::Error::from)
        .at("describe", draft)?;
    text.push(b'\n');
    effects.write_new(draft, &text)
}

/// Removes the file of a name.
fn take(store: &Store, name: &Reference) -> Result<(), StoreError> {
    store.effects().remove_file(&store.root().name(name))?;
    store.effects().sync_dir(&store.root().names())
}

/// Reads the file of a name; `None` when it is not there.
pub(crate) fn read(path: &Path, name: &Reference) -> Result<Option<ImageId>, StoreError> {
    let Some((found, image)) = read_any(path)? else {
        return Ok(None);
    };
    if found == *name {
        return Ok(Some(image));
    }
    let reason = format!("expected name {name}, found {found}");
    Err(StoreError::Damaged {
        path: path.to_owned(),
        reason,
    })
}

/// Reads a file of `names/`, whichever name it is, and checks that it stands where that
/// name belongs.
pub(crate) fn read_any(path: &Path) -> Result<Option<(Reference, ImageId)>, StoreError> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.at("read", path)?,
    };
    let damaged = |reason| StoreError::Damaged {
        path: path.to_owned(),
        reason,
    };
    let content: NameFile =
        serde_json::from_slice(&text).map_err(|error| damaged(format!("not a name: {error}")))?;
    let expected = Digest::of(content.name.to_string().as_bytes()).hex();
    if path.file_name().and_then(|name| name.to_str()) != Some(expected.as_str()) {
        let reason = format!(
            "holds the name {}, which belongs in {expected}",
            content.name
        );
        return Err(damaged(reason));
    }
    Ok(Some((content.name, content.image)))
}

/// Brings the row of a name in line with its file.
pub(crate) fn reindex(store: &Store, name: &Reference) -> Result<(), StoreError> {
    let _lock = store.lock_name(name)?;
    let image = read(&store.root().name(name), name)?;
    if let Some(image) = image
        && !store.has_image(&image)?
        && Pending::read(store.root())?.of_name(name, &image).is_some()
    {
        // Another dead session has placed it with images that are not listed yet.
        return Ok(());
    }
    let dangling = store
        .index()
        .write("compare name with its file", |view| match image {
            Some(image) if images::table::exists(view, &image)? => {
                insert(view, name, &image).map(|()| false)
            }
            Some(_) => delete(view, name).map(|()| true),
            None => delete(view, name).map(|()| false),
        })?;
    if dangling {
        take(store, name)?;
    }
    Ok(())
}
