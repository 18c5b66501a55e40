//! Which format a container holds: its content decides, never a name that somebody gave it.

use std::collections::HashSet;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::LoadError;
use crate::docker_archive;
use crate::docker_dir;
use crate::json;
use crate::members::Contents;
use crate::oci;
use crate::source::{Ask, Description};

const MANIFEST: &[u8] = b"manifest.json";
const LAYOUT: &[u8] = b"oci-layout";
const INDEX: &[u8] = b"index.json";

/// A format that a container may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// `manifest.json` is a list.
    DockerArchive,
    /// `manifest.json` is one manifest.
    DockerDir,
    /// `oci-layout` and `index.json`.
    Oci,
    /// Folders of v1 images and nothing else.
    DockerV1,
}

/// Describes the images in a container that was read, and cut off at some offset perhaps.
///
/// # Errors
/// [`LoadError::NoManifest`] when it holds none of the formats.
pub(crate) fn describe(
    contents: &dyn Contents,
    cut_off: Option<u64>,
    ask: &Ask<'_>,
) -> Result<Description, LoadError> {
    let ask = &Ask {
        cut_off: cut_off.is_some(),
        ..*ask
    };
    if ask.entry.is_some() {
        // An image as the index of a layout calls it: newer docker-archives are layouts, too.
        return oci::read::describe(contents, ask);
    }
    match held(contents)? {
        // Its manifest.json knows no platforms.
        Held::DockerArchive if ask.whole() && oci::read::lists_indexes(contents) => {
            oci::read::describe(contents, ask)
        }
        Held::DockerArchive => docker_archive::describe(contents),
        Held::DockerDir => docker_dir::read::describe(contents, ask),
        Held::Oci => oci::read::describe(contents, ask),
        Held::DockerV1 => match cut_off {
            None => docker_archive::describe_v1(contents, ask),
            // Nothing else tells whether all folders are there.
            Some(offset) => Err(LoadError::Truncated {
                offset,
                missing: "the end mark, and perhaps v1 images before it".into(),
            }),
        },
    }
}

/// True for the members with which looking for images begins.
pub(crate) fn is_root(name: &[u8]) -> bool {
    [MANIFEST, LAYOUT, INDEX].contains(&name)
}

/// Documents that are needed to describe the images and did not pass yet; none while nobody
/// knows.
///
/// When those that were told have passed, they may name others.
pub(crate) fn lacking(contents: &dyn Contents) -> Option<HashSet<Vec<u8>>> {
    match held(contents).ok()? {
        Held::DockerArchive => docker_archive::lacking(contents),
        Held::DockerDir | Held::Oci | Held::DockerV1 => None,
    }
}

fn held(contents: &dyn Contents) -> Result<Held, LoadError> {
    if let Some(manifest) = contents.document(MANIFEST, "the archive")? {
        return Ok(if is_one_manifest(&manifest.bytes) {
            Held::DockerDir
        } else {
            Held::DockerArchive
        });
    }
    if contents.has(LAYOUT) && contents.has(INDEX) {
        return Ok(Held::Oci);
    }
    let names = contents.names()?;
    if names.iter().any(|name| docker_archive::is_v1(name)) {
        return Ok(Held::DockerV1);
    }
    Err(LoadError::NoManifest {
        members: names.len(),
    })
}

/// True for an object with a schema version: what else it may be is for its reader to say.
fn is_one_manifest(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Manifest {
        #[serde(rename = "schemaVersion")]
        _version: IgnoredAny,
    }
    json::parse_object::<Manifest>(bytes).is_ok()
}
