//! What stays in the store though somebody asked for its removal, and why.

use std::fmt;
use std::path::PathBuf;

use lith_store::{ImageId, LayerId, Reference, SessionId};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::ids;

/// Something that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kept {
    /// What stays.
    pub item: Item,
    /// Why.
    pub because: Because,
}

/// An image or a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// An image.
    Image(ImageId),
    /// A layer.
    Layer(LayerId),
}

/// Why something stays.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Because {
    /// An image has these names.
    Named(Vec<Reference>),
    /// It is mounted there.
    Mounted(Vec<PathBuf>),
    /// Writable layers of these IDs were made of it.
    Written(Vec<String>),
    /// Images have the layer: the first few, and how many.
    Images(Vec<ImageId>, u64),
    /// Layers are on top of the layer: the first few, and how many.
    Layers(Vec<LayerId>, u64),
    /// Living sessions hold it: a load or a save at work, say.
    Sessions(Vec<SessionId>),
    /// Indexes have the image.
    Indexes(Vec<ImageId>),
    /// Images that stay were built on the image.
    Parent(Vec<ImageId>),
    /// Whoever made the layer said that it is to be kept.
    Owner,
}

impl Kept {
    pub(crate) fn image(id: ImageId, because: Because) -> Self {
        Self {
            item: Item::Image(id),
            because,
        }
    }

    pub(crate) fn layer(id: LayerId, because: Because) -> Self {
        Self {
            item: Item::Layer(id),
            because,
        }
    }
}

impl Because {
    /// A stable word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Named(_) => "named",
            Self::Mounted(_) => "mounted",
            Self::Written(_) => "writable",
            Self::Images(..) => "images",
            Self::Layers(..) => "layers",
            Self::Sessions(_) => "sessions",
            Self::Indexes(_) => "indexes",
            Self::Parent(_) => "parent",
            Self::Owner => "owner",
        }
    }

    /// What it is that needs it, as text: names, places, IDs. Of many the first few.
    pub fn by(&self) -> Vec<String> {
        fn all<T>(list: &[T], text: impl Fn(&T) -> String) -> Vec<String> {
            list.iter().map(text).collect()
        }
        match self {
            Self::Named(names) => all(names, Reference::familiar),
            Self::Mounted(places) => all(places, |place| place.to_string_lossy().into_owned()),
            Self::Written(layers) => layers.clone(),
            Self::Images(images, _) | Self::Indexes(images) | Self::Parent(images) => {
                all(images, ImageId::to_string)
            }
            Self::Layers(layers, _) => all(layers, ids::text),
            Self::Sessions(sessions) => all(sessions, SessionId::to_string),
            Self::Owner => Vec::new(),
        }
    }
}

impl Because {
    /// How many things need it.
    pub fn count(&self) -> u64 {
        match self {
            Self::Images(_, count) | Self::Layers(_, count) => *count,
            other => other.by().len() as u64,
        }
    }
}

/// A sentence about the thing, without naming it.
impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = some(&self.by(), self.count());
        match self {
            Self::Named(_) => write!(f, "it is still named {by}"),
            Self::Mounted(_) => write!(f, "it is mounted at {by}"),
            Self::Written(_) => write!(f, "writable layer {by} stands on it"),
            Self::Images(..) => write!(f, "needed by image {by}"),
            Self::Layers(..) => write!(f, "below layer {by}"),
            Self::Sessions(_) => write!(f, "held by session {by}"),
            Self::Indexes(_) => write!(f, "part of index {by}"),
            Self::Parent(_) => write!(f, "image {by} was built on it"),
            Self::Owner => f.write_str("its owner keeps it"),
        }
    }
}

/// The first few, and how many more there are.
fn some(all: &[String], count: u64) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<&str> = all.iter().take(SHOWN).map(String::as_str).collect();
    let mut text = shown.join(", ");
    let more = count.saturating_sub(shown.len() as u64);
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(id) => write!(f, "image {id}"),
            Self::Layer(id) => write!(f, "layer {}", ids::text(id)),
        }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.item, self.because)
    }
}

impl Serialize for Kept {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let (kind, id) = match &self.item {
            Item::Image(id) => ("image", id.to_string()),
            Item::Layer(id) => ("layer", ids::text(id)),
        };
        let mut row = out.serialize_struct("Kept", 6)?;
        row.serialize_field("kind", kind)?;
        row.serialize_field("id", &id)?;
        row.serialize_field("because", self.because.word())?;
        row.serialize_field("by", &self.because.by())?;
        row.serialize_field("count", &self.because.count())?;
        row.serialize_field("reason", &self.because.to_string())?;
        row.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_names_a_few_and_counts_the_others() {
        let image = |text: &[u8]| ImageId::of_bytes(text);
        let (a, b, c) = (image(b"a"), image(b"b"), image(b"c"));
        let text = Because::Images(vec![a, b, c, image(b"d"), image(b"e")], 700).to_string();
        assert_eq!(text, format!("needed by image {a}, {b}, {c} and 697 more"));
    }

    #[test]
    fn documents_have_every_field() {
        let layer = LayerId::from_bytes([7; 32]);
        let kept = serde_json::to_value(Kept::layer(layer, Because::Owner)).unwrap();
        let expected = serde_json::json!({
            "kind": "layer", "id": format!("sha256:{layer}"), "because": "owner", "by": [],
            "count": 0, "reason": "its owner keeps it",
        });
        assert_eq!(kept, expected);
    }
}
