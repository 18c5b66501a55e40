//! Both forms of a record, whole and damaged, in the folder of a layer.

use std::fs::{self, File};
use std::path::Path;

use flate2::write::GzEncoder;
use lith_graph::Graph;
use lith_store::LayerId;
use lith_tarsplit::{RecordReader, TextWriter};

use crate::fixture::{Fixture, on_each_driver, read_back, register, tar};

const FILES: &[(&str, &[u8])] = &[("a", b"one"), ("dup", b"first"), ("dup", b"second")];

const BINARY: &str = "tar-data.bin.zst";
const TEXT: &str = "tar-data.json.gz";

/// Turns a layer's folder into one from before there was the binary form.
fn make_old(folder: &Path) {
    let binary = zstd::Decoder::new(File::open(folder.join(BINARY)).unwrap()).unwrap();
    let gzip = GzEncoder::new(
        File::create_new(folder.join(TEXT)).unwrap(),
        flate2::Compression::fast(),
    );
    let text = TextWriter::new(gzip);
    let gzip = RecordReader::binary(binary).copy_to(text).unwrap();
    gzip.finish().unwrap();
    fs::remove_file(folder.join(BINARY)).unwrap();
}

/// A kept layer.
fn layer(graph: &Graph) -> LayerId {
    let session = graph.store().begin().unwrap();
    let (_, layer) = register(graph, &session, None, &tar(FILES));
    graph.keep(&layer.id).unwrap();
    session.end().unwrap();
    layer.id
}

fn reads(graph: &Graph, id: &LayerId) -> bool {
    let mut bytes = Vec::new();
    let read = graph
        .tar_layer(id)
        .is_ok_and(|mut stream| std::io::Read::read_to_end(&mut stream, &mut bytes).is_ok());
    assert!(!read || bytes == tar(FILES), "wrong in silence");
    read
}

#[test]
fn a_layer_with_the_text_is_as_good_as_any() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let id = layer(&graph);
        let folder = fixture.layer(&id);
        make_old(&folder);
        assert!(reads(&graph, &id));

        // It is reused, and stays as it is.
        let session = graph.store().begin().unwrap();
        let (_, again) = register(&graph, &session, None, &tar(FILES));
        assert!(!again.new);
        assert!(read_back(&graph, &again).unwrap() == tar(FILES));
        session.end().unwrap();
        assert!(folder.join(TEXT).exists() && !folder.join(BINARY).exists());
    });
}

#[test]
fn a_layer_with_the_text_is_healed_into_one_without() {
    on_each_driver(|fixture| {
        for (round, lose) in [true, false].into_iter().enumerate() {
            let fixture = Fixture::like(fixture, round);
            let graph = fixture.open();
            let id = layer(&graph);
            let folder = fixture.layer(&id);
            make_old(&folder);
            if lose {
                fixture.lose_tree(&graph, &id);
            } else {
                fs::write(folder.join(TEXT), "torn").unwrap();
            }
            assert!(!reads(&graph, &id));
            let session = graph.store().begin().unwrap();
            let (_, healed) = register(&graph, &session, None, &tar(FILES));
            assert!(healed.new);
            session.end().unwrap();
            assert!(reads(&graph, &id));
            assert!(folder.join(BINARY).exists() && !folder.join(TEXT).exists());
        }
    });
}

#[test]
fn the_binary_form_counts_where_there_are_both() {
    on_each_driver(|fixture| {
        let graph = fixture.open();
        let id = layer(&graph);
        // As a kill leaves it between the two steps of replacing.
        fs::write(fixture.layer(&id).join(TEXT), "torn").unwrap();
        assert!(reads(&graph, &id));
    });
}

#[test]
fn no_damage_to_a_record_is_passed_over() {
    on_each_driver(|fixture| {
        let fixture = Fixture::in_memory(fixture.driver);
        let graph = fixture.open();
        let id = layer(&graph);
        let path = fixture.layer(&id).join(BINARY);
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(!reads(&graph, &id), "cut at {cut}");
        }
        let mut refused = 0;
        for at in 0..whole.len() {
            for change in [1 << (at % 8), 0xff] {
                let mut changed = whole.clone();
                changed[at] ^= change;
                fs::write(&path, changed).unwrap();
                // Some say how much memory decoding needs, and nothing of the record.
                refused += usize::from(!reads(&graph, &id));
            }
        }
        assert!(
            refused + 8 > whole.len() * 2,
            "{refused} of {}",
            whole.len() * 2
        );
        let longer = [&whole[..], &whole].concat();
        for junk in [&longer[..], &[&whole[..], b"x"].concat()] {
            fs::write(&path, junk).unwrap();
            assert!(!reads(&graph, &id), "with something behind it");
        }
        fs::write(&path, &whole).unwrap();
        assert!(reads(&graph, &id));
    });
}
