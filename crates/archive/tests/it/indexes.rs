//! Images for several platforms as a whole: loaded, saved, copied, removed.

use std::collections::BTreeMap;
use std::fs;

use lith_archive::oci::{Descriptor, Document, Index, Manifest, MediaType, Platform};
use lith_archive::{
    CopyOptions, Format, Input, LayerCompression, LoadError, LoadOptions, PruneOptions,
    RemoveError, SaveOptions, SelectError, Target, copy, list, load, pick, prune, select,
};
use lith_store::{Digest, ImageId};

use crate::layout::{files_of_dir, files_of_tar};
use crate::oci::{Layout, Pack, for_platform, named, other_platform, plain};
use crate::support::{Image, Root, gzip};

/// An image for this machine and one for another, an attestation of the first in an index of its
/// own, and a platform that was not copied.
struct Multi {
    layout: Layout,
    here: Image,
    there: Image,
    index: ImageId,
    document: Vec<u8>,
    /// The attestation's manifest, config and layer.
    attestation: Vec<Digest>,
}

const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

fn multi(name: &str, media_type: &MediaType, pack: Pack) -> Multi {
    let (here, there) = (
        Image::new(&["base", "here"]),
        Image::new(&["base", "there"]),
    );
    let mut layout = Layout::new();
    let one = layout.image(&here, media_type, pack);
    let two = layout.image(&there, media_type, pack);
    let config = layout.blob(MediaType::OciConfig, b"{}");
    let statement = layout.blob(MediaType::new("application/vnd.in-toto+json"), b"{ }");
    let attested = Manifest {
        media_type: MediaType::OciManifest,
        config,
        layers: vec![statement],
        annotations: BTreeMap::new(),
        artifact_type: None,
    };
    let mut about = layout.blob(MediaType::OciManifest, attested.to_json().as_bytes());
    about
        .annotations
        .insert(REFERENCE_TYPE.into(), "attestation-manifest".into());
    about
        .annotations
        .insert(REFERENCE_DIGEST.into(), one.digest.to_string());
    let about = for_platform(about, &"unknown/unknown".parse().unwrap());
    let attestation = vec![
        about.digest,
        attested.config.digest,
        attested.layers[0].digest,
    ];
    let missing = Digest::of(b"not copied");
    let missing = Descriptor::new(MediaType::OciManifest, missing, 10);
    let nested = layout.index(vec![about]);
    let list = layout.index(vec![
        for_platform(two, &other_platform()),
        for_platform(one, &Platform::here()),
        nested,
        for_platform(missing, &"linux/ppc64le".parse().unwrap()),
    ]);
    let document = layout.0[&Layout::path(&list.digest)].clone();
    Multi {
        index: ImageId::of_bytes(&document),
        layout: layout.finish(vec![named(list, name)]),
        here,
        there,
        document,
        attestation,
    }
}

fn all() -> LoadOptions {
    let mut options = LoadOptions::default();
    options.all_platforms = true;
    options
}

fn oci() -> SaveOptions {
    let mut options = SaveOptions::default();
    options.format = Format::OciArchive;
    options
}

