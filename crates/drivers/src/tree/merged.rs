//! What a draft and the layers below it show together.

use rustix::fs::FileType;

use super::lower::{Found, LowerView, Seen};
use super::name;
use super::way::{MOST_LINKS, MOST_PARTS};
use crate::error::{During, Trouble};

/// A draft on top of layers.
#[derive(Debug)]
pub(crate) struct MergedView {
    top: LowerView,
    /// The layers alone.
    pub(crate) lower: LowerView,
    hides_all: bool,
}

impl MergedView {
    /// Puts the draft whose tree lies at `tree` below the driver's folder on top of layers.
    pub(crate) fn new(lower: LowerView, tree: &[u8], hides_all: bool) -> Result<Self, Trouble> {
        let top = LowerView::new(lower.try_clone_home()?, vec![tree.to_vec()], lower.means);
        Ok(Self {
            top,
            lower,
            hides_all,
        })
    }

    /// Must be called when the draft has changed.
    pub(crate) fn forget(&mut self) {
        self.top.forget();
    }

    /// Returns what stands at a place, and whether it comes from the draft.
    fn look(&mut self, place: &[u8]) -> Result<Option<(Found, bool)>, Trouble> {
        match self.top.see(place)? {
            Seen::Found(found) => Ok(Some((found, true))),
            Seen::Nothing if !self.hides_all => {
                Ok(self.lower.look(place)?.map(|found| (found, false)))
            }
            Seen::Hidden | Seen::Nothing => Ok(None),
        }
    }

    /// Returns whether what shows at a place is a lower layer's.
    pub(crate) fn shows_lower(&mut self, place: &[u8]) -> Result<bool, Trouble> {
        Ok(self.look(place)?.is_some_and(|(_, drafts)| !drafts))
    }

    /// Returns what would stand at a place if the draft had nothing there itself; what it hides
    /// further up stays hidden.
    pub(crate) fn look_beneath(&mut self, place: &[u8]) -> Result<Option<Found>, Trouble> {
        if self.hides_all || self.top.hides(name::split(place).0)? {
            return Ok(None);
        }
        self.lower.look(place)
    }

    /// Returns where a name leads inside the root, as [`resolve`] does.
    pub(crate) fn resolve(&mut self, path: &[u8]) -> Result<Option<Vec<u8>>, Trouble> {
        resolve(path, &mut |place| {
            Ok(self.look(place)?.map(|(found, _)| found))
        })
    }
}

/// Says what stands at a place.
type Look<'a> = &'a mut dyn FnMut(&[u8]) -> Result<Option<Found>, Trouble>;

/// Returns where a name leads when the links on its way, but not the last, are followed as if the
/// root were `/`. `None` when a directory on the way is missing.
pub(crate) fn resolve(path: &[u8], look: Look<'_>) -> Result<Option<Vec<u8>>, Trouble> {
    let (parent, last) = name::split(path);
    let mut ahead: Vec<Vec<u8>> = name::parts(parent).rev().map(<[u8]>::to_vec).collect();
    let (mut place, mut links, mut parts) = (Vec::new(), 0, 0);
    while let Some(part) = ahead.pop() {
        match part.as_slice() {
            b"" | b"." => continue,
            b".." => {
                name::pop(&mut place);
                continue;
            }
            _ => {}
        }
        let here = name::join(&place, &part);
        let Some(found) = look(&here)? else {
            return Ok(None);
        };
        match found.kind() {
            FileType::Directory => place = here,
            FileType::Symlink if links < MOST_LINKS && parts <= MOST_PARTS => {
                links += 1;
                let before = ahead.len();
                // The link itself, by its handle.
                let target = rustix::fs::readlinkat(&found.node, c"", Vec::new());
                let target = target.during("read", &here)?;
                if target.to_bytes().starts_with(b"/") {
                    place.clear();
                }
                ahead.extend(name::parts(target.to_bytes()).rev().map(<[u8]>::to_vec));
                parts += ahead.len() - before;
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(name::join(&place, last)))
}
