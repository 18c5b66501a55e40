//! Running other programs: what they said, how they ended, never for ever.

use std::ffi::OsStr;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

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

/// Gives `to` what is set and taken away for `from`.
pub(crate) fn copy_variables(from: &Command, to: &mut Command) {
    for (key, value) in from.get_envs() {
        match value {
            Some(value) => to.env(key, value),
            None => to.env_remove(key),
        };
    }
}

/// A longer line than this is not shown whole.
const LINE: usize = 400;

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
    let mut line = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(quote)
        .collect::<Vec<_>>()
        .join(" ");
    if let Some((end, _)) = line.char_indices().nth(LINE) {
        line.truncate(end);
        line.push('…');
    }
    line
}

/// Runs `command` to its end and collects what it wrote, whatever its exit status.
///
/// Standard input is empty unless the caller has set it and says so by `stdin`.
pub(crate) fn run_with(command: &mut Command, stdin: Stdio) -> Result<Output> {
    Running::start(command, stdin)?.finish()
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
pub(crate) fn collect(child: Child, line: String) -> Result<Output> {
    Running::new(child, line).finish()
}

/// A program at work, its output read all the time; killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    line: String,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    pub(crate) fn start(command: &mut Command, stdin: Stdio) -> Result<Running> {
        let line = line(command);
        let child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{line}`"))?;
        // Its end of a pipe must not stay open here as well.
        command.stdin(Stdio::null());
        Ok(Running::new(child, line))
    }

    /// The same, nothing on standard input, standard output going elsewhere.
    pub(crate) fn start_into(command: &mut Command, stdout: Stdio) -> Result<Running> {
        let line = line(command);
        let child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{line}`"))?;
        // Its end of a pipe must not stay open here as well.
        command.stdout(Stdio::null());
        Ok(Running::new(child, line))
    }

    fn new(mut child: Child, line: String) -> Running {
        Running {
            stdout: Some(drain(child.stdout.take())),
            stderr: Some(drain(child.stderr.take())),
            child,
            line,
        }
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input, when that is a pipe and nobody has taken it yet.
    pub(crate) fn stdin(&mut self) -> Result<ChildStdin> {
        let stdin = self.child.stdin.take();
        stdin.with_context(|| format!("`{}` has no pipe to write to", self.line))
    }

    /// Sends a signal; nothing happens when it has ended already.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // Not waited for yet, so the number is still this child's.
            kill_process(pid, signal).ok();
        }
    }

    /// Whether it has ended, however it did.
    pub(crate) fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it has ended, as long as any program may take.
    pub(crate) fn finish(self) -> Result<Output> {
        self.finish_within(DEADLINE)
    }

    /// Waits until it has ended; an error, and its end, when that takes longer.
    pub(crate) fn finish_within(mut self, deadline: Duration) -> Result<Output> {
        let started = Instant::now();
        let mut pause = Duration::from_micros(200);
        let status = loop {
            let status = self.child.try_wait();
            if let Some(status) = status.with_context(|| format!("waiting for `{}`", self.line))? {
                break status;
            }
            if started.elapsed() > deadline {
                // Dropping it kills it.
                bail!(
                    "`{}` was still running after {} s and was killed",
                    self.line,
                    deadline.as_secs()
                );
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        };
        let read = |thread: Option<JoinHandle<Vec<u8>>>| {
            let read = thread.map(JoinHandle::join).transpose();
            read.map_err(|_| anyhow::anyhow!("reading the output of `{}` panicked", self.line))
        };
        let (stdout, stderr) = (self.stdout.take(), self.stderr.take());
        Ok(Output {
            status,
            stdout: read(stdout)?.unwrap_or_default(),
            stderr: read(stderr)?.unwrap_or_default(),
            line: std::mem::take(&mut self.line),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both do nothing to one that was waited for.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn drain<R: Read + Send + 'static>(source: Option<R>) -> JoinHandle<Vec<u8>> {
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
    fn a_long_line_is_cut() {
        let mut command = Command::new("true");
        command.args((0..1000).map(|number| format!("image-{number}")));
        assert!(line(&command).chars().count() <= LINE + 1);
    }

    #[test]
    fn finds_programs_and_only_programs() {
        assert!(find("sh").is_some());
        assert!(find("no-program-has-this-name").is_none());
    }
}
