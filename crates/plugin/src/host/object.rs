//! Whether a file is a whole shared object: asked before the system's loader maps it, which for a
//! file that was cut off may end the process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::PluginError;

const HEADER: usize = 64;
const MAGIC: &[u8] = b"\x7fELF";
const CLASS_64: u8 = 2;
const NATIVE_ORDER: u8 = if cfg!(target_endian = "little") { 1 } else { 2 };
const SHARED: u16 = 3;
const LOADED: u32 = 1;
/// The length of an entry in the table of segments.
const SEGMENT: usize = 56;

/// Checks the file that is to be loaded.
pub(super) fn check(file: &Path) -> Result<(), PluginError> {
    let not = |found: String| PluginError::NotShared {
        file: file.to_owned(),
        found,
    };
    let metadata = std::fs::metadata(file).map_err(|e| PluginError::io("find", file, e))?;
    if metadata.is_dir() {
        return Err(not("it is a directory".to_owned()));
    }
    if !metadata.is_file() {
        return Err(not("it is a device, a pipe or a socket".to_owned()));
    }
    let open = File::open(file).map_err(|e| PluginError::io("open", file, e))?;
    match look(&open, metadata.len()) {
        Ok(None) => Ok(()),
        Ok(Some(found)) => Err(not(found)),
        Err(error) => Err(PluginError::io("read", file, error)),
    }
}

/// Says what is wrong with it. What is left to the loader, which refuses it with good reason: objects for
/// other machines.
fn look(file: &File, length: u64) -> io::Result<Option<String>> {
    if length == 0 {
        return Ok(Some("it is empty".to_owned()));
    }
    let mut magic = [0; MAGIC.len()];
    if length < MAGIC.len() as u64 {
        return Ok(Some(format!("it has {length} bytes")));
    }
    file.read_exact_at(&mut magic, 0)?;
    if magic != MAGIC {
        return Ok(Some(format!(
            "it begins with {:?}",
            magic.escape_ascii().to_string()
        )));
    }
    let cut = |needed: u64| {
        let missing = format!("it is cut off ({length} bytes of {needed} or more)");
        Ok(Some(missing))
    };
    if length < HEADER as u64 {
        return cut(HEADER as u64);
    }
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0)?;
    if header[4] != CLASS_64 || header[5] != NATIVE_ORDER {
        return Ok(None);
    }
    let kind = u16_at(&header, 16);
    if kind != SHARED {
        return Ok(Some(format!(
            "it is an ELF file of type {kind}, not {SHARED}"
        )));
    }
    let (table, each, count) = (
        u64_at(&header, 32),
        u16_at(&header, 54),
        u16_at(&header, 56),
    );
    if usize::from(each) < SEGMENT {
        return Ok(Some(format!(
            "its segments are described by {each} bytes each"
        )));
    }
    let table_end = table.saturating_add(u64::from(each) * u64::from(count));
    if length < table_end {
        return cut(table_end);
    }
    for number in 0..u64::from(count) {
        let mut segment = [0; SEGMENT];
        file.read_exact_at(&mut segment, table + number * u64::from(each))?;
        let end = u64_at(&segment, 8).saturating_add(u64_at(&segment, 32));
        if u32_at(&segment, 0) == LOADED && length < end {
            return cut(end);
        }
    }
    Ok(None)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]))
}
