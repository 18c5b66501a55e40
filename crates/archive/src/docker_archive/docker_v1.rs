//! v1 JSON as docker 20.10 writes it: the config is read into Go structures of that engine and
//! written again, so that members which it does not know are lost and others appear with
//! their zero values. The ID of a v1 folder is a hash of that, so every byte counts.

use lith_store::{ChainId, DiffId, Digest};
use serde_json::{Map, Value};

use super::v1::V1Layer;
use crate::json;

pub(super) type Object = Map<String, Value>;

/// Written where a config has no time.
pub(super) const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// Written for all layers but the top one.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// The v1 images of a stack of layers, bottom first; `config` describes the top one.
///
/// # Errors
/// When `config` is no JSON object.
pub(super) fn layers(
    config: &[u8],
    diff_ids: &[DiffId],
) -> Result<Vec<V1Layer>, serde_json::Error> {
    let config: Object = serde_json::from_slice(config)?;
    let mut layers: Vec<V1Layer> = Vec::with_capacity(diff_ids.len());
    for (index, (diff_id, chain)) in diff_ids.iter().zip(ChainId::chain(diff_ids)).enumerate() {
        let top = index + 1 == diff_ids.len();
        let members = if top { image(&config) } else { bare() };
        let parent = layers.last().map(|parent| parent.id.clone());
        let id = id(&members, &chain, parent.as_deref());
        let mut written = vec![("id", json::string(&id))];
        if let Some(parent) = &parent {
            written.push(("parent", json::string(parent)));
        }
        written.extend(members);
        if !top {
            // It is set when the ID is known already.
            text(&mut written, &config, "os");
        }
        layers.push(V1Layer {
            id,
            json: json::object(written),
            diff_id: *diff_id,
        });
    }
    Ok(layers)
}

pub(super) type Members = Vec<(&'static str, String)>;

fn id(members: &Members, chain: &ChainId, parent: Option<&str>) -> String {
    let mut members = members.clone();
    members.push(("layer_id", json::string(&chain.to_string())));
    if let Some(parent) = parent {
        members.push(("parent", json::string(&format!("sha256:{parent}"))));
    }
    members.sort_by_key(|(key, _)| *key);
    Digest::of(json::object(members).as_bytes()).hex()
}

/// What docker says of a layer below the top.
fn bare() -> Members {
    vec![
        ("created", json::string(EPOCH)),
        ("container_config", container_config(&Object::new())),
    ]
}

/// What docker keeps of an image's JSON, in the order in which it writes it; neither ID nor parent.
pub(super) fn image(config: &Object) -> Members {
    let mut members = Members::new();
    text(&mut members, config, "comment");
    let created = config.get("created").and_then(Value::as_str);
    let created = created.and_then(go_time);
    let created = created.as_deref().unwrap_or(NO_TIME);
    members.push(("created", json::string(created)));
    text(&mut members, config, "container");
    let none = Object::new();
    let container = config.get("container_config").and_then(Value::as_object);
    let container = container_config(container.unwrap_or(&none));
    members.push(("container_config", container));
    text(&mut members, config, "docker_version");
    text(&mut members, config, "author");
    if let Some(config) = config.get("config").and_then(Value::as_object) {
        members.push(("config", container_config(config)));
    }
    for key in ["architecture", "variant", "os"] {
        text(&mut members, config, key);
    }
    number(&mut members, config, "Size");
    members
}

/// A time as Go writes it: no zeros at the end of the fraction, `Z` for no distance from UTC.
pub(super) fn go_time(text: &str) -> Option<String> {
    text.parse::<jiff::Timestamp>().ok()?;
    let (rest, zone) = match text.strip_suffix('Z') {
        Some(rest) => (rest, "Z"),
        None => {
            let (rest, zone) = text.split_at_checked(text.len().checked_sub(6)?)?;
            let utc = zone == "+00:00" || zone == "-00:00";
            (rest, if utc { "Z" } else { zone })
        }
    };
    let rest = match rest.split_once('.') {
        Some((seconds, fraction)) => match fraction.trim_end_matches('0') {
            "" => seconds.to_owned(),
            fraction => format!("{seconds}.{fraction}"),
        },
        None => rest.to_owned(),
    };
    Some(format!("{rest}{zone}"))
}

/// A container's config, members in the order of the engine's structure.
fn container_config(config: &Object) -> String {
    let mut members = Members::new();
    for key in ["Hostname", "Domainname", "User"] {
        members.push((key, string(config.get(key))));
    }
    for key in ["AttachStdin", "AttachStdout", "AttachStderr"] {
        members.push((key, truth(config.get(key)).to_string()));
    }
    non_empty_set(&mut members, config, "ExposedPorts");
    for key in ["Tty", "OpenStdin", "StdinOnce"] {
        members.push((key, truth(config.get(key)).to_string()));
    }
    members.push(("Env", list(config.get("Env"))));
    members.push(("Cmd", words(config.get("Cmd"))));
    if let Some(check) = config.get("Healthcheck").and_then(Value::as_object) {
        members.push(("Healthcheck", health_check(check)));
    }
    if truth(config.get("ArgsEscaped")) {
        members.push(("ArgsEscaped", "true".to_owned()));
    }
    members.push(("Image", string(config.get("Image"))));
    members.push(("Volumes", set(config.get("Volumes"))));
    members.push(("WorkingDir", string(config.get("WorkingDir"))));
    members.push(("Entrypoint", words(config.get("Entrypoint"))));
    if truth(config.get("NetworkDisabled")) {
        members.push(("NetworkDisabled", "true".to_owned()));
    }
    text(&mut members, config, "MacAddress");
    members.push(("OnBuild", list(config.get("OnBuild"))));
    members.push(("Labels", strings(config.get("Labels"))));
    text(&mut members, config, "StopSignal");
    if let Some(timeout) = config.get("StopTimeout").and_then(Value::as_i64) {
        members.push(("StopTimeout", timeout.to_string()));
    }
    let shell = words(config.get("Shell"));
    if !matches!(shell.as_str(), "null" | "[]") {
        members.push(("Shell", shell));
    }
    json::object(members)
}

fn health_check(check: &Object) -> String {
    let mut members = Members::new();
    let test = list(check.get("Test"));
    if !matches!(test.as_str(), "null" | "[]") {
        members.push(("Test", test));
    }
    for key in ["Interval", "Timeout", "StartPeriod", "Retries"] {
        number(&mut members, check, key);
    }
    json::object(members)
}

/// Adds a text unless it is empty.
fn text(members: &mut Members, from: &Object, key: &'static str) {
    match from.get(key).and_then(Value::as_str) {
        None | Some("") => {}
        Some(text) => members.push((key, json::string(text))),
    }
}

/// Adds a number unless it is 0.
fn number(members: &mut Members, from: &Object, key: &'static str) {
    match from.get(key).and_then(Value::as_i64) {
        None | Some(0) => {}
        Some(number) => members.push((key, number.to_string())),
    }
}

fn string(value: Option<&Value>) -> String {
    json::string(value.and_then(Value::as_str).unwrap_or_default())
}

fn truth(value: Option<&Value>) -> bool {
    value.and_then(Value::as_bool).unwrap_or_default()
}

fn list(value: Option<&Value>) -> String {
    match value.and_then(Value::as_array) {
        Some(values) => json::list(values.iter().map(|value| string(Some(value)))),
        None => "null".to_owned(),
    }
}

/// A list that may be written as one word.
fn words(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(word)) => json::list([json::string(word)]),
        value => list(value),
    }
}

