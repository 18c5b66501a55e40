//! `lith tar-split`: a drop-in for the reference tool of the field.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal, Read, Write};
use std::os::fd::AsFd;

use anyhow::{Context, bail};
use flate2::write::GzEncoder;
use lith_drivers::TreeFiles;
use lith_tarsplit::{FileEntry, FileGetter};

use crate::args::{AsmArgs, DisasmArgs, TarSplitCommand};
use crate::output::file::{self, OutputFile};

pub(super) fn run(command: &TarSplitCommand) -> anyhow::Result<()> {
    match command {
        TarSplitCommand::Disasm(args) => disasm(args),
        TarSplitCommand::Asm(args) => asm(args),
    }
}

/// As the reference tool makes records.
const RECORD_MODE: u32 = 0o600;

/// Writes the record of a tar, and the tar itself to standard output unless told not to.
fn disasm(args: &DisasmArgs) -> anyhow::Result<()> {
    if args.output.as_os_str() == "-" && !args.no_stdout {
        bail!(
            "record and tar would be mixed on standard output: give --no-stdout or --output FILE"
        );
    }
    let (name, mut tar) = if args.tar == "-" {
        if io::stdin().is_terminal() {
            bail!("a tar is not read from a terminal: name a file, or pipe one in");
        }
        let stdin = io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .context("cannot open standard input")?;
        ("standard input".to_owned(), File::from(stdin))
    } else {
        let name = args.tar.to_string_lossy().into_owned();
        let tar = File::open(&args.tar).with_context(|| format!("cannot open {name}"))?;
        (name, tar)
    };
    let mut copy = if args.no_stdout {
        None
    } else {
        Some(file::open("-".as_ref())?)
    };
    let record = file::open_with(args.output.as_os_str(), RECORD_MODE)?;
    let mut gzip = GzEncoder::new(BufWriter::new(record), flate2::Compression::default());
    let copy_to = copy.as_mut().map(|out| out as &mut dyn Write);
    let taken = if tar.metadata().is_ok_and(|metadata| metadata.is_file()) {
        lith_tarsplit::disassemble_seekable(&mut tar, &mut gzip, copy_to)
    } else {
        lith_tarsplit::disassemble(&mut tar, &mut gzip, copy_to)
    };
    taken.with_context(|| format!("cannot take {name} apart"))?;
    let record = gzip
        .finish()
        .and_then(|buffer| buffer.into_inner().map_err(io::IntoInnerError::into_error));
    record
        .with_context(|| format!("cannot write {}", args.output.display()))?
        .finish()?;
    copy.map_or(Ok(()), OutputFile::finish)
}

/// Puts a tar together again from its record and the tree that it was extracted to.
fn asm(args: &AsmArgs) -> anyhow::Result<()> {
    let record =
        File::open(&args.input).with_context(|| format!("cannot open {}", args.input.display()))?;
    let (_, text) = lith_graph::compression::reader(record)
        .with_context(|| format!("cannot read {}", args.input.display()))?;
    let tree = TreeFiles::extracted(&args.path)
        .with_context(|| format!("cannot open the folder {}", args.path.display()))?;
    let mut out = file::open(&args.output)?;
    let text = BufReader::new(text);
    let written = if args.compress {
        let mut gzip = GzEncoder::new(BufWriter::new(&mut out), flate2::Compression::default());
        lith_tarsplit::assemble(text, Extracted(tree), &mut gzip)
            .map(|_| gzip.finish().and_then(|mut buffer| buffer.flush()))
    } else {
        lith_tarsplit::assemble(text, Extracted(tree), &mut out).map(|_| Ok(()))
    };
    written
        .with_context(|| format!("cannot put the tar of {} together", args.input.display()))?
        .context("cannot write the output")?;
    out.finish()
}

/// The files of an extracted tree.
struct Extracted(TreeFiles);

impl FileGetter for Extracted {
    fn open(&mut self, entry: &FileEntry) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.0.open(&entry.name)?))
    }
}
