//! The files of a layer's folder, and how its record is written and read there.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use lith_tarsplit::{BinaryWriter, RecordReader};

/// The record in its binary form, zstd.
const RECORD: &str = "tar-data.bin.zst";

/// The record in the text of the field, gzip: in layers that came before there was the other form.
const TEXT_RECORD: &str = "tar-data.json.gz";

/// Payloads that the tree cannot give back, each named by its position in the record.
const KEPT: &str = "kept";

/// The JSON that was registered with the layer, byte for byte.
const JSON: &str = "json";

/// The fact in a layer's record that tells the digest of that JSON.
pub(crate) const JSON_DIGEST: &str = "json_digest";

/// Level 1: the record is mostly headers that differ little, and loading waits for it.
const LEVEL: i32 = 1;

/// The most that decoding a record may look back, as a power of two: no level that is worth
/// its time needs more, and damage must not make a reader take memory.
const WINDOW_LOG: u32 = 23;

pub(crate) fn record_path(folder: &Path) -> PathBuf {
    folder.join(RECORD)
}

pub(crate) fn kept_path(folder: &Path) -> PathBuf {
    folder.join(KEPT)
}

pub(crate) fn json_path(folder: &Path) -> PathBuf {
    folder.join(JSON)
}

/// Where a record's text may be, in a layer that is older than the binary form.
pub(crate) fn text_record_path(folder: &Path) -> PathBuf {
    folder.join(TEXT_RECORD)
}

/// Whether a layer's folder has a record in either form.
pub(crate) fn has_record(folder: &Path) -> bool {
    let is_there = |path: PathBuf| path.symlink_metadata().is_ok();
    is_there(record_path(folder)) || is_there(text_record_path(folder))
}

/// What writes a record. The record is whole only after [`finish`].
pub(crate) type RecordWriter = BinaryWriter<Compressed>;

/// What a record passes on its way to the file.
pub(crate) type Compressed = zstd::Encoder<'static, BufWriter<File>>;

/// Begins the record of the layer in `folder`.
pub(crate) fn create(folder: &Path) -> io::Result<RecordWriter> {
    let file = BufWriter::new(File::create_new(record_path(folder))?);
    let mut zstd = zstd::Encoder::new(file, LEVEL)?;
    zstd.include_checksum(true)?;
    Ok(BinaryWriter::new(zstd))
}

/// Ends the file that a record was written to.
pub(crate) fn finish(record: Compressed) -> io::Result<()> {
    record.finish()?.flush()
}

/// What gives a record back.
pub(crate) type StoredRecord = RecordReader<Box<dyn Read + Send>>;

/// Opens the record of the layer in `folder`, in whichever form it is there.
pub(crate) fn open(folder: &Path) -> io::Result<StoredRecord> {
    let missing = match File::open(record_path(folder)) {
        Ok(file) => {
            let mut zstd = zstd::Decoder::new(file)?;
            zstd.window_log_max(WINDOW_LOG)?;
            return Ok(RecordReader::binary(Box::new(zstd)));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => error,
        Err(error) => return Err(error),
    };
    match File::open(text_record_path(folder)) {
        Ok(file) => Ok(RecordReader::new(crate::compression::reader(file)?.1)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing),
        Err(error) => Err(error),
    }
}
