//! From the JSON of v1 images to configs, as docker makes them: the image ID is a hash of
//! what comes out, so every byte counts.

use std::collections::BTreeMap;

use lith_store::DiffId;
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::Value;
use serde_json::value::RawValue;

use super::docker_v1::{self, Object};
use crate::json;

/// Members that only v1 has.
const V1_ONLY: [&str; 6] = ["id", "parent", "parent_id", "layer_id", "Size", "throwaway"];

/// JSON of engines before this one is reduced to the members that docker knows.
const KEPT_SINCE: [u64; 3] = [1, 8, 3];

/// What a v1 image's JSON says of its place, and of its step in the history.
#[derive(Debug)]
pub(super) struct V1Json {
    pub(super) id: Option<String>,
    pub(super) parent: Option<String>,
    /// JSON.
    pub(super) history: String,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Place {
    id: Option<String>,
    parent: Option<String>,
    docker_version: Option<String>,
}

/// Reads the JSON of a v1 image.
pub(super) fn parse(bytes: &[u8]) -> Result<V1Json, serde_json::Error> {
    let place: Place = json::parse_object(bytes)?;
    let image: Object = serde_json::from_slice(bytes)?;
    Ok(V1Json {
        id: place.id.filter(|id| !id.is_empty()),
        parent: place.parent.filter(|parent| !parent.is_empty()),
        history: history(&image)?,
    })
}

/// A layer's entry in the history of the images that have it.
fn history(image: &Object) -> Result<String, serde_json::Error> {
    let created = match image.get("created") {
        None | Some(Value::Null) => docker_v1::NO_TIME.to_owned(),
        Some(created) => created
            .as_str()
            .and_then(docker_v1::go_time)
            .ok_or_else(|| serde_json::Error::custom("\"created\" is not a time"))?,
    };
    let text = |key| image.get(key).and_then(Value::as_str).unwrap_or_default();
    let container = image.get("container_config");
    let command = match container.and_then(|config| config.get("Cmd")) {
        Some(Value::String(word)) => word.clone(),
        Some(Value::Array(words)) => {
            let words = words.iter().map(|word| word.as_str().unwrap_or_default());
            words.collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    };
    let mut members = vec![("created", json::string(&created))];
    for (key, text) in [
        ("author", text("author")),
        ("created_by", &command),
        ("comment", text("comment")),
    ] {
        if !text.is_empty() {
            members.push((key, json::string(text)));
        }
    }
    Ok(json::object(members))
}

/// The config of an image whose top v1 JSON is `top`.
pub(super) fn config(
    top: &[u8],
    diff_ids: &[DiffId],
    history: &[&str],
) -> Result<Vec<u8>, serde_json::Error> {
    let place: Place = json::parse_object(top)?;
    let mut members: BTreeMap<String, String> = BTreeMap::new();
    if is_old(place.docker_version.as_deref().unwrap_or_default()) {
        let image: Object = serde_json::from_slice(top)?;
        for (key, value) in docker_v1::image(&image) {
            members.insert(key.to_owned(), value);
        }
    } else {
        let image: BTreeMap<String, &RawValue> = serde_json::from_slice(top)?;
        for (key, value) in image {
            members.insert(key, json::compact(value.get()));
        }
    }
    for key in V1_ONLY {
        members.remove(key);
    }
    let diff_ids = diff_ids.iter().map(|id| json::string(&id.to_string()));
    let rootfs = json::object([
        ("type", json::string("layers")),
        ("diff_ids", json::list(diff_ids)),
    ]);
    let history = json::list(history.iter().map(|entry| (*entry).to_owned()));
    members.insert("rootfs".to_owned(), rootfs);
    members.insert("history".to_owned(), history);
    let members = members
        .iter()
        .map(|(key, value)| (key.as_str(), value.clone()));
    Ok(json::object(members).into_bytes())
}

/// Compares versions as docker does: part by part, what is no number is 0.
fn is_old(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    for kept in KEPT_SINCE {
        let part: u64 = parts.next().unwrap_or(0);
        if part != kept {
            return part < kept;
        }
    }
    // More parts make it no older.
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_docker_compares_them() {
        for old in [
            "",
            "1",
            "1.8",
            "1.8.2",
            "1.8.3-rc1",
            "0.9.1",
            "dev",
            "1.7.9.9",
        ] {
            assert!(is_old(old), "{old}");
        }
        for new in ["1.8.3", "1.8.3.1", "1.10.0", "20.10.24", "2", "1.9"] {
            assert!(!is_old(new), "{new}");
        }
    }

    #[test]
    fn members_of_v1_go_and_the_rest_stays() {
        let top = br#"{"id":"x","parent":"y","parent_id":"z","layer_id":"l","Size":7,
            "throwaway":true, "os": "linux","docker_version":"20.10.24","config":{"b":1.0, "a":"<"},
            "strange":null}"#;
        let id = DiffId::of_bytes(b"");
        let made = String::from_utf8(config(top, &[id], &["{}"]).unwrap()).unwrap();
        let expected = format!(
            r#"{{"config":{{"b":1.0,"a":"\u003c"}},"docker_version":"20.10.24","history":[{{}}],"os":"linux","rootfs":{{"type":"layers","diff_ids":["{id}"]}},"strange":null}}"#
        );
        assert_eq!(made, expected);
    }

    #[test]
    fn histories() {
        let entry = |json: &str| parse(json.as_bytes()).unwrap().history;
        assert_eq!(entry("{}"), r#"{"created":"0001-01-01T00:00:00Z"}"#);
        let full = r#"{"created":"2015-01-01T00:00:00.120Z","author":"a","comment":"c",
            "container_config":{"Cmd":["/bin/sh","-c","x > y"]}}"#;
        assert_eq!(
            entry(full),
            r#"{"created":"2015-01-01T00:00:00.12Z","author":"a","created_by":"/bin/sh -c x \u003e y","comment":"c"}"#
        );
        assert!(parse(br#"{"created":"yesterday"}"#).is_err());
        assert!(parse(b"[]").is_err());
    }
}
