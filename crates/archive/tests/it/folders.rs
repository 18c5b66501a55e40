//! Archives that were unpacked to a folder.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use lith_archive::{FolderError, Input, LoadError, LoadOptions, LoadReport, load};

use crate::support::{Image, Root, manifest};

fn load_folder(root: &Root, folder: &Path) -> Result<LoadReport, LoadError> {
    let input = Input::File(folder.to_owned());
    load(&root.graph, input, &LoadOptions::default(), &())
}

/// An image of two layers, the second of which is a link to the first.
fn unpacked(root: &Root) -> (Image, std::path::PathBuf) {
    let layer = Image::new(&["a"]).layers.remove(0);
    let image = Image::of(vec![layer.clone(), layer]);
    let folder = root.path().join("unpacked");
    fs::create_dir_all(folder.join("v1")).unwrap();
    fs::write(folder.join("l.tar"), &image.layers[0]).unwrap();
    symlink("../l.tar", folder.join("v1/layer.tar")).unwrap();
    fs::write(folder.join("c.json"), &image.config).unwrap();
    let manifest = manifest("c.json", &["x:1"], &["l.tar", "v1/layer.tar"]);
    fs::write(folder.join("manifest.json"), manifest).unwrap();
    (image, folder)
}

#[test]
fn an_unpacked_docker_archive() {
    let root = Root::new();
    let (image, folder) = unpacked(&root);
    // The folder itself may be reached through a link.
    symlink("unpacked", root.path().join("to")).unwrap();
    for path in [folder, root.path().join("to")] {
        let report = load_folder(&root, &path).unwrap();
        assert_eq!(report.images[0].id, image.id());
    }
}

#[test]
fn links_lead_nowhere_else() {
    let root = Root::new();
    let (image, folder) = unpacked(&root);
    fs::write(root.path().join("secret.tar"), &image.layers[0]).unwrap();
    let layer = folder.join("v1/layer.tar");
    let again = |target: &str| {
        fs::remove_file(&layer).unwrap();
        symlink(target, &layer).unwrap();
        let error = load_folder(&root, &folder).unwrap_err();
        root.assert_empty(target);
        error
    };
    let outside = root.path().join("secret.tar");
    for target in ["../../secret.tar", outside.to_str().unwrap()] {
        let error = again(target);
        assert!(matches!(error, LoadError::BadPath { .. }), "{error}");
    }
    let error = again("layer.tar");
    assert!(matches!(error, LoadError::LinkLoop { .. }), "{error}");
    let error = again("nothing");
    assert!(matches!(error, LoadError::MissingMember { .. }), "{error}");
    // A folder on the way that is a link.
    symlink("..", folder.join("up")).unwrap();
    let error = again("../up/secret.tar");
    let kind = matches!(error, LoadError::Folder(FolderError::Kind { .. }));
    assert!(kind, "{error}");
    let error = again("../v1");
    let kind = matches!(error, LoadError::Folder(FolderError::Kind { .. }));
    assert!(kind, "{error}");
}

#[test]
fn blobs_are_no_links() {
    let root = Root::new();
    let (image, folder) = unpacked(&root);
    let blob = format!("blobs/sha256/{}", image.id().hex());
    fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    symlink("../../c.json", folder.join(&blob)).unwrap();
    let manifest = manifest(&blob, &["x:1"], &["l.tar", "v1/layer.tar"]);
    fs::write(folder.join("manifest.json"), manifest).unwrap();
    let error = load_folder(&root, &folder).unwrap_err();
    let kind = matches!(error, LoadError::Folder(FolderError::Kind { .. }));
    assert!(kind, "{error}");
}

#[test]
fn folders_without_images() {
    let root = Root::new();
    let folder = root.path().join("folder");
    fs::create_dir_all(folder.join("a/b")).unwrap();
    let error = load_folder(&root, &folder).unwrap_err();
    assert!(matches!(error, LoadError::NoManifest { .. }), "{error}");
    fs::write(folder.join("manifest.json"), "[]").unwrap();
    let error = load_folder(&root, &folder).unwrap_err();
    assert!(matches!(error, LoadError::HoldsNoImage), "{error}");
}
