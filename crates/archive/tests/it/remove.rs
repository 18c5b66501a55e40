//! Taking names and images out again.

use lith_archive::{
    Because, Item, Kept, RemoveError, RemoveOptions, SelectError, remove, select, untag,
};
use lith_graph::Observer;
use lith_store::Reference;

use crate::support::{Image, Root};

#[test]
fn the_last_name_takes_the_image_with_it() {
    let root = Root::new();
    let image = Image::new(&["a", "b"]);
    root.load_file(&image.archive(&["app:1", "app:2"])).unwrap();
    let report = root.remove(&["app:1"], false).unwrap();
    assert_eq!(report.untagged.len(), 1);
    assert!(report.deleted.is_empty() && report.layers.is_empty());
    let [kept] = &report.kept[..] else {
        panic!("{:?}", report.kept)
    };
    let names = vec![Reference::parse("app:2").unwrap()];
    assert_eq!(kept.item, Item::Image(image.id()));
    assert_eq!(kept.because, Because::Named(names));
    let report = root.remove(&["app:2"], false).unwrap();
    assert_eq!(report.deleted, [image.id()]);
    assert_eq!(report.layers.len(), 2);
    assert!(report.kept.is_empty());
    root.assert_empty("all removed");
}

#[test]
fn by_id() {
    let root = Root::new();
    let image = Image::new(&["a"]);
    root.load_file(&image.archive(&["app:1", "app:2"])).unwrap();
    let id = image.id().to_string();
    let error = root.remove(&[&id], false).unwrap_err();
    let RemoveError::SeveralNames { names, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(*names, ["app:1", "app:2"]);
    let report = root.remove(&[&id, "app:1"], true).unwrap();
    assert_eq!((report.untagged.len(), report.deleted.len()), (2, 1));
    root.assert_empty("forced");
    // With one name, and with none.
    for tags in [&["app:1"][..], &[]] {
        root.load_file(&image.archive(tags)).unwrap();
        root.remove(&[&image.id().hex()[..12]], false).unwrap();
        root.assert_empty("by prefix");
    }
}

#[test]
fn shared_layers_stay_and_it_is_said_why() {
    let root = Root::new();
    let (base, top) = (Image::new(&["a"]), Image::new(&["a", "b"]));
    root.load_file(&base.archive(&["base:1"])).unwrap();
    root.load_file(&top.archive(&["top:1"])).unwrap();
    let report = root.remove(&["top:1"], false).unwrap();
    assert_eq!(report.layers.len(), 1);
    let [kept] = &report.kept[..] else {
        panic!("{:?}", report.kept)
    };
    assert_eq!(kept.because, Because::Images(vec![base.id()], 1));
    assert!(kept.to_string().contains(&base.id().to_string()), "{kept}");
    serde_json::to_string(&report).unwrap();
    // The other way round: the base's layer is under the other image.
    root.load_file(&top.archive(&["top:1"])).unwrap();
    let report = root.remove(&["base:1"], false).unwrap();
    assert_eq!((report.deleted.len(), report.layers.len()), (1, 0));
    root.remove(&["top:1"], false).unwrap();
    root.assert_empty("both removed");
}

#[test]
fn nothing_is_removed_when_one_is_not_there() {
    let root = Root::new();
    let image = Image::new(&["a"]);
    root.load_file(&image.archive(&["app:1"])).unwrap();
    // A bare name means `latest`, never what happens to be there.
    for wrong in ["app:2", "app", "other:1"] {
        let error = root.remove(&["app:1", wrong], false).unwrap_err();
        assert!(
            matches!(error, RemoveError::Select(SelectError::NotFound { .. })),
            "{error}"
        );
    }
    assert_eq!(root.graph.store().names().unwrap().len(), 1);
}

#[test]
fn untagged_images_stay() {
    let root = Root::new();
    let image = Image::new(&["a"]);
    root.load_file(&image.archive(&["app:1"])).unwrap();
    let report = untag(&root.graph, &["app:1".to_owned()], &()).unwrap();
    assert_eq!(report.untagged.len(), 1);
    assert_eq!(root.graph.store().images().unwrap().len(), 1);
    untag(&root.graph, &["app:1".to_owned()], &()).unwrap_err();
    untag(&root.graph, &[image.id().to_string()], &()).unwrap_err();
}

/// The reasons for which layers stay.
fn reasons(kept: &[Kept]) -> Vec<&Because> {
    let layers = kept
        .iter()
        .filter(|kept| matches!(kept.item, Item::Layer(_)));
    layers.map(|kept| &kept.because).collect()
}

#[test]
fn what_is_mounted_goes_only_by_force_and_its_layers_go_with_the_mount() {
    let root = Root::new();
    let image = Image::new(&["a"]);
    root.load_file(&image.archive(&["app:1", "app:2"])).unwrap();
    let top = root.graph.store().layers_of_image(&image.id()).unwrap()[0];
    let target = root.path().join("mounted");
    std::fs::create_dir(&target).unwrap();
    let mount = root.graph.mount(&top, &target).unwrap();

    // A name may go while another stays.
    root.remove(&["app:1"], false).unwrap();
    for wanted in ["app:2", &image.id().to_string()] {
        let error = root.remove(&[wanted], false).unwrap_err();
        let RemoveError::Mounted { places, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(places.as_slice(), std::slice::from_ref(&target));
    }
    assert_eq!(root.graph.store().names().unwrap().len(), 1);

    let report = root.remove(&["app:2"], true).unwrap();
    assert_eq!(report.deleted, [image.id()]);
    assert_eq!(reasons(&report.kept), [&Because::Mounted(vec![target])]);
    drop(mount);
    let session = root.graph.store().begin().unwrap();
    root.graph.sweep_unclaimed(&session, &[top]).unwrap();
    session.end().unwrap();
    root.assert_empty("unmounted");
}

#[test]
fn layers_of_a_removed_image_go_when_the_save_that_holds_them_ends() {
    let root = Root::new();
    let (image, other) = (Image::new(&["a", "b"]), Image::new(&["a", "c"]));
    root.load_file(&image.archive(&["app:1"])).unwrap();
    root.load_file(&other.archive(&["other:1"])).unwrap();
    let save = select(&root.graph, &["app:1".to_owned()]).unwrap();
    let report = root.remove(&["app:1"], false).unwrap();
    assert_eq!((report.deleted.len(), report.layers.len()), (1, 0));
    assert!(matches!(
        reasons(&report.kept)[..],
        [Because::Sessions(_), Because::Images(..)]
    ));
    drop(save);
    assert_eq!(root.graph.store().layers().unwrap().len(), 2);
    root.remove(&["other:1"], false).unwrap();
    root.assert_empty("the save has ended");
}

#[test]
fn the_image_that_others_were_built_on_may_go() {
    let root = Root::new();
    let (base, top) = (Image::new(&["a"]), Image::new(&["a", "b"]));
    root.load_file(&base.archive(&["base:1"])).unwrap();
    root.load_file(&top.archive(&["top:1"])).unwrap();
    let report = root.remove(&["base:1", "top:1"], false).unwrap();
    assert_eq!((report.deleted.len(), report.layers.len()), (2, 2));
    assert!(report.kept.is_empty(), "{:?}", report.kept);
    root.assert_empty("both at once");
}

/// Asks to stop when it is asked for the n-th time.
struct StopAt(std::sync::atomic::AtomicUsize);

impl Observer for StopAt {
    fn cancelled(&self) -> bool {
        self.0.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) == 1
    }
}

#[test]
fn an_interruption_tells_what_was_done_and_the_next_open_finishes() {
    for stop_at in 1..=4 {
        let root = Root::new();
        let images = [Image::new(&["a", "b"]), Image::new(&["c"])];
        root.load_file(&images[0].archive(&["one:1"])).unwrap();
        root.load_file(&images[1].archive(&["two:1"])).unwrap();
        let wanted = ["one:1".to_owned(), "two:1".to_owned()];
        let stop = StopAt(stop_at.into());
        let result = remove(&root.graph, &wanted, &RemoveOptions::default(), &stop);
        let Err(RemoveError::Stopped { done, source }) = result else {
            panic!("{stop_at}: {result:?}")
        };
        assert!(matches!(*source, RemoveError::Cancelled), "{source}");
        // Twice before an image, then before a layer that no other took along.
        assert_eq!(done.deleted.len(), (stop_at - 1).min(2), "{stop_at}");
        assert_eq!(done.layers.len(), stop_at.saturating_sub(3), "{stop_at}");
        root.reopen();
        let left: usize = images
            .iter()
            .skip(done.deleted.len())
            .map(|i| i.layers.len())
            .sum();
        assert_eq!(
            root.graph.store().layers().unwrap().len(),
            left,
            "{stop_at}"
        );
        for image in images.iter().skip(done.deleted.len()) {
            root.remove(&[&image.id().to_string()], true).unwrap();
        }
        root.assert_empty("interrupted");
    }
}
