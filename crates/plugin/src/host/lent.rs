//! Descriptors that are lent to a driver: copies, so that those of lith stay open whatever it does.
#![allow(unsafe_code, reason = "a number is made a descriptor again")]

use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use rustix::io::{Errno, fcntl_dupfd_cloexec, fcntl_getfd};

/// Copies have numbers from here on, which nothing else is given while lower ones are free: so that
/// one that a driver has closed is missed, and not something else that was opened meanwhile.
const HIGH: RawFd = 512;

/// Copies of descriptors, for one call.
pub(super) struct Lent<const N: usize>([RawFd; N]);

impl<const N: usize> Lent<N> {
    pub(super) fn new(fds: [BorrowedFd<'_>; N]) -> Result<Self, Errno> {
        let copies: Result<Vec<OwnedFd>, Errno> = fds
            .into_iter()
            // Where a process may not have so many, or has them: any number.
            .map(|fd| fcntl_dupfd_cloexec(fd, HIGH).or_else(|_| fcntl_dupfd_cloexec(fd, 0)))
            .collect();
        let mut copies = copies?.into_iter();
        // There are as many as there were.
        let numbers = std::array::from_fn(|_| copies.next().map_or(-1, IntoRawFd::into_raw_fd));
        Ok(Self(numbers))
    }

    /// Returns what the driver is given.
    pub(super) fn numbers(&self) -> [RawFd; N] {
        self.0
    }

    /// Closes the copies; says whether all of them were there still. Closing one that is not would end the
    /// process.
    pub(super) fn take_back(self) -> bool {
        let mut all = true;
        for number in self.0 {
            // SAFETY: it is only asked whether it is open.
            let open = fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) }).is_ok();
            if open {
                // SAFETY: it is open, and it is the copy, which nobody else owns.
                drop(unsafe { OwnedFd::from_raw_fd(number) });
            }
            all &= open;
        }
        all
    }
}
