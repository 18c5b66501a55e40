//! The writer alone, and what saving adds to it.

use std::collections::BTreeMap;
use std::thread;

use lith_archive::{
    ArchiveImage, DockerArchiveWriter, SaveError, SaveOptions, Target, WriteError, save, select,
};
use lith_store::{DiffId, Reference};

use crate::support::{Image, Root, members};

fn image(image: &Image, names: &[&str]) -> ArchiveImage {
    ArchiveImage {
        config: image.config.clone(),
        names: names.iter().map(|name| name.parse().unwrap()).collect(),
        ..ArchiveImage::default()
    }
}

fn add_layers(writer: &DockerArchiveWriter<Vec<u8>>, image: &Image) {
    for (index, layer) in image.layers.iter().enumerate() {
        let size = layer.len() as u64;
        writer
            .add_layer(&image.diff_id(index), size, &mut &layer[..])
            .unwrap();
    }
}

#[test]
fn a_closed_writer_refuses() {
    let writer = DockerArchiveWriter::new(Vec::new());
    let one = Image::new(&["a"]);
    add_layers(&writer, &one);
    writer.add_image(&image(&one, &["a:1"])).unwrap();
    writer.close().unwrap();
    assert!(matches!(writer.close().unwrap_err(), WriteError::Closed));
    assert!(matches!(
        writer.add_image(&image(&one, &[])).unwrap_err(),
        WriteError::Closed
    ));
    let again = writer.add_layer(&one.diff_id(0), 1, &mut &b"x"[..]);
    assert!(matches!(again.unwrap_err(), WriteError::Closed));
}

