//! Changes of a config, as instructions of a Dockerfile.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::value::RawValue;
use serde_json::{Value, json};

/// One instruction: `CMD`, `ENTRYPOINT`, `ENV`, `EXPOSE`, `LABEL`, `ONBUILD`, `STOPSIGNAL`, `USER`,
/// `VOLUME` or `WORKDIR`, as in a Dockerfile; `NAME=VALUE` is taken for `NAME VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change(Instruction);

/// A text is no [`Change`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} changes no config: {reason}")]
pub struct ParseChangeError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Instruction {
    Cmd(Vec<String>),
    Entrypoint(Vec<String>),
    Env(Vec<(String, String)>),
    Expose(Vec<String>),
    Label(Vec<(String, String)>),
    OnBuild(String),
    StopSignal(String),
    User(String),
    Volume(Vec<String>),
    WorkDir(String),
}

const NAMES: &str =
    "CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME or WORKDIR";

impl FromStr for Change {
    type Err = ParseChangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text.trim())
            .map(Self)
            .map_err(|reason| ParseChangeError {
                text: text.chars().take(200).collect(),
                reason,
            })
    }
}

fn parse(text: &str) -> Result<Instruction, String> {
    let end = text
        .find(|letter: char| letter.is_whitespace() || letter == '=')
        .ok_or_else(|| format!("expected {NAMES} and a value"))?;
    let (name, rest) = text.split_at(end);
    // podman's way to say it.
    let value = rest.strip_prefix('=').unwrap_or(rest).trim();
    let one = || match value {
        "" => Err("expected a value".to_owned()),
        value => Ok(value.to_owned()),
    };
    Ok(match name.to_ascii_uppercase().as_str() {
        "CMD" => Instruction::Cmd(command(value)?),
        "ENTRYPOINT" => Instruction::Entrypoint(command(value)?),
        "ENV" => Instruction::Env(pairs(value)?),
        "LABEL" => Instruction::Label(pairs(value)?),
        "EXPOSE" => Instruction::Expose(ports(value)?),
        "ONBUILD" => Instruction::OnBuild(one()?),
        "STOPSIGNAL" => Instruction::StopSignal(one()?),
        "USER" => Instruction::User(one()?),
        "VOLUME" => Instruction::Volume(match list(value)? {
            Some(list) => list,
            None => words(&one()?)?,
        }),
        "WORKDIR" => Instruction::WorkDir(one()?),
        _ => return Err(format!("expected {NAMES}")),
    })
}

/// A list in JSON, where that is what it looks like and is.
fn list(value: &str) -> Result<Option<Vec<String>>, String> {
    if !value.starts_with('[') {
        return Ok(None);
    }
    serde_json::from_str(value)
        .map(Some)
        .map_err(|error| format!("expected a list of texts in JSON: {error}"))
}

/// A list is run as it is, anything else by the shell.
fn command(value: &str) -> Result<Vec<String>, String> {
    match (list(value)?, value) {
        (Some(list), _) => Ok(list),
        (None, "") => Ok(Vec::new()),
        (None, text) => Ok(["/bin/sh", "-c", text].map(str::to_owned).to_vec()),
    }
}

/// `KEY=VALUE ...` with quotes and backslashes, or `KEY VALUE`.
fn pairs(value: &str) -> Result<Vec<(String, String)>, String> {
    let found = words(value)?;
    let Some(first) = found.first() else {
        return Err("expected KEY=VALUE".to_owned());
    };
    if !first.contains('=') {
        let (key, rest) = value
            .split_once(char::is_whitespace)
            .ok_or("expected KEY=VALUE")?;
        return Ok(vec![(key.to_owned(), rest.trim().to_owned())]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("expected KEY=VALUE instead of {word:?}")),
    };
    found.iter().map(pair).collect()
}

