//! Interrupted while it loads: the command undoes what it has done. (Killed: see `graph`.)

use std::io::Write;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use super::Cases;
use crate::e2e::lab::Lab;
use crate::lith::Driver;
use crate::process::Running;

pub(super) fn add(cases: &mut Cases, driver: Driver) {
    cases.add("crash/interrupt-while-loading", move |lab| {
        interrupted(lab, driver, Pipe::Slow)
    });
    cases.add("crash/interrupt-while-waiting", move |lab| {
        interrupted(lab, driver, Pipe::Stalled)
    });
}

/// How an archive comes in that never ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pipe {
    /// Bit by bit: the load is at work when it is interrupted.
    Slow,
    /// Half of it and then nothing: the load waits for more.
    Stalled,
}

/// SIGTERM: exit status 143, and everything undone by the command itself.
fn interrupted(lab: &Lab, driver: Driver, how: Pipe) -> Result<String> {
    let made = lab.made()?;
    let path = made.archive.clone();
    let folder = lab.scratch()?;
    let lith = lab.lith(driver, folder.path())?;
    let mut command = lith.command();
    let mut load = Running::start(command.args(["load", "-i", "-"]), Stdio::piped())?;
    let mut pipe = load.stdin()?;
    // The pipe stays open until the thread is joined, which is after the load has ended.
    let (written, wait) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || -> std::io::Result<_> {
        let bytes = std::fs::read(path)?;
        let (start, rest) = bytes.split_at(bytes.len() / 2);
        pipe.write_all(start)?;
        // Nobody listens any more when the test has failed already.
        written.send(()).ok();
        if how == Pipe::Slow {
            for part in rest.chunks(4096) {
                pipe.write_all(part)?;
                sleep(Duration::from_millis(5));
            }
        }
        Ok(pipe)
    });
    // An error: the writer has failed, and what lith says of it is told below.
    wait.recv_timeout(Duration::from_secs(120)).ok();
    sleep(Duration::from_millis(500));
    load.signal(Signal::TERM);
    let output = load.finish()?;
    // Fails when lith was gone before all was written, which is what is wanted.
    writer
        .join()
        .map_err(|_| anyhow::anyhow!("writing panicked"))?
        .ok();
    ensure!(
        output.status.code() == Some(143),
        "expected exit status 143: {output}"
    );
    lith.nothing_staged()?;
    ensure!(lith.names_in("layers")?.is_empty(), "layers were left");
    ensure!(lith.images()?.is_empty(), "an image is listed");
    Ok("exit status 143, nothing left".to_owned())
}
