//! All cases: first those of the field's suites by their names there, then the list of behaviours.

use super::case::{Case, Done};
use super::{chains, changed, files, hiding, layers, mounted};

/// A case.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) asserts: &'static str,
    pub(super) run: fn(&Case<'_>) -> Done,
}

const fn case(name: &'static str, asserts: &'static str, run: fn(&Case<'_>) -> Done) -> Entry {
    Entry { name, asserts, run }
}

pub(super) const CASES: &[Entry] = &[
    // containers/storage and moby: graphtest.
    case(
        "graphtest-create-empty",
        "a layer of nothing shows an empty root, 0755, root's",
        layers::create_empty,
    ),
    case(
        "graphtest-create-base",
        "modes with special bits and owners are there",
        files::base,
    ),
    case(
        "graphtest-create-snap",
        "a child of nothing shows what its parent does",
        chains::snap,
    ),
    case(
        "graphtest-create-snap-root",
        "the root's mode is inherited, and changed for one's own children only",
        chains::root_mode,
    ),
    case(
        "graphtest-create-from-template",
        "a layer from a template has no changes against it",
        layers::template,
    ),
    case(
        "graphtest-deep-layer-read",
        "files of the lowest and each of 128 layers are read right",
        chains::deep_128,
    ),
    case(
        "graphtest-diff-apply",
        "a difference applied beside gives the same tree and size",
        changed::round_trip,
    ),
    case(
        "graphtest-changes",
        "exactly what was changed, added and removed, and the parent once",
        changed::of_twenty,
    ),
    case(
        "graphtest-echo",
        "at 9 depths: one removal, every directory on its way once, then all anew",
        changed::echo,
    ),
    case(
        "graphtest-set-quota",
        "writing beyond a quota fails",
        layers::quota,
    ),
    case(
        "graphtest-list-layers",
        "exactly the layers that were made",
        layers::list,
    ),
    case(
        "graphtest-force-mask",
        "an overridden mode of the root is seen from a child",
        layers::other_engines,
    ),
    case(
        "graphtest-supports-shifting",
        "what is said of shifting owners is true of the map",
        layers::other_engines,
    ),
    case(
        "graphtest-dir-copy",
        "copies keep attributes and links and never share a file with the source",
        files::copies,
    ),
    case(
        "graphtest-copy-regular",
        "content is right whatever way it is copied",
        files::copies,
    ),
    case(
        "graphtest-foreign-home",
        "a folder with data of another driver is noticed",
        layers::of_the_store,
    ),
    // containerd: the snapshotter suite.
    case(
        "snapshots-basic",
        "three layers, each over the one before, show their changes",
        layers::basic,
    ),
    case(
        "snapshots-stat-active",
        "what is known of a writable layer is right",
        layers::writable_facts,
    ),
    case(
        "snapshots-stat-committed",
        "what is known of a layer is right",
        layers::status,
    ),
    case(
        "snapshots-transitivity",
        "what a layer stands on shows through all of them",
        layers::basic,
    ),
    case(
        "snapshots-prepare-view",
        "the same name twice fails",
        layers::same_key_twice,
    ),
    case(
        "snapshots-update",
        "a label is replaced, the rest stays",
        layers::relabel,
    ),
    case(
        "snapshots-remove",
        "names can be used again, over another parent, too",
        layers::remove,
    ),
    case(
        "snapshots-walk",
        "layers are found by kind, name, parent and label",
        layers::walk_filters,
    ),
    case(
        "snapshots-stat-in-walk",
        "asking while listing does not wait for ever",
        layers::writable_facts,
    ),
    case(
        "snapshots-layer-file-update",
        "a file of the same size and time, and a mode, both show",
        changed::file_update,
    ),
    case(
        "snapshots-remove-directory-in-lower",
        "a directory made anew hides the old one's files, in a grandchild, too",
        hiding::opaque,
    ),
    case(
        "snapshots-chown",
        "owners of directories and files show in the child",
        changed::owners,
    ),
    case(
        "snapshots-directory-permission-on-commit",
        "owners of directories made anew over three layers",
        changed::permissions_on_commit,
    ),
    case(
        "snapshots-remove-intermediate",
        "what a mounted writable layer stands on is refused, or not needed",
        layers::remove_below,
    ),
    case(
        "snapshots-deleted-files-in-child",
        "what was removed stays so over an empty layer",
        hiding::removed_stays_removed,
    ),
    case(
        "snapshots-move-file-from-lower",
        "a file made again elsewhere, its directory removed",
        hiding::moved,
    ),
    case(
        "snapshots-link-to-lower",
        "a hard link has the bytes when the lower name is gone",
        files::link_to_lower,
    ),
    case(
        "snapshots-view-readonly",
        "writing to a layer fails",
        mounted::read_only,
    ),
    case(
        "snapshots-close-twice",
        "mounts are taken away one by one",
        mounted::twice,
    ),
    case(
        "snapshots-root-permission",
        "a fresh root is 0755",
        layers::create_empty,
    ),
    case(
        "snapshots-rename",
        "of lower files works, of lower directories where the file system can",
        hiding::renamed,
    ),
    case(
        "snapshots-128-layers-mount",
        "many layers are at each step what a flat directory is",
        chains::mounted_128,
    ),
    // continuity: FSSuite.
    case(
        "fs-basic",
        "files and directories come through",
        layers::basic,
    ),
    case("fs-deletion", "what was removed is gone", hiding::whiteout),
    case(
        "fs-parent-permissions",
        "modes of directories with new children stay",
        changed::parent_permissions,
    ),
    case(
        "fs-same-content",
        "a mode set to what it was, a file rewritten",
        changed::kinds_and_modes,
    ),
    case(
        "fs-update",
        "kind, size and mode of files change",
        files::kinds_swapped,
    ),
    case(
        "fs-hardlink-unmodified",
        "a name added to an unmodified file",
        changed::links_added,
    ),
    case(
        "fs-hardlink-before",
        "a name that sorts before the source",
        changed::links_added,
    ),
    case(
        "fs-hardlink-after",
        "a name that sorts after the source",
        changed::links_added,
    ),
    case(
        "fs-hardlink-replaced",
        "a name of a file whose source was replaced",
        changed::links_added,
    ),
    // The list of behaviours.
    case(
        "b01-empty-layer",
        "root there and empty; an unknown layer is not there and an error",
        layers::unknown,
    ),
    case(
        "b02-taken-and-missing",
        "a taken name leaves the first as it is",
        layers::create_twice,
    ),
    case(
        "b02-missing-parent",
        "a missing parent is refused and leaves nothing",
        layers::missing_parent,
    ),
    case(
        "b03-remove-missing",
        "removing what is not there is no error",
        layers::remove,
    ),
    case(
        "b04-mount-twice",
        "a layer shows at several places, until each is taken away",
        mounted::twice,
    ),
    case(
        "b05-root-inherited",
        "mode and owner of the root",
        chains::root_mode,
    ),
    case(
        "b06-attributes",
        "mode, owner, content and time to the nanosecond, through child and difference",
        files::attributes,
    ),
    case(
        "b07-set-id-and-capabilities",
        "survive the change of owner",
        files::set_id_and_capabilities,
    ),
    case(
        "b08-times",
        "of directories after their files, of links and not their targets",
        files::times,
    ),
    case(
        "b09-hard-links",
        "stay one file, and are one file and links in a tar",
        files::hard_links,
    ),
    case(
        "b10-broken-pair",
        "one name of a lower pair is replaced; the layer below stays",
        files::broken_pair,
    ),
    case(
        "b11-link-to-lower",
        "readable, survives the removal of the lower name",
        files::link_to_lower,
    ),
    case(
        "b12-symlinks",
        "verbatim; swapped with directories both ways, nothing written through them",
        files::symlinks,
    ),
    case(
        "b13-kinds-swapped",
        "a file over a directory and the other way, nothing left of the old",
        files::kinds_swapped,
    ),
    case(
        "b14-special-files",
        "fifos and devices with big numbers; sockets are left out of tars",
        files::special_files,
    ),
    case(
        "b15-file-removed",
        "a whiteout in the tar that shows nowhere",
        hiding::whiteout,
    ),
    case(
        "b16-directory-removed",
        "one whiteout, none for what was in it",
        hiding::directory,
    ),
    case(
        "b17-directory-made-anew",
        "hides what was in it, for layers above, too",
        hiding::opaque,
    ),
    case(
        "b18-whiteout-of-nothing",
        "harmless; what the same layer brings shows in any order",
        hiding::of_nothing,
    ),
    case(
        "b19-directory-attributes",
        "one change, none for what is in it",
        changed::attributes_alone,
    ),
    case(
        "b20-one-thing-of-a-file",
        "content of the same size and time, mode, owner, time, attribute",
        changed::one_thing_of_a_file,
    ),
    case(
        "b21-unchanged",
        "no changes, a tar of two empty blocks, size 0",
        changed::nothing,
    ),
    case(
        "b22-added-tree",
        "every path, and each directory on the way once",
        changed::echo,
    ),
    case(
        "b23-applied-size",
        "bytes of regular files, names of one file counted once",
        layers::applied_size,
    ),
    case(
        "b23-counted-once",
        "the same of a layer over nothing",
        changed::counted_once,
    ),
    case(
        "b24-apply-of-diff",
        "the same tree, and the same difference again",
        changed::round_trip,
    ),
    case(
        "b25-failed-half-way",
        "leaves nothing; the right tar then works",
        layers::abandoned,
    ),
    case(
        "b26-many-lowers",
        "130 layers, equal ones among them; a clear error beyond the limit",
        chains::beyond_the_limit,
    ),
    case(
        "b27-lowest-of-128",
        "the lowest reads right, the newest wins",
        chains::deep_128,
    ),
    case(
        "b28-list",
        "exactly the layers that were made",
        layers::list,
    ),
    case("b29-quota", "an error, no silent success", layers::quota),
    case(
        "b30-read-only",
        "layers cannot be written",
        mounted::read_only,
    ),
    case(
        "b31-shifted-owners",
        "owners are shifted on the disk and back",
        files::shifted,
    ),
    case(
        "b32-hiding-for-this-user",
        "whiteouts and opaque directories work for whoever runs this",
        files::rootless,
    ),
    case(
        "b33-overlay-attributes",
        "of a tar never take effect, and are in no difference",
        files::overlay_attributes,
    ),
    case(
        "b34-missing-parents",
        "made with 0755, root's; those of the layer below keep theirs",
        files::missing_parents,
    ),
    case(
        "b35-crash",
        "what was left half-done is found and removed at the next open",
        layers::abandoned,
    ),
    case(
        "b36-copies",
        "keep links and attributes, never the source's file",
        files::copies,
    ),
    case(
        "b37-diff-of-base",
        "everything is new, parents before children",
        changed::of_the_base,
    ),
    case(
        "b38-names",
        "no text, newlines, 255 bytes, case alone, deeper than any path",
        files::names_of_files,
    ),
    case(
        "b39-two-processes",
        "one makes and removes while another lists: nothing half-made is seen",
        layers::two_processes,
    ),
    case(
        "b40-status",
        "mounts are found by other processes, and keep their layers",
        layers::status,
    ),
];
