//! Whatever step of a load fails, the store is as it was before.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::{Image, Root, Tar};

/// Two images that share a layer, under three names.
fn archive(first: &Image, second: &Image) -> Vec<u8> {
    let mut tar = Tar::new();
    let names = |image: &Image| -> Vec<String> {
        (0..image.layers.len())
            .map(|index| image.layer_name(index))
            .collect()
    };
    tar.file(&first.layer_name(0), &first.layers[0]);
    tar.file(&second.layer_name(1), &second.layers[1]);
    tar.file("1.json", &first.config);
    tar.file("2.json", &second.config);
    let items = serde_json::json!([
        { "Config": "1.json", "RepoTags": ["app:1", "app:moved"], "Layers": names(first) },
        { "Config": "2.json", "RepoTags": ["app:2"], "Layers": names(second) },
    ]);
    tar.file("manifest.json", items.to_string().as_bytes());
    tar.finish()
}

#[test]
fn every_effect_may_fail() {
    let before = Image::new(&["before"]);
    let (first, second) = (Image::new(&["a"]), Image::new(&["a", "b"]));
    let archive = archive(&first, &second);
    let root = Root::new();
    root.load_file(&before.archive(&["app:moved"])).unwrap();
    let store = root.graph.store();
    let effects = store.effects();
    for failing in 0.. {
        let seen = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&seen);
        let refused = Arc::new(Mutex::new(String::new()));
        let note = Arc::clone(&refused);
        effects.set_hook(Some(Arc::new(move |effect| {
            if counter.fetch_add(1, Ordering::Relaxed) == failing {
                *note.lock().unwrap() = format!("{effect:?}");
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            Ok(())
        })));
        let result = match failing % 2 {
            0 => root.load_file(&archive),
            _ => root.load_stream(&archive),
        };
        effects.set_hook(None);
        let refused = refused.lock().unwrap();
        let context = format!("effect {failing}, {refused}: {result:?}");
        if seen.load(Ordering::Relaxed) <= failing {
            result.unwrap();
            assert!(failing > 20, "the hook saw nothing");
            return;
        }
        let loaded = result.is_ok();
        // A failure to clear away what has done its work need not fail the load.
        if loaded {
            let names = [
                "app:1".to_owned(),
                "app:2".to_owned(),
                "app:moved".to_owned(),
            ];
            lith_archive::remove(
                &root.graph,
                &names,
                &lith_archive::RemoveOptions::default(),
                &(),
            )
            .unwrap();
            root.load_file(&before.archive(&["app:moved"])).unwrap();
        }
        let left: Vec<_> = store
            .images()
            .unwrap()
            .iter()
            .map(|image| image.id)
            .collect();
        assert_eq!(left, [before.id()], "{context}");
        let names = store.names().unwrap();
        assert_eq!(names.len(), 1, "{context}");
        assert_eq!(names[0].1, before.id(), "{context}");
        assert_eq!(store.layers().unwrap().len(), 1, "{context}");
        // Then whoever opens the store next clears it away.
        if loaded {
            root.reopen();
        }
        let staging = std::fs::read_dir(store.root().staging()).unwrap();
        assert_eq!(staging.count(), 0, "{context}: staging");
    }
}
