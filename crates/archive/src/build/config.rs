//! The config of an image that is made here: that of the image below, with a step more.

use lith_store::DiffId;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::BuildOptions;
use super::change::{self, Members};
use crate::ConfigError;
use crate::json;
use crate::oci::Platform;

/// A config, member by member.
type Config = Members;

#[derive(Serialize)]
struct Step<'a> {
    created: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<&'a str>,
    created_by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a str>,
}

#[derive(Deserialize, Serialize)]
struct RootFs {
    r#type: String,
    diff_ids: Vec<String>,
}

/// What of a step of the history counts here.
#[derive(Deserialize)]
struct Past {
    #[serde(default)]
    empty_layer: bool,
}

/// Where an image comes from, in its history.
pub(super) struct Origin<'a> {
    pub(super) created: &'a str,
    pub(super) created_by: &'a str,
    /// What the step says where nobody gave a message.
    pub(super) comment: Option<&'a str>,
}

/// Makes the config of an image with one layer more than `below` has.
pub(super) fn over(
    below: &[u8],
    diff_id: &DiffId,
    origin: &Origin<'_>,
    options: &BuildOptions,
) -> Result<Vec<u8>, ConfigError> {
    let mut config: Config = json::parse_object(below)?;
    // These tell of the container that the image below was made of, and of that image.
    for gone in ["container", "container_config", "parent", "id"] {
        config.remove(gone);
    }
    let rootfs = config.get("rootfs").ok_or(ConfigError::NoRootFs)?;
    let mut rootfs: RootFs = json::parse_object(rootfs.get().as_bytes())?;
    let layers = rootfs.diff_ids.len();
    rootfs.diff_ids.push(diff_id.to_string());
    config.insert("rootfs".to_owned(), to_raw_value(&rootfs)?);
    finish(config, layers, origin, options)
}

/// Makes the config of an image of one layer, for this machine.
pub(super) fn alone(
    diff_id: &DiffId,
    origin: &Origin<'_>,
    options: &BuildOptions,
) -> Result<Vec<u8>, ConfigError> {
    let here = Platform::here();
    let rootfs = RootFs {
        r#type: "layers".to_owned(),
        diff_ids: vec![diff_id.to_string()],
    };
    let mut config = Config::new();
    config.insert("architecture".to_owned(), to_raw_value(&here.architecture)?);
    config.insert("os".to_owned(), to_raw_value(&here.os)?);
    if let Some(variant) = &here.variant {
        config.insert("variant".to_owned(), to_raw_value(variant)?);
    }
    config.insert("rootfs".to_owned(), to_raw_value(&rootfs)?);
    finish(config, 0, origin, options)
}

/// Says what every image says that is made here; before, it had so many layers.
fn finish(
    mut config: Config,
    layers: usize,
    origin: &Origin<'_>,
    options: &BuildOptions,
) -> Result<Vec<u8>, ConfigError> {
    let author = options.author.as_deref();
    let step = Step {
        created: origin.created,
        author,
        created_by: origin.created_by,
        comment: options.message.as_deref().or(origin.comment),
    };
    let mut history = history(&config, layers)?;
    history.push(to_raw_value(&step)?);
    config.insert("history".to_owned(), to_raw_value(&history)?);
    config.insert("created".to_owned(), to_raw_value(origin.created)?);
    if let Some(author) = author {
        config.insert("author".to_owned(), to_raw_value(author)?);
    }
    let mut members: Members = match config.get("config") {
        Some(members) if members.get() != "null" => json::parse_object(members.get().as_bytes())?,
        _ => Members::new(),
    };
    change::apply(&options.changes, &mut members)?;
    config.insert("config".to_owned(), to_raw_value(&members)?);
    Ok(serde_json::to_vec(&config)?)
}

/// The history so far. One that tells of fewer layers than there are gets steps that say nothing:
/// readers count them.
fn history(config: &Config, layers: usize) -> Result<Vec<Box<RawValue>>, ConfigError> {
    let found = config.get("history").map(|history| history.get());
    let found: Option<Vec<Box<RawValue>>> = serde_json::from_str(found.unwrap_or("null"))?;
    let mut history = found.unwrap_or_default();
    let mut told = 0;
    for step in &history {
        let past: Past = serde_json::from_str(step.get())?;
        told += usize::from(!past.empty_layer);
    }
    for _ in told..layers {
        history.push(to_raw_value(&serde_json::json!({}))?);
    }
    Ok(history)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_changed_stays_to_the_byte() {
        let below = br#"{"os":"linux","odd":1.500,"container":"c","rootfs":{"type":"layers",
            "diff_ids":["sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"]},
            "config":{"Cmd":["sh"],"Healthcheck":{"Interval":30000000000}},
            "history":[{"created":"x","empty_layer":true}]}"#;
        let origin = Origin {
            created: "2020-01-01T00:00:00Z",
            created_by: "lith commit",
            comment: None,
        };
        let options = BuildOptions {
            message: Some("why".into()),
            author: Some("me".into()),
            changes: vec!["USER u".parse().unwrap()],
            ..BuildOptions::default()
        };
        let made = over(below, &DiffId::of_bytes(b"x"), &origin, &options).unwrap();
        let made = String::from_utf8(made).unwrap();
        for part in [
            r#""odd":1.500,"#,
            r#""Healthcheck":{"Interval":30000000000}"#,
            r#""User":"u""#,
            r#""author":"me","#,
            r#""created":"2020-01-01T00:00:00Z","#,
            r#""history":[{"created":"x","empty_layer":true},{},{"created":"2020-01-01T00:00:00Z","author":"me","created_by":"lith commit","comment":"why"}]"#,
        ] {
            assert!(made.contains(part), "{part}: {made}");
        }
        assert!(!made.contains("container"));
        assert_eq!(
            crate::config::parse(made.as_bytes())
                .unwrap()
                .diff_ids
                .len(),
            2
        );
    }
}
