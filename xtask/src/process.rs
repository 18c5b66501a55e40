//! Running other programs: what they said, how they ended, never for ever.

use std::ffi::OsStr;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A program that runs longer than this hangs.
const DEADLINE: Duration = Duration::from_secs(15 * 60);

/// What a program left behind.
#[derive(Debug)]
pub(crate) struct Output {
    /// The command as one would type it.
    pub(crate) line: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// Standard error as text.
    pub(crate) fn complaint(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim().to_owned()
    }

    /// This output, or an error that shows the command and the end of what it complained of.
    pub(crate) fn ok(self) -> Result<Output> {
        if self.status.success() {
            return Ok(self);
        }
        bail!("{self}")
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ended with {}", self.line, self.status)?;
        let complaint = self.complaint();
        let tail: Vec<&str> = complaint.lines().rev().take(4).collect();
        for line in tail.iter().rev() {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

/// The command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let quote = |word: &OsStr| {
        let word = word.to_string_lossy();
        let plain = |c: char| c.is_alphanumeric() || "/._-=:+,@%".contains(c);
        match !word.is_empty() && word.chars().all(plain) {
            true => word.into_owned(),
            false => format!("'{word}'"),
        }
    };
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(quote)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs `command` to its end and collects what it wrote, whatever its exit status.
///
/// Standard input is empty unless the caller has set it and says so by `stdin`.
pub(crate) fn run_with(command: &mut Command, stdin: Stdio) -> Result<Output> {
    let shown = line(command);
    let child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    collect(child, shown)
}

/// [`run_with`] and nothing on standard input.
pub(crate) fn run(command: &mut Command) -> Result<Output> {
    run_with(command, Stdio::null())
}

/// Runs `command` with the terminal's own streams; an error unless it succeeds.
pub(crate) fn show(command: &mut Command) -> Result<()> {
    let shown = line(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// Waits for a child whose streams are piped.
pub(crate) fn collect(mut child: Child, line: String) -> Result<Output> {
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let started = Instant::now();
    let mut pause = Duration::from_micros(200);
    let status = loop {
        if let Some(status) = child
            .try_wait()
            .with_context(|| format!("waiting for `{line}`"))?
        {
            break status;
        }
        if started.elapsed() > DEADLINE {
            child.kill().ok();
            child.wait().ok();
            bail!(
                "`{line}` was still running after {} s and was killed",
                DEADLINE.as_secs()
            );
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    };
    let read = |thread: std::thread::JoinHandle<Vec<u8>>| {
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("reading the output of `{line}` panicked"))
    };
    Ok(Output {
        status,
        stdout: read(stdout)?,
        stderr: read(stderr)?,
        line,
    })
}

fn drain<R: Read + Send + 'static>(source: Option<R>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut source) = source {
            // What was read before an error is still worth showing.
            source.read_to_end(&mut bytes).ok();
        }
        bytes
    })
}

/// Where a program is, system folders included that a user's `PATH` may lack.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_shows_its_line_and_its_last_words() {
        let output =
            run(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"])).unwrap();
        let text = output.ok().unwrap_err().to_string();
        assert!(text.contains("sh -c 'echo no such thing"), "{text}");
        assert!(text.contains("exit status: 3"), "{text}");
        assert!(text.ends_with("no such thing"), "{text}");
    }

    #[test]
    fn finds_programs_and_only_programs() {
        assert!(find("sh").is_some());
        assert!(find("no-program-has-this-name").is_none());
    }
}
