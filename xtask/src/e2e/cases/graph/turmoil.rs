//! One process loads, one removes, one lists, one saves, all at the same time, again and again.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::e2e::cases::Cases;
use crate::e2e::compare::store::{self, Listing};
use crate::e2e::images::family::{self, Family, Member};
use crate::e2e::lab::Lab;
use crate::lith::{Driver, Lith};
use crate::process::{Output, Running};
use crate::random::Random;

const IMAGES: usize = 6;
const FILES: usize = 48;
/// Files of an image that fits into no pipe.
const LARGE: usize = 400;
/// Nobody waits this long for a lock.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn add(cases: &mut Cases, driver: Driver) {
    cases.add("graph/load-remove-list-save", move |lab| {
        turmoil(lab, driver).with_context(|| format!("--seed {}", lab.effort.seed))
    });
    cases.add("graph/removed-while-saved", move |lab| {
        removed_while_saved(lab, driver)
    });
}

/// An image is removed while it goes through a pipe: the archive is whole, and when it is
/// written nothing is left.
fn removed_while_saved(lab: &Lab, driver: Driver) -> Result<String> {
    let folder = lab.scratch()?;
    let family = family::make(folder.path(), 1, LARGE)?;
    let member = family.members.first().context("a family without members")?;
    let lith = lab.lith(driver, folder.path())?;
    let empty = emptied(&lith, &family)?;
    lith.load(&member.archive)?;
    let (mut reader, writer) = std::io::pipe()?;
    let mut save = lith.command();
    let save = Running::start_into(save.args(["save", "-o", "-", &member.name]), writer.into())?;
    // Some of it has come, most of it does not fit into the pipe.
    let mut bytes = vec![0; 4096];
    reader.read_exact(&mut bytes)?;
    let output = lith.run(&["rmi", &member.name])?;
    let removed = done(&output)?;
    reader.read_to_end(&mut bytes)?;
    save.finish_within(PATIENCE)?.ok()?;
    let out = folder.path().join("saved.tar");
    std::fs::write(&out, bytes)?;
    member.expect_in(&out)?;
    if !removed {
        lith.ok(&["rmi", &member.name])?;
    }
    store::nothing_in_work(&lith)?;
    Listing::of(&lith)?.expect(&empty)?;
    Ok(match removed {
        true => "removed at once, layers gone when the archive was written".to_owned(),
        false => "refused while it was saved".to_owned(),
    })
}

fn turmoil(lab: &Lab, driver: Driver) -> Result<String> {
    let folder = lab.scratch()?;
    let family = family::make(folder.path(), IMAGES, FILES)?;
    let lith = lab.lith(driver, folder.path())?;
    let empty = emptied(&lith, &family)?;
    let started = Instant::now();
    lith.load(&family.together)?;
    let mut turmoil = Turmoil {
        lith: &lith,
        family: &family,
        out: folder.path().join("saved.tar"),
        random: Random::new(lab.effort.seed),
        longest: started.elapsed(),
        saved: 0,
        removed: 0,
        missing: 0,
    };
    let rounds = lab.effort.rounds;
    for round in 0..rounds {
        let context = || format!("round {round} of {rounds}");
        turmoil.round().with_context(context)?;
    }
    for member in &family.members {
        done(&lith.run(&["rmi", &member.name])?)?;
    }
    store::nothing_in_work(&lith)?;
    let left = Listing::of(&lith)?;
    left.expect(&empty).context("after the last removal")?;
    let Turmoil {
        saved,
        removed,
        missing,
        ..
    } = turmoil;
    ensure!(
        saved > 0 && removed > 0,
        "{saved} saved and {removed} removed in {rounds} rounds"
    );
    Ok(format!(
        "{rounds} rounds: {saved} right archives, {removed} removed, {missing} times \"no such \
         image\" or \"in use\" (--seed {})",
        lab.effort.seed
    ))
}

/// A store from which everything was removed again.
fn emptied(lith: &Lith, family: &Family) -> Result<Listing> {
    lith.load(&family.together)?;
    let mut remove = vec!["rmi".to_owned()];
    remove.extend(family.names());
    lith.ok(&remove)?;
    store::nothing_in_work(lith)?;
    Listing::of(lith)
}

struct Turmoil<'a> {
    lith: &'a Lith,
    family: &'a Family,
    out: PathBuf,
    random: Random,
    /// How long all images take to load.
    longest: Duration,
    saved: u32,
    removed: u32,
    missing: u32,
}

impl<'a> Turmoil<'a> {
    fn round(&mut self) -> Result<()> {
        let loaded = self.member()?;
        // Half of the time it is the same image that is loaded, removed and saved.
        let same = self.random.coin();
        let removed = if same { loaded } else { self.member()? };
        let saved = if same { loaded } else { self.member()? };
        let archive = match self.random.coin() {
            true => &loaded.archive,
            false => &self.family.together,
        };
        let (command, what) = match self.random.next() % 4 {
            0 => ("images", "--json"),
            1 => ("layers", "--json"),
            2 => ("history", saved.name.as_str()),
            _ => ("inspect", removed.name.as_str()),
        };
        std::fs::remove_file(&self.out).ok();
        let out = self.out.clone();
        let load = self.start("load", &[Path::new("-i"), archive])?;
        let removal = self.start("rmi", &[Path::new(&removed.name)])?;
        let list = self.start(command, &[Path::new(what)])?;
        let save = self.start("save", &[Path::new("-o"), &out, Path::new(&saved.name)])?;

        load.finish_within(PATIENCE)?.ok()?;
        let done = done(&removal.finish_within(PATIENCE)?)?;
        self.count(done);
        self.removed += u32::from(done);
        let listed = list.finish_within(PATIENCE)?;
        match command {
            "images" => self.whole(&listed.ok()?)?,
            "layers" => drop(listed.ok()?),
            _ => self.count(self::done(&listed)?),
        }
        let done = self::done(&save.finish_within(PATIENCE)?)?;
        self.count(done);
        if done {
            self.saved += 1;
            return saved.expect_in(&self.out);
        }
        ensure!(!self.out.exists(), "a save that failed left an archive");
        Ok(())
    }

    fn member(&mut self) -> Result<&'a Member> {
        let chosen = self.random.choose(&self.family.members);
        chosen.context("a family without members")
    }

    /// Starts a command, now or within the time that a load takes.
    fn start(&mut self, command: &str, arguments: &[&Path]) -> Result<Running> {
        sleep(self.random.moment(self.longest, 0.0, 0.3));
        let mut started = self.lith.command();
        Running::start(started.arg(command).args(arguments), Stdio::null())
    }

    fn count(&mut self, done: bool) {
        self.missing += u32::from(!done);
    }

    /// Every listed image is one that was loaded, with its name and all of its layers.
    fn whole(&self, output: &Output) -> Result<()> {
        let listed: Vec<Value> = serde_json::from_slice(&output.stdout)?;
        for image in &listed {
            let member = self
                .family
                .member(image["id"].as_str().unwrap_or_default())?;
            ensure!(
                image["layers"].as_u64() == Some(member.layer_ids.len() as u64),
                "`images` lists {image}"
            );
        }
        Ok(())
    }
}

/// Whether a command did what it was asked for; an error when it failed for any other reason
/// than that another process was faster.
fn done(output: &Output) -> Result<bool> {
    if output.status.success() {
        return Ok(true);
    }
    let complaint = output.complaint();
    if output.status.code() == Some(1)
        && ["no such image", "in use"]
            .iter()
            .any(|words| complaint.contains(words))
    {
        return Ok(false);
    }
    bail!("{output}")
}
