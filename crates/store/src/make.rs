//! Making a root folder.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use crate::effects::Effects;
use crate::error::{IoContext, StoreError};
use crate::idmap::IdMaps;
use crate::open::{OpenError, OpenOptions, read_word, wait_maintenance};
use crate::ownership::Ownership;
use crate::reserve;
use crate::root::{FORMAT, Root};

/// Makes the root; several processes may try at once.
///
/// The `format` file comes last: without it there is no store yet.
pub(crate) fn make_root(
    root: &Root,
    options: &OpenOptions,
    effects: &Effects,
) -> Result<(), OpenError> {
    let path = root.path();
    if !options.create {
        return Err(OpenError::Missing {
            path: path.to_owned(),
        });
    }
    let Some(driver) = &options.driver else {
        return Err(OpenError::DriverNeeded {
            path: path.to_owned(),
        });
    };
    let (ownership, maps) = chosen(root, options)?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).at("create folder", parent)?;
    }
    effects.ensure_dir(path)?;
    refuse_foreign(root)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).at("set mode of", path)?;
    effects.ensure_dir(&root.locks())?;
    let _alone = wait_maintenance(root)?;
    if read_word(&root.format())?.is_some() {
        return Ok(());
    }
    refuse_foreign(root)?;
    lay_out(root, effects, ownership, maps.as_ref())?;
    finish(root, effects, driver, options.plugin.as_deref())
}

/// Makes the folders of a root, and the files that say how owners are kept.
pub(crate) fn lay_out(
    root: &Root,
    effects: &Effects,
    ownership: Ownership,
    maps: Option<&IdMaps>,
) -> Result<(), OpenError> {
    let path = root.path();
    effects.ensure_dir(&root.locks())?;
    for folder in root.folders() {
        effects.ensure_dir(&folder)?;
    }
    if let Some(maps) = maps {
        let text = serde_json::to_string(maps).map_err(io::Error::from);
        put_word(effects, &root.id_maps(), &text.at("describe", path)?)?;
        // Of the root folder alone: who enters is checked there. In a namespace with these maps
        // it is the root's already.
        if let Some((user, group)) = maps.root().filter(|_| !maps.in_force()) {
            chown(path, Some(user), Some(group)).at("set owner of", path)?;
        }
    }
    reserve::keep(root);
    Ok(put_word(effects, &root.ownership(), ownership.as_str())?)
}

/// Makes a store of a root that has everything else: the `format` file comes last.
pub(crate) fn finish(
    root: &Root,
    effects: &Effects,
    driver: &str,
    plugin: Option<&Path>,
) -> Result<(), OpenError> {
    let path = root.path();
    put_word(effects, &root.driver_file(), driver)?;
    if let Some(plugin) = plugin {
        note_plugin(root, effects, driver, plugin)?;
    }
    effects.sync_dir(path)?;
    put_word(effects, &root.format(), &FORMAT.to_string())?;
    effects.sync_dir(path)?;
    if let Some(parent) = path.parent() {
        effects.sync_dir(parent)?;
    }
    Ok(())
}

/// How owners are kept in a root that is to be made.
fn chosen(root: &Root, options: &OpenOptions) -> Result<(Ownership, Option<IdMaps>), OpenError> {
    let ownership = options.ownership_of_new_root();
    let path = || root.path().to_owned();
    match (ownership, &options.id_maps) {
        (Ownership::Mapped, None) => Err(OpenError::IdMapsNeeded { path: path() }),
        (Ownership::Mapped, Some(maps)) => {
            maps.check()?;
            Ok((ownership, Some(maps.sorted())))
        }
        (_, Some(_)) => Err(OpenError::IdMapsUnused {
            path: path(),
            ownership,
        }),
        (_, None) => Ok((ownership, None)),
    }
}

/// Writes a file of one word; it is there whole or as it was before.
pub(crate) fn put_word(effects: &Effects, path: &Path, word: &str) -> Result<(), StoreError> {
    put_bytes(effects, path, word.as_bytes())
}

/// Notes where a driver comes from, in a file of its own, so that the driver of a store changes with
/// one word.
pub(crate) fn note_plugin(
    root: &Root,
    effects: &Effects,
    driver: &str,
    plugin: &Path,
) -> Result<(), StoreError> {
    let path = root.plugin_file(driver);
    if let Some(folder) = path.parent() {
        effects.ensure_dir(folder)?;
    }
    put_bytes(effects, &path, plugin.as_os_str().as_bytes())?;
    path.parent()
        .map_or(Ok(()), |folder| effects.sync_dir(folder))
}

/// Replaces a small file of the root in one step.
pub(crate) fn put_bytes(effects: &Effects, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let draft = path.with_extension("new");
    effects.remove_file(&draft)?;
    effects.write_synced(&draft, &[bytes, b"\n"].concat())?;
    effects.rename(&draft, path)
}

/// Refuses to make a store in a folder that holds anything but what the making of a store
/// that was interrupted leaves.
pub(crate) fn refuse_foreign(root: &Root) -> Result<(), OpenError> {
    const OURS: &[&str] = &[
        "archives",
        "blobs",
        "copy.new",
        "driver",
        "driver.new",
        "drivers",
        "format",
        "format.new",
        "id-maps",
        "id-maps.new",
        "images",
        "layers",
        "locks",
        "lost+found",
        "names",
        "ownership",
        "ownership.new",
        "plugins",
        "reserve",
        "staging",
    ];
    let path = root.path();
    // A complete root may have appeared in the meantime.
    if read_word(&root.format())?.is_some() {
        return Ok(());
    }
    let refuse = |found: &Path| {
        let found = found
            .strip_prefix(path)
            .unwrap_or(found)
            .to_string_lossy()
            .into_owned();
        if root.format().exists() {
            return Ok(());
        }
        Err(OpenError::NotAStore {
            path: path.to_owned(),
            found,
        })
    };
    for entry in fs::read_dir(path).at("read folder", path)? {
        let entry = entry.at("read folder", path)?;
        if !entry
            .file_name()
            .to_str()
            .is_some_and(|name| OURS.contains(&name))
        {
            refuse(&entry.path())?;
        }
    }
    for full in [root.layers(), root.images(), root.names()] {
        match fs::read_dir(&full) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("read folder", &full)?,
            Ok(mut entries) => {
                if let Some(entry) = entries.next() {
                    refuse(&entry.at("read folder", &full)?.path())?;
                }
            }
        }
    }
    Ok(())
}
