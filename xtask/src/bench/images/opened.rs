//! How many files a command opens, as strace counts it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::copy_variables;

/// The calls that open a file.
const CALLS: [&str; 4] = ["open", "openat", "openat2", "creat"];

/// `command` under strace, which writes its table to `counts`.
pub(super) fn traced(command: &Command, counts: &Path) -> Command {
    let mut traced = Command::new("strace");
    traced.args(["-f", "--seccomp-bpf", "-c", "-U", "name,calls,errors"]);
    traced.arg("-o").arg(counts);
    traced.arg("-e").arg(format!("trace={}", CALLS.join(",")));
    traced.arg("--");
    traced.arg(command.get_program()).args(command.get_args());
    copy_variables(command, &mut traced);
    traced
}

/// The calls of such a table that opened something.
pub(super) fn count(table: &str) -> Result<u64> {
    let mut opened = 0;
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (calls, errors) = match words.as_slice() {
            [name, calls] if CALLS.contains(name) => (*calls, "0"),
            [name, calls, errors] if CALLS.contains(name) => (*calls, *errors),
            _ => continue,
        };
        let number = |text: &str| {
            text.parse::<u64>()
                .with_context(|| format!("not a line of strace's: {line}"))
        };
        opened += number(calls)?.saturating_sub(number(errors)?);
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_failed_open_nothing() {
        let table = "syscall calls errors\n------ ----- -----\n\
                     openat           1200        17\n\
                     openat2            30          \n\
                     ------ ----- -----\ntotal 1230 17\n";
        assert_eq!(count(table).unwrap(), 1213);
        assert!(count("openat many").is_err());
    }
}
