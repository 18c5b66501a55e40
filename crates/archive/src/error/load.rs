//! Why an archive cannot be loaded.

use std::io;
use std::path::PathBuf;

use lith_graph::{GraphError, RegisterError};
use lith_store::{
    DiffId, ImageError, ImageId, NameError, ParseDigestError, ParseReferenceError, Reference,
    RetainError, StoreError,
};

use super::join;
use crate::EngineError;
use crate::FolderError;
use crate::config::ConfigError;
use crate::members::BlobError;
use crate::oci::{DocumentError, Platform};

/// Why an archive could not be loaded. The store is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The input has no bytes at all.
    #[error("the input is empty")]
    Empty,
    /// The input does not begin like an archive.
    #[error("not an image archive: the input is no tar, compressed or not")]
    NotAnArchive,
    /// A tar or a folder, but nothing in it describes an image.
    #[error(
        "not an image archive: it has {members} members, but neither manifest.json nor \
         oci-layout with index.json, nor repositories"
    )]
    NoManifest {
        /// How many members it has.
        members: usize,
    },
    /// A format of the field that is not read here.
    #[error("the input is {format}, which is not read yet")]
    Unsupported {
        /// The format's name.
        format: &'static str,
    },
    /// A manifest that lists no image.
    #[error("the archive holds no image: manifest.json lists none")]
    HoldsNoImage,
    /// The input stops in the middle.
    #[error("the archive is truncated at offset {offset}: {missing} is missing")]
    Truncated {
        /// Bytes that were there, uncompressed.
        offset: u64,
        /// What should have followed.
        missing: String,
    },
    /// The archive's tar is broken.
    #[error("the archive is damaged at offset {offset}: {reason}")]
    Damaged {
        /// Where the broken part begins, uncompressed.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// More members, or longer names, than any archive of images has.
    #[error("the archive has more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much of it is read.
        limit: usize,
    },
    /// A JSON document that is larger than any of its kind.
    #[error("member {member} has {size} bytes, more than the {limit} that are read of a document")]
    TooLarge {
        /// The member.
        member: String,
        /// Its size.
        size: u64,
        /// The bound.
        limit: u64,
    },
    /// A JSON document that cannot be read.
    #[error("member {member} cannot be read")]
    Document {
        /// The member.
        member: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A config that cannot be used.
    #[error("config {member} cannot be used")]
    Config {
        /// The member.
        member: String,
        /// Why.
        source: ConfigError,
    },
    /// The manifest does not say where the config is.
    #[error("image {index} of manifest.json has no Config")]
    NoConfig {
        /// Counted from 0.
        index: usize,
    },
    /// A member that the manifest or a link names is not there.
    #[error("{wanted_by} names a member that the archive lacks: {member}")]
    MissingMember {
        /// The member.
        member: String,
        /// Who needs it.
        wanted_by: String,
    },
    /// Two members with one name, and the name is used.
    #[error("member {member} is there twice, at offsets {first} and {second}")]
    Duplicate {
        /// The name.
        member: String,
        /// Where the first begins.
        first: u64,
        /// Where the second begins.
        second: u64,
    },
    /// Links that lead to each other.
    #[error("link {member} leads back to itself")]
    LinkLoop {
        /// The link that was followed first.
        member: String,
    },
    /// A name or link target that cannot be followed.
    #[error("{wanted_by} names {path:?}: {reason}")]
    BadPath {
        /// The path as it stands there.
        path: String,
        /// Who names it.
        wanted_by: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A member that should have bytes is something else.
    #[error("member {member} is {kind}, expected a regular file")]
    NotRegular {
        /// The member.
        member: String,
        /// What it is.
        kind: &'static str,
    },
    /// A manifest or index that cannot be used.
    #[error("{member} cannot be used")]
    Manifest {
        /// The member.
        member: String,
        /// Why.
        source: DocumentError,
    },
    /// An index where a manifest was promised, or the other way round.
    #[error("{member} is {found}, but what lists it says that it is {expected}")]
    OtherKind {
        /// The member.
        member: String,
        /// What was promised.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// An OCI layout of another version.
    #[error("the OCI layout has version {found:?}, which is not read: expected \"1.0.0\"")]
    LayoutVersion {
        /// What `oci-layout` says.
        found: String,
    },
    /// A docker-dir of another version.
    #[error("its file version says {found:?}, expected \"Directory Transport Version: 1.1\"")]
    DirVersion {
        /// What the file says.
        found: String,
    },
    /// Nothing that is listed is an image.
    #[error("there is no image in it{}", because(left_out))]
    NoImages {
        /// What there is instead.
        left_out: Vec<String>,
    },
    /// An image that is not there for the platform.
    #[error(
        "{image} is not there for {wanted}: it is there for {}",
        super::join(available)
    )]
    NoPlatform {
        /// What it is called.
        image: String,
        /// For what it was wanted.
        wanted: Box<Platform>,
        /// For what there is one.
        available: Vec<String>,
    },
    /// Bytes that are not what a descriptor says.
    #[error("{member} is not what its descriptor says")]
    Blob {
        /// The member.
        member: String,
        /// What is different.
        source: BlobError,
    },
    /// A layer that passed before anything said which digest it should have.
    #[error("layer {member} passed before its digest was known: load the archive from a file")]
    Unverified {
        /// The member.
        member: String,
    },
    /// Manifest and config disagree about the number of layers.
    #[error("config {config} has {diff_ids} diff IDs, but its image lists {layers} layers")]
    LayerCount {
        /// Member with the config.
        config: String,
        /// Layers of the manifest.
        layers: usize,
        /// Diff IDs of the config.
        diff_ids: usize,
    },
    /// One member is to be two different layers.
    #[error("layer {member} is said to be {first} and also {second}")]
    TwoDiffIds {
        /// The member.
        member: String,
        /// What one image says.
        first: DiffId,
        /// What another says.
        second: DiffId,
    },
    /// A digest in a document is none.
    #[error("{wanted_by} has a malformed digest")]
    Digest {
        /// Which field of which document.
        wanted_by: String,
        /// What is wrong with it.
        source: ParseDigestError,
    },
    /// A member named by its digest has other content.
    #[error("the content of member {member} has digest {actual}")]
    ContentMismatch {
        /// The member.
        member: String,
        /// The digest of its content.
        actual: ImageId,
    },
    /// A name of an image is none.
    #[error("config {config} is named badly")]
    Name {
        /// Member with the image's config.
        config: String,
        /// What is wrong with the name.
        source: ParseReferenceError,
    },
    /// A name without a tag, or with a digest.
    #[error("{name} cannot be the name of an image in an archive: it has no tag or a digest")]
    NotATag {
        /// The name.
        name: Reference,
    },
    /// Layers that neither the archive nor the store has.
    #[error(
        "image {image}: neither archive nor store has {}",
        super::join(missing)
    )]
    MissingLayers {
        /// The image.
        image: ImageId,
        /// The layers, bottom first.
        missing: Vec<DiffId>,
    },
    /// Layers that neither the archive nor the store has, and that are said to be elsewhere.
    #[error(
        "image {image}: neither archive nor store has {}; what the manifest says of other \
         places ({}) is never fetched",
        super::join(missing),
        super::join(urls)
    )]
    LayersElsewhere {
        /// The image.
        image: ImageId,
        /// The layers, bottom first.
        missing: Vec<DiffId>,
        /// Where they are said to be.
        urls: Vec<String>,
    },
    /// A layer that was to be made from one of the store, which has it no more, or damaged.
    #[error("layer {member}: the store no longer has {diff_id}, and the archive does not give it")]
    LayerGone {
        /// What the archive calls the layer.
        member: String,
        /// The layer.
        diff_id: DiffId,
    },
    /// A layer whose diff ID no document says could not be read to find it out.
    #[error("layer {member} cannot be read")]
    ReadLayer {
        /// Member with the layer.
        member: String,
        /// The system's or the decoder's reason.
        source: io::Error,
    },
    /// A layer whose diff ID no document says, and that passed without being one.
    #[error("layer {member} is damaged: it is no tar, compressed or not, that could be applied")]
    DamagedLayer {
        /// Member with the layer.
        member: String,
    },
    /// A v1 image whose ID is none.
    #[error("{wanted_by} names v1 image {id:?}: expected 64 lower-case hex digits")]
    V1Id {
        /// What stands there.
        id: String,
        /// Who names it.
        wanted_by: String,
    },
    /// A v1 image whose own JSON gives it another ID than its folder.
    #[error("v1 image {folder} says that it is {id:?}")]
    V1OtherId {
        /// The folder's name.
        folder: String,
        /// What the JSON in it says.
        id: String,
    },
    /// v1 images that are each other's parents.
    #[error("v1 image {id} is its own ancestor")]
    V1Loop {
        /// One of them.
        id: String,
    },
    /// A layer of the archive could not be registered.
    #[error("layer {member} cannot be loaded")]
    Layer {
        /// Member with the layer.
        member: String,
        /// Why.
        source: Box<RegisterError>,
    },
    /// A layer whose name promised something that the store has passed with other content.
    #[error("layer {member}: content is {actual}, expected {expected}")]
    PassedOther {
        /// Member with the layer.
        member: String,
        /// What the config declares.
        expected: DiffId,
        /// What came.
        actual: DiffId,
    },
    /// A layer that passed under the name of another one, which the store has.
    #[error("layer {member} is {actual}, not what its name says: load the archive from a file")]
    Misnamed {
        /// Member with the layer.
        member: String,
        /// What came.
        actual: DiffId,
    },
    /// A layer whose bytes passed in a stream before it was known to be one.
    #[error("member {member} is said to be a layer, but it is neither a tar nor compressed")]
    NotALayer {
        /// The member.
        member: String,
    },
    /// The documents of a stream do not fit into the memory set aside for them.
    #[error(
        "member {member} passed when {limit} bytes of documents were kept already: \
         load the archive from a file"
    )]
    NotKept {
        /// The member.
        member: String,
        /// The bound.
        limit: u64,
    },
    /// The input cannot be read.
    #[error("cannot read the input at offset {offset}")]
    Read {
        /// Bytes read before, uncompressed.
        offset: u64,
        /// The system's or the decoder's reason.
        source: io::Error,
    },
    /// A layer that has passed cannot wait where it should.
    #[error("cannot keep a layer in {}", folder.display())]
    Spool {
        /// The folder.
        folder: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The input cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// What was to be opened.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// An image that was asked for is not in the archive.
    #[error("the archive has no image {wanted}: it has {}", super::join(available))]
    NotInArchive {
        /// What was asked for.
        wanted: String,
        /// Names, or IDs where there are none, of what it holds.
        available: Vec<String>,
    },
    /// The IDs of several images begin as was asked for.
    #[error("the ID {wanted} is not unique, it fits: {}", super::join(candidates))]
    AmbiguousId {
        /// What was asked for.
        wanted: String,
        /// What it could be.
        candidates: Vec<ImageId>,
    },
    /// Names were given for more than one image.
    #[error("names can be given to one image only, but {images} are to be loaded")]
    TagsNeedOneImage {
        /// How many there are.
        images: usize,
    },
    /// Nothing says where the images are.
    #[error("there is no {what} by default: say which")]
    NoDefault {
        /// What is looked for.
        what: &'static str,
    },
    /// A folder with images cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Another engine's images cannot be read.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The graph's reason.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The store's reason.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Layers cannot be held.
    #[error(transparent)]
    Retain(#[from] RetainError),
    /// An image cannot be published.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A name cannot be set.
    #[error(transparent)]
    SetName(#[from] NameError),
    /// Somebody asked the work to stop.
    #[error("the work was cancelled")]
    Cancelled,
}

/// Reasons, as the end of a sentence.
fn because(reasons: &[String]) -> String {
    if reasons.is_empty() {
        String::new()
    } else {
        format!(": {}", join(reasons))
    }
}
