//! Errors for people: what, why, and what can be done about it.

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::output::text;

/// Prints an error with its causes to standard error; that the reader of standard output went
/// away is no news.
pub(crate) fn print(error: &anyhow::Error) {
    if is_broken_pipe(error) && nobody_reads_stdout() {
        return;
    }
    print_line(&text::escape(&causes(error)));
}

/// Prints one line to standard error.
#[allow(clippy::print_stderr)] // This is where errors and notes go out.
pub(crate) fn print_line(line: &str) {
    eprintln!("lith: {line}");
}

/// All causes on one line. A library that already prints its cause is not repeated.
fn causes(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if line.contains(&cause) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&cause);
    }
    line
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// A broken pipe may be any: an engine that hung up, say, of which people want to hear.
fn nobody_reads_stdout() -> bool {
    let stdout = io::stdout();
    let mut asked = [PollFd::new(&stdout, PollFlags::OUT)];
    poll(&mut asked, Some(&Timespec::default())).is_ok()
        && asked
            .iter()
            .any(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn causes_stand_once_each() {
        let error = anyhow!("no space")
            .context("cannot write x: no space")
            .context("cannot load");
        assert_eq!(causes(&error), "cannot load: cannot write x: no space");
    }
}
