//! Ordinary users: their stores, with and without a user namespace, beside what root's give.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::archive::{Image, append, docker_archive};
use crate::lith::{Lith, is_root};

const USER: u32 = 54_323;

/// A folder of an ordinary user, with the program and an archive in it.
struct User {
    folder: tempfile::TempDir,
}

impl User {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let user = Self { folder };
        chown(user.folder.path(), Some(USER), Some(USER)).unwrap();
        // The one that was built may lie where only root can look. Another process copies it: a
        // program that we have open for writing cannot be run, nor by what another test starts.
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_lith"))
            .arg(user.path("lith"))
            .status();
        assert!(copied.unwrap().success());
        fs::set_permissions(user.path("lith"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(user.path("archive.tar"), docker_archive(&image())).unwrap();
        user
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.path("lith"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .uid(USER)
            .gid(USER);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        text(&self.run(args))
    }

    fn fails(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {error}");
        error
    }

    /// Whether users can make user namespaces here. Says so loudly when not.
    fn has_namespaces(&self, test: &str) -> bool {
        let output = self.run(&["unshare", "true"]);
        let error = String::from_utf8_lossy(&output.stderr);
        if error.contains("lets users make no user namespaces") {
            eprintln!("SKIPPED {test}: {error}");
            return false;
        }
        assert!(output.status.success(), "{error}");
        true
    }
}

/// Expects success, gives standard output.
fn text(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn header(kind: tar::EntryType, mode: u32, owner: (u64, u64)) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner.0);
    header.set_gid(owner.1);
    header.set_mtime(1_500_000_000);
    header.set_size(0);
    header
}

/// Two layers with every kind of entry, owners from `0:0` to 60000, and modes nobody can read.
fn image() -> Image {
    use tar::EntryType as Kind;
    let mut base = tar::Builder::new(Vec::new());
    let mut add = |kind, name: &str, mode, owner, content: &str| {
        let mut header = header(kind, mode, owner);
        match kind {
            Kind::Symlink | Kind::Link => {
                return base.append_link(&mut header, name, content).unwrap();
            }
            Kind::Char | Kind::Block => {
                header.set_device_major(5).unwrap();
                header.set_device_minor(1).unwrap();
            }
            _ => header.set_size(content.len() as u64),
        }
        base.append_data(&mut header, name, content.as_bytes())
            .unwrap();
    };
    add(Kind::Directory, "shut/", 0, (1, 1), "");
    add(Kind::Regular, "shut/file", 0, (2, 60_000), "closed");
    add(Kind::Directory, "sticky/", 0o1777, (0, 0), "");
    add(Kind::Regular, "setid", 0o6755, (0, 50), "s");
    add(Kind::Regular, "gone", 0o644, (0, 0), "goes");
    add(Kind::Directory, "opaque/", 0o755, (3, 3), "");
    add(Kind::Regular, "opaque/below", 0o600, (3, 3), "hidden");
    add(Kind::Symlink, "link", 0o777, (4, 5), "shut/file");
    add(Kind::Link, "second", 0o6755, (0, 50), "setid");
    add(Kind::Fifo, "fifo", 0o620, (6, 6), "");
    add(Kind::Char, "console", 0o620, (0, 5), "");
    add(Kind::Block, "disk", 0o660, (0, 6), "");
    let base = {
        // A capability, which only root can set.
        let record = "SCHILY.xattr.security.capability=\u{1}\0\0\u{2}\0\u{4}";
        let mut value = record.as_bytes().to_vec();
        value.resize(value.len() + 14, 0);
        value.push(b'\n');
        let length = value.len() + 3;
        let pax = [format!("{length} ").into_bytes(), value].concat();
        let mut extension = header(Kind::XHeader, 0o644, (0, 0));
        extension.set_size(pax.len() as u64);
        base.append_data(&mut extension, "pax", &pax[..]).unwrap();
        append(&mut base, "able", b"able");
        base.into_inner().unwrap()
    };
    let mut upper = tar::Builder::new(Vec::new());
    for (name, owner) in [
        (".wh.gone", (0, 0)),
        ("opaque/.wh..wh..opq", (0, 0)),
        ("opaque/above", (7, 7)),
        ("shut/new", (8, 8)),
    ] {
        let mut header = header(Kind::Regular, 0o640, owner);
        upper.append_data(&mut header, name, &[][..]).unwrap();
    }
    Image {
        layers: vec![base, upper.into_inner().unwrap()],
        names: vec!["users:1"],
        author: "",
    }
}

/// Prints everything of the tree in the current folder.
const FIND: &str = "find . -printf '%p %y %m %U:%G %T@ %l\\n' | LC_ALL=C sort";

#[test]
fn a_user_gets_the_bytes_that_root_gets() {
    if !is_root("a_user_gets_the_bytes_that_root_gets") {
        return;
    }
    for driver in ["overlay", "vfs"] {
        let (root, user) = (Lith::new(driver), User::new());
        root.pipe(["load"], &docker_archive(&image()));
        let expected = root.ok(["save", "users:1"]);
        let at = ["--driver", driver, "--ownership", "recorded"];
        let with = |args: &[&str]| user.ok(&[&at[..], args].concat());
        with(&["load", "-i", "archive.tar"]);
        with(&["save", "-o", "saved.tar", "users:1"]);
        assert!(
            fs::read(user.path("saved.tar")).unwrap() == expected,
            "{driver}"
        );
        let info: serde_json::Value = serde_json::from_str(&user.ok(&["info", "--json"])).unwrap();
        assert_eq!(info["ownership"], "recorded");
        assert_eq!(info["driver"], driver);
        let place = user.path(".local/share/lith");
        assert_eq!(info["root"].as_str(), place.to_str());
        for args in [
            &["inspect", "users:1"][..],
            &["history", "users:1"],
            &["layers"],
        ] {
            assert!(!user.ok(args).is_empty());
        }
        // Everything is the user's, for whoever removes the folder without us.
        let list = Command::new("find")
            .arg(&place)
            .args(["!", "-user", &USER.to_string()])
            .output();
        assert_eq!(text(&list.unwrap()), "");
        user.ok(&["rmi", "users:1"]);
        user.ok(&["prune"]);
        assert_eq!(user.ok(&["layers", "--json"]).trim(), "[]");
    }
}

#[test]
fn a_mount_is_seen_by_the_command_alone() {
    if !is_root("a_mount_is_seen_by_the_command_alone") {
        return;
    }
    let user = User::new();
    user.ok(&["--ownership", "recorded", "load", "-i", "archive.tar"]);
    let error = user.fails(&["mount", "users:1"]);
    assert!(error.contains("lith mount IMAGE -- CMD"), "{error}");
    if !user.has_namespaces("a_mount_is_seen_by_the_command_alone") {
        return;
    }
    let script = "test \"$PWD\" = \"$LITH_MOUNT\" && cat shut/file && ls && ls opaque";
    let seen = user.ok(&["mount", "users:1", "--", "sh", "-c", script]);
    assert_eq!(
        seen,
        "closedable\nconsole\ndisk\nfifo\nlink\nopaque\nsecond\nsetid\nshut\nsticky\nabove\n"
    );
    let error = user.run(&[
        "mount",
        "users:1",
        "mnt",
        "--",
        "sh",
        "-c",
        "echo x > f; exit 37",
    ]);
    assert_eq!(error.status.code(), Some(37));
    let said = String::from_utf8_lossy(&error.stderr);
    assert!(said.contains("Read-only file system"), "{said}");
    assert_eq!(fs::read_dir(user.path("mnt")).unwrap().count(), 0);
    let killed = user.run(&["mount", "users:1", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(killed.status.code(), Some(137));
    let missing = user.run(&["mount", "users:1", "--", "./no-such-command"]);
    assert_eq!(missing.status.code(), Some(127));
    // Layers are held for as long as the command runs.
    let script = "echo ready; read line; cat able";
    let mut child = user
        .command(&["mount", "users:1", "--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut seen = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut seen, &mut line).unwrap();
    assert_eq!(line, "ready\n");
    user.ok(&["rmi", "--force", "users:1"]);
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut seen, &mut rest).unwrap();
    assert_eq!(
        (rest.as_str(), child.wait().unwrap().success()),
        ("able", true)
    );
    user.ok(&["prune"]);
    assert_eq!(user.ok(&["layers", "--json"]).trim(), "[]");
}

#[test]
fn what_a_user_writes_is_committed_as_it_shows() {
    let test = "what_a_user_writes_is_committed_as_it_shows";
    if !is_root(test) {
        return;
    }
    let user = User::new();
    user.ok(&["--ownership", "recorded", "load", "-i", "archive.tar"]);
    if !user.has_namespaces(test) {
        return;
    }
    let script = "echo hi > unreadable; chmod 0 unreadable; chmod 640 able; rm -r sticky link; \
                  mkdir sticky; touch -d @1500000000 unreadable able sticky .";
    user.ok(&["mount", "--rw", "users:1", "--", "sh", "-c", script]);
    let mounts: serde_json::Value = serde_json::from_str(&user.ok(&["mounts", "--json"])).unwrap();
    let id = mounts[0]["writable"].as_str().unwrap();
    assert_eq!(
        user.ok(&["diff", id]),
        "C /able\nD /link\nC /sticky\nA /unreadable\n"
    );
    user.ok(&["commit", id, "--tag", "users:2"]);
    user.ok(&["export", "users:2", "-o", "flat.tar"]);
    let flat = fs::read(user.path("flat.tar")).unwrap();
    let mut flat = tar::Archive::new(&flat[..]);
    let mut found = std::collections::BTreeMap::new();
    for entry in flat.entries().unwrap() {
        let header = entry.as_ref().unwrap().header().clone();
        let name = entry.unwrap().path().unwrap().display().to_string();
        let kind = header.entry_type();
        let owner = (header.uid().unwrap(), header.gid().unwrap());
        found.insert(name, (kind, header.mode().unwrap() & 0o7777, owner));
    }
    for (name, kind, mode, owner) in [
        ("able", tar::EntryType::Regular, 0o640, (0, 0)),
        ("unreadable", tar::EntryType::Regular, 0, (0, 0)),
        ("sticky/", tar::EntryType::Directory, 0o755, (0, 0)),
        ("shut/", tar::EntryType::Directory, 0, (1, 1)),
        ("shut/file", tar::EntryType::Regular, 0, (2, 60_000)),
        ("console", tar::EntryType::Char, 0o620, (0, 5)),
        ("fifo", tar::EntryType::Fifo, 0o620, (6, 6)),
    ] {
        assert_eq!(found.get(name), Some(&(kind, mode, owner)), "{name}");
    }
    assert!(!found.contains_key("link"));
    let seen = user.ok(&["mount", "users:2", "--", "cat", "unreadable"]);
    assert_eq!(seen, "hi\n");
    // Nothing was said to stay, and all of it can be removed without a namespace.
    user.ok(&["rmi", "users:1", "users:2"]);
    user.ok(&["prune"]);
    assert_eq!(user.ok(&["layers", "--json"]).trim(), "[]");
}

#[test]
fn mounts_in_a_users_namespace_last_as_long_as_it() {
    if !is_root("mounts_in_a_users_namespace_last_as_long_as_it") {
        return;
    }
    let user = User::new();
    user.ok(&["--ownership", "recorded", "load", "-i", "archive.tar"]);
    if !user.has_namespaces("mounts_in_a_users_namespace_last_as_long_as_it") {
        return;
    }
    let script = "id -u; ./lith mount users:1 mnt && cat mnt/able && ./lith mounts | wc -l \
                  && ./lith umount mnt && ls mnt && ./lith mount users:1 mnt";
    assert_eq!(user.ok(&["unshare", "sh", "-c", script]), "0\nable2\n");
    assert_eq!(fs::read_dir(user.path("mnt")).unwrap().count(), 0);
    assert_eq!(user.ok(&["mounts", "--json"]).trim(), "[]");
    // Who is root of a namespace cannot keep owners as root of the machine does.
    let made = "./lith --root other info | grep ownership; ./lith --root other load -i archive.tar";
    let made = user.ok(&["unshare", "sh", "-c", made]);
    assert_eq!(made, "ownership: recorded\nLoaded image: users:1\n");
    let failed = user.run(&["unshare", "sh", "-c", "exit 3"]);
    assert_eq!(failed.status.code(), Some(3));
}

#[test]
fn roots_command_sees_a_mount_alone_too() {
    if !is_root("roots_command_sees_a_mount_alone_too") {
        return;
    }
    let root = Lith::new("overlay");
    root.pipe(["load"], &docker_archive(&image()));
    let target = root.path("mnt");
    let target = target.to_str().unwrap();
    let seen = root.ok([
        "mount", "users:1", target, "--", "stat", "-c", "%F %a %u", "console",
    ]);
    assert_eq!(seen, b"character special file 620 0\n");
    assert_eq!(fs::read_dir(target).unwrap().count(), 0);
    assert_eq!(root.json(["mounts", "--json"]), serde_json::json!([]));
    root.ok(["mount", "users:1", target]);
    let seen = root.ok(["mount", "users:1", "--", "cat", "able"]);
    assert_eq!(seen, b"able");
    root.ok(["umount", target]);
}

#[test]
fn a_root_keeps_the_ownership_it_was_made_with() {
    if !is_root("a_root_keeps_the_ownership_it_was_made_with") {
        return;
    }
    let user = User::new();
    let error = user.fails(&["--ownership", "real", "info"]);
    assert!(error.contains("ownership real needs root"), "{error}");
    assert!(!user.path(".local/share/lith").exists());
    let error = user.fails(&["--uidmap", "0:1:1", "info"]);
    assert!(error.contains(&format!("--uidmap 0:{USER}:1")), "{error}");
    user.ok(&["--ownership", "recorded", "info"]);
    let error = user.fails(&["--ownership", "real", "info"]);
    assert!(error.contains("save its images and load them"), "{error}");
    let error = user.fails(&["--uidmap", &format!("0:{USER}:1"), "info"]);
    assert!(error.contains("made with no maps of IDs"), "{error}");
    let bad = user.run(&["--uidmap", "0:1", "info"]);
    assert_eq!(bad.status.code(), Some(2));
}

/// Runs as a user who has subordinate IDs, in a mount namespace where the system's files say so.
fn with_subordinate_ids(user: &User, test: &str, script: &str) -> Option<Output> {
    for tool in ["newuidmap", "newgidmap", "setpriv", "unshare"] {
        if !PathBuf::from("/usr/bin").join(tool).exists() {
            eprintln!("SKIPPED {test}: no /usr/bin/{tool}");
            return None;
        }
    }
    let lines = format!("lith-test:2000000:30000\nother:1:1\n{USER}:3000000:40000\n");
    fs::write(user.path("subordinate"), lines).unwrap();
    // newuidmap serves nobody without a name.
    let names = fs::read_to_string("/etc/passwd").unwrap();
    let names = format!("{names}lith-test:x:{USER}:{USER}::/:/bin/sh\n");
    fs::write(user.path("passwd"), names).unwrap();
    let script = format!(
        "set -e; touch /etc/subuid /etc/subgid
         mount --bind passwd /etc/passwd
         mount --bind subordinate /etc/subuid; mount --bind subordinate /etc/subgid
         exec setpriv --reuid {USER} --regid {USER} --clear-groups sh -ec '{script}'"
    );
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .current_dir(user.folder.path())
        .env_clear()
        .env("HOME", user.folder.path())
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Some(output)
}

#[test]
fn with_subordinate_ids_a_user_sees_what_root_sees() {
    let test = "with_subordinate_ids_a_user_sees_what_root_sees";
    if !is_root(test) || !User::new().has_namespaces(test) {
        return;
    }
    for driver in ["overlay", "vfs"] {
        let (root, user) = (Lith::new(driver), User::new());
        root.pipe(["load"], &docker_archive(&image()));
        let saved = root.ok(["save", "users:1"]);
        let seen = root.ok(["mount", "users:1", "--", "sh", "-c", FIND]);
        let seen = String::from_utf8(seen).unwrap();
        fs::write(user.path("find"), FIND).unwrap();
        let script = format!(
            "./lith --driver {driver} -q load -i archive.tar >&2
             ./lith save -o saved.tar users:1
             ./lith mount users:1 -- getcap -v able >&2 || true
             ./lith mount users:1 -- sh \"$PWD/find\""
        );
        let Some(output) = with_subordinate_ids(&user, test, &script) else {
            return;
        };
        // A namespace cannot make devices: plain files stand for them.
        let expected: Vec<String> = seen
            .lines()
            .map(|line| match line.split_once(' ') {
                Some((path @ ("./console" | "./disk" | "./fifo"), rest)) => {
                    format!("{path} f{}", &rest[1..])
                }
                _ => line.to_owned(),
            })
            .collect();
        let found = text(&output);
        assert_eq!(found.lines().collect::<Vec<_>>(), expected, "{driver}");
        assert!(
            fs::read(user.path("saved.tar")).unwrap() == saved,
            "{driver}"
        );
        let place = user.path(".local/share/lith");
        let maps: serde_json::Value =
            serde_json::from_slice(&fs::read(place.join("id-maps")).unwrap()).unwrap();
        let range = |container: u32, host: u32, count: u32| serde_json::json!({"container": container, "host": host, "count": count});
        let expected = [
            range(0, USER, 1),
            range(1, 2_000_000, 30_000),
            range(30_001, 3_000_000, 40_000),
        ];
        assert_eq!(maps["uids"], serde_json::json!(expected));
        let tree = if driver == "vfs" { "tree" } else { "diff" };
        let drivers = place.join("drivers").join(driver);
        let files = fs::read_dir(drivers).unwrap().filter_map(|layer| {
            let file = layer.unwrap().path().join(tree).join("shut/file");
            file.symlink_metadata().ok()
        });
        for file in files {
            // 2 and 60000 of the layer, shifted.
            assert_eq!((file.uid(), file.gid()), (2_000_001, 3_029_999));
        }
    }
}

/// All that the kernel allows in a user namespace; each case that is left out says why.
#[test]
fn the_conformance_cases_pass_for_a_user_with_subordinate_ids() {
    let test = "the_conformance_cases_pass_for_a_user_with_subordinate_ids";
    if !is_root(test) || !User::new().has_namespaces(test) {
        return;
    }
    let user = User::new();
    for driver in ["overlay", "vfs"] {
        let script = format!("./lith driver test {driver} --json");
        let Some(output) = with_subordinate_ids(&user, test, &script) else {
            return;
        };
        let cases: serde_json::Value = serde_json::from_str(&text(&output)).unwrap();
        let outcomes = |wanted: &str| {
            let cases = cases.as_array().unwrap().iter();
            cases.filter(|case| case["outcome"] == wanted).count()
        };
        assert!(outcomes("passed") > 70, "{driver}: {cases}");
        assert_eq!(outcomes("failed"), 0, "{driver}: {cases}");
    }
}