fn ports(value: &str) -> Result<Vec<String>, String> {
    let port = |word: &String| {
        let (number, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
        let (first, last) = number.split_once('-').unwrap_or((number, number));
        let known = ["tcp", "udp", "sctp"].contains(&protocol.to_ascii_lowercase().as_str());
        let (Ok(first), Ok(last), true) = (first.parse::<u16>(), last.parse::<u16>(), known) else {
            return Err(format!("expected PORT[/tcp|udp|sctp] instead of {word:?}"));
        };
        let protocol = protocol.to_ascii_lowercase();
        Ok((first..=last).map(move |port| format!("{port}/{protocol}")))
    };
    let mut all = Vec::new();
    for word in words(value)? {
        all.extend(port(&word)?);
    }
    match all.is_empty() {
        true => Err("expected a port".to_owned()),
        false => Ok(all),
    }
}

/// Words as a shell reads them: quotes and backslashes, no variables.
fn words(value: &str) -> Result<Vec<String>, String> {
    let (mut all, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), close) if open == close => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let next = letters.next().ok_or("nothing behind the backslash")?;
                word.get_or_insert_default().push(next);
            }
            (None, blank) if blank.is_whitespace() => all.extend(word.take()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    all.extend(word);
    Ok(all)
}

/// A JSON object, the `config` of an image's config say, member by member: what is not changed
/// stays to the byte.
pub(super) type Members = BTreeMap<String, Box<RawValue>>;

/// Does what the instructions say, one after the other.
pub(super) fn apply(changes: &[Change], members: &mut Members) -> Result<(), serde_json::Error> {
    let mut cmd_said = false;
    for change in changes {
        match change.0 {
            Instruction::Cmd(_) => cmd_said = true,
            // What the parent ran was meant for its own entry point.
            Instruction::Entrypoint(_) if !cmd_said => drop(members.remove("Cmd")),
            _ => {}
        }
        change.apply(members)?;
    }
    Ok(())
}

impl Change {
    fn apply(&self, members: &mut Members) -> Result<(), serde_json::Error> {
        match &self.0 {
            Instruction::Cmd(words) => set(members, "Cmd", &json!(words)),
            Instruction::Entrypoint(words) => set(members, "Entrypoint", &json!(words)),
            Instruction::Env(pairs) => {
                let mut env: Vec<String> = read(members, "Env")?;
                for (key, value) in pairs {
                    let line = format!("{key}={value}");
                    let of = |line: &str| line.split('=').next().map(str::to_owned);
                    match env.iter_mut().find(|line| of(line).as_ref() == Some(key)) {
                        Some(there) => *there = line,
                        None => env.push(line),
                    }
                }
                set(members, "Env", &json!(env))
            }
            Instruction::Label(pairs) => add(
                members,
                "Labels",
                pairs
                    .iter()
                    .map(|(key, value)| (key.clone(), Value::from(value.clone()))),
            ),
            Instruction::Expose(ports) => add(
                members,
                "ExposedPorts",
                ports.iter().map(|port| (port.clone(), json!({}))),
            ),
            Instruction::Volume(places) => add(
                members,
                "Volumes",
                places.iter().map(|place| (place.clone(), json!({}))),
            ),
            Instruction::OnBuild(trigger) => {
                let mut all: Vec<String> = read(members, "OnBuild")?;
                all.push(trigger.clone());
                set(members, "OnBuild", &json!(all))
            }
            Instruction::StopSignal(signal) => set(members, "StopSignal", &json!(signal)),
            Instruction::User(user) => set(members, "User", &json!(user)),
            Instruction::WorkDir(place) => {
                let before: String = read(members, "WorkingDir")?;
                set(members, "WorkingDir", &json!(joined(&before, place)))
            }
        }
    }
}

