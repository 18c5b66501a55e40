//! The JSON of a layer as the field writes it: that of a v1 image.
//!
//! The bytes are kept as they came; what is read from them here is a view. Members that are not
//! known are left alone. What is known must have the kind of value that the field's own readers
//! take, so that nothing is accepted now and found unreadable later.

use serde_json::{Map, Value};

/// What the JSON of a layer says. All of it is optional; `null` and `""` say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct V1Json {
    /// The ID that the layer gives itself.
    pub id: Option<String>,
    /// The layer below: the member `parent`, or else the hex digits of a valid `parent_id`.
    pub parent: Option<String>,
    /// The digest that `parent_id` gives, as it stands there.
    pub parent_id: Option<String>,
    /// When it was made, as it stands there; RFC 3339 by convention.
    pub created: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// What was said about it.
    pub comment: Option<String>,
    /// The container that it was made of.
    pub container: Option<String>,
    /// How that container ran.
    pub container_config: Option<Value>,
    /// How containers of it are to run.
    pub config: Option<Value>,
    /// The engine that made it.
    pub docker_version: Option<String>,
    /// The machine it is for, by its name in the field: `amd64`, `arm64`.
    pub architecture: Option<String>,
    /// The variant of that machine: `v8`.
    pub variant: Option<String>,
    /// The operating system it is for.
    pub os: Option<String>,
}

/// Why JSON is not that of a layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// It is no JSON.
    #[error("it is no JSON: {0}")]
    Syntax(serde_json::Error),
    /// It is JSON, but no object.
    #[error("expected an object, found {found}")]
    NotAnObject {
        /// What kind of value it is.
        found: &'static str,
    },
    /// A member has a value of another kind than the field's readers take.
    #[error("its member {member:?} is {found}, expected {expected}")]
    Member {
        /// The member's name.
        member: &'static str,
        /// The kind of value that is expected.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A member that is needed is not there.
    #[error("it has no member {member:?}")]
    Missing {
        /// The member's name.
        member: &'static str,
    },
}

impl V1Json {
    /// Reads the JSON of a layer. Of members that occur twice the last counts, as everywhere in
    /// the field.
    ///
    /// # Errors
    /// What is no JSON object, and members whose value is of the wrong kind.
    pub fn parse(json: &[u8]) -> Result<Self, JsonError> {
        let mut members = object(json)?;
        let parent_id = text(&mut members, "parent_id")?;
        let by_digest = || parent_id.as_deref().and_then(digest_hex).map(str::to_owned);
        Ok(Self {
            id: text(&mut members, "id")?,
            parent: text(&mut members, "parent")?.or_else(by_digest),
            parent_id,
            created: text(&mut members, "created")?,
            author: text(&mut members, "author")?,
            comment: text(&mut members, "comment")?,
            container: text(&mut members, "container")?,
            container_config: settings(&mut members, "container_config")?,
            config: settings(&mut members, "config")?,
            docker_version: text(&mut members, "docker_version")?,
            architecture: text(&mut members, "architecture")?,
            variant: text(&mut members, "variant")?,
            os: text(&mut members, "os")?,
        })
    }
}

/// The members of a JSON object.
pub(crate) fn object(json: &[u8]) -> Result<Map<String, Value>, JsonError> {
    match serde_json::from_slice(json).map_err(JsonError::Syntax)? {
        Value::Object(members) => Ok(members),
        other => Err(JsonError::NotAnObject {
            found: kind(&other),
        }),
    }
}

/// Takes a member that holds a text; an empty one says nothing.
pub(crate) fn text(
    members: &mut Map<String, Value>,
    member: &'static str,
) -> Result<Option<String>, JsonError> {
    match members.remove(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(other) => Err(JsonError::Member {
            member,
            expected: "a string",
            found: kind(&other).to_owned(),
        }),
    }
}

