//! Media types of the field, and what they promise.

use std::fmt;

use lith_graph::compression::Compression;
use serde::{Deserialize, Deserializer};

/// What kind of thing a media type promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A list of manifests.
    Index,
    /// One image.
    Manifest,
    /// An image's config.
    Config,
    /// A layer.
    Layer,
    /// Something that is not known here.
    Other,
}

/// A media type. Types are compared as they are written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum MediaType {
    /// `application/vnd.oci.image.index.v1+json`
    OciIndex,
    /// `application/vnd.oci.image.manifest.v1+json`
    OciManifest,
    /// `application/vnd.oci.image.config.v1+json`
    OciConfig,
    /// `application/vnd.oci.image.layer.v1.tar`
    OciLayer,
    /// `application/vnd.oci.image.layer.v1.tar+gzip`
    OciLayerGzip,
    /// `application/vnd.oci.image.layer.v1.tar+zstd`
    OciLayerZstd,
    /// `application/vnd.docker.distribution.manifest.list.v2+json`
    DockerList,
    /// `application/vnd.docker.distribution.manifest.v2+json`
    DockerManifest,
    /// `application/vnd.docker.container.image.v1+json`
    DockerConfig,
    /// `application/vnd.docker.image.rootfs.diff.tar`
    DockerLayer,
    /// `application/vnd.docker.image.rootfs.diff.tar.gzip`
    DockerLayerGzip,
    /// Anything else, layers that may not be distributed among it.
    Other(String),
}

use MediaType as M;

const TABLE: [(MediaType, &str, Kind, Option<Compression>); 11] = {
    use Compression::{Gzip, None as Plain, Zstd};
    [
        (
            M::OciIndex,
            "application/vnd.oci.image.index.v1+json",
            Kind::Index,
            None,
        ),
        (
            M::OciManifest,
            "application/vnd.oci.image.manifest.v1+json",
            Kind::Manifest,
            None,
        ),
        (
            M::OciConfig,
            "application/vnd.oci.image.config.v1+json",
            Kind::Config,
            None,
        ),
        (
            M::OciLayer,
            "application/vnd.oci.image.layer.v1.tar",
            Kind::Layer,
            Some(Plain),
        ),
        (
            M::OciLayerGzip,
            "application/vnd.oci.image.layer.v1.tar+gzip",
            Kind::Layer,
            Some(Gzip),
        ),
        (
            M::OciLayerZstd,
            "application/vnd.oci.image.layer.v1.tar+zstd",
            Kind::Layer,
            Some(Zstd),
        ),
        (
            M::DockerList,
            "application/vnd.docker.distribution.manifest.list.v2+json",
            Kind::Index,
            None,
        ),
        (
            M::DockerManifest,
            "application/vnd.docker.distribution.manifest.v2+json",
            Kind::Manifest,
            None,
        ),
        (
            M::DockerConfig,
            "application/vnd.docker.container.image.v1+json",
            Kind::Config,
            None,
        ),
        (
            M::DockerLayer,
            "application/vnd.docker.image.rootfs.diff.tar",
            Kind::Layer,
            Some(Plain),
        ),
        (
            M::DockerLayerGzip,
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            Kind::Layer,
            Some(Gzip),
        ),
    ]
};

/// How the media types of layers begin that are not in the table: those that engines must
/// not distribute, and older or newer compressions.
const LAYERS: [&str; 3] = [
    "application/vnd.oci.image.layer.",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.",
];

impl MediaType {
    /// Takes a media type as it is written.
    pub fn new(text: &str) -> MediaType {
        let known = TABLE.iter().find(|(_, known, ..)| *known == text);
        known.map_or_else(
            || MediaType::Other(text.to_owned()),
            |(media_type, ..)| media_type.clone(),
        )
    }

    /// The media type as it is written.
    pub fn as_str(&self) -> &str {
        if let MediaType::Other(text) = self {
            return text;
        }
        self.row().map_or("", |(_, text, ..)| text)
    }

    /// What it promises.
    pub fn kind(&self) -> Kind {
        match self {
            MediaType::Other(text) if LAYERS.iter().any(|start| text.starts_with(start)) => {
                Kind::Layer
            }
            _ => self.row().map_or(Kind::Other, |(_, _, kind, _)| *kind),
        }
    }

    /// How it says that a layer is compressed; content may say otherwise. None for what is no
    /// layer or has a compression that is not known here.
    pub fn compression(&self) -> Option<Compression> {
        if let Some((.., compression)) = self.row() {
            return *compression;
        }
        let text = self.as_str();
        match (self.kind(), text.rsplit(['+', '.']).next()) {
            (Kind::Layer, Some("gzip")) => Some(Compression::Gzip),
            (Kind::Layer, Some("zstd")) => Some(Compression::Zstd),
            (Kind::Layer, Some("tar")) => Some(Compression::None),
            _ => None,
        }
    }

    /// True for types of Docker's own.
    pub fn is_docker(&self) -> bool {
        self.as_str().starts_with("application/vnd.docker.")
    }

    fn row(&self) -> Option<&'static (MediaType, &'static str, Kind, Option<Compression>)> {
        TABLE.iter().find(|(media_type, ..)| media_type == self)
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<MediaType, D::Error> {
        Ok(MediaType::new(&String::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_both_ways() {
        for (media_type, text, kind, compression) in &TABLE {
            assert_eq!(MediaType::new(text), *media_type);
            assert_eq!(media_type.as_str(), *text);
            assert_eq!(media_type.kind(), *kind, "{text}");
            assert_eq!(media_type.compression(), *compression, "{text}");
        }
    }

    #[test]
    fn other_layers_are_layers() {
        for (text, compression) in [
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                Some(Compression::Gzip),
            ),
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar",
                Some(Compression::None),
            ),
            (
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                Some(Compression::Gzip),
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar.zstd",
                Some(Compression::Zstd),
            ),
            ("application/vnd.oci.image.layer.v1.tar+new", None),
        ] {
            let media_type = MediaType::new(text);
            assert_eq!(media_type.kind(), Kind::Layer, "{text}");
            assert_eq!(media_type.compression(), compression, "{text}");
            assert_eq!(media_type.to_string(), text);
        }
        for text in ["", "text/plain", "application/vnd.in-toto+json"] {
            let media_type = MediaType::new(text);
            assert_eq!(media_type.kind(), Kind::Other, "{text}");
            assert_eq!(media_type.compression(), None, "{text}");
        }
    }
}
