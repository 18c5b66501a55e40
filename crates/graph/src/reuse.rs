//! A layer that is known under another chain, as the source of a new one.

use std::io::{self, Read};

use lith_store::{DiffId, LayerId, Session};

use crate::{
    Descriptor, Event, Graph, GraphError, LayerStream, Observer, RegisterError, StagedLayer,
};

impl Graph {
    /// Stages the content of a descriptor from a layer with the same diff ID, under whatever
    /// chain. `None` when there is none that gives back what was registered.
    ///
    /// Every byte is checked on the way, as for any [stream](Graph::tar_layer) of a layer.
    ///
    /// # Errors
    /// As [`Graph::stage`], for other reasons than that a layer is damaged.
    pub fn stage_from_known(
        &self,
        session: &Session,
        descriptor: &Descriptor,
        observer: &dyn Observer,
    ) -> Result<Option<StagedLayer>, RegisterError> {
        let Some(diff_id) = &descriptor.diff_id else {
            return Ok(None);
        };
        for known in self.store().layers_by_diff(diff_id)? {
            if known.id != descriptor.id
                && let Some(staged) = self.stage_from(session, &known.id, diff_id, observer)?
            {
                return Ok(Some(staged));
            }
        }
        Ok(None)
    }

    fn stage_from(
        &self,
        session: &Session,
        known: &LayerId,
        diff_id: &DiffId,
        observer: &dyn Observer,
    ) -> Result<Option<StagedLayer>, RegisterError> {
        let damaged = |error: &dyn std::fmt::Display| {
            let message = format!("layer {known} cannot serve as the source of another: {error}");
            observer.event(&Event::Warning { message: &message });
        };
        let stream = match self.tar_layer(known) {
            Ok(stream) => stream,
            // Removed by another process in between.
            Err(GraphError::NotFound { .. }) => return Ok(None),
            Err(error) if error.is_damage() => {
                damaged(&error);
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let mut source = Source::new(stream);
        let staged = self.stage(session, &mut source, Some(diff_id), observer);
        match (staged, source.failed) {
            (Ok(staged), _) => Ok(Some(staged)),
            (Err(_), Some(error)) => {
                damaged(&error);
                Ok(None)
            }
            (Err(error), None) => Err(error),
        }
    }
}

/// A layer's stream that remembers whether it failed: then the layer is damaged, and what was
/// made of its bytes is not to blame.
pub(crate) struct Source {
    stream: LayerStream,
    failed: Option<String>,
}

impl Source {
    pub(crate) fn new(stream: LayerStream) -> Self {
        Self {
            stream,
            failed: None,
        }
    }

    /// Why it failed, if it did.
    pub(crate) fn failed(self) -> Option<String> {
        self.failed
    }
}

impl Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buf).inspect_err(|error| {
            self.failed = Some(error.to_string());
        })
    }
}
