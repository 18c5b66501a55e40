//! What is put into the folder of a layer after it was published.

use std::fs;
use std::io;

use crate::digest::LayerId;
use crate::error::{IoContext, StoreError};
use crate::intent::Intent;
use crate::layers::{KEEP, KEPT, LayerRecord, table};
use crate::session::Session;
use crate::store::Store;

impl Store {
    /// Takes note of how many bytes of file content a layer has: its `layer.json` is replaced
    /// and is on disk when this returns. Takes the layer's lock.
    ///
    /// # Errors
    /// [`StoreError::NoLayer`]; the file system's and the index's.
    pub fn set_layer_size(
        &self,
        session: &Session,
        id: &LayerId,
        size: u64,
    ) -> Result<(), StoreError> {
        let _lock = self.lock_layer(id)?;
        self.check_listed(id)?;
        let mut record = LayerRecord::read(&self.root().layer(id), id)?;
        record.size = Some(size);
        let text = record.to_json().at("describe", &self.root().layer(id))?;
        let intent = session.note(&Intent::DescribeLayer { id: *id })?;
        let result = put(self, session, id, LayerRecord::FILE, &text).and_then(|()| {
            let write = |view: &crate::index::View<'_>| table::update(view, &record);
            self.index().write("describe layer", write)
        });
        // The file is the truth. Where the row cannot follow it now, the recovery sees to that.
        if result.is_ok() || bring_in_line(self, id).is_ok() {
            intent.settled();
        }
        result
    }

    /// Reads a further file of a layer ([`Store::set_layer_file`]), or one that was published
    /// with it; `None` when the layer has no such file.
    ///
    /// # Errors
    /// [`StoreError::NoLayer`], [`StoreError::LayerFileName`]; the file system's.
    pub fn layer_file(&self, id: &LayerId, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        check_file_name(name)?;
        let path = self.root().layer(id).join(name);
        match fs::read(&path) {
            Ok(content) => {
                self.check_listed(id)?;
                Ok(Some(content))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.check_listed(id)?;
                Ok(None)
            }
            Err(error) => Err(error).at("read", &path),
        }
    }

    /// Puts a further file, mode 0600, into the folder of a published layer, in place of one of
    /// that name; it appears whole and is on disk when this returns. Takes the layer's lock.
    ///
    /// # Errors
    /// [`StoreError::NoLayer`], [`StoreError::LayerFileName`]; the file system's.
    pub fn set_layer_file(
        &self,
        session: &Session,
        id: &LayerId,
        name: &str,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        check_file_name(name)?;
        let _lock = self.lock_layer(id)?;
        self.check_listed(id)?;
        put(self, session, id, name, bytes)
    }

    /// As [`Store::set_layer_file`] where there is no file of that name yet; gives what is there
    /// otherwise, and leaves it alone.
    ///
    /// # Errors
    /// As [`Store::set_layer_file`].
    pub fn add_layer_file(
        &self,
        session: &Session,
        id: &LayerId,
        name: &str,
        bytes: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        check_file_name(name)?;
        let _lock = self.lock_layer(id)?;
        if let Some(there) = self.layer_file(id, name)? {
            return Ok(Some(there));
        }
        put(self, session, id, name, bytes)?;
        Ok(None)
    }

    fn check_listed(&self, id: &LayerId) -> Result<(), StoreError> {
        if self.has_layer(id)? {
            return Ok(());
        }
        Err(StoreError::NoLayer { layer: *id })
    }
}

fn put(
    store: &Store,
    session: &Session,
    id: &LayerId,
    name: &str,
    bytes: &[u8],
) -> Result<(), StoreError> {
    let folder = store.root().layer(id);
    let draft = session.fresh_path("layer-file");
    let effects = store.effects();
    effects.write_synced(&draft, bytes)?;
    effects.rename(&draft, &folder.join(name))?;
    effects.sync_dir(&folder)
}

/// Refuses what is no plain file name, or the name of something with a meaning of its own.
fn check_file_name(name: &str) -> Result<(), StoreError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    let valid = name.len() <= 128
        && !matches!(name, LayerRecord::FILE | KEEP | KEPT)
        && name.bytes().next().is_some_and(plain)
        && name
            .bytes()
            .all(|byte| plain(byte) || matches!(byte, b'.' | b'_' | b'-'));
    if valid {
        return Ok(());
    }
    Err(StoreError::LayerFileName {
        name: crate::digest::shorten(name),
    })
}

/// Brings the row of a layer in line with its `layer.json`.
pub(crate) fn reindex(store: &Store, id: &LayerId) -> Result<(), StoreError> {
    let _lock = store.lock_layer(id)?;
    bring_in_line(store, id)
}

fn bring_in_line(store: &Store, id: &LayerId) -> Result<(), StoreError> {
    let Some(listed) = store.layer(id)? else {
        return Ok(());
    };
    let record = LayerRecord::read(&store.root().layer(id), id)?;
    if record.size == listed.size {
        return Ok(());
    }
    store
        .index()
        .write("describe layer", |view| table::update(view, &record))
}
