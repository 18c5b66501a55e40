//! One command in a process of its own, so that the kernel's peak is that command's alone.
//!
//! The kernel tells a parent the largest resident size among *all* children it waited for.
//! `e2e` starts many; this little parent starts one.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::json;

use crate::process::{self, Output};

/// Arguments of `cargo xtask measure`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where the cost is written, as JSON.
    #[arg(long)]
    report: PathBuf,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// What a command cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Largest resident size of the process or of a child of its own, in KiB.
    pub(crate) peak_kib: u64,
    pub(crate) seconds: f64,
    /// Time on processors, of the process and of its children; none where nobody knows.
    pub(crate) cpu_seconds: Option<f64>,
}

/// Runs the command, writes its cost, ends as it ended.
pub(crate) fn run(options: &Options) -> ExitCode {
    match measure(options) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(125)
        }
    }
}

fn measure(options: &Options) -> Result<u8> {
    let [program, arguments @ ..] = options.command.as_slice() else {
        bail!("no command");
    };
    let started = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let seconds = started.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = [usage.user_time(), usage.system_time()];
    let cpu = cpu.map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6);
    let report = json!({
        "peak_kib": usage.max_rss(),
        "seconds": seconds,
        "cpu_seconds": cpu[0] + cpu[1],
    });
    std::fs::write(&options.report, report.to_string())
        .with_context(|| format!("cannot write {}", options.report.display()))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(124))
}

/// Runs `command` through a measuring process; `report` is a scratch file.
pub(crate) fn cost(command: &Command, stdin: Stdio, report: &Path) -> Result<(Output, Cost)> {
    let own = std::env::current_exe().context("this program's own path")?;
    let mut measured = Command::new(own);
    measured
        .arg("measure")
        .arg("--report")
        .arg(report)
        .arg("--");
    measured.arg(command.get_program()).args(command.get_args());
    process::copy_variables(command, &mut measured);
    let output = process::run_with(&mut measured, stdin)?.ok()?;
    let text = std::fs::read(report).with_context(|| format!("reading {}", report.display()))?;
    let value: serde_json::Value = serde_json::from_slice(&text).context("the cost report")?;
    let peak_kib = value["peak_kib"]
        .as_u64()
        .context("peak_kib in the cost report")?;
    let seconds = value["seconds"]
        .as_f64()
        .context("seconds in the cost report")?;
    let cost = Cost {
        peak_kib,
        seconds,
        cpu_seconds: value["cpu_seconds"].as_f64(),
    };
    Ok((output, cost))
}
