//! What has to be compared once after a boot.

use std::fs;
use std::sync::OnceLock;

use crate::error::StoreError;
use crate::index::{Index, View};
use crate::open::wait_maintenance;
use crate::rebuild;
use crate::root::Root;

/// Boot in which the index was last compared with the folders.
const INDEX_BOOT: &str = "boot";
/// Boot in which the driver's trees were last compared with the layers.
pub(crate) const DRIVER_BOOT: &str = "driver-boot";

/// The ID of this boot, where the kernel tells one.
pub(crate) fn boot_id() -> Option<&'static str> {
    static BOOT: OnceLock<Option<String>> = OnceLock::new();
    let boot = BOOT.get_or_init(|| {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(text.trim().to_owned())
    });
    boot.as_deref()
}

pub(crate) fn differs(index: &Index, key: &str) -> Result<bool, StoreError> {
    let Some(boot) = boot_id() else {
        return Ok(true);
    };
    let read = |view: &View<'_>| {
        view.first(
            "read boot ID",
            "SELECT value FROM meta WHERE key = ?1",
            [key],
            |row| row.get::<_, String>(0),
        )
    };
    let noted = index.read::<_, StoreError>("read boot ID", read)?;
    Ok(noted.as_deref() != Some(boot))
}

/// Takes note of this boot under `key`.
fn note_boot(view: &View<'_>, key: &str) -> Result<(), StoreError> {
    let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2)
               ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    view.execute("note boot ID", sql, (key, boot_id().unwrap_or_default()))
        .map(drop)
}

/// Takes note that a new index agrees with the folders, and with the driver where there
/// is nothing to compare.
pub(crate) fn note_new_index(view: &View<'_>, empty: bool) -> Result<(), StoreError> {
    note_boot(view, INDEX_BOOT)?;
    if empty {
        note_boot(view, DRIVER_BOOT)
    } else {
        Ok(())
    }
}

pub(crate) fn note_scan(index: &Index) -> Result<(), StoreError> {
    index.write("note scan", |view| note_boot(view, DRIVER_BOOT))
}

/// Compares the index with the folders once a boot, and where its log was lost.
pub(crate) fn scan_after_boot(
    root: &Root,
    index: &Index,
    lost_log: bool,
) -> Result<(), StoreError> {
    if !lost_log && !differs(index, INDEX_BOOT)? {
        return Ok(());
    }
    let _alone = wait_maintenance(root)?;
    if !lost_log && !differs(index, INDEX_BOOT)? {
        return Ok(());
    }
    let report = index.write("compare index with folders", |view| {
        let report = rebuild::reconcile(root, view)?;
        note_boot(view, INDEX_BOOT)?;
        Ok::<_, StoreError>(report)
    })?;
    report.trace();
    Ok(())
}