/// Keys of a set, as an object of empty objects.
fn set(value: Option<&Value>) -> String {
    match value.and_then(Value::as_object) {
        Some(keys) => json::object(keys.keys().map(|key| (key.as_str(), "{}".to_owned()))),
        None => "null".to_owned(),
    }
}

fn non_empty_set(members: &mut Members, from: &Object, key: &'static str) {
    let keys = set(from.get(key));
    if !matches!(keys.as_str(), "null" | "{}") {
        members.push((key, keys));
    }
}

fn strings(value: Option<&Value>) -> String {
    match value.and_then(Value::as_object) {
        Some(map) => json::object(
            map.iter()
                .map(|(key, value)| (key.as_str(), string(Some(value)))),
        ),
        None => "null".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values were printed by Go 1.19's `time.Time.MarshalJSON`.
    #[test]
    fn times_as_go_writes_them() {
        for (text, go) in [
            (
                "2026-11-22T04:51:23.000252556Z",
                "2026-11-22T04:51:23.000252556Z",
            ),
            ("2026-11-22T04:51:23.120Z", "2026-11-22T04:51:23.12Z"),
            ("2026-11-22T04:51:23.000Z", "2026-11-22T04:51:23Z"),
            ("2026-11-22T04:51:23+00:00", "2026-11-22T04:51:23Z"),
            ("2026-11-22T04:51:23.5+02:00", "2026-11-22T04:51:23.5+02:00"),
        ] {
            assert_eq!(go_time(text).as_deref(), Some(go));
        }
        for text in ["", "yesterday", "2026-11-22"] {
            assert_eq!(go_time(text), None, "{text}");
        }
    }

    #[test]
    fn shapes_that_no_engine_writes_are_survived() {
        let config = br#"{"config":{"Cmd":"one word","Env":{},"Volumes":[],"Labels":1,
            "Healthcheck":{"Test":["NONE"],"Retries":3,"Interval":1.5}},"created":7,"os":null}"#;
        let layers = layers(config, &[DiffId::of_bytes(b"x")]).unwrap();
        let json = &layers[0].json;
        assert!(json.contains(r#""Cmd":["one word"]"#), "{json}");
        assert!(
            json.contains(r#""Healthcheck":{"Test":["NONE"],"Retries":3}"#),
            "{json}"
        );
        assert!(json.contains(NO_TIME), "{json}");
    }
}
