//! A name on its way to a place: the parts still to go, those of links included.

use std::os::fd::OwnedFd;

use rustix::fs::Mode;

use super::handle;
use super::name;
use crate::error::{During, Trouble};

/// More links than this in one name: they lead in a circle.
pub(crate) const MOST_LINKS: u32 = 40;
/// So many parts may come from links while one name is followed; or a small layer of links that
/// lead back and forth could keep us busy for days.
pub(crate) const MOST_PARTS: usize = 1000;
/// No place is deeper or longer than this (Linux takes paths of half the depth at once).
const DEEPEST: usize = 8192;
const LONGEST: usize = 64 * 1024;

/// A name on its way to a place.
#[derive(Debug)]
pub(super) struct Way {
    /// Parts still to go, nearest last.
    pub(super) ahead: Vec<Vec<u8>>,
    /// The directory reached so far, and where it lies.
    pub(super) at: OwnedFd,
    pub(super) place: Vec<u8>,
    depth: usize,
    pub(super) links: u32,
    /// How many parts came from links.
    parts: usize,
    /// Length of the place below which all directories were made just now.
    pub(super) made_from: Option<usize>,
}

impl Way {
    pub(super) fn new(path: &[u8], root: OwnedFd) -> Self {
        let ahead = name::parts(path).rev().map(<[u8]>::to_vec).collect();
        Self {
            ahead,
            at: root,
            place: Vec::new(),
            depth: 0,
            links: 0,
            parts: 0,
            made_from: None,
        }
    }

    pub(super) fn next_part(&mut self) -> Result<Option<Vec<u8>>, Trouble> {
        if self.parts > MOST_PARTS {
            return Err(Trouble::Refused(format!(
                "its links lead through more than {MOST_PARTS} names"
            )));
        }
        while let Some(part) = self.ahead.pop() {
            if part != b"." {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }

    pub(super) fn here(&self, part: &[u8]) -> Vec<u8> {
        name::join(&self.place, part)
    }

    pub(super) fn go(&mut self, fd: OwnedFd, part: &[u8]) {
        self.at = fd;
        self.depth += 1;
        name::push(&mut self.place, part);
    }

    pub(super) fn follow(&mut self, target: &[u8]) {
        self.links += 1;
        let before = self.ahead.len();
        self.ahead
            .extend(name::parts(target).rev().map(<[u8]>::to_vec));
        self.parts += self.ahead.len() - before;
    }

    pub(super) fn check_depth(&self) -> Result<(), Trouble> {
        if self.depth <= DEEPEST && self.place.len() <= LONGEST {
            return Ok(());
        }
        Err(Trouble::Refused(format!(
            "its directory is deeper than {DEEPEST} levels or its path longer than {LONGEST} bytes"
        )))
    }
}

pub(super) fn make(way: &Way, part: &[u8]) -> Result<OwnedFd, Trouble> {
    rustix::fs::mkdirat(&way.at, part, Mode::RWXU)
        .and_then(|()| rustix::fs::openat(&way.at, part, handle::DIRECTORY, Mode::empty()))
        .map_err(|error| (error, way.here(part)))
        .or_else(|(error, here)| Err(error).during("create", &here))
}