/// A place that does not begin at the root begins where the image worked before.
fn joined(before: &str, place: &str) -> String {
    let all = match place.starts_with('/') {
        true => place.to_owned(),
        false => format!("{before}/{place}"),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in all.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn set(members: &mut Members, key: &str, value: &Value) -> Result<(), serde_json::Error> {
    let raw = serde_json::value::to_raw_value(value)?;
    members.insert(key.to_owned(), raw);
    Ok(())
}

/// A member that is missing or null is empty.
fn read<T: serde::de::DeserializeOwned + Default>(
    members: &Members,
    key: &str,
) -> Result<T, serde_json::Error> {
    let Some(raw) = members.get(key) else {
        return Ok(T::default());
    };
    let found: Option<T> = serde_json::from_str(raw.get())?;
    Ok(found.unwrap_or_default())
}

fn add(
    members: &mut Members,
    key: &str,
    new: impl Iterator<Item = (String, Value)>,
) -> Result<(), serde_json::Error> {
    let mut all: BTreeMap<String, Value> = read(members, key)?;
    all.extend(new);
    set(members, key, &json!(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(before: &str, changes: &[&str]) -> String {
        let mut members: Members = serde_json::from_str(before).unwrap();
        let changes: Vec<Change> = changes.iter().map(|text| text.parse().unwrap()).collect();
        apply(&changes, &mut members).unwrap();
        serde_json::to_string(&members).unwrap()
    }

    #[test]
    fn instructions_do_what_they_do_in_a_dockerfile() {
        for (before, changes, after) in [
            (
                "{}",
                &["CMD [\"a\", \"b c\"]"][..],
                r#"{"Cmd":["a","b c"]}"#,
            ),
            (
                "{}",
                &["cmd echo hi"],
                r#"{"Cmd":["/bin/sh","-c","echo hi"]}"#,
            ),
            (
                "{}",
                &["CMD=/bin/sh"],
                r#"{"Cmd":["/bin/sh","-c","/bin/sh"]}"#,
            ),
            (
                "{}",
                &["CMD [\"c\"]", "ENTRYPOINT [\"e\"]"],
                r#"{"Cmd":["c"],"Entrypoint":["e"]}"#,
            ),
            (
                r#"{"Cmd":["x"],"X":1.50}"#,
                &["ENTRYPOINT [\"e\"]"],
                r#"{"Entrypoint":["e"],"X":1.50}"#,
            ),
            (
                r#"{"Env":["A=1","B=2"]}"#,
                &["ENV A=3 C=\"x y\" D=a\\ b", "ENV E some  text"],
                r#"{"Env":["A=3","B=2","C=x y","D=a b","E=some  text"]}"#,
            ),
            ("{\"Env\":null}", &["ENV A="], r#"{"Env":["A="]}"#),
            (
                "{}",
                &["EXPOSE 80 53/udp", "EXPOSE 7000-7001"],
                r#"{"ExposedPorts":{"53/udp":{},"7000/tcp":{},"7001/tcp":{},"80/tcp":{}}}"#,
            ),
            (
                r#"{"Labels":{"a":"1"}}"#,
                &["LABEL b='x=y' a=2"],
                r#"{"Labels":{"a":"2","b":"x=y"}}"#,
            ),
            (
                "{}",
                &["USER 1000:1000", "STOPSIGNAL SIGINT"],
                r#"{"StopSignal":"SIGINT","User":"1000:1000"}"#,
            ),
            (
                "{}",
                &["VOLUME /a /b", "VOLUME [\"/c d\"]"],
                r#"{"Volumes":{"/a":{},"/b":{},"/c d":{}}}"#,
            ),
            (
                r#"{"WorkingDir":"/w"}"#,
                &["WORKDIR a/../b", "WORKDIR c"],
                r#"{"WorkingDir":"/w/b/c"}"#,
            ),
            (
                "{}",
                &["ONBUILD RUN make", "ONBUILD ADD . /"],
                r#"{"OnBuild":["RUN make","ADD . /"]}"#,
            ),
        ] {
            assert_eq!(changed(before, changes), after, "{changes:?}");
        }
    }

    #[test]
    fn what_is_no_instruction_is_refused() {
        for bad in [
            "",
            "CMD",
            "RUN x",
            "ENV",
            "ENV A",
            "LABEL =x",
            "EXPOSE http",
            "EXPOSE 70000",
            "USER ",
            "CMD [\"a\"",
            "VOLUME ",
            "ENV A='x",
            "ENV A=x\\",
            "EXPOSE 80/icmp",
            "FROM x",
        ] {
            let error = bad.parse::<Change>();
            assert!(error.is_err(), "{bad:?}: {error:?}");
        }
    }
}
