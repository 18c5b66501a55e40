//! How many files of which sizes an image has, and in how many folders.

use super::content::Kind;

/// An image, its layers from the bottom up.
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) layers: Vec<Layer>,
}

/// What a layer adds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer {
    /// The folder that everything is in; several levels are separated by slashes.
    pub(super) root: &'static str,
    pub(super) folders: usize,
    pub(super) files: &'static [Files],
    pub(super) symlinks: usize,
    /// Files of the layer below that it takes away.
    pub(super) whiteouts: usize,
}

/// Files that are alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files {
    pub(super) count: usize,
    /// The smallest and the largest, in bytes; each power of two between has as many.
    pub(super) sizes: (usize, usize),
    pub(super) kind: Kind,
    pub(super) place: Place,
}

/// Where files that are alike are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In all folders of the layer.
    Spread,
    /// In one folder of their own.
    Together,
}

const fn files(count: usize, sizes: (usize, usize), kind: Kind) -> Files {
    let place = Place::Spread;
    Files {
        count,
        sizes,
        kind,
        place,
    }
}

/// A distribution's root file system: 170 MB, 5,200 files.
const BASE: Layer = Layer {
    root: "usr",
    folders: 900,
    files: &[
        files(4000, (64, 32 << 10), Kind::Text),
        files(1200, (4 << 10, 560 << 10), Kind::Binary),
        files(30, (512 << 10, 2 << 20), Kind::Binary),
    ],
    symlinks: 600,
    whiteouts: 0,
};

/// An interpreter: 47 MB, 1,400 files.
const INTERPRETER: Layer = Layer {
    root: "opt/python/lib/python3.11",
    folders: 120,
    files: &[
        files(1300, (200, 60 << 10), Kind::Text),
        files(110, (20 << 10, 1 << 20), Kind::Binary),
        files(1, (6 << 20, 6 << 20), Kind::Binary),
    ],
    symlinks: 60,
    whiteouts: 0,
};

/// Packages with some large shared objects: 390 MB, 12,600 files.
const PACKAGES: Layer = Layer {
    root: "opt/python/lib/python3.11/site-packages",
    folders: 3300,
    files: &[
        files(12_000, (100, 64 << 10), Kind::Text),
        files(630, (16 << 10, 1 << 20), Kind::Binary),
        files(10, (6 << 20, 24 << 20), Kind::Binary),
    ],
    symlinks: 10,
    whiteouts: 0,
};

/// An application that takes some of the packages' files away.
const APPLICATION: Layer = Layer {
    root: "opt/python/lib/python3.11/site-packages",
    folders: 60,
    files: &[files(450, (64, 8 << 10), Kind::Text)],
    symlinks: 10,
    whiteouts: 300,
};

/// Modules of small files, half of them in one folder: 400 MB, 81,000 files.
const MODULES: Layer = Layer {
    root: "app/node_modules",
    folders: 3500,
    files: &[
        Files {
            count: 43_000,
            sizes: (250, 1500),
            kind: Kind::Text,
            place: Place::Together,
        },
        files(31_000, (64, 4 << 10), Kind::Text),
        files(7000, (4 << 10, 150 << 10), Kind::Text),
    ],
    symlinks: 30,
    whiteouts: 0,
};

/// Every image of the corpus.
pub(super) fn all() -> Vec<Shape> {
    vec![
        Shape {
            name: "python-app",
            layers: vec![BASE, INTERPRETER, PACKAGES, APPLICATION],
        },
        Shape {
            name: "node-app",
            layers: vec![BASE, MODULES],
        },
    ]
}
