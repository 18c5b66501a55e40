//! The ways in which a plugin breaks the rules.

use crate::abi::{LITH_DONE, LITH_FAILED, LITH_PANICKED};
use crate::text::TextFault;

/// What a plugin did that the ABI does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It panicked, and says so.
    #[error("panicked: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// It returned a status that there is not.
    #[error(
        "returned status {found}: there are {LITH_DONE} (done), {LITH_FAILED} (failed) and \
         {LITH_PANICKED} (panicked)"
    )]
    Status {
        /// The status.
        found: i32,
    },
    /// It said why it failed, and then that it is done.
    #[error("gave a reason for failing ({message}) and returned status {LITH_DONE} (done)")]
    Undecided {
        /// The reason.
        message: String,
    },
    /// It gave an error number that there is not.
    #[error("gave {found} as error number: `errno` has those from 1 to 4095, and 0 is none")]
    Errno {
        /// The number.
        found: i32,
    },
    /// It gave a text that is none.
    #[error("gave {what} that {fault}")]
    Text {
        /// What the text was to be.
        what: &'static str,
        /// What is wrong with it.
        fault: TextFault,
    },
    /// It named a changed directory that no tree can have.
    #[error("named a changed directory \"{path}\", which is no path below the tree")]
    Path {
        /// The path, escaped.
        path: String,
    },
    /// It told more than lith keeps.
    #[error("told more than {limit} bytes in one call")]
    Much {
        /// How many bytes a call may tell.
        limit: usize,
    },
    /// It opened, and gave no state.
    #[error("returned a null state with status {LITH_DONE} (done)")]
    NullState,
    /// It called back with a call that is not the one it is in.
    #[error(
        "used a `lith_call` that is not its own: it is for the thread that was called, \
         until the function returns"
    )]
    Stray,
    /// It closed a descriptor that was lent to it.
    #[error("closed a descriptor that was lent to it")]
    Closed,
    /// Its table is not where a table can be.
    #[error("is at an address that no table can have")]
    Address,
    /// Its table has a size that none can have.
    #[error("has {found} bytes, which no table can have")]
    Size {
        /// The size that it says.
        found: u32,
    },
}
