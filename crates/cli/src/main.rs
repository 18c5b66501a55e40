//! `lith` keeps container images as layered file trees and gives every byte back.
//!
//! This crate is the command line and nothing else: it reads arguments and the environment,
//! prints, and chooses exit statuses. What is done stands in the libraries below it.
//!
//! | read first | for |
//! | --- | --- |
//! | `args` | what can be said |
//! | `commands` | one file for each command |
//! | `output` | tables, JSON, progress, errors, files |
//! | `input`, `dest` | what a SOURCE and a DEST stand for |
//! | `pipe` | how much room pipes have |
//! | `interrupt` | what SIGINT and SIGTERM do |
//! | `namespace` | what an ordinary user's commands run in |

mod args;
mod commands;
mod dest;
mod input;
mod interrupt;
mod namespace;
mod output;
mod pipe;
mod root;

use std::process::ExitCode;
use std::sync::OnceLock;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn main() -> ExitCode {
    if let Some(done) = namespace::helper() {
        return done;
    }
    let mut cli = args::Cli::parse();
    start_log(cli.global.log);
    raise_file_limit();
    // Before there is a second thread.
    let ready = namespace::prepare(&mut cli).and_then(|()| interrupt::install());
    if let Err(error) = ready {
        output::error::print(&error);
        return ExitCode::FAILURE;
    }
    match commands::run(&cli) {
        Ok(status) => status,
        Err(error) => match interrupt::signal() {
            Some(signal) => {
                output::error::print_line("interrupted: what was not complete is undone");
                interrupt::exit_code(signal)
            }
            None => {
                output::error::print(&error);
                commands::failure(&cli)
            }
        },
    }
}

/// The limit of open files before it was raised: what other programs may count on.
static USUAL_FILE_LIMIT: OnceLock<Rlimit> = OnceLock::new();

/// Gives programs that are started from now on the limit of open files that we were given.
fn lower_file_limit() {
    if let Some(limit) = USUAL_FILE_LIMIT.get()
        && let Err(error) = setrlimit(Resource::Nofile, *limit)
    {
        tracing::debug!(%error, "cannot lower the limit of open files");
    }
}

/// Takes all the open files that the system allows: layers of an archive are staged together,
/// each with a few handles, and the usual limit is meant for programs that use `select`.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    USUAL_FILE_LIMIT.get_or_init(|| limit);
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, most) {
        tracing::debug!(%error, "cannot raise the limit of open files");
    }
}

/// Logs of the libraries, to standard error, for `--log`.
fn start_log(level: Option<tracing::Level>) {
    if let Some(level) = level {
        tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .init();
    }
}