#[test]
fn announced_lengths_are_held() {
    for (announced, content, found) in [(3, "xx", 2), (3, "xxxxx", 4)] {
        let writer = DockerArchiveWriter::new(Vec::new());
        let id = DiffId::of_bytes(b"");
        let error = writer
            .add_layer(&id, announced, &mut content.as_bytes())
            .unwrap_err();
        let WriteError::Length { actual, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(actual, found);
        assert!(matches!(writer.close().unwrap_err(), WriteError::Broken));
        assert!(matches!(
            writer.has_layer(&id).unwrap_err(),
            WriteError::Broken
        ));
    }
}

#[test]
fn images_are_checked() {
    let writer = DockerArchiveWriter::new(Vec::new());
    let (one, two) = (Image::new(&["a"]), Image::new(&["b"]));
    let error = writer.add_image(&image(&one, &[])).unwrap_err();
    assert!(matches!(error, WriteError::LayerMissing { .. }), "{error}");
    add_layers(&writer, &one);
    add_layers(&writer, &two);
    writer.add_image(&image(&one, &["a:1"])).unwrap();
    // `a:1` written in another way is the same name.
    let error = writer
        .add_image(&image(&two, &["docker.io/library/a:1"]))
        .unwrap_err();
    assert!(matches!(error, WriteError::NameTwice { .. }), "{error}");
    let bare = ArchiveImage {
        names: vec![Reference::parse_bare("a").unwrap()],
        ..image(&one, &[])
    };
    assert!(matches!(
        writer.add_image(&bare).unwrap_err(),
        WriteError::NotATag { .. }
    ));
    let broken = ArchiveImage {
        config: b"{".to_vec(),
        ..ArchiveImage::default()
    };
    assert!(matches!(
        writer.add_image(&broken).unwrap_err(),
        WriteError::Config { .. }
    ));
    // The same image again: one item with both names.
    writer.add_image(&image(&one, &["a:1", "a:2"])).unwrap();
    let archive = writer.close().unwrap();
    let manifest = String::from_utf8(members(&archive)["manifest.json"].2.clone()).unwrap();
    let names = r#""RepoTags":["docker.io/library/a:1","docker.io/library/a:2"]"#;
    assert!(manifest.contains(names), "{manifest}");
    Root::new().load_file(&archive).unwrap();
}

#[test]
fn many_threads() {
    let writer = DockerArchiveWriter::new(Vec::new());
    let images: Vec<Image> = (0..8)
        .map(|index| Image::new(&["shared", &index.to_string()]))
        .collect();
    thread::scope(|scope| {
        for (index, one) in images.iter().enumerate() {
            let writer = &writer;
            scope.spawn(move || {
                add_layers(writer, one);
                writer
                    .add_image(&image(one, &[&format!("t:{index}")]))
                    .unwrap();
            });
        }
    });
    let root = Root::new();
    let report = root.load_file(&writer.close().unwrap()).unwrap();
    assert_eq!(report.images.len(), 8);
    assert_eq!(root.graph.store().layers().unwrap().len(), 9);
}

/// Nested values are compacted with their keys in order, what is absent is null, and what Go
/// escapes is escaped. The expected text follows from the rules; skopeo agrees on the fixtures.
#[test]
fn v1_json() {
    let mut one = Image::new(&["a"]);
    let config = format!(
        r#"{{ "os": "linux", "config": {{ "Z": "<a>", "A": [ 1, 2.50 ] }}, "created": null,
            "docker_version": "1 & 2", "rootfs": {{ "diff_ids": ["{}"] }} }}"#,
        one.diff_id(0)
    );
    one.config = config.into_bytes();
    let writer = DockerArchiveWriter::new(Vec::new());
    add_layers(&writer, &one);
    writer.add_image(&image(&one, &["a:1"])).unwrap();
    let members = members(&writer.close().unwrap());
    let rest = |id: &str, layer: &str| {
        format!(
            r#"{{"architecture":null,"config":{{"Z":"\u003ca\u003e","A":[1,2.50]}},"container":null,"container_config":null,"created":null,"docker_version":"1 \u0026 2"{id}{layer},"os":"linux"}}"#
        )
    };
    let hashed = rest("", &format!(r#","layer_id":"{}""#, one.diff_id(0)));
    let id = lith_store::Digest::of(hashed.as_bytes()).hex();
    let json = &members[&format!("{id}/json")].2;
    assert_eq!(
        String::from_utf8_lossy(json),
        rest(&format!(r#","id":"{id}""#), "")
    );
    let repositories = format!(r#"{{"docker.io/library/a":{{"1":"{id}"}}}}"#);
    assert_eq!(
        String::from_utf8_lossy(&members["repositories"].2),
        repositories
    );
}

#[test]
fn further_names() {
    let root = Root::new();
    let (one, two) = (Image::new(&["a"]), Image::new(&["b"]));
    root.load_file(&one.archive(&["a:1"])).unwrap();
    root.load_file(&two.archive(&["b:1"])).unwrap();
    let saved = |wanted: &[&str], tag: Reference| {
        let wanted: Vec<String> = wanted.iter().map(|text| (*text).to_owned()).collect();
        let selection = select(&root.graph, &wanted).unwrap();
        let mut options = SaveOptions::default();
        options.tags = vec![tag];
        let mut out = Vec::new();
        save(
            &root.graph,
            &selection,
            Target::Stream(&mut out),
            &options,
            &(),
        )
        .map(|_| members(&out))
    };
    let tag: Reference = "x:1".parse().unwrap();
    let archive: BTreeMap<_, _> = saved(&["a:1"], tag.clone()).unwrap();
    let manifest = String::from_utf8(archive["manifest.json"].2.clone()).unwrap();
    let names = r#"["docker.io/library/x:1","docker.io/library/a:1"]"#;
    assert!(manifest.contains(names), "{manifest}");
    let error = saved(&["a:1", "b:1"], tag).unwrap_err();
    assert!(
        matches!(error, SaveError::TagsNeedOneImage { images: 2 }),
        "{error}"
    );
    let bare = Reference::parse_bare("x").unwrap();
    assert!(matches!(
        saved(&["a:1"], bare).unwrap_err(),
        SaveError::NotATag { .. }
    ));
}
