//! SIGINT and SIGTERM: work stops at its next step, undoes itself, and the exit status says why.
//!
//! The first signal raises a flag that the libraries ask for through their observer; errors
//! then unwind and take drafts and staging with them. A command that does not get there in
//! time, because it waits for a pipe say, ends at once: what it leaves in staging is swept by
//! the next command, as after a kill.

use std::fs::File;
use std::io::{self, Read};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use anyhow::Context;
use lith_graph::Observer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::pipe;

/// How long the work may take to undo itself.
const GRACE: Duration = Duration::from_secs(5);

/// The signal that came first; 0 while none has.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// Starts to listen.
pub(crate) fn install() -> anyhow::Result<()> {
    // Whoever writes past the limit on the size of files is to get an error, and not to be killed.
    signal_hook::flag::register(SIGXFSZ, Arc::default()).context("cannot listen for signals")?;
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot listen for signals")?;
    let wait = move || {
        let mut signals = signals.forever().filter(|signal| !pass(*signal));
        let Some(signal) = signals.next() else {
            return;
        };
        SIGNAL.store(signal, Ordering::Release);
        std::thread::spawn(move || {
            std::thread::sleep(GRACE);
            give_up(signal);
        });
        // Whoever asks twice wants it now.
        if let Some(again) = signals.next() {
            give_up(again);
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(wait)
        .context("cannot start a thread")?;
    Ok(())
}

/// The process that signals are for; 0 while they are for us.
static CHILD: AtomicI32 = AtomicI32::new(0);

/// While this is held, a command that was started acts on signals, and not we.
pub(crate) struct Passing;

/// Leaves signals to a process.
pub(crate) fn pass_to(child: u32) -> Passing {
    CHILD.store(i32::try_from(child).unwrap_or(0), Ordering::Release);
    Passing
}

impl Drop for Passing {
    fn drop(&mut self) {
        CHILD.store(0, Ordering::Release);
    }
}

/// Passes a signal on. Returns whether it was for somebody else.
fn pass(signal: i32) -> bool {
    let Some(child) = Pid::from_raw(CHILD.load(Ordering::Acquire)) else {
        return false;
    };
    let signal = match signal {
        SIGTERM => Signal::TERM,
        // The terminal has sent it to both.
        _ if on_terminal() => return true,
        _ => Signal::INT,
    };
    if let Err(error) = kill_process(child, signal) {
        tracing::debug!(%error, "the command has ended");
    }
    true
}

/// Whether a terminal tells this process and those that it starts to stop.
fn on_terminal() -> bool {
    rustix::termios::tcgetpgrp(io::stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}

fn give_up(signal: i32) {
    crate::output::error::print_line("interrupted: the next command sweeps what is left");
    std::process::exit(128 + signal);
}

/// Standard input, a fifo or a socket that stops waiting when a signal comes.
pub(crate) struct Waiting(File);

impl Waiting {
    pub(crate) fn new(file: File) -> Self {
        pipe::widen(&file);
        Self(file)
    }
}

/// How long a read waits before it looks for a signal.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

impl Read for Waiting {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if signal().is_some() {
                return Err(io::Error::other("interrupted"));
            }
            let mut ready = [PollFd::new(&self.0, PollFlags::IN)];
            match poll(&mut ready, Some(&LOOK)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return self.0.read(buf),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The signal that told us to stop, if one has.
pub(crate) fn signal() -> Option<i32> {
    match SIGNAL.load(Ordering::Acquire) {
        0 => None,
        signal => Some(signal),
    }
}

/// Tells a library that works without progress when it is to stop.
pub(crate) struct Asked;

impl Observer for Asked {
    fn cancelled(&self) -> bool {
        signal().is_some()
    }
}

/// The exit status that shells give to a command that a signal ended.
pub(crate) fn exit_code(signal: i32) -> ExitCode {
    u8::try_from(128 + signal).map_or(ExitCode::FAILURE, ExitCode::from)
}
