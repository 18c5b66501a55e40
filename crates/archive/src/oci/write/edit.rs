//! Adds entries to an index that somebody else may have written, and keeps all that it says.

use std::collections::BTreeMap;

use lith_store::Reference;
use serde_json::value::RawValue;

use crate::json;
use crate::oci::{Descriptor, Document, DocumentError, IMAGE_NAME, REF_NAME};

/// An index with the entries added.
pub(super) struct Edited {
    /// The document.
    pub(super) index: String,
    /// Names that stood for something else before.
    pub(super) moved: Vec<String>,
}

/// Adds `entries` to the index `old`: an entry with the same name is replaced, every other
/// one stays as it is, to the byte.
///
/// # Errors
/// When `old` is no index.
pub(super) fn add(old: &[u8], entries: &[Descriptor]) -> Result<Edited, DocumentError> {
    let index = match Document::parse(old)? {
        Document::Index(index) => index,
        Document::Manifest(_) => {
            let missing = "manifests";
            return Err(DocumentError::Incomplete { missing });
        }
    };
    let (members, raw) = parts(old)?;
    let mut moved = Vec::new();
    let mut list = Vec::new();
    for (entry, raw) in index.manifests.iter().zip(raw) {
        match entries.iter().find(|new| replaces(new, entry)) {
            Some(new) if new.digest == entry.digest => {}
            Some(_) => moved.extend(name(entry)),
            None => list.push(raw.get().to_owned()),
        }
    }
    list.extend(entries.iter().map(Descriptor::to_json));
    Ok(Edited {
        index: with_manifests(members, list),
        moved,
    })
}

/// The members of an index, and what it lists, each as it stands there.
pub(super) type Parts<'a> = (BTreeMap<&'a str, &'a RawValue>, Vec<&'a RawValue>);

/// Takes an index apart.
pub(super) fn parts(old: &[u8]) -> Result<Parts<'_>, DocumentError> {
    let members: BTreeMap<&str, &RawValue> = serde_json::from_slice(old)?;
    let raw: Option<Vec<&RawValue>> = match members.get("manifests") {
        Some(raw) => serde_json::from_str(raw.get())?,
        None => None,
    };
    Ok((members, raw.unwrap_or_default()))
}

/// An index with the members of another one, and another list.
pub(super) fn with_manifests(mut members: BTreeMap<&str, &RawValue>, list: Vec<String>) -> String {
    let mut written = Vec::new();
    for key in ["schemaVersion", "mediaType"] {
        if let Some(value) = members.remove(key) {
            written.push((key, value.get().to_owned()));
        }
    }
    members.remove("manifests");
    written.push(("manifests", json::list(list)));
    written.extend(
        members
            .iter()
            .map(|(key, raw)| (*key, raw.get().to_owned())),
    );
    json::object(written)
}

/// True when an entry has to go for a new one: it has the same name, or both are the same
/// manifest without a name.
fn replaces(new: &Descriptor, old: &Descriptor) -> bool {
    match (name(new), name(old)) {
        (Some(new), Some(old)) => same_name(&new, &old),
        (None, None) => new.digest == old.digest,
        _ => false,
    }
}

fn name(entry: &Descriptor) -> Option<String> {
    let names = [IMAGE_NAME, REF_NAME].map(|key| entry.annotations.get(key));
    names.into_iter().flatten().next().cloned()
}

/// Names are the same when they normalise to the same; a bare tag is no name.
fn same_name(new: &str, old: &str) -> bool {
    let full = |text: &str| {
        let has_repository = text.contains(['/', ':']);
        Reference::parse(text).ok().filter(|_| has_repository)
    };
    new == old || full(old).is_some_and(|old| full(new) == Some(old))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::MediaType;
    use lith_store::Digest;

    fn entry(content: &str, name: Option<&str>) -> Descriptor {
        let digest = Digest::of(content.as_bytes());
        let mut entry = Descriptor::new(MediaType::OciManifest, digest, 1);
        for key in [IMAGE_NAME, REF_NAME] {
            entry
                .annotations
                .extend(name.map(|name| (key.to_owned(), name.to_owned())));
        }
        entry
    }

    #[test]
    fn what_others_wrote_stays() {
        let other = format!(
            r#"{{ "mediaType": "x", "digest": "{}", "size": 1, "data":"e30=", "annotations": {{"{REF_NAME}":"latest"}} }}"#,
            Digest::of(b"other")
        );
        let moving = entry("old", Some("docker.io/library/a:1")).to_json();
        let old = format!(
            r#"{{"manifests":[{other},{moving}],"schemaVersion":2,"annotations":{{"k" : "v"}},"x":[1.0]}}"#
        );
        let new = [
            entry("new", Some("docker.io/library/a:1")),
            entry("bare", None),
        ];
        let edited = add(old.as_bytes(), &new).unwrap();
        let expected = format!(
            r#"{{"schemaVersion":2,"manifests":[{other},{},{}],"annotations":{{"k" : "v"}},"x":[1.0]}}"#,
            new[0].to_json(),
            new[1].to_json()
        );
        assert_eq!(edited.index, expected);
        assert_eq!(edited.moved, ["docker.io/library/a:1"]);
        // Again: nothing changes.
        let again = add(edited.index.as_bytes(), &new).unwrap();
        assert_eq!(again.index, edited.index);
        assert!(again.moved.is_empty());
    }

    #[test]
    fn names_are_compared_as_names() {
        assert!(same_name("docker.io/library/a:1", "a:1"));
        assert!(same_name("latest", "latest"));
        assert!(!same_name("docker.io/library/latest:latest", "latest"));
        assert!(!same_name("docker.io/library/a:1", "a:2"));
    }

    #[test]
    fn what_is_no_index_is_left_alone() {
        for old in ["", "[]", "{}", r#"{"schemaVersion":1,"manifests":[]}"#] {
            assert!(add(old.as_bytes(), &[]).is_err(), "{old}");
        }
    }
}
