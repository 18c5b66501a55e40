//! Content digests and the identifiers made of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// A text that is not a digest or an ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseDigestError {
    /// There is no `algorithm:` in front.
    #[error("{text:?} is not a digest: expected sha256:<64 lower-case hex digits>")]
    NoAlgorithm {
        /// What was given.
        text: String,
    },
    /// Another algorithm than SHA-256.
    #[error("digest algorithm {algorithm:?} is not supported: expected sha256")]
    Algorithm {
        /// The algorithm that was named.
        algorithm: String,
    },
    /// The part behind the algorithm is not 64 lower-case hex digits.
    #[error("{text:?} is not 64 lower-case hex digits")]
    Hex {
        /// What was given.
        text: String,
    },
}

/// A SHA-256 digest, written `sha256:<64 lower-case hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Takes the 32 raw bytes of a digest.
    pub fn from_bytes(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }

    /// Hashes `content`.
    pub fn of(content: &[u8]) -> Digest {
        Digest(Sha256::digest(content).into())
    }

    /// Reads 64 lower-case hex digits without an algorithm in front.
    ///
    /// # Errors
    /// Anything else.
    pub fn from_hex(text: &str) -> Result<Digest, ParseDigestError> {
        parse_hex(text).map(Digest)
    }

    /// Returns the raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the 64 hex digits without the algorithm.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Digest, ParseDigestError> {
        match text.split_once(':') {
            None => Err(ParseDigestError::NoAlgorithm {
                text: shorten(text),
            }),
            Some(("sha256", hex)) => Digest::from_hex(hex),
            Some((algorithm, _)) => Err(ParseDigestError::Algorithm {
                algorithm: shorten(algorithm),
            }),
        }
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Reads exactly 64 lower-case hex digits.
fn parse_hex(text: &str) -> Result<[u8; 32], ParseDigestError> {
    let wrong = || ParseDigestError::Hex {
        text: shorten(text),
    };
    // Listings read tens of thousands of these: one pass, and none for upper case.
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return Err(wrong());
    };
    let pairs: &[[u8; 2]; 32] = pairs.try_into().map_err(|_| wrong())?;
    let mut bytes = [0; 32];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
            return Err(wrong());
        };
        *byte = high << 4 | low;
    }
    Ok(bytes)
}

/// The value of a lower-case hex digit.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// What an error message shows of a text of any length.
pub(crate) fn shorten(text: &str) -> String {
    const SHOWN: usize = 160;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain("...".chars()).collect()
}