#[test]
fn all_images_and_the_index_come_in_and_go_out_as_they_were() {
    let multi = multi("m:1", &MediaType::OciLayer, plain);
    let dir = Root::new();
    let place = dir.path().join("layout");
    multi.layout.write(&place);
    let (file, pipe) = (Root::new(), Root::new());
    let stream = std::io::Cursor::new(multi.layout.tar());
    let reports = [
        load(&dir.graph, Input::File(place), &all(), &()).unwrap(),
        file.load_file_with(&multi.layout.tar(), &all()).unwrap(),
        load(&pipe.graph, Input::Stream(Box::new(stream)), &all(), &()).unwrap(),
    ];
    for (root, report) in [dir, file, pipe].iter().zip(reports) {
        let ids: Vec<ImageId> = report.images.iter().map(|image| image.id).collect();
        assert_eq!(ids, [multi.there.id(), multi.here.id(), multi.index]);
        let index = &report.images[2];
        assert_eq!(index.names[0].familiar(), "m:1");
        assert_eq!(index.members, [multi.there.id(), multi.here.id()]);
        assert!(
            report.warnings[0].contains("linux/ppc64le"),
            "{:?}",
            report.warnings
        );
        let store = root.graph.store();
        assert_eq!(
            store.name(&"m:1".parse().unwrap()).unwrap(),
            Some(multi.index)
        );
        assert_eq!(
            pick(store, &multi.index, None).unwrap(),
            multi.here.id(),
            "this machine's"
        );
        let other = other_platform();
        assert_eq!(
            pick(store, &multi.index, Some(&other)).unwrap(),
            multi.there.id()
        );
        // Out again: every blob that came, to the byte, and nothing else.
        let saved = files_of_tar(&root.save_stream(&["m"], &oci()));
        let blobs = |files: &BTreeMap<String, Vec<u8>>| -> BTreeMap<String, Vec<u8>> {
            let blobs = files.iter().filter(|(path, _)| path.starts_with("blobs/"));
            blobs
                .map(|(path, bytes)| (path.clone(), bytes.clone()))
                .collect()
        };
        assert_eq!(blobs(&saved), blobs(&multi.layout.0));
        let Document::Index(top) = Document::parse(&saved["index.json"]).unwrap() else {
            panic!()
        };
        assert_eq!(top.manifests.len(), 1, "images of an index are no entries");
        assert_eq!(top.manifests[0].digest, *multi.index.digest());
        assert_eq!(top.manifests[0].media_type, MediaType::OciIndex);
    }
}

#[test]
fn a_format_without_indexes_gets_one_image() {
    let multi = multi("m:1", &MediaType::OciLayerGzip, gzip);
    let root = Root::new();
    root.load_file_with(&multi.layout.tar(), &all()).unwrap();
    let archive = root.save(&["m:1"]);
    let other = Root::new();
    let report = other.load_file(&archive).unwrap();
    assert_eq!(report.images[0].id, multi.here.id());
    assert_eq!(report.images[0].names[0].familiar(), "m:1");
    for format in [Format::DockerArchive, Format::OciArchive] {
        let mut options = SaveOptions::default();
        options.format = format;
        options.platform = Some(other_platform());
        let archive = root.save_stream(&["m:1"], &options);
        let report = Root::new().load_file(&archive).unwrap();
        let ids: Vec<ImageId> = report.images.iter().map(|image| image.id).collect();
        assert_eq!(ids, [multi.there.id()]);
    }
    let mut options = SaveOptions::default();
    options.platform = Some("linux/ppc64le".parse().unwrap());
    let mut out = Vec::new();
    let error = root
        .save_to(&["m:1"], Target::Stream(&mut out), &options)
        .unwrap_err();
    assert!(error.to_string().contains("linux/s390x"), "{error}");
    assert!(out.is_empty());
}

/// Layers that are compressed anew make new manifests, and these a new index; what attested the
/// old ones is left out, and all of it is said.
#[test]
fn an_index_of_new_manifests_is_new() {
    let multi = multi("m:1", &MediaType::OciLayer, plain);
    let root = Root::new();
    root.load_file_with(&multi.layout.tar(), &all()).unwrap();
    let mut options = oci();
    options.compression = Some(LayerCompression::Gzip);
    let mut out = Vec::new();
    let report = root
        .save_to(&["m:1"], Target::Stream(&mut out), &options)
        .unwrap();
    let told = report.warnings.join("\n");
    assert!(
        told.contains(&format!("instead of {}", multi.index)),
        "{told}"
    );
    assert!(
        told.contains("1 attestations of m:1 are left out"),
        "{told}"
    );
    let saved = files_of_tar(&out);
    for digest in &multi.attestation {
        assert!(!saved.contains_key(&Layout::path(digest)));
    }
    let again = Root::new();
    let report = again.load_file_with(&out, &all()).unwrap();
    let ids: Vec<ImageId> = report.images.iter().map(|image| image.id).collect();
    assert_eq!(ids[..2], [multi.there.id(), multi.here.id()]);
    assert_ne!(ids[2], multi.index);
    assert_eq!(report.images[2].names[0].familiar(), "m:1");
    let old = index(&multi.document);
    let new = again.graph.store().image(&ids[2]).unwrap().unwrap();
    let new = index(&new.index.unwrap().document);
    let platforms = |index: &Index| -> Vec<Option<Platform>> {
        index
            .manifests
            .iter()
            .map(|entry| entry.platform.clone())
            .collect()
    };
    assert_eq!(platforms(&old), platforms(&new));
}