/// Takes a member that holds an object.
fn settings(
    members: &mut Map<String, Value>,
    member: &'static str,
) -> Result<Option<Value>, JsonError> {
    match members.remove(member) {
        None | Some(Value::Null) => Ok(None),
        Some(object @ Value::Object(_)) => Ok(Some(object)),
        Some(other) => Err(JsonError::Member {
            member,
            expected: "an object",
            found: kind(&other).to_owned(),
        }),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The hex digits of a digest that can be that of a layer.
pub(crate) fn digest_hex(text: &str) -> Option<&str> {
    let hex = text.strip_prefix(DIGEST_PREFIX)?;
    is_hex_id(hex).then_some(hex)
}

/// An ID without the algorithm in front that some tools leave there.
pub(crate) fn without_algorithm(id: &str) -> &str {
    id.strip_prefix(DIGEST_PREFIX).unwrap_or(id)
}

const DIGEST_PREFIX: &str = "sha256:";

/// Whether a text is 64 lower-case hex digits.
pub(crate) fn is_hex_id(text: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == 64 && text.bytes().all(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(two: &str) -> String {
        two.repeat(32)
    }

    #[test]
    fn everything_the_field_writes_is_read() {
        let json = format!(
            r#"{{"id":"{}","parent":"{}","created":"2015-08-19T16:49:11.368300679Z","author":"A",
               "comment":"C","container":"c0","container_config":{{"Cmd":["x"]}},
               "config":{{"Env":null}},"docker_version":"1.9.1","architecture":"arm64",
               "variant":"v8","os":"linux","Size":1234,"throwaway":true,"checksum":"tarsum"}}"#,
            hex("ab"),
            hex("cd")
        );
        let read = V1Json::parse(json.as_bytes()).unwrap();
        assert_eq!(read.id, Some(hex("ab")));
        assert_eq!(read.parent, Some(hex("cd")));
        assert_eq!(
            read.created.as_deref(),
            Some("2015-08-19T16:49:11.368300679Z")
        );
        assert_eq!(read.author.as_deref(), Some("A"));
        assert_eq!(read.comment.as_deref(), Some("C"));
        assert_eq!(read.container.as_deref(), Some("c0"));
        assert_eq!(
            read.container_config,
            Some(serde_json::json!({"Cmd": ["x"]}))
        );
        assert_eq!(read.config, Some(serde_json::json!({"Env": null})));
        assert_eq!(read.docker_version.as_deref(), Some("1.9.1"));
        assert_eq!(read.architecture.as_deref(), Some("arm64"));
        assert_eq!(read.variant.as_deref(), Some("v8"));
        assert_eq!(read.os.as_deref(), Some("linux"));
    }

    #[test]
    fn nulls_and_empty_texts_say_nothing() {
        let json = br#"{"id":null,"parent":"","author":"","config":null,"created":null}"#;
        assert_eq!(V1Json::parse(json).unwrap(), V1Json::default());
        assert_eq!(V1Json::parse(b"{}").unwrap(), V1Json::default());
    }

    #[test]
    fn a_valid_parent_id_stands_in_for_the_parent() {
        let parent = |json: String| V1Json::parse(json.as_bytes()).unwrap().parent;
        let (a, b) = (hex("aa"), hex("bb"));
        assert_eq!(
            parent(format!(r#"{{"parent_id":"sha256:{a}"}}"#)),
            Some(a.clone())
        );
        let both = format!(r#"{{"parent":"{b}","parent_id":"sha256:{a}"}}"#);
        assert_eq!(parent(both), Some(b));
        for bad in [
            "sha256:ab",
            "sha512:x",
            "ab",
            &a,
            &format!("sha256:{}", hex("AB")),
        ] {
            assert_eq!(parent(format!(r#"{{"parent_id":"{bad}"}}"#)), None, "{bad}");
        }
    }

    #[test]
    fn the_last_of_two_members_counts() {
        let read = V1Json::parse(br#"{"author":"one","author":"two"}"#).unwrap();
        assert_eq!(read.author.as_deref(), Some("two"));
    }

    #[test]
    fn what_is_no_layer_is_refused() {
        let deep = [b"[".repeat(10_000), b"]".repeat(10_000)].concat();
        for bad in [
            &b""[..],
            b"{",
            b"{}x",
            b"\xff",
            b"{\"a\":\"\\ud800\"}",
            &deep,
        ] {
            let error = V1Json::parse(bad).unwrap_err();
            assert!(matches!(error, JsonError::Syntax(_)), "{error}");
        }
        for bad in [&b"[]"[..], b"null", b"5", b"\"x\"", b"true"] {
            let error = V1Json::parse(bad).unwrap_err();
            assert!(matches!(error, JsonError::NotAnObject { .. }), "{error}");
        }
        for (bad, named) in [
            (&br#"{"id":5}"#[..], "id"),
            (br#"{"parent":{}}"#, "parent"),
            (br#"{"author":[]}"#, "author"),
            (br#"{"config":"x"}"#, "config"),
        ] {
            match V1Json::parse(bad).unwrap_err() {
                JsonError::Member { member, .. } => assert_eq!(member, named),
                other => panic!("{other}"),
            }
        }
    }
}
