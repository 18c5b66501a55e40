//! Archives with v1 images only: no `manifest.json`, and nobody says what the layers are.

use lith_archive::{Input, LoadError, LoadOptions, LoadReport, load};

use crate::engines::docker::Docker;
use crate::support::{Image, Root, Tar, gzip, members, tar};

/// A folder: v1 ID, what is in `json`, the layer.
type Folder = (String, String, Vec<u8>);

fn id(digit: char) -> String {
    digit.to_string().repeat(64)
}

fn layer(text: &str) -> Vec<u8> {
    Image::new(&[text]).layers.remove(0)
}

fn folder(digit: char, json: &str) -> Folder {
    let json = json.replace("ID", &id(digit));
    (id(digit), json, layer(&digit.to_string()))
}

fn child(digit: char, parent: char, json: &str) -> Folder {
    let json = json.replacen('{', &format!(r#"{{"parent":"{}","#, id(parent)), 1);
    folder(digit, &json)
}

fn archive(folders: &[Folder], repositories: &str) -> Vec<u8> {
    let mut tar = Tar::new();
    for (id, json, layer) in folders {
        tar.folder(&format!("{id}/"));
        tar.file(&format!("{id}/VERSION"), b"1.0");
        tar.file(&format!("{id}/json"), json.as_bytes());
        tar.file(&format!("{id}/layer.tar"), layer);
    }
    tar.file("repositories", repositories.as_bytes());
    tar.finish()
}

/// What engines of several ages wrote, and what they did not.
fn ages() -> Vec<Folder> {
    vec![
        folder(
            'a',
            r##"{"id":"ID","created":"2015-04-17T22:01:13.062208600Z","container":"00","container_config":
            {"Hostname":"h","Domainname":"","User":"","Memory":0,"CpuShares":0,"AttachStdin":false,"PortSpecs":null,
            "ExposedPorts":null,"Tty":false,"Env":null,"Cmd":["/bin/sh","-c","#(nop) ADD file in / && <x>"],
            "Image":"","Volumes":null,"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":null},
            "docker_version":"1.6.0","author":"Jane \"J\" <j@example.com>","config":{"Hostname":"h","Env":["A=b c"],
            "Cmd":null,"Image":"","Volumes":{"/b":{},"/a":{}},"Labels":{"z":"1","a":"<"}},"architecture":"amd64",
            "os":"linux","Size":2433303,"checksum":"x","comment":"first"}"##,
        ),
        child(
            'b',
            'a',
            r#"{"id":"ID","created":"2016-01-02T03:04:05Z","docker_version":"1.9.1",
            "config":{"Cmd":["sh"],"NewField":1.50},"parent_id":"sha256:x","layer_id":"sha256:y","throwaway":true,
            "os":"linux","Size":0, "unknown" : [ 1, {"b":"<&>","a":null} ] }"#,
        ),
        child(
            'c',
            'a',
            r#"{"id":"ID","config":null,"container_config":{"Cmd":["a","b"]},"comment":"no version"}"#,
        ),
        child(
            'd',
            'b',
            r#"{"id":"ID","created":"2017-01-01T00:00:00.5+02:00","docker_version":"1.8.3",
            "container_config":{"Cmd":["one"]}}"#,
        ),
        folder('e', r#"{"id":"ID"}"#),
        child(
            'f',
            'd',
            r#"{"id":"ID","docker_version":"1.8.3-rc1","created":"2015-10-01T00:00:00Z","variant":"v7",
            "config":{"Healthcheck":{"Test":["NONE"]},"ExposedPorts":{"80/tcp":{}},"StopSignal":"9"}}"#,
        ),
    ]
}

fn ages_repositories() -> String {
    format!(
        r#"{{"example.com/v1":{{"b":"{}","c":"{}","f":"{}"}},"example.com/lone":{{"latest":"{}"}}}}"#,
        id('b'),
        id('c'),
        id('f'),
        id('e'),
    )
}

