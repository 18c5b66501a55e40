//! What the index answers, and how fast: `cargo bench -p lith-store`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a program for people")]

use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lith_store::{
    Digest, ImageId, ImageRecord, Intent, LayerId, LayerRecord, NewImage, NewLayer, OpenOptions,
    Reference, Session, Store,
};

const IMAGES: usize = 1000;

fn layer(number: usize) -> LayerId {
    let digest = Digest::of(format!("layer {number}").as_bytes());
    LayerId::from_bytes(*digest.as_bytes())
}

fn image(number: usize) -> ImageRecord {
    let config = format!("{{\"number\":{number}}}").into_bytes();
    ImageRecord {
        id: ImageId::of_bytes(&config),
        config,
        layers: vec![layer(number)],
        manifest: None,
        parent: None,
        created: Some("2024-05-06T07:08:09Z".to_owned()),
        architecture: Some("amd64".to_owned()),
        os: Some("linux".to_owned()),
        variant: None,
        size: 1000,
        extra: Default::default(),
        index: None,
    }
}

fn name(number: usize) -> Reference {
    Reference::parse(&format!("bench/image-{number}:1")).unwrap()
}

/// Publishes images with a layer and a name each, in one step.
fn publish(store: &Store, session: &Session, numbers: std::ops::Range<usize>) {
    let ids: Vec<LayerId> = numbers.clone().map(layer).collect();
    let layers: Vec<NewLayer> = ids
        .iter()
        .map(|id| NewLayer {
            folder: session.scratch("layer").unwrap(),
            record: LayerRecord::new(*id, id.hex()),
        })
        .collect();
    {
        let locks = store.lock_layers(&ids).unwrap();
        let named = ids.iter().map(|id| (*id, id.hex())).collect();
        let intent = session.intend(&Intent::Layers { layers: named }).unwrap();
        store
            .publish_layers(&locks, session, &intent, &layers)
            .unwrap();
        intent.done().unwrap();
    }
    let images = numbers.map(|number| NewImage {
        record: image(number),
        names: vec![name(number)],
    });
    let images: Vec<NewImage> = images.collect();
    store.publish_images(session, &images).unwrap();
}

fn index(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        driver: Some("vfs".to_owned()),
        create: true,
        ..OpenOptions::default()
    };
    let root = folder.path().join("root");
    let store = Store::open(&root, &options).unwrap();
    let session = store.begin().unwrap();
    publish(&store, &session, 0..IMAGES);

    let mut group = criterion.benchmark_group("index of 1,000 images");
    group.measurement_time(Duration::from_secs(2));
    group.bench_function("open", |b| {
        b.iter(|| Store::open(&root, &OpenOptions::default()).unwrap());
    });
    group.bench_function("find an image by a prefix", |b| {
        let id = image(7).id.digest().hex();
        let prefix = id.get(..12).unwrap();
        b.iter(|| store.find_image(prefix).unwrap());
    });
    group.bench_function("find a layer by a prefix", |b| {
        let id = layer(7).hex();
        let prefix = id.get(..12).unwrap();
        b.iter(|| store.find_layer(prefix).unwrap());
    });
    group.bench_function("find a name", |b| {
        let name = name(7);
        b.iter(|| store.name(&name).unwrap());
    });
    group.bench_function("list all images", |b| {
        b.iter(|| assert_eq!(store.images().unwrap().len(), IMAGES));
    });
    group.finish();

    let mut group = criterion.benchmark_group("publish");
    group.sample_size(10);
    group.measurement_time(Duration::from_secs(3));
    let mut next = IMAGES;
    for count in [1, 100] {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("images at once: {count}"), |b| {
            b.iter_batched(
                || {
                    next += count;
                    next - count..next
                },
                |numbers| publish(&store, &session, numbers),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
    session.end().unwrap();
}

criterion_group!(benches, index);
criterion_main!(benches);
