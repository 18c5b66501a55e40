//! Cost does not grow with what the store holds.

use std::time::Duration;

use lith_store::*;

use crate::common::*;

/// Fills the index, and only the index: folders are of no concern to what is measured.
fn fill(store: &Store, count: i64) {
    let mut index = rusqlite::Connection::open(store.root().index()).unwrap();
    let fill = index.transaction().unwrap();
    let record = |name: &str| serde_json::to_string(&record(name, None)).unwrap();
    let insert = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        fill.prepare_cached(sql).unwrap().execute(values).unwrap();
    };
    let layer = "INSERT INTO layers (num, id, cache, size, synced, kept, record)
                 VALUES (?1, ?2, ?2, 1000, 0, 0, ?3)";
    let part = "INSERT INTO image_layers VALUES (?1, ?2, ?3)";
    insert(layer, &[&1, &layer_id("base").hex(), &record("base")]);
    for n in 2..count + 2 {
        let text = n.to_string();
        insert(layer, &[&n, &layer_id(&text).hex(), &record(&text)]);
        let id = ImageId::of_bytes(text.as_bytes()).to_string();
        let image = "INSERT INTO images (num, id, manifest, created, created_at, architecture, os)
                     VALUES (?1, ?2, ?2, '2024-01-01T00:00:00Z', ?1, 'amd64', 'linux')";
        insert(image, &[&n, &id]);
        insert(part, &[&n, &0, &1]);
        insert(part, &[&n, &1, &n]);
        let name = format!("docker.io/library/image{n}:latest");
        insert("INSERT INTO names VALUES (?1, 'x', ?2)", &[&name, &id]);
    }
    fill.commit().unwrap();
}

fn best<T>(mut work: impl FnMut() -> T) -> Duration {
    (0..7)
        .map(|_| {
            let start = on_cpu();
            work();
            on_cpu() - start
        })
        .min()
        .unwrap()
}

#[test]
fn ten_thousand_images() {
    let mut times = Vec::new();
    for count in [10_i64, 10_000] {
        let fixture = fixture();
        fill(&fixture.open(), count);
        let store = fixture.open();
        assert_eq!(store.images().unwrap().len() as i64, count);
        let list = best(|| store.images().unwrap());
        let open = best(|| fixture.open().dead_sessions().unwrap());
        let round = best(|| {
            let session = store.begin().unwrap();
            add_layer(&store, &session, "new", None).unwrap();
            let image = image("new", &["new"]);
            store
                .publish_image_as(&session, &image, &[name("new")])
                .unwrap();
            store.find_image(&image.id.hex()[..12]).unwrap();
            store.remove_name(&session, &name("new")).unwrap();
            store.remove_image(&session, &image.id).unwrap();
            delete_layer(&store, &session, "new").unwrap();
            session.end().unwrap();
        });
        println!("{count}: list {list:?}, open {open:?}, load and remove {round:?}");
        times.push((list, open, round));
    }
    // Generous: the machine may be busy. A cost that grows would be a thousand times.
    let (small, large) = (&times[0], &times[1]);
    assert!(large.0 < Duration::from_millis(400), "{times:?}");
    assert!(
        large.1 < small.1 * 4 + Duration::from_millis(5),
        "{times:?}"
    );
    assert!(
        large.2 < small.2 * 4 + Duration::from_millis(5),
        "{times:?}"
    );
}

/// A chain is followed without recursion.
#[test]
fn a_thousand_layers_deep() {
    let fixture = fixture();
    let store = fixture.open();
    let session = store.begin().unwrap();
    add_layer(&store, &session, "0", None).unwrap();
    for depth in 1..1000_u32 {
        let parent = (depth - 1).to_string();
        add_layer(&store, &session, &depth.to_string(), Some(&parent)).unwrap();
    }
    assert_eq!(store.layer_chain(&layer_id("999")).unwrap().len(), 1000);
    let done = session.into_dead().recover(&mut |_| Ok(())).unwrap();
    assert_eq!(done.swept.len(), 1000);
    assert_eq!(state(&store), State::default());
}

