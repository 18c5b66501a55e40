//! What the small files of a root say of it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use crate::error::{IoContext, StoreError};
use crate::idmap::IdMaps;
use crate::open::{OpenError, OpenOptions};
use crate::ownership::{Ownership, ParseOwnershipError};
use crate::root::Root;

pub(super) fn is_driver_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 64
        && name.bytes().next().is_some_and(plain)
        && name
            .bytes()
            .all(|byte| plain(byte) || matches!(byte, b'_' | b'.' | b'-'))
}

/// Reads a file that holds one word; `None` when it is not there.
pub(crate) fn read_word(path: &Path) -> Result<Option<String>, StoreError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("read", path),
    }
}

/// Reads where the driver comes from.
pub(crate) fn read_plugin(root: &Root, driver: &str) -> Result<Option<PathBuf>, StoreError> {
    if !is_driver_name(driver) {
        return Ok(None);
    }
    let path = root.plugin_file(driver);
    let mut text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.at("read", &path)?,
    };
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    let plugin = PathBuf::from(OsString::from_vec(text));
    if plugin.is_absolute() {
        return Ok(Some(plugin));
    }
    let reason = format!("expected an absolute path, found {plugin:?}");
    Err(StoreError::Damaged { path, reason })
}

pub(super) fn read_format(root: &Root) -> Result<u32, StoreError> {
    let path = root.format();
    let text = read_word(&path)?.unwrap_or_default();
    text.parse().map_err(|_| StoreError::Damaged {
        path,
        reason: format!(
            "expected a version number, found {:?}",
            crate::digest::shorten(&text)
        ),
    })
}

pub(super) fn check_driver(root: &Root, options: &OpenOptions) -> Result<String, OpenError> {
    let path = root.driver_file();
    let found = read_word(&path)?.unwrap_or_default();
    if !is_driver_name(&found) {
        let found = crate::digest::shorten(&found);
        let reason = format!("expected the name of a driver, found {found:?}");
        return Err(StoreError::Damaged { path, reason }.into());
    }
    match &options.driver {
        Some(expected) if *expected != found => Err(OpenError::OtherDriver {
            path: root.path().to_owned(),
            found,
            expected: expected.clone(),
        }),
        _ => Ok(found),
    }
}

pub(super) fn check_ownership(root: &Root, options: &OpenOptions) -> Result<Ownership, OpenError> {
    let path = root.ownership();
    let text = read_word(&path)?.unwrap_or_default();
    let found = text
        .parse()
        .map_err(|error: ParseOwnershipError| StoreError::Damaged {
            path,
            reason: error.to_string(),
        })?;
    match options.ownership {
        Some(expected) if expected != found => Err(OpenError::OtherOwnership {
            path: root.path().to_owned(),
            found,
            expected,
        }),
        _ => Ok(found),
    }
}

/// Reads the maps of a root with mapped ownership; other roots have none.
pub(super) fn check_id_maps(
    root: &Root,
    options: &OpenOptions,
    ownership: Ownership,
) -> Result<Option<IdMaps>, OpenError> {
    let found = match ownership {
        Ownership::Mapped => Some(read_id_maps(&root.id_maps())?),
        Ownership::Real | Ownership::Recorded => None,
    };
    match &options.id_maps {
        Some(expected) if found.as_ref() != Some(&expected.sorted()) => {
            Err(OpenError::OtherIdMaps {
                path: root.path().to_owned(),
                found: found.map(Box::new),
                expected: Box::new(expected.clone()),
            })
        }
        _ => Ok(found),
    }
}

fn read_id_maps(path: &Path) -> Result<IdMaps, StoreError> {
    let damaged = |reason| StoreError::Damaged {
        path: path.to_owned(),
        reason,
    };
    let text = read_word(path)?.ok_or_else(|| damaged("it is missing".to_owned()))?;
    let maps: IdMaps = serde_json::from_str(&text)
        .map_err(|error| damaged(format!("not maps of IDs: {error}")))?;
    maps.check().map_err(|error| damaged(error.to_string()))?;
    Ok(maps.sorted())
}