const NAMES: [&str; 4] = [
    "example.com/v1:b",
    "example.com/v1:c",
    "example.com/v1:f",
    "example.com/lone:latest",
];

/// Under these IDs docker 20.10.24 has the images after `docker load`, in the order of [`NAMES`].
const DOCKER_IDS: [&str; 4] = [
    "sha256:f13369e313007ffeade86aa31b59716c54893f38d46ca22eb2e978bd63ad90b9",
    "sha256:cbca91bc6503f2f278db9af709e09ed0c09b4e9f96c7d987e7f28fbd0f057e9d",
    "sha256:e8bd4a7ebfa97d5b8863ff28febfd4391995af7a693325cf311ea6847e5ba7cc",
    "sha256:18de2d4c17f77ffee519f4509fe6f802759974c7cc0ae58b7b7b524b4ff99004",
];

fn ids(root: &Root) -> Vec<String> {
    let store = root.graph.store();
    let id = |name: &&str| store.name(&name.parse().unwrap()).unwrap().unwrap();
    NAMES.iter().map(|name| id(name).to_string()).collect()
}

/// Loads from a file, a pipe and a folder, each into a store of its own.
fn load_everywhere(archive: &[u8]) -> Vec<(Root, LoadReport)> {
    let mut all = Vec::new();
    let root = Root::new();
    let report = root.load_file(archive).unwrap();
    all.push((root, report));
    let root = Root::new();
    let report = root.load_stream(archive).unwrap();
    all.push((root, report));
    let root = Root::new();
    let folder = root.path().join("unpacked");
    tar::Archive::new(archive).unpack(&folder).unwrap();
    let input = Input::File(folder);
    let report = load(&root.graph, input, &LoadOptions::default(), &()).unwrap();
    all.push((root, report));
    all
}

#[test]
fn image_ids_are_those_of_docker() {
    for (root, report) in load_everywhere(&archive(&ages(), &ages_repositories())) {
        assert_eq!(ids(&root), DOCKER_IDS);
        // The bottom one is a parent and has no name; the other parent has one.
        assert_eq!(report.images.len(), 4);
        let store = root.graph.store();
        let record = |name: &str| {
            let id = store.name(&name.parse().unwrap()).unwrap().unwrap();
            store.image(&id).unwrap().unwrap()
        };
        let (b, f) = (record(NAMES[0]), record(NAMES[2]));
        assert_eq!(b.layers.len(), 2);
        assert_eq!(f.layers.len(), 4);
        assert_eq!(f.parent, Some(b.id));
        assert_eq!(b.parent, None);
    }
}

#[test]
fn docker_agrees() {
    let Some(docker) = Docker::start("vfs") else {
        return;
    };
    docker.load(&archive(&ages(), &ages_repositories()));
    let inspect = |name: &&str| docker.ok(&["image", "inspect", "--format", "{{.Id}}", name]);
    let theirs: Vec<String> = NAMES.iter().map(inspect).collect();
    assert_eq!(theirs, DOCKER_IDS);

    // What docker itself writes, less the manifest: its loader takes the old way then.
    let image = Image::new(&["one", "two", "three"]);
    docker.load(&image.archive(&["example.com/made:1"]));
    let saved = docker.save(&["example.com/made:1", NAMES[1], NAMES[2]]);
    let v1_only = without_manifest(&saved);
    docker.load(&v1_only);
    for (root, _) in load_everywhere(&v1_only) {
        let names = ["example.com/made:1", NAMES[1], NAMES[2]];
        for name in names {
            let ours = root.graph.store().name(&name.parse().unwrap());
            assert_eq!(ours.unwrap().unwrap().to_string(), inspect(&name), "{name}");
        }
    }
}

/// An archive of podman, docker or skopeo without what newer readers look for.
fn without_manifest(archive: &[u8]) -> Vec<u8> {
    let mut tar = Tar::new();
    for (name, (kind, link, content)) in members(archive) {
        match kind {
            b'0' | 0 if name == "manifest.json" => {}
            b'0' | 0 => tar.file(&name, &content),
            b'2' => tar.symlink(&name, &link),
            _ => {}
        }
    }
    tar.finish()
}

