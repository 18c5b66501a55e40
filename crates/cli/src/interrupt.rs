//! SIGINT and SIGTERM: work stops at its next step, undoes itself, and the exit status says why.
//!
//! The first signal raises a flag that the libraries ask for through their observer; errors
//! then unwind and take drafts and staging with them. A command that does not get there in
//! time, because it waits for a pipe say, ends at once: what it leaves in staging is swept by
//! the next command, as after a kill.

use std::process::ExitCode;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long the work may take to undo itself.
const GRACE: Duration = Duration::from_secs(5);

/// The signal that came first; 0 while none has.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// Starts to listen.
pub(crate) fn install() -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot listen for signals")?;
    let wait = move || {
        let Some(signal) = signals.forever().next() else {
            return;
        };
        SIGNAL.store(signal, Ordering::Release);
        std::thread::sleep(GRACE);
        std::process::exit(128 + signal);
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(wait)
        .context("cannot start a thread")?;
    Ok(())
}

/// The signal that told us to stop, if one has.
pub(crate) fn signal() -> Option<i32> {
    match SIGNAL.load(Ordering::Acquire) {
        0 => None,
        signal => Some(signal),
    }
}

/// The exit status that shells give to a command that a signal ended.
pub(crate) fn exit_code(signal: i32) -> ExitCode {
    u8::try_from(128 + signal).map_or(ExitCode::FAILURE, ExitCode::from)
}