fn index(document: &[u8]) -> Index {
    match Document::parse(document).unwrap() {
        Document::Index(index) => index,
        Document::Manifest(_) => panic!(),
    }
}

#[test]
fn copied_as_a_whole_to_the_byte() {
    let multi = multi("m:1", &MediaType::OciLayerGzip, gzip);
    let root = Root::new();
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    multi.layout.write(&from);
    let mut options = CopyOptions::default();
    options.all_platforms = true;
    options.format = Format::OciDir;
    let report = copy(
        Input::File(from.clone()),
        Target::Folder(&to),
        root.path(),
        &options,
        &(),
    )
    .unwrap();
    assert_eq!(report.images[2].digest, Some(*multi.index.digest()));
    let (mut expected, mut found) = (multi.layout.0.clone(), files_of_dir(&to));
    // The one writes names as the other does not.
    let entry = |files: &mut BTreeMap<String, Vec<u8>>| {
        index(&files.remove("index.json").unwrap()).manifests[0].digest
    };
    assert_eq!(entry(&mut expected), entry(&mut found));
    assert_eq!(expected, found);
    // Once more, under another name: nothing but the name is new.
    options.name = Some("other:2".parse().unwrap());
    copy(
        Input::File(from.clone()),
        Target::Folder(&to),
        root.path(),
        &options,
        &(),
    )
    .unwrap();
    assert_eq!(
        index(&fs::read(to.join("index.json")).unwrap())
            .manifests
            .len(),
        2
    );
    options.format = Format::DockerArchive;
    let mut out = Vec::new();
    let error = copy(
        Input::File(from),
        Target::Stream(&mut out),
        root.path(),
        &options,
        &(),
    );
    assert!(error.unwrap_err().to_string().contains("index"));
}

#[test]
fn several_entries_of_one_name_make_an_index() {
    let (here, there) = (Image::new(&["1"]), Image::new(&["2"]));
    let mut layout = Layout::new();
    let one = layout.image(&here, &MediaType::OciLayer, plain);
    let two = layout.image(&there, &MediaType::OciLayer, plain);
    let layout = layout.finish(vec![
        named(for_platform(one, &Platform::here()), "m:1"),
        named(for_platform(two, &other_platform()), "m:1"),
    ]);
    let [first, second] = [(), ()].map(|()| {
        let root = Root::new();
        let report = root.load_file_with(&layout.tar(), &all()).unwrap();
        let index = report.images[2].id;
        assert_eq!(report.images[2].members, [here.id(), there.id()]);
        let document = root.graph.store().image(&index).unwrap().unwrap();
        let document = document.index.unwrap().document;
        assert!(!String::from_utf8(document).unwrap().contains("m:1"));
        index
    });
    assert_eq!(first, second);
}

#[test]
fn one_that_stands_alone_is_loaded_as_ever() {
    let image = Image::new(&["1"]);
    let mut layout = Layout::new();
    let one = layout.image(&image, &MediaType::OciLayer, plain);
    let layout = layout.finish(vec![named(one, "m:1")]);
    let root = Root::new();
    let report = root.load_file_with(&layout.tar(), &all()).unwrap();
    assert_eq!(report.images.len(), 1);
    assert_eq!(report.images[0].names[0].familiar(), "m:1");
    // A docker-archive, too.
    let archive = root.save(&["m:1"]);
    let report = Root::new().load_file_with(&archive, &all()).unwrap();
    assert_eq!(report.images[0].id, image.id());
}