/// The default layout carries v1 images beside the rest; layers are links there.
#[test]
fn the_v1_part_of_our_own_archives() {
    let root = Root::new();
    let image = Image::new(&["one", "two"]);
    root.load_file(&image.archive(&["example.com/app:1"]))
        .unwrap();
    let archive = without_manifest(&root.save(&["example.com/app:1"]));
    for (root, report) in load_everywhere(&archive) {
        let record = root.graph.store().image(&report.images[0].id);
        let config: serde_json::Value =
            serde_json::from_slice(&record.unwrap().unwrap().config).unwrap();
        let expected: serde_json::Value = serde_json::from_slice(&image.config).unwrap();
        assert_eq!(config["rootfs"], expected["rootfs"]);
        assert_eq!(config["architecture"], "amd64");
        assert_eq!(report.images[0].names[0].familiar(), "example.com/app:1");
    }
}

#[test]
fn compressed_layers_and_whole_archives() {
    let plain = archive(&[folder('a', r#"{"id":"ID"}"#)], "{}");
    let expected = Root::new().load_file(&plain).unwrap().images[0].id;
    let mut packed = folder('a', r#"{"id":"ID"}"#);
    packed.2 = gzip(&packed.2);
    let packed = archive(&[packed], "{}");
    for (_, report) in load_everywhere(&packed) {
        assert_eq!(report.images[0].id, expected);
    }
    let report = Root::new().load_file(&gzip(&packed)).unwrap();
    assert_eq!(report.images[0].id, expected);
}

/// As docker of 2014 wrote them: no file with names.
#[test]
fn nothing_is_named() {
    let mut tar = Tar::new();
    tar.file(&format!("{}/json", id('a')), b"{}");
    tar.file(&format!("{}/layer.tar", id('a')), &layer("x"));
    for (_, report) in load_everywhere(&tar.finish()) {
        assert_eq!(report.images.len(), 1);
        assert!(report.images[0].names.is_empty());
    }
}

#[test]
fn hundreds_of_ancestors() {
    let hex = |number: usize| format!("{number:064x}");
    let mut tar = Tar::new();
    let layer = layer("x");
    for number in 0..300 {
        let json = match number {
            0 => "{}".to_owned(),
            _ => format!(r#"{{"parent":"{}"}}"#, hex(number - 1)),
        };
        tar.file(&format!("{}/json", hex(number)), json.as_bytes());
        tar.file(&format!("{}/layer.tar", hex(number)), &layer);
    }
    let root = Root::with_driver("overlay");
    let report = root.load_stream(&tar.finish());
    // Some machines cannot stack so many; that is for the driver to say.
    if let Ok(report) = report {
        assert_eq!(report.images.len(), 1);
    }
}

#[track_caller]
fn refused(archive: &[u8], is: impl Fn(&LoadError) -> bool) {
    let root = Root::new();
    for result in [root.load_file(archive), root.load_stream(archive)] {
        let error = result.unwrap_err();
        assert!(is(&error), "{error}: {error:?}");
        root.assert_empty("refused");
    }
}

#[test]
fn parents_that_cannot_be() {
    let plain = r#"{"id":"ID"}"#;
    let looping = [child('a', 'b', plain), child('b', 'a', plain)];
    refused(&archive(&looping, "{}"), |error| {
        matches!(error, LoadError::V1Loop { .. })
    });
    let own = [child('a', 'a', plain)];
    refused(&archive(&own, "{}"), |error| {
        matches!(error, LoadError::V1Loop { .. })
    });
    // A loop beside an image that is good.
    let beside = [
        child('a', 'b', plain),
        child('b', 'a', plain),
        folder('c', plain),
    ];
    refused(&archive(&beside, "{}"), |error| {
        matches!(error, LoadError::V1Loop { .. })
    });
    refused(
        &archive(&[child('a', 'b', plain)], "{}"),
        |error| matches!(error, LoadError::MissingMember { member, .. } if member.starts_with("bbb")),
    );
    let bad = [folder('a', r#"{"id":"ID","parent":"../../etc"}"#)];
    refused(&archive(&bad, "{}"), |error| {
        matches!(error, LoadError::V1Id { .. })
    });
}

#[test]
fn ids_that_are_none() {
    let plain = r#"{"id":"ID"}"#;
    let upper = (id('A'), "{}".to_owned(), layer("x"));
    let short = (id('a')[..63].to_owned(), "{}".to_owned(), layer("x"));
    let word = ("app".to_owned(), "{}".to_owned(), layer("x"));
    for folder in [upper, short, word] {
        refused(&archive(&[folder], "{}"), |error| {
            matches!(error, LoadError::V1Id { .. })
        });
    }
    let other = [folder('a', &plain.replace("ID", &id('b')))];
    refused(&archive(&other, "{}"), |error| {
        matches!(error, LoadError::V1OtherId { .. })
    });
    for target in ["../x", &id('A'), ""] {
        let names = format!(r#"{{"x":{{"1":"{target}"}}}}"#);
        refused(&archive(&[folder('a', plain)], &names), |error| {
            matches!(error, LoadError::V1Id { .. })
        });
    }
    let names = format!(r#"{{"x":{{"1":"{}"}}}}"#, id('b'));
    refused(&archive(&[folder('a', plain)], &names), |error| {
        matches!(error, LoadError::MissingMember { .. })
    });
    for name in ["UPPER", "../x", ""] {
        let names = format!(r#"{{"{name}":{{"1":"{}"}}}}"#, id('a'));
        refused(&archive(&[folder('a', plain)], &names), |error| {
            matches!(error, LoadError::Name { .. })
        });
    }
}

#[test]
fn folders_that_lack_something() {
    refused(&archive(&[], "{}"), |error| {
        matches!(error, LoadError::HoldsNoImage)
    });
    let lone = tar(&[(&format!("{}/layer.tar", id('a')), &layer("x"))]);
    refused(&lone, |error| {
        matches!(error, LoadError::MissingMember { .. })
    });
    let lone = tar(&[(&format!("{}/json", id('a')), b"{}")]);
    refused(&lone, |error| {
        matches!(error, LoadError::MissingMember { .. })
    });
    for json in [
        "",
        "[]",
        "{",
        r#"{"created":"yesterday"}"#,
        r#"{"parent":1}"#,
    ] {
        refused(&archive(&[folder('a', json)], "{}"), |error| {
            matches!(error, LoadError::Document { .. })
        });
    }
    let mut broken = folder('a', "{}");
    broken.2 = gzip(&broken.2);
    broken.2.truncate(60);
    let root = Root::new();
    let archive = archive(&[broken], "{}");
    let error = root.load_file(&archive).unwrap_err();
    assert!(matches!(error, LoadError::ReadLayer { .. }), "{error}");
    let error = root.load_stream(&archive).unwrap_err();
    assert!(matches!(error, LoadError::DamagedLayer { .. }), "{error}");
    root.assert_empty("broken");
}

/// Newer archives have diff IDs there, and `manifest.json` decides.
#[test]
fn names_are_not_looked_for_beside_a_manifest() {
    let image = Image::new(&["a"]);
    let mut tar = Tar::new();
    tar.file("l", &image.layers[0]);
    tar.file("c", &image.config);
    tar.file("repositories", br#"{"x":{"1":"sha256:no v1 ID"}}"#);
    let manifest = crate::support::manifest("c", &["y:1"], &["l"]);
    tar.file("manifest.json", manifest.as_bytes());
    let report = Root::new().load_stream(&tar.finish()).unwrap();
    assert_eq!(report.images[0].names[0].familiar(), "y:1");
}
