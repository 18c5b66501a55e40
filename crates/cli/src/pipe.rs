//! Pipes that the command reads from or writes to.

use std::os::fd::AsFd;

/// The most that the kernel gives an ordinary user's pipe.
const ROOM: usize = 1 << 20;

/// Gives a pipe more room, so that the one at its other end need not be waited for so often. What
/// is no pipe, or cannot have it, is as good.
pub(crate) fn widen(file: impl AsFd) {
    let _ = rustix::pipe::fcntl_setpipe_size(file, ROOM);
}
