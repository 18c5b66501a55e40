//! The files of a layer's folder, and how its record is written and read there.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;

/// The tar-split record: the plain text of the field, gzip.
const RECORD: &str = "tar-data.json.gz";

/// Payloads that the tree cannot give back, each named by its position in the record.
const KEPT: &str = "kept";

/// The JSON that was registered with the layer, byte for byte.
const JSON: &str = "json";

/// The fact in a layer's record that tells the digest of that JSON.
pub(crate) const JSON_DIGEST: &str = "json_digest";

/// Level 1: the record is mostly headers that differ little, and loading waits for it.
const LEVEL: flate2::Compression = flate2::Compression::fast();

pub(crate) fn record_path(folder: &Path) -> PathBuf {
    folder.join(RECORD)
}

pub(crate) fn kept_path(folder: &Path) -> PathBuf {
    folder.join(KEPT)
}

pub(crate) fn json_path(folder: &Path) -> PathBuf {
    folder.join(JSON)
}

/// A record being written. It is whole only after [`RecordWriter::finish`].
pub(crate) struct RecordWriter(BufWriter<GzEncoder<BufWriter<File>>>);

impl RecordWriter {
    pub(crate) fn create(folder: &Path) -> io::Result<Self> {
        let file = BufWriter::new(File::create_new(record_path(folder))?);
        Ok(Self(BufWriter::with_capacity(
            64 << 10,
            GzEncoder::new(file, LEVEL),
        )))
    }

    pub(crate) fn finish(self) -> io::Result<()> {
        let gzip = self
            .0
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        gzip.finish()?.flush()
    }
}

impl Write for RecordWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Opens the record of the layer in `folder` as plain text.
pub(crate) fn open_record(folder: &Path) -> io::Result<BufReader<Box<dyn Read + Send>>> {
    let file = File::open(record_path(folder))?;
    let (_, text) = crate::compression::reader(file)?;
    Ok(BufReader::with_capacity(64 << 10, text))
}
