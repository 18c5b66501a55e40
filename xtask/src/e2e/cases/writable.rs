//! Images that are written over: what the peers make of the same edits, and what a kill leaves.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev, mknodat, setxattr,
    utimensat,
};
use rustix::process::Signal;
use serde_json::Value;

use super::{Cases, steps};
use crate::archive::Archive;
use crate::e2e::compare::tree;
use crate::e2e::guards::LithMount;
use crate::e2e::images::{Image, Writer};
use crate::e2e::lab::Lab;
use crate::e2e::peers::{self, Podman};
use crate::lith::{Driver, Lith};
use crate::process::{self, Running};
use crate::random::Random;

const COMMITTED: &str = "localhost/lith-e2e/committed:1";

pub(super) fn add(cases: &mut Cases, driver: Driver) {
    cases.add("writable/edited-as-buildah-edits", move |lab| {
        edited(lab, driver)
    });
    cases.add("writable/peers-take-what-was-committed", move |lab| {
        taken(lab, driver)
    });
    cases.add("writable/kill-9-at-any-moment", move |lab| {
        killed(lab, driver).with_context(|| format!("--seed {}", lab.effort.seed))
    });
}

/// Every kind of change that a layer can hold.
fn edit(root: &Path) -> Result<()> {
    let at = |path: &str| root.join(path);
    fs::create_dir_all(at("edited/deep/er"))?;
    fs::write(at("edited/plain"), "plain")?;
    fs::write(at("edited/deep/er/large"), vec![b'l'; 1 << 20])?;
    fs::hard_link(at("edited/plain"), at("edited/deep/again"))?;
    symlink("/nowhere/..", at("edited/link"))?;
    fs::write(at("edited/suid"), "x")?;
    chown(at("edited/suid"), Some(1234), Some(70_000))?;
    fs::set_permissions(at("edited/suid"), fs::Permissions::from_mode(0o6711))?;
    setxattr(at("edited/plain"), "user.x", b"a\0b", XattrFlags::empty())?;
    let mode = Mode::from_raw_mode(0o640);
    let device = makedev(10, 70_000);
    mknodat(
        CWD,
        at("edited/device"),
        FileType::CharacterDevice,
        mode,
        device,
    )?;
    mknodat(CWD, at("edited/fifo"), FileType::Fifo, mode, 0)?;
    // What the image brought: changed, removed, and a folder made anew with less in it.
    fs::write(at("etc/passwd"), "root:x:0:0::/:/bin/sh\n")?;
    fs::remove_file(at("bin/sleep"))?;
    fs::set_permissions(at("root"), fs::Permissions::from_mode(0o711))?;
    fs::remove_dir_all(at("tmp"))?;
    fs::create_dir(at("tmp"))?;
    fs::write(at("tmp/new"), "")?;
    // The same moment on both sides.
    let names = [
        "edited/plain",
        "edited/deep/er/large",
        "edited/link",
        "edited/suid",
        "edited/device",
        "edited/fifo",
        "etc/passwd",
        "tmp/new",
    ];
    for name in names {
        let time = Timespec {
            tv_sec: 1_600_000_000,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        utimensat(CWD, at(name), &times, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// An image that was edited in a writable layer and committed.
struct Committed {
    lith: Lith,
    folder: tempfile::TempDir,
}

fn committed(lab: &Lab, driver: Driver) -> Result<Committed> {
    let folder = lab.scratch()?;
    let lith = lab.lith(driver, folder.path())?;
    lith.load(&lab.archive(Image::Tiny, Writer::Skopeo)?)?;
    let target = folder.path().join("rw");
    let mount = ["mount", "--rw", &Image::Tiny.name(), path(&target)?];
    let id = lith.ok(&mount)?.text();
    edit(&target)?;
    lith.ok(&["umount", path(&target)?])?;
    lith.ok(&["commit", &id, "--tag", COMMITTED, "--message", "edited"])?;
    let left = lith.names_in(&format!("drivers/{}/.writable", driver.name()))?;
    ensure!(left.is_empty(), "writable layers stay: {left:?}");
    Ok(Committed { lith, folder })
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

/// Times of folders that were changed are those of the moment.
fn folders_times(root: PathBuf) -> impl Fn(&Path, &str) -> bool {
    move |path, field| field == "time" && root.join(path).is_dir()
}

/// The committed image, its export, and what buildah has after the same edits are one tree.
fn edited(lab: &Lab, driver: Driver) -> Result<String> {
    let done = committed(lab, driver)?;
    let folder = done.folder.path();
    let podman = Podman::new(&lab.settings, &folder.join("p"))?;
    podman.load(&lab.archive(Image::Tiny, Writer::Skopeo)?)?;
    let container = podman
        .buildah(&["from", "--pull-never", &Image::Tiny.name()])?
        .text();
    let reference = PathBuf::from(podman.buildah(&["mount", &container])?.text());
    edit(&reference)?;
    let target = folder.join("tree");
    let mount = LithMount::new(&done.lith, COMMITTED, &target)?;
    let ignore = folders_times(reference.clone());
    let seen = tree::compare(&target, &reference, &ignore)?;
    mount.leave()?;
    let tar = folder.join("export.tar");
    done.lith.ok(&["export", COMMITTED, "-o", path(&tar)?])?;
    let out = folder.join("exported");
    fs::create_dir(&out)?;
    let mut unpack = Command::new("tar");
    unpack
        .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"])
        .arg(&tar);
    process::run(unpack.arg("-C").arg(&out))?.ok()?;
    tree::compare(&out, &reference, &ignore).context("what was exported")?;
    podman.buildah(&["rm", &container])?;
    Ok(format!(
        "{} entries, {} equal",
        seen.entries,
        steps::megabytes(seen.bytes)
    ))
}

/// podman, skopeo, umoci and docker read the committed image, and show the same tree.
fn taken(lab: &Lab, driver: Driver) -> Result<String> {
    let done = committed(lab, driver)?;
    let folder = done.folder.path();
    let saved = folder.join("saved.tar");
    done.lith.save(&saved, &[COMMITTED.to_owned()])?;
    let image = Archive::open(&saved)?;
    let image = image.single()?;
    let target = folder.join("tree");
    let mount = LithMount::new(&done.lith, COMMITTED, &target)?;

    let podman = Podman::new(&lab.settings, &folder.join("p"))?;
    podman.load(&saved)?;
    ensure!(
        podman.inspect(COMMITTED)?.0 == image.id,
        "podman has another image"
    );
    let shown = podman.mount(COMMITTED)?;
    let seen = tree::compare(&target, &shown, &tree::nothing).context("podman's tree")?;

    let layout = folder.join("oci");
    let source = format!("docker-archive:{}", saved.display());
    peers::skopeo_copy(
        &lab.settings,
        &source,
        &format!("oci:{}:latest", layout.display()),
    )?;
    let bundle = folder.join("bundle");
    peers::umoci_unpack(&lab.settings, &layout, "latest", &bundle)?;
    let rootfs = bundle.join("rootfs");
    tree::compare(&target, &rootfs, &tree::nothing).context("umoci's tree")?;
    mount.leave()?;

    let docker = lab.docker()?;
    docker.load(&saved)?;
    let told = docker.inspect(COMMITTED)?;
    ensure!(
        told == (image.id.clone(), image.diff_ids.clone()),
        "docker has another image"
    );
    docker.forget_all()?;
    Ok(format!("{} entries in podman, umoci, docker", seen.entries))
}

const STEPS: [&str; 4] = ["mount", "commit", "discard", "umount"];

/// Commands on writable layers are killed; each leaves one that can be used, or nothing.
fn killed(lab: &Lab, driver: Driver) -> Result<String> {
    let folder = lab.scratch()?;
    let lith = lab.lith(driver, folder.path())?;
    lith.load(&lab.archive(Image::Tiny, Writer::Skopeo)?)?;
    let export =
        |lith: &Lith| Ok::<_, anyhow::Error>(lith.ok(&["export", &Image::Tiny.name()])?.stdout);
    let before = export(&lith)?;
    let mut random = Random::new(lab.effort.seed);
    let target = folder.path().join("rw");
    let kills = lab.effort.kills.div_ceil(4).min(40);
    let (mut left, mut ended) = (0, 0);
    for kill in 0..kills {
        let mount = ["mount", "--rw", &Image::Tiny.name(), path(&target)?];
        let step = *random.choose(&STEPS).context("no steps")?;
        let line: Vec<String> = match step {
            "mount" => mount.map(str::to_owned).to_vec(),
            step => {
                let id = lith.ok(&mount)?.text();
                fs::write(target.join("mark"), vec![b'm'; 1 << 20])?;
                if step != "umount" {
                    lith.ok(&["umount", path(&target)?])?;
                }
                match step {
                    "commit" => vec!["commit".into(), id, "-t".into(), format!("made:{kill}")],
                    "discard" => vec!["umount".into(), "--discard".into(), id],
                    _ => vec!["umount".into(), path(&target)?.to_owned()],
                }
            }
        };
        let mut command = lith.command();
        let whole = std::time::Duration::from_millis(60);
        let since = Instant::now();
        let mut running = Running::start(command.args(&line), Stdio::null())?;
        sleep(random.moment(whole, 0.0, 1.0));
        if !running.ended() {
            running.signal(Signal::KILL);
            left += 1;
        }
        let _ = running.finish();
        let context = || format!("after `{}` killed at {:?}", line.join(" "), since.elapsed());
        ended += look(&lith, &target).with_context(context)?;
        ensure!(
            export(&lith)? == before,
            "the image has changed {}",
            context()
        );
    }
    Ok(format!(
        "{left} killed, {ended} writable layers left and used"
    ))
}

/// Uses and ends every writable layer there is; returns how many.
fn look(lith: &Lith, target: &Path) -> Result<usize> {
    let rows: Vec<Value> = serde_json::from_slice(&lith.ok(&["mounts", "--json"])?.stdout)?;
    for row in &rows {
        let id = row["writable"]
            .as_str()
            .context("a mount that was not asked for")?;
        if row["target"].is_null() {
            // One that was committed has ended, and says so.
            let mounted = lith.run(&["mount", "--rw", id, path(target)?])?;
            if mounted.status.success() {
                ensure!(
                    target.join("bin/busybox").exists(),
                    "writable layer {id} is not whole"
                );
            } else {
                ensure!(
                    mounted.complaint().contains("committed already"),
                    "{}",
                    mounted.complaint()
                );
            }
        }
        lith.ok(&["umount", "--discard", id])?;
    }
    lith.nothing_staged()?;
    let left: Vec<Value> = serde_json::from_slice(&lith.ok(&["mounts", "--json"])?.stdout)?;
    ensure!(left.is_empty(), "writable layers stay: {left:?}");
    Ok(rows.len())
}