/// Prints what things cost in a store of `LITH_STORE_IMAGES` images, made by one call, below
/// `LITH_STORE_FOLDER`.
#[test]
#[ignore = "takes long and asserts little: cargo test --release -- --ignored figures --nocapture"]
fn figures() {
    let var = |name: &str, or: &str| std::env::var(name).unwrap_or_else(|_| or.to_owned());
    let count: usize = var("LITH_STORE_IMAGES", "10000").parse().unwrap();
    let folder = tempfile::tempdir_in(var("LITH_STORE_FOLDER", "/tmp")).unwrap();
    let path = folder.path().join("root");
    let open = || Store::open(&path, &options()).unwrap();
    let timed = |what: &str, work: &mut dyn FnMut()| {
        let (start, cpu) = (std::time::Instant::now(), on_cpu());
        work();
        println!("{what}: {:?}, {:?} on CPU", start.elapsed(), on_cpu() - cpu);
    };
    let often = |what: &str, work: &mut dyn FnMut()| {
        let once = || {
            let start = std::time::Instant::now();
            work();
            start.elapsed()
        };
        let shortest = std::iter::repeat_with(once).take(30).min();
        println!("{what}: {:?} at best", shortest.unwrap_or_default());
    };
    println!();

    let store = open();
    let session = store.begin().unwrap();
    add_layer(&store, &session, "base", None).unwrap();
    // Rows are enough: layers are not what is measured.
    let mut index = rusqlite::Connection::open(store.root().index()).unwrap();
    let fill = index.transaction().unwrap();
    for n in 0..count {
        let record = record(&n.to_string(), Some("base"));
        let sql = "INSERT INTO layers (id, parent, cache, size, synced, kept, record)
                   VALUES (?1, ?2, ?3, 1000, 0, 0, ?4)";
        let text = serde_json::to_string(&record).unwrap();
        let row = (record.id.hex(), layer_id("base").hex(), &record.cache, text);
        fill.prepare_cached(sql).unwrap().execute(row).unwrap();
    }
    fill.commit().unwrap();
    let images: Vec<NewImage> = (0..count)
        .map(|n| {
            let name = format!("image{n}:latest");
            new_image(&n.to_string(), &["base", &n.to_string()], &[&name])
        })
        .collect();
    timed("publish all", &mut || {
        store.publish_images(&session, &images).unwrap();
    });
    timed("publish all again", &mut || {
        store.publish_images(&session, &images).unwrap();
    });
    session.end().unwrap();
    let one = &images[count / 2];
    let session = store.begin().unwrap();
    timed("publish one", &mut || {
        let new = new_image("new", &["base"], &["new:1"]);
        store.publish_images(&session, &[new]).unwrap();
    });
    timed("remove it", &mut || {
        store.remove_name(&session, &name("new:1")).unwrap();
        store
            .remove_image(&session, &ImageId::of_bytes(b"new"))
            .unwrap();
    });
    session.end().unwrap();
    often("open and look for dead sessions", &mut || {
        open().dead_sessions().unwrap();
    });
    often("images()", &mut || drop(store.images().unwrap()));
    often("images_of(1)", &mut || {
        assert_eq!(store.images_of(&[one.record.id]).unwrap().len(), 1);
    });
    often("find_image", &mut || {
        store.find_image(&one.record.id.hex()[..20]).unwrap();
    });
    often("name", &mut || {
        assert!(store.name(&one.names[0]).unwrap().is_some());
    });
    often("image", &mut || drop(store.image(&one.record.id).unwrap()));
    often("layer_uses", &mut || drop(store.layer_uses().unwrap()));
    often("heads", &mut || drop(store.heads().unwrap()));
    often("by_parent", &mut || drop(store.by_parent().unwrap()));
    often("unclaimed_layers", &mut || {
        drop(store.unclaimed_layers().unwrap());
    });
}
