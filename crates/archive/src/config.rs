//! What the image config says that loading needs; its bytes are kept as they came.

use lith_store::{DiffId, ParseDigestError};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::json;

/// Facts of a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigFacts {
    pub(crate) diff_ids: Vec<DiffId>,
    pub(crate) created: Option<String>,
    pub(crate) architecture: Option<String>,
    pub(crate) os: Option<String>,
    pub(crate) variant: Option<String>,
}

/// Why bytes are no usable config.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It is no JSON object, or not of the right shape.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It does not say which layers the image has.
    #[error("it has no rootfs")]
    NoRootFs,
    /// A diff ID is not a digest.
    #[error("diff ID {index} is malformed")]
    DiffId {
        /// Counted from 0, the bottom layer.
        index: usize,
        /// What is wrong with it.
        source: ParseDigestError,
    },
}

#[derive(Deserialize)]
struct Config<'a> {
    // These four are shown to users, never relied on: any value is accepted.
    #[serde(default)]
    created: Value,
    #[serde(default)]
    architecture: Value,
    #[serde(default)]
    os: Value,
    #[serde(default)]
    variant: Value,
    #[serde(borrow)]
    rootfs: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Option<Vec<String>>,
}

/// Reads a config.
pub(crate) fn parse(bytes: &[u8]) -> Result<ConfigFacts, ConfigError> {
    let config: Config<'_> = json::parse_object(bytes)?;
    let rootfs = config.rootfs.ok_or(ConfigError::NoRootFs)?;
    let rootfs: RootFs = json::parse_object(rootfs.get().as_bytes())?;
    let diff_ids = rootfs.diff_ids.unwrap_or_default();
    let diff_ids = diff_ids.iter().enumerate();
    let text = |value: &Value| {
        value
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    Ok(ConfigFacts {
        diff_ids: diff_ids
            .map(|(index, text)| {
                text.parse()
                    .map_err(|source| ConfigError::DiffId { index, source })
            })
            .collect::<Result<_, _>>()?,
        created: text(&config.created),
        architecture: text(&config.architecture),
        os: text(&config.os),
        variant: text(&config.variant),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_may_be_none_but_must_be_said() {
        assert!(
            parse(br#"{"rootfs":{"diff_ids":null}}"#)
                .unwrap()
                .diff_ids
                .is_empty()
        );
        assert!(matches!(parse(b"{}"), Err(ConfigError::NoRootFs)));
        assert!(matches!(parse(b"[]"), Err(ConfigError::Json(_))));
    }

    #[test]
    fn diff_ids_are_checked() {
        for id in ["", "sha256:", "sha256:zz", "sha256:../../x", "md5:00"] {
            let config = format!(r#"{{"rootfs":{{"diff_ids":["{id}"]}}}}"#);
            let error = parse(config.as_bytes()).unwrap_err();
            assert!(
                matches!(error, ConfigError::DiffId { index: 0, .. }),
                "{id}"
            );
        }
    }
}
