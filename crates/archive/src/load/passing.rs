//! Layers of a stream: applied as they pass, before anything says what they are.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read};

use lith_graph::compression::{self, Compression};
use lith_graph::{Graph, Observer, RegisterError, Registered, StagedLayer};
use lith_store::{DiffId, LayerId, RetainError, Session};

use super::choose::Choice;
use super::early::Early;
use super::proof::Proof;
use crate::LoadError;
use crate::error::text;
use crate::members::{self, read_full};
use crate::source::{PassingLayers, SourceImage, Taken, Ticket};

/// What became of a member that passed.
pub(super) enum Passed {
    /// Applied, waiting for its place; taken when it gets one.
    Staged(Option<Box<StagedLayer>>),
    /// The store has this layer, as the member's name promised and its content proved.
    Known(DiffId),
    /// Its name promised a layer of the store, but its content is another one.
    Other(DiffId),
    /// Not a layer that can be registered; that matters only when an image claims it.
    Refused(Option<RegisterError>),
}

impl Passed {
    /// What the config calls `member` must have the diff ID that it says.
    pub(super) fn check(&mut self, member: &str, expected: DiffId) -> Result<(), LoadError> {
        let member = member.to_owned();
        let actual = match self {
            Passed::Refused(error) => {
                return Err(match error.take() {
                    Some(source) => LoadError::Layer {
                        member,
                        source: Box::new(source),
                    },
                    None => LoadError::NotALayer { member },
                });
            }
            Passed::Staged(Some(staged)) => *staged.diff_id(),
            Passed::Staged(None) => return Ok(()),
            Passed::Known(actual) | Passed::Other(actual) => *actual,
        };
        if actual == expected {
            return Ok(());
        }
        Err(LoadError::PassedOther {
            member,
            expected,
            actual,
        })
    }

    /// What it is; none when it is no layer, or has its place already.
    fn diff_id(&self) -> Option<DiffId> {
        match self {
            Passed::Staged(staged) => staged.as_ref().map(|staged| *staged.diff_id()),
            Passed::Known(diff_id) | Passed::Other(diff_id) => Some(*diff_id),
            Passed::Refused(_) => None,
        }
    }
}

/// What passed, by ticket, and those layers that have their places already.
pub(super) struct Passage {
    pub(super) passed: Vec<Passed>,
    /// How they are compressed, by ticket.
    pub(super) compressions: Vec<Compression>,
    pub(super) early: HashMap<LayerId, Registered>,
}

/// Takes the layers of a source that passes only once.
pub(super) struct Passing<'a> {
    graph: &'a Graph,
    session: &'a Session,
    observer: &'a dyn Observer,
    /// Which images are to be loaded.
    wanted: Choice<'a>,
    /// Which layers of the store may be reused.
    proof: &'a Proof<'a>,
    passed: Vec<Passed>,
    compressions: Vec<Compression>,
    early: Option<Early<'a>>,
}

impl<'a> Passing<'a> {
    pub(super) fn new(
        (graph, session, observer): (&'a Graph, &'a Session, &'a dyn Observer),
        wanted: Choice<'a>,
        proof: &'a Proof<'a>,
    ) -> Self {
        Passing {
            graph,
            session,
            observer,
            wanted,
            proof,
            passed: Vec::new(),
            compressions: Vec::new(),
            early: None,
        }
    }

    pub(super) fn finish(mut self) -> Result<Passage, LoadError> {
        let early = match self.early.take() {
            Some(early) => early.finish(&mut self.passed)?,
            None => HashMap::new(),
        };
        Ok(Passage {
            passed: self.passed,
            compressions: self.compressions,
            early,
        })
    }

    fn judge(&self, member: &[u8], content: &mut (dyn Read + Send)) -> Result<Passed, LoadError> {
        if let Some(promised) = self.promised(member)? {
            return match members::diff_id(content, self.observer) {
                Ok(Some(actual)) if actual == promised => Ok(Passed::Known(actual)),
                Ok(Some(actual)) => Ok(Passed::Other(actual)),
                Ok(None) => Err(LoadError::Cancelled),
                // The archive's own failure is told by whoever reads it.
                Err(_) => Ok(Passed::Refused(None)),
            };
        }
        match self.graph.stage(self.session, content, None, self.observer) {
            Ok(staged) => Ok(Passed::Staged(Some(Box::new(staged)))),
            Err(_) if self.observer.cancelled() => Err(LoadError::Cancelled),
            // Any other member would fail as well.
            Err(error) if is_full(&error) => Err(LoadError::Layer {
                member: text(member),
                source: Box::new(error),
            }),
            Err(error) => Ok(Passed::Refused(Some(error))),
        }
    }

    /// The layer of the store that a member seems to be by its name, held from now on.
    ///
    /// A name is only a hint: it decides that the content is hashed instead of applied, and
    /// the digest decides the rest.
    fn promised(&self, member: &[u8]) -> Result<Option<DiffId>, LoadError> {
        let name = member
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default();
        let stem = name.split(|byte| *byte == b'.').next().unwrap_or_default();
        let stem = std::str::from_utf8(stem).unwrap_or_default();
        let Ok(diff_id) = DiffId::from_hex(stem) else {
            return Ok(None);
        };
        let there: Vec<LayerId> = self
            .graph
            .store()
            .layers_by_diff(&diff_id)?
            .iter()
            .map(|layer| layer.id)
            .collect();
        if there.is_empty() {
            return Ok(None);
        }
        match self.graph.store().retain(self.session, &there) {
            Ok(()) => {
                for layer in &there {
                    if !self.proof.holds(layer)? {
                        // It is made anew from what passes now.
                        return Ok(None);
                    }
                }
                Ok(Some(diff_id))
            }
            // Removed in this moment.
            Err(RetainError::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl PassingLayers for Passing<'_> {
    fn take(
        &mut self,
        member: &[u8],
        mut content: &mut (dyn Read + Send),
    ) -> Result<Taken, LoadError> {
        let mut head = [0; compression::HEAD_LEN];
        // What cannot be read is told by whoever reads the archive.
        let read = read_full(&mut content, &mut head).unwrap_or(0);
        let head = head.get(..read).unwrap_or_default();
        let mut passed = self.judge(member, &mut head.chain(content))?;
        self.compressions.push(compression::detect(head));
        let diff_id = passed.diff_id();
        let ticket = Ticket(self.passed.len());
        if let Some(early) = &mut self.early {
            early.take((ticket, member), &mut passed)?;
        }
        self.passed.push(passed);
        Ok(Taken { ticket, diff_id })
    }

    fn announce(&mut self, mut images: Vec<SourceImage>) -> Result<(), LoadError> {
        // What is wrong with the choice is told when the source has ended.
        if self.early.is_some() || self.wanted.apply(&mut images).is_err() {
            return Ok(());
        }
        let mut early = Early::new(self.graph, self.session, self.observer, &images)?;
        for (ticket, passed) in self.passed.iter_mut().enumerate() {
            early.take((Ticket(ticket), b""), passed)?;
        }
        self.early = Some(early);
        Ok(())
    }
}

/// True when there is no room to write to, whatever is to be written.
fn is_full(error: &RegisterError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(
            kind,
            Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem)
        ) {
            return true;
        }
        cause = error.source();
    }
    false
}
