//! Where a command reads images from: a SOURCE as it is written, opened.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use anyhow::{Context, bail};
use lith_archive::{Input, Location};

use crate::interrupt::Waiting;
use crate::output::text;
use crate::root;

/// Opens what `source` says; gives what to call it, too.
///
/// A terminal is refused: nobody types a tar.
pub(crate) fn open(source: &OsStr) -> anyhow::Result<(String, Input)> {
    let name = text::escape(&source.to_string_lossy());
    match Location::parse(source)? {
        Location::Standard => Ok(("standard input".into(), standard()?)),
        Location::Path(path) => {
            let metadata = fs::metadata(&path).with_context(|| format!("cannot open {name}"))?;
            if metadata.is_file() || metadata.is_dir() {
                return Ok((name, Input::File(path)));
            }
            let stream = fs::File::open(&path).with_context(|| format!("cannot open {name}"))?;
            Ok((name, Input::Stream(Box::new(Waiting::new(stream)))))
        }
        location => {
            let input = Input::at(location, &root::defaults())
                .with_context(|| format!("cannot open {name}"))?;
            Ok((name, input))
        }
    }
}

fn standard() -> anyhow::Result<Input> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        bail!("an archive is not read from a terminal: name a file, or pipe one in");
    }
    let stdin = stdin
        .as_fd()
        .try_clone_to_owned()
        .context("cannot open standard input")?;
    Ok(Input::Stream(Box::new(Waiting::new(stdin.into()))))
}