/// Defines an identifier that is a [`Digest`] of one certain kind of thing.
macro_rules! digest_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(Digest);

        impl $name {
            /// Takes the 32 raw bytes of the digest.
            pub fn from_bytes(bytes: [u8; 32]) -> $name {
                $name(Digest::from_bytes(bytes))
            }

            /// Hashes `content`.
            pub fn of_bytes(content: &[u8]) -> $name {
                $name(Digest::of(content))
            }

            /// Reads 64 lower-case hex digits without an algorithm in front.
            ///
            /// # Errors
            /// Anything else.
            pub fn from_hex(text: &str) -> Result<$name, ParseDigestError> {
                Digest::from_hex(text).map($name)
            }

            /// Returns the digest without its meaning.
            pub fn digest(&self) -> &Digest {
                &self.0
            }

            /// Returns the 64 hex digits without the algorithm.
            pub fn hex(&self) -> String {
                self.0.hex()
            }
        }

        impl From<Digest> for $name {
            fn from(digest: Digest) -> $name {
                $name(digest)
            }
        }

        impl From<$name> for Digest {
            fn from(id: $name) -> Digest {
                id.0
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            fn from_str(text: &str) -> Result<$name, ParseDigestError> {
                text.parse().map($name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

digest_id! {
    /// The digest of a layer's uncompressed tar.
    DiffId
}
digest_id! {
    /// The digest that stands for a layer together with all its parents.
    ChainId
}
digest_id! {
    /// The digest of an image's configuration, byte for byte.
    ImageId
}
digest_id! {
    /// The digest of bytes as they are stored or transported, often compressed.
    BlobId
}

impl ChainId {
    /// Returns the chain ID of the layer `diff` on top of `parent`.
    pub fn of(parent: Option<&ChainId>, diff: &DiffId) -> ChainId {
        match parent {
            None => ChainId(diff.0),
            Some(parent) => ChainId(Digest::of(format!("{parent} {diff}").as_bytes())),
        }
    }

    /// Returns the chain ID of every layer of a stack, bottom first.
    pub fn chain(diff_ids: &[DiffId]) -> Vec<ChainId> {
        let mut chain: Vec<ChainId> = Vec::with_capacity(diff_ids.len());
        for diff in diff_ids {
            chain.push(ChainId::of(chain.last(), diff));
        }
        chain
    }
}

/// The ID under which a layer is kept: 64 lower-case hex digits.
///
/// Layers of loaded images have the hex digits of their chain ID; layers that are made
/// here have random ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId([u8; 32]);

impl LayerId {
    /// Takes the 32 raw bytes of an ID.
    pub fn from_bytes(bytes: [u8; 32]) -> LayerId {
        LayerId(bytes)
    }

    /// Makes a new random ID.
    ///
    /// Its first 12 digits are never all decimal: a short ID must not look like a number.
    pub fn random() -> LayerId {
        loop {
            let id = LayerId(crate::random::bytes());
            if id
                .hex()
                .bytes()
                .take(12)
                .any(|digit| digit.is_ascii_alphabetic())
            {
                return id;
            }
        }
    }

    /// Returns the raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the 64 hex digits.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl From<&ChainId> for LayerId {
    fn from(chain: &ChainId) -> LayerId {
        LayerId(*chain.0.as_bytes())
    }
}

impl From<ChainId> for LayerId {
    fn from(chain: ChainId) -> LayerId {
        LayerId::from(&chain)
    }
}

impl FromStr for LayerId {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<LayerId, ParseDigestError> {
        parse_hex(text).map(LayerId)
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LayerId({self})")
    }
}

impl Serialize for LayerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LayerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LayerId, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn digest_of_nothing() {
        assert_eq!(Digest::of(b"").to_string(), format!("sha256:{EMPTY}"));
        assert_eq!(format!("sha256:{EMPTY}").parse(), Ok(Digest::of(b"")));
    }

    #[test]
    fn malformed_digests_are_refused() {
        let upper = EMPTY.to_uppercase();
        for text in [
            "",
            "sha256",
            "sha256:",
            "sha256:zz",
            "sha256:../../x",
            EMPTY,
            &format!("sha256:{upper}"),
            &format!("sha256:{EMPTY}0"),
            &format!("sha256:{}", &EMPTY[1..]),
            &format!("sha256: {}", &EMPTY[1..]),
            &format!("SHA256:{EMPTY}"),
            &format!("sha256:{EMPTY}\n"),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text:?}");
        }
        let other = format!("sha512:{EMPTY}{EMPTY}").parse::<Digest>();
        assert_eq!(
            other,
            Err(ParseDigestError::Algorithm {
                algorithm: "sha512".into()
            })
        );
    }

    /// Facts: `docker history`'s and skopeo's chain IDs of a two-layer image are
    /// SHA-256 of the text "<parent> <diff>"; the value was made with sha256sum.
    #[test]
    fn chain_ids() {
        let first = DiffId::of_bytes(b"");
        let chain = ChainId::chain(&[first, first]);
        assert_eq!(chain[0].to_string(), first.to_string());
        let text = format!("sha256:{EMPTY} sha256:{EMPTY}");
        assert_eq!(chain[1].digest(), &Digest::of(text.as_bytes()));
        assert_eq!(LayerId::from(&chain[0]).to_string(), EMPTY);
        assert!(ChainId::chain(&[]).is_empty());
    }

    #[test]
    fn random_ids_differ_and_parse() {
        let id = LayerId::random();
        assert_ne!(id, LayerId::random());
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn json_is_the_text() {
        let id = ImageId::of_bytes(b"x");
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<ImageId>(&json).unwrap(), id);
        assert!(serde_json::from_str::<ImageId>("\"sha256:..\"").is_err());
    }
}
