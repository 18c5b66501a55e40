//! Archives that are cut off or have one byte changed: an error or the right result, and
//! nothing left behind.

use lith_archive::LoadError;

use crate::support::{Image, Root, gzip, members};

#[test]
fn every_truncation_is_an_error_or_complete() {
    let image = Image::new(&["one", "two"]);
    let archive = image.archive(&["example.com/cut:1"]);
    let root = Root::new();
    // What can be cut off without loss: the end mark and the padding before it.
    let content_ends = archive.len() - 1024 - 512 + manifest_len(&archive) % 512;
    let mut step = 0;
    for length in 0..archive.len() {
        // All lengths near block boundaries, some of the others.
        step += 1;
        if !matches!(length % 512, 0 | 1 | 511) && step % 101 != 0 {
            continue;
        }
        let cut = &archive[..length];
        for stream in [false, true] {
            let result = match stream {
                false => root.load_file(cut),
                true => root.load_stream(cut),
            };
            let context = format!("{length} of {} bytes, stream {stream}", archive.len());
            match result {
                Ok(report) => {
                    assert!(length >= content_ends, "{context}");
                    assert_eq!(report.images[0].id, image.id());
                    if length < archive.len() - 1024 + 512 {
                        assert!(!report.warnings.is_empty(), "{context}");
                    }
                    root.remove(&["example.com/cut:1"], false).unwrap();
                }
                Err(LoadError::Empty) => assert_eq!(length, 0),
                Err(LoadError::NotAnArchive) => assert!(length < 512, "{context}"),
                Err(LoadError::Truncated { offset, .. }) => {
                    assert!(offset <= length as u64, "{context}: {offset}");
                }
                Err(error) => panic!("{context}: {error}"),
            }
            root.assert_empty(&context);
        }
    }
}

fn manifest_len(archive: &[u8]) -> usize {
    members(archive)["manifest.json"].2.len()
}

#[test]
fn truncated_compressed_archives_are_errors() {
    let archive = gzip(&Image::new(&["one"]).archive(&["example.com/cut:1"]));
    let root = Root::new();
    for length in (0..archive.len()).step_by(3) {
        root.load_stream(&archive[..length]).unwrap_err();
        root.assert_empty(&length.to_string());
    }
}

#[test]
fn every_changed_byte_of_the_documents_is_an_error_or_harmless() {
    let image = Image::new(&["one"]);
    let archive = image.archive(&["example.com/changed:1"]);
    let root = Root::new();
    let find = |text: &[u8]| {
        archive
            .windows(text.len())
            .position(|part| part == text)
            .unwrap()
    };
    let config = find(&image.config)..find(&image.config) + image.config.len();
    let manifest = find(b"[{")..find(b"}]") + 2;
    for at in config.chain(manifest) {
        // One bit, another one from byte to byte.
        let change = 1_u8 << (at % 8);
        let mut changed = archive.clone();
        changed[at] ^= change;
        let context = format!("byte {at} ^ {change:#x}");
        // What is loaded is what the changed document says, under its own digest.
        if let Ok(report) = root.load_file(&changed) {
            let id = report.images[0].id;
            let record = root.graph.store().image(&id).unwrap().unwrap();
            assert_eq!(
                lith_store::ImageId::of_bytes(&record.config),
                id,
                "{context}"
            );
            assert_eq!(record.layers.len(), 1, "{context}");
            root.remove(&[&id.to_string()], true).unwrap();
        }
        root.assert_empty(&context);
    }
}
