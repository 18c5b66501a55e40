//! A command that runs in a namespace of ours: started, waited for, its exit status passed on.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::output::error;
use crate::{interrupt, namespace, root};

/// Where the mounted image is, for the command.
const MOUNT: &str = "LITH_MOUNT";

/// What shells say of a command that is not there, and of one that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUN: u8 = 126;

/// Runs a command, in `mount` if there is one, and returns its exit status.
///
/// Signals are the command's to act on meanwhile.
pub(super) fn run(
    command: &[OsString],
    root: &Path,
    mount: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let Some((program, args)) = command.split_first() else {
        anyhow::bail!("no command to run");
    };
    let mut child = Command::new(program);
    child.args(args).env(root::VARIABLE, root);
    if !namespace::is_root() {
        child.env(namespace::VARIABLE, "1");
    }
    if let Some(mount) = mount {
        child.current_dir(mount).env(MOUNT, mount);
    }
    crate::lower_file_limit();
    let mut child = match child.spawn() {
        Ok(child) => child,
        Err(error) => {
            let shown = crate::output::text::escape(&program.to_string_lossy());
            error::print_line(&format!("cannot run {shown}: {error}"));
            let status = match error.kind() {
                io::ErrorKind::NotFound => NOT_FOUND,
                _ => NOT_RUN,
            };
            return Ok(ExitCode::from(status));
        }
    };
    let waited = {
        let _passing = interrupt::pass_to(child.id());
        child.wait()
    };
    let status = waited?;
    if let Some(signal) = status.signal() {
        return Ok(interrupt::exit_code(signal));
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// `lith unshare`: a command, or a shell, in the namespace that mounts are made in.
pub(super) fn unshare(command: &[OsString], root: &Path) -> anyhow::Result<ExitCode> {
    if !command.is_empty() {
        return run(command, root, None);
    }
    let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
    run(&[shell.unwrap_or_else(|| "/bin/sh".into())], root, None)
}