#[test]
fn names_and_choices_go_to_the_index() {
    let multi = multi("latest", &MediaType::OciLayer, plain);
    let root = Root::new();
    let mut options = all();
    options.tags = vec!["mine:1".parse().unwrap()];
    let report = root.load_file_with(&multi.layout.tar(), &options).unwrap();
    assert_eq!(report.images[2].names[0].familiar(), "mine:1");
    options.tags.clear();
    options.images = vec![multi.index.to_string()];
    assert_eq!(
        root.load_file_with(&multi.layout.tar(), &options)
            .unwrap()
            .images
            .len(),
        3
    );
    options.images = vec![multi.there.id().to_string()];
    let report = root.load_file_with(&multi.layout.tar(), &options).unwrap();
    let ids: Vec<ImageId> = report.images.iter().map(|image| image.id).collect();
    assert_eq!(ids, [multi.there.id()]);
    options.images = vec!["nothing".into()];
    let error = root.load_file_with(&multi.layout.tar(), &options);
    assert!(matches!(error, Err(LoadError::NotInArchive { .. })));
    let path = root.path().join("archive");
    let listed = list(Input::File(path), &all(), &()).unwrap().images;
    let index = Some(*multi.index.digest());
    assert!(listed.iter().all(|image| image.index == index));
    assert_eq!(listed.len(), 2);
}

#[test]
fn what_an_index_consists_of_goes_with_it() {
    let multi = multi("m:1", &MediaType::OciLayer, plain);
    let root = Root::new();
    root.load_file_with(&multi.layout.tar(), &all()).unwrap();
    let error = root
        .remove(&[&multi.there.id().to_string()], false)
        .unwrap_err();
    match error {
        RemoveError::InIndex { indexes, .. } => assert_eq!(indexes, ["m:1"]),
        other => panic!("{other}"),
    }
    let report = prune(&root.graph, &PruneOptions::default(), &()).unwrap();
    assert!(report.images.is_empty(), "they have no name, but an index");
    let report = root.remove(&["m:1"], false).unwrap();
    assert_eq!(report.deleted.len(), 3);
    root.assert_empty("removed by name");

    root.load_file_with(&multi.layout.tar(), &all()).unwrap();
    lith_archive::untag(&root.graph, &["m:1".into()], &()).unwrap();
    let report = prune(&root.graph, &PruneOptions::default(), &()).unwrap();
    assert_eq!(report.images.len(), 3);
    root.assert_empty("pruned");
}

#[test]
fn a_selection_holds_all_images_of_an_index() {
    let multi = multi("m:1", &MediaType::OciLayer, plain);
    let root = Root::new();
    root.load_file_with(&multi.layout.tar(), &all()).unwrap();
    let selection = select(&root.graph, &["m".into(), multi.index.to_string()]).unwrap();
    assert!(selection.images().is_empty());
    assert_eq!(selection.indexes().len(), 1);
    assert_eq!(selection.indexes()[0].images.len(), 2);
    root.remove(&["m:1"], false).unwrap();
    // What is held is saved though it was removed.
    let mut out = Vec::new();
    lith_archive::save(
        &root.graph,
        &selection,
        Target::Stream(&mut out),
        &oci(),
        &(),
    )
    .unwrap();
    assert_eq!(
        files_of_tar(&out)[&Layout::path(multi.index.digest())],
        multi.document
    );
    drop(selection);
    root.assert_empty("let go");
    let error = select(&root.graph, &["m".into()]).unwrap_err();
    assert!(matches!(error, SelectError::NotFound { .. }));
}

/// An engine that keeps only this machine's image exports an index that lists others, and all of
/// it in a docker-archive.
#[test]
fn a_docker_archive_with_an_index_inside() {
    let multi = multi("m:1", &MediaType::OciLayer, plain);
    let mut files = multi.layout.0.clone();
    let config = Layout::path(multi.here.id().digest());
    let layers: Vec<String> = multi
        .here
        .layers
        .iter()
        .map(|layer| Layout::path(&Digest::of(layer)))
        .collect();
    let manifest = serde_json::json!([{"Config": config, "RepoTags": ["m:1"], "Layers": layers}]);
    files.insert("manifest.json".into(), manifest.to_string().into_bytes());
    let archive = Layout(files).tar();
    let root = Root::new();
    let report = root.load_file(&archive).unwrap();
    assert_eq!(report.images.len(), 1, "one platform, as ever");
    let report = root.load_file_with(&archive, &all()).unwrap();
    assert_eq!(report.images.len(), 3);
    assert_eq!(report.images[2].moved.len(), 1);
    let of_pipe = Root::new();
    let stream = Input::Stream(Box::new(std::io::Cursor::new(archive)));
    let report = load(&of_pipe.graph, stream, &all(), &()).unwrap();
    assert_eq!(report.images[2].id, multi.index);
}
