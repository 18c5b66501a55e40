//! Layers that are made here, not loaded.

use std::io::Read;

use lith_store::{LayerId, Session};
use serde_json::{Map, Value};

use crate::{Descriptor, Graph, Observer, RegisterError, Registered};

/// What is to be said of a layer that is made here.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CreateOptions {
    /// The container it was made of, if it was made of one.
    pub container: Option<Container>,
    /// A comment.
    pub comment: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// How containers of it are to run.
    pub config: Option<Map<String, Value>>,
}

/// The container that a layer is made of. A parent comes only with one.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// Its ID.
    pub id: String,
    /// The layer it ran on, on which the new one stands.
    pub parent: Option<LayerId>,
    /// How it ran.
    pub config: Option<Map<String, Value>>,
}

impl Graph {
    /// Makes a new layer of `data` under a random ID, and registers it.
    ///
    /// Its JSON says what `options` say, and besides: created now (UTC), for the architecture and
    /// operating system of this machine, by this version of lith. For the rest as
    /// [`Graph::register`]; without data the layer is empty.
    ///
    /// # Errors
    /// As [`Graph::register`].
    pub fn create(
        &self,
        session: &Session,
        options: &CreateOptions,
        data: Option<&mut (dyn Read + Send)>,
        observer: &dyn Observer,
    ) -> Result<Registered, RegisterError> {
        let id = LayerId::random();
        let descriptor = Descriptor {
            id,
            parent: options
                .container
                .as_ref()
                .and_then(|made_of| made_of.parent),
            diff_id: None,
            json: Some(Value::Object(json(&id, options)).to_string().into_bytes()),
        };
        self.register(session, &descriptor, data, observer)
    }
}

fn json(id: &LayerId, options: &CreateOptions) -> Map<String, Value> {
    let mut members = Map::new();
    let mut say = |member: &str, value: Option<Value>| {
        if let Some(value) = value {
            members.insert(member.to_owned(), value);
        }
    };
    let text = |text: &Option<String>| text.clone().map(Value::from);
    let object = |object: &Option<Map<String, Value>>| object.clone().map(Value::from);
    say("id", Some(id.hex().into()));
    say("created", Some(jiff::Timestamp::now().to_string().into()));
    say("docker_version", Some(VERSION.into()));
    say("architecture", Some(architecture().into()));
    say("os", Some(std::env::consts::OS.into()));
    say("comment", text(&options.comment));
    say("author", text(&options.author));
    say("config", object(&options.config));
    if let Some(container) = &options.container {
        say("container", Some(container.id.clone().into()));
        say("container_config", object(&container.config));
        say("parent", container.parent.map(|parent| parent.hex().into()));
    }
    members
}

/// What made a layer, in the member where the field's engines name theirs.
const VERSION: &str = concat!("lith ", env!("CARGO_PKG_VERSION"));

/// The architecture of this machine, as the field calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86" => "386",
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "loongarch64" => "loong64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        "mips" if cfg!(target_endian = "little") => "mipsle",
        "mips64" if cfg!(target_endian = "little") => "mips64le",
        // arm, riscv64, s390x and others have one name everywhere.
        other => other,
    }
}
