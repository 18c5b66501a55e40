//! The graph of layers, and which images they serve.

use lith_archive::{Forest, tree};
use lith_store::{LayerId, LayerRecord};

use crate::support::{Image, Root};

/// A base of 1 byte, two images on it of 2 and 3 more, and the base as an image.
fn forest_of(root: &Root) -> (Image, Image, Image) {
    let base = Image::new(&["a"]);
    let (one, two) = (Image::new(&["a", "bb"]), Image::new(&["a", "ccc"]));
    root.load_file(&base.archive(&["base:1"])).unwrap();
    root.load_file(&one.archive(&["one:1", "one:2"])).unwrap();
    root.load_file(&two.archive(&[])).unwrap();
    (base, one, two)
}

/// Parent's place, images, size and number of images on top, of each layer.
fn shape(forest: &Forest) -> Vec<(Option<usize>, u64, Option<u64>, usize)> {
    let place = |id: &LayerId| {
        forest
            .layers
            .iter()
            .position(|layer| layer.id == *id)
            .unwrap()
    };
    let layers = forest.layers.iter();
    layers
        .map(|layer| {
            let parent = layer.parent.as_ref().map(place);
            (parent, layer.images, layer.size, layer.top_of.len())
        })
        .collect()
}

#[test]
fn layers_tell_whom_they_serve() {
    let root = Root::new();
    let (base, one, _) = forest_of(&root);
    let forest = tree(&root.graph, None).unwrap();
    let expected = [
        (None, 3, Some(1), 1),
        (Some(0), 1, Some(2), 1),
        (Some(0), 1, Some(3), 1),
    ];
    assert_eq!(shape(&forest), expected);
    assert_eq!(forest.layers[0].children.len(), 2);
    assert_eq!(forest.layers[0].top_of, [base.id()]);
    let totals = forest.totals;
    assert_eq!((totals.layers, totals.images), (3, 3));
    assert_eq!((totals.size, totals.shared, totals.saved), (6, 1, 2));
    assert_eq!((totals.unused, totals.uncounted), (0, 0));
    let image = forest
        .images
        .iter()
        .find(|image| image.id == one.id())
        .unwrap();
    assert_eq!((image.layers, image.size, image.unique_size), (2, 3, 2));
    assert_eq!(image.top, Some(forest.layers[1].id));
    assert_eq!(image.names.len(), 2);
}

#[test]
fn some_images_layers_alone() {
    let root = Root::new();
    let (_, one, _) = forest_of(&root);
    let forest = tree(&root.graph, Some(&[one.id()])).unwrap();
    // The base still serves three.
    assert_eq!(
        shape(&forest),
        [(None, 3, Some(1), 0), (Some(0), 1, Some(2), 1)]
    );
    assert_eq!(forest.images.len(), 1);
    assert_eq!((forest.totals.size, forest.totals.saved), (3, 2));
    assert!(tree(&root.graph, Some(&[])).unwrap().layers.is_empty());
}

#[test]
fn a_chain_of_a_thousand_layers() {
    let root = Root::new();
    let store = root.graph.store();
    let session = store.begin().unwrap();
    let mut parent = None;
    for number in 0..1000 {
        let mut layer = LayerRecord::new(LayerId::random(), format!("tree-{number}"));
        layer.parent = parent;
        layer.size = (number > 0).then_some(1);
        let staged = session.scratch("layer").unwrap();
        store.publish_layer(&session, &staged, &layer).unwrap();
        parent = Some(layer.id);
    }
    let forest = tree(&root.graph, None).unwrap();
    assert_eq!(forest.layers.len(), 1000);
    assert!(
        forest
            .layers
            .iter()
            .all(|layer| layer.children.len() <= 1 && layer.images == 0)
    );
    assert_eq!((forest.totals.unused, forest.totals.uncounted), (999, 1));
}
