//! What an ordinary user gets is what root gets.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::Cases;
use super::steps::megabytes;
use crate::e2e::images::{Image, Writer};
use crate::e2e::lab::Lab;
use crate::e2e::report::skip;
use crate::lith::{Driver, Lith};
use crate::process;

/// Nobody here, and a name for whoever asks for one.
const USER: u32 = 54_325;
const NAME: &str = "lith-e2e";

pub(super) fn add(cases: &mut Cases, driver: Driver) {
    for (name, image) in [
        ("user/recorded-debian-as-root-gives-it", Image::Debian),
        ("user/recorded-odd-as-root-gives-it", Image::Odd),
    ] {
        cases.add(name, move |lab| {
            let archive = lab.archive(image, Writer::Skopeo)?;
            recorded(lab, driver, &archive, &image.name())
        });
    }
    cases.add("user/recorded-own-files-as-root-gives-them", move |lab| {
        let made = lab.made()?;
        recorded(lab, driver, &made.archive, made.name)
    });
    cases.add("user/mapped-odd-looks-as-roots", move |lab| {
        mapped(lab, driver)
    });
}

/// A folder of an ordinary user with the program in it.
struct User {
    folder: TempDir,
    driver: Driver,
}

impl User {
    fn new(lith: &Lith, driver: Driver, archive: &Path) -> Result<User> {
        if !rustix::process::geteuid().is_root() {
            return skip("only root can become another user");
        }
        // Not in the lab's own folder, which others may not be allowed to reach.
        let folder = tempfile::Builder::new().prefix("lith-user-").tempdir()?;
        chown(folder.path(), Some(USER), Some(USER))?;
        let user = User { folder, driver };
        fs::copy(&lith.program, user.path("lith"))?;
        fs::set_permissions(user.path("lith"), fs::Permissions::from_mode(0o755))?;
        fs::copy(archive, user.path("archive.tar")).context("cannot copy the archive")?;
        fs::set_permissions(user.path("archive.tar"), fs::Permissions::from_mode(0o444))?;
        Ok(user)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn environment(&self, command: &mut Command) {
        command
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LITH_DRIVER", self.driver.name());
    }

    /// Runs lith as this user.
    fn run(&self, args: &[&str]) -> Result<process::Output> {
        let mut command = Command::new(self.path("lith"));
        self.environment(&mut command);
        process::run(command.args(args).uid(USER).gid(USER))
    }

    /// Runs a script as this user, who has a name and subordinate IDs there.
    fn run_mapped(&self, script: &str) -> Result<process::Output> {
        for tool in ["newuidmap", "newgidmap", "setpriv", "unshare"] {
            if !Path::new("/usr/bin").join(tool).exists() {
                return skip(format!("{tool} is not installed"));
            }
        }
        let refused = self.run(&["unshare", "true"])?;
        if refused
            .complaint()
            .contains("lets users make no user namespaces")
        {
            return skip(refused.complaint());
        }
        let ids = format!("{NAME}:2000000:10000000\n");
        fs::write(self.path("subordinate"), ids)?;
        let names = fs::read_to_string("/etc/passwd")?;
        let names = format!("{names}{NAME}:x:{USER}:{USER}::/:/bin/sh\n");
        fs::write(self.path("passwd"), names)?;
        fs::write(self.path("script"), script)?;
        let setup = format!(
            "set -e; touch /etc/subuid /etc/subgid; mount --bind passwd /etc/passwd
             mount --bind subordinate /etc/subuid; mount --bind subordinate /etc/subgid
             exec setpriv --reuid {USER} --regid {USER} --clear-groups sh -e script"
        );
        let mut command = Command::new("unshare");
        self.environment(&mut command);
        process::run(command.args(["-m", "sh", "-c", &setup]))
    }
}

/// A store of root with the archive, and what root saves.
fn of_root(lab: &Lab, driver: Driver, archive: &Path, name: &str) -> Result<(TempDir, Lith)> {
    let folder = lab.scratch()?;
    let lith = lab.lith(driver, folder.path())?;
    lith.load(archive)?;
    lith.save(&folder.path().join("saved.tar"), &[name.to_owned()])?;
    Ok((folder, lith))
}

fn recorded(lab: &Lab, driver: Driver, archive: &Path, name: &str) -> Result<String> {
    let (folder, lith) = of_root(lab, driver, archive, name)?;
    let user = User::new(&lith, driver, archive)?;
    let options = ["--ownership", "recorded", "load", "-i", "archive.tar"];
    user.run(&options)?.ok()?;
    user.run(&["save", "-o", "saved.tar", name])?.ok()?;
    let size = equal(&user.path("saved.tar"), &folder.path().join("saved.tar"))?;
    let mut others = Command::new("find");
    others.arg(user.path(".local")).args(["!", "-uid"]);
    let others = process::run(others.arg(USER.to_string()))?.ok()?.text();
    ensure!(others.is_empty(), "not all files are the user's: {others}");
    // And can be removed without us.
    let mut remove = Command::new("rm");
    remove.arg("-rf").arg(user.path(".local"));
    process::run(remove.uid(USER).gid(USER))?.ok()?;
    Ok(format!("{} equal", megabytes(size)))
}

/// Compares two files; gives their size.
fn equal(one: &Path, other: &Path) -> Result<u64> {
    let (found, expected) = (fs::read(one)?, fs::read(other)?);
    ensure!(
        found == expected,
        "{} is not what {} is",
        one.display(),
        other.display()
    );
    Ok(found.len() as u64)
}

/// Everything of a tree but what a namespace cannot have: kinds of devices and fifos.
const LIST: &str = r"find . ! -type c ! -type b ! -type p -printf '%p %y %m %U:%G %T@ %n %l\n' \
    | LC_ALL=C sort > $OUT/list
find . -type f -size +0 -exec sha256sum {} + | LC_ALL=C sort > $OUT/sums
getfattr -Rhd -m '^security.capability|^user.[^lo]' . | LC_ALL=C sort > $OUT/xattrs || true
find . ! -type d ! -type l ! -type s ! -size +0 -printf '%p %m %U:%G %T@\n' \
    | LC_ALL=C sort > $OUT/empty
";

fn mapped(lab: &Lab, driver: Driver) -> Result<String> {
    let archive: Rc<PathBuf> = lab.archive(Image::Odd, Writer::Skopeo)?;
    let name = Image::Odd.name();
    let (folder, lith) = of_root(lab, driver, &archive, &name)?;
    let user = User::new(&lith, driver, &archive)?;
    fs::write(user.path("list"), LIST)?;
    let out = user.folder.path().display();
    let script = format!(
        "./lith load -i archive.tar
         ./lith save -o saved.tar {name}
         mkdir seen
         OUT={out}/seen ./lith mount {name} -- sh {out}/list
         ./lith --quiet info"
    );
    let info = user.run_mapped(&script)?.ok()?.text();
    ensure!(
        info.contains("ownership: mapped"),
        "the store is not mapped: {info}"
    );
    let size = equal(&user.path("saved.tar"), &folder.path().join("saved.tar"))?;
    let roots = folder.path().join("seen");
    fs::create_dir(&roots)?;
    let list = user.path("list");
    let mut mount = lith.command();
    mount.env("OUT", &roots).args(["mount", &name, "--", "sh"]);
    process::run(mount.arg(&list))?.ok()?;
    let mut lines = 0;
    for file in ["list", "sums", "xattrs", "empty"] {
        let read = |folder: &Path| -> Result<String> {
            let text =
                fs::read(folder.join(file)).with_context(|| format!("cannot read {file}"))?;
            Ok(text.escape_ascii().to_string().replace("\\n", "\n"))
        };
        let (ours, theirs) = (read(&user.path("seen"))?, read(&roots)?);
        let place = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        let there: HashSet<String> = theirs.lines().map(place).collect();
        // Stand-ins of devices are files, which root's list does not have.
        let stands_in = |line: &str| file == "list" && !there.contains(&place(line));
        let ours: Vec<&str> = ours.lines().filter(|line| !stands_in(line)).collect();
        let theirs: Vec<&str> = theirs.lines().collect();
        let differing = ours.iter().zip(&theirs).find(|(one, other)| one != other);
        ensure!(
            differing.is_none() && ours.len() == theirs.len(),
            "{file}: {} lines as a user, {} as root: {differing:?}",
            ours.len(),
            theirs.len()
        );
        lines += ours.len();
    }
    Ok(format!(
        "{} equal, {lines} lines of its tree",
        megabytes(size)
    ))
}
