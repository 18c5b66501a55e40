//! Reads a docker-dir: one image, or one of several for different platforms.

use crate::LoadError;
use crate::members::Contents;
use crate::oci::read::{Places, Reader};
use crate::oci::{Document, Index};
use crate::source::{Ask, Description, SourceImage};

pub(crate) const MANIFEST: &[u8] = b"manifest.json";
const VERSION: &[u8] = b"version";
const VERSION_TEXT: &str = "Directory Transport Version: ";

/// Signatures of one manifest that are kept.
const MAX_SIGNATURES: usize = 1_000;

/// Reads the image of a docker-dir.
///
/// # Errors
/// Documents that cannot be trusted, blobs that are not what their descriptors say, an image that
/// is not there for the platform.
pub(crate) fn describe(contents: &dyn Contents, ask: &Ask<'_>) -> Result<Description, LoadError> {
    check_version(contents)?;
    let manifest = contents.document(MANIFEST, "docker-dir")?;
    let manifest = manifest.ok_or_else(|| LoadError::MissingMember {
        member: "manifest.json".into(),
        wanted_by: "a docker-dir".into(),
    })?;
    let mut reader = Reader::new(contents, Places::Dir, ask);
    let parsed = Document::parse(&manifest.bytes).map_err(|source| LoadError::Manifest {
        member: "manifest.json".into(),
        source,
    })?;
    let image = match parsed {
        Document::Manifest(parsed) => {
            let mut image = reader.image_of(manifest.bytes, &parsed, "manifest.json")?;
            if let Some(image) = &mut image {
                add_signatures(image, contents, "")?;
            }
            image
        }
        Document::Index(_) if reader.whole => {
            reader.add_document(manifest.bytes, Vec::new(), "manifest.json")?;
            None
        }
        Document::Index(index) => of_index(&mut reader, index, contents)?,
    };
    if let Some(image) = image {
        reader.add(image);
    }
    reader.finish()
}

fn of_index(
    reader: &mut Reader<'_>,
    index: Index,
    contents: &dyn Contents,
) -> Result<Option<SourceImage>, LoadError> {
    let manifests = index.manifests.into_iter();
    let list = manifests.map(|descriptor| (descriptor, "manifest.json".to_owned()));
    let picked = reader.pick_for_platform(list.collect(), "manifest.json")?;
    let Some((descriptor, wanted_by)) = picked else {
        return Ok(None);
    };
    let mut image = reader.image(&descriptor, &wanted_by)?;
    if let Some(image) = &mut image {
        add_signatures(image, contents, &format!("{}.", descriptor.digest.hex()))?;
    }
    Ok(image)
}

/// A folder without the file is one, too: readers elsewhere do not ask for it.
fn check_version(contents: &dyn Contents) -> Result<(), LoadError> {
    let Some(version) = contents.document(VERSION, "docker-dir")? else {
        return Ok(());
    };
    let found = String::from_utf8_lossy(&version.bytes);
    let number = found.trim_end().strip_prefix(VERSION_TEXT);
    match number.is_some_and(|number| number.starts_with("1.")) {
        true => Ok(()),
        false => Err(LoadError::DirVersion {
            found: found.trim_end().chars().take(100).collect(),
        }),
    }
}

/// Signatures are kept, so that they can be written with the same manifest again.
fn add_signatures(
    image: &mut SourceImage,
    contents: &dyn Contents,
    prefix: &str,
) -> Result<(), LoadError> {
    for number in 1..=MAX_SIGNATURES {
        let name = format!("signature-{number}");
        let path = format!("{prefix}{name}");
        let Some(signature) = contents.document(path.as_bytes(), "docker-dir")? else {
            break;
        };
        image.extra.insert(name, signature.bytes);
    }
    Ok(())
}
