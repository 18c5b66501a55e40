//! Layers of a source that passes only once: they wait until it is said what they belong to.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use lith_graph::Observer;
use lith_store::DiffId;

use super::plan::Plan;
use crate::LoadError;
use crate::members;
use crate::source::{LayerData, PassingLayers, SourceImage, Taken, Ticket};

/// What has passed, as it was transported, in files without names.
pub(super) struct Spool<'a> {
    folder: PathBuf,
    observer: &'a dyn Observer,
    /// By ticket; gone when nobody needs it any more.
    files: Mutex<Vec<Option<File>>>,
}

impl<'a> Spool<'a> {
    pub(super) fn new(folder: &Path, observer: &'a dyn Observer) -> Spool<'a> {
        Spool {
            folder: folder.to_owned(),
            observer,
            files: Mutex::new(Vec::new()),
        }
    }

    /// Lets go of all that the plan does not need.
    pub(super) fn keep(&mut self, plan: &Plan) {
        let needed = plan.layers().iter().filter_map(|layer| match layer.data {
            LayerData::Passed(Ticket(number)) => Some(number),
            _ => None,
        });
        let needed: BTreeSet<usize> = needed.collect();
        let files = self.files.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (number, file) in files.iter_mut().enumerate() {
            if !needed.contains(&number) {
                *file = None;
            }
        }
    }

    /// Takes a layer out; what it occupies is free when it is dropped.
    pub(super) fn take(&self, ticket: Ticket) -> Option<File> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.get_mut(ticket.0)?.take()
    }

    /// Keeps a layer; says what it is, when it is one.
    fn spool(
        &self,
        content: &mut (dyn Read + Send),
    ) -> Result<(Option<File>, Option<DiffId>), LoadError> {
        let failed = |source| LoadError::Spool {
            folder: self.folder.clone(),
            source,
        };
        let mut keeping = Keeping {
            content,
            file: tempfile::tempfile_in(&self.folder).map_err(failed)?,
            failure: None,
        };
        let found = members::diff_id(&mut keeping, self.observer);
        if self.observer.cancelled() {
            return Err(LoadError::Cancelled);
        }
        // What cannot be unpacked is told when an image turns out to need it.
        let rest = io::copy(&mut keeping, &mut io::sink());
        if let Some(failure) = keeping.failure {
            return Err(failed(failure));
        }
        // The source's own failure is told by whoever reads it.
        if rest.is_err() {
            return Ok((None, None));
        }
        keeping.file.rewind().map_err(failed)?;
        Ok((Some(keeping.file), found.ok().flatten()))
    }
}

/// Keeps all that is read.
struct Keeping<'a> {
    content: &'a mut (dyn Read + Send),
    file: File,
    /// Why it could not be kept.
    failure: Option<io::Error>,
}

impl Read for Keeping<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buf)?;
        let bytes = buf.get(..read).unwrap_or_default();
        if let Err(error) = self.file.write_all(bytes) {
            self.failure = Some(error);
            return Err(io::Error::other("it cannot be kept"));
        }
        Ok(read)
    }
}

impl PassingLayers for Spool<'_> {
    fn take(&mut self, _: &[u8], content: &mut (dyn Read + Send)) -> Result<Taken, LoadError> {
        let (file, diff_id) = self.spool(content)?;
        let files = self.files.get_mut().unwrap_or_else(PoisonError::into_inner);
        files.push(file);
        let ticket = Ticket(files.len() - 1);
        Ok(Taken { ticket, diff_id })
    }

    fn announce(&mut self, _: Vec<SourceImage>) -> Result<(), LoadError> {
        Ok(())
    }
}
