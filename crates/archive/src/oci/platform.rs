//! The machine and system that an image is for.

use std::fmt;
use std::str::FromStr;

use lith_store::ImageRecord;
use serde::Deserialize;

use crate::config::ConfigFacts;
use crate::json;

/// A platform, as documents write it and as people do: `linux/arm64/v8`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct Platform {
    /// Go's name of the processor.
    #[serde(default)]
    pub architecture: String,
    /// Go's name of the system.
    #[serde(default)]
    pub os: String,
    /// Which of several processors of that name.
    #[serde(default)]
    pub variant: Option<String>,
    /// The system's version, for systems whose kernel must fit.
    #[serde(default, rename = "os.version")]
    pub os_version: Option<String>,
    /// What the system must be able to do.
    #[serde(default, rename = "os.features")]
    pub os_features: Option<Vec<String>>,
}

/// A text that is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a platform: expected OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT")]
pub struct ParsePlatformError {
    /// What was given.
    pub text: String,
}

impl Platform {
    /// The platform of this machine.
    pub fn here() -> Platform {
        Platform::named(std::env::consts::OS, std::env::consts::ARCH, None)
    }

    /// The platform that a config says it is for.
    pub(crate) fn of_config(facts: &ConfigFacts) -> Option<Platform> {
        Platform::of_parts(&facts.os, &facts.architecture, &facts.variant)
    }

    /// The platform that a config said an image of the store is for.
    pub(crate) fn of_image(image: &ImageRecord) -> Option<Platform> {
        Platform::of_parts(&image.os, &image.architecture, &image.variant)
    }

    fn of_parts(
        os: &Option<String>,
        architecture: &Option<String>,
        variant: &Option<String>,
    ) -> Option<Platform> {
        Some(Platform {
            architecture: architecture.clone()?,
            os: os.clone()?,
            variant: variant.clone(),
            os_version: None,
            os_features: None,
        })
    }

    /// A platform by names that may be those of other tools: `x86_64` is `amd64`.
    fn named(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        let (architecture, implied) = match architecture.to_ascii_lowercase().as_str() {
            "x86_64" | "x86-64" => ("amd64".to_owned(), None),
            "aarch64" => ("arm64".to_owned(), None),
            "i386" | "i486" | "i586" | "i686" | "x86" => ("386".to_owned(), None),
            "armhf" => ("arm".to_owned(), Some("v7")),
            "armel" => ("arm".to_owned(), Some("v6")),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le".to_owned(), None),
            other => (other.to_owned(), None),
        };
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        Platform {
            architecture,
            os,
            variant: variant.or(implied).map(str::to_ascii_lowercase),
            os_version: None,
            os_features: None,
        }
    }

    /// True when an image for `self` runs where one for `wanted` does.
    pub fn fits(&self, wanted: &Platform) -> bool {
        self.rank(wanted).is_some()
    }

    /// How well an image for `self` serves as one for `wanted`, 0 being best; none when it does
    /// not.
    ///
    /// As in podman: a variant also runs what is for lower ones, and images that name none come
    /// last. Who names no variant gets the usual one first, then the others from the highest.
    pub fn rank(&self, wanted: &Platform) -> Option<usize> {
        if self.os != wanted.os || self.architecture != wanted.architecture {
            return None;
        }
        let order: &[&str] = match self.architecture.as_str() {
            "amd64" => &["v4", "v3", "v2", "v1"],
            "arm" => &["v8", "v7", "v6", "v5"],
            "arm64" => &["v9", "v8"],
            _ => &[],
        };
        let (own, wished) = (self.variant_or_usual(), wanted.variant_or_usual());
        if own == wished {
            return Some(0);
        }
        let place = |variant: &str| order.iter().position(|other| *other == variant);
        match (place(own), place(wished)) {
            (Some(own), Some(wished)) if own > wished => Some(own - wished),
            (Some(own), _) if wanted.names_no_variant() => Some(order.len() + own),
            _ if wanted.names_no_variant() => Some(2 * order.len() + 1),
            _ if self.names_no_variant() => Some(2 * order.len() + 2),
            _ => None,
        }
    }

    fn names_no_variant(&self) -> bool {
        self.variant.as_deref().is_none_or(str::is_empty)
    }

    /// The variant, or the one that is meant by naming none.
    fn variant_or_usual(&self) -> &str {
        match (self.variant.as_deref(), self.architecture.as_str()) {
            (None | Some(""), "amd64") => "v1",
            (None | Some(""), "arm") => "v7",
            (None | Some(""), "arm64") => "v8",
            (Some("8"), "arm64") => "v8",
            (variant, _) => variant.unwrap_or_default(),
        }
    }

    /// True for what is no image to be run: attestations are listed with this platform.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }

    pub(super) fn to_json(&self) -> String {
        let mut members = vec![
            ("architecture", json::string(&self.architecture)),
            ("os", json::string(&self.os)),
        ];
        if let Some(version) = &self.os_version {
            members.push(("os.version", json::string(version)));
        }
        if let Some(features) = &self.os_features {
            let features = features.iter().map(|feature| json::string(feature));
            members.push(("os.features", json::list(features)));
        }
        if let Some(variant) = &self.variant {
            members.push(("variant", json::string(variant)));
        }
        json::object(members)
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Platform, ParsePlatformError> {
        let wrong = || ParsePlatformError {
            text: text.chars().take(100).collect(),
        };
        let word = |part: &&str| {
            let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            !part.is_empty() && part.len() <= 40 && part.bytes().all(letter)
        };
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            [os, architecture] if parts.iter().all(word) => {
                Ok(Platform::named(os, architecture, None))
            }
            [os, architecture, variant] if parts.iter().all(word) => {
                Ok(Platform::named(os, architecture, Some(variant)))
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) if !variant.is_empty() => write!(f, "/{variant}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn names_of_other_tools_are_understood() {
        assert_eq!(platform("linux/x86_64").to_string(), "linux/amd64");
        assert_eq!(platform("Linux/AARCH64").to_string(), "linux/arm64");
        assert_eq!(platform("linux/armhf").to_string(), "linux/arm/v7");
        assert_eq!(platform("linux/arm/V6").to_string(), "linux/arm/v6");
        assert!(!Platform::here().os.is_empty());
        for text in ["", "linux", "linux/", "/amd64", "a/b/c/d", "a b/c", "a/b/"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn variants() {
        let fits = |own: &str, wanted: &str| platform(own).fits(&platform(wanted));
        assert!(fits("linux/amd64", "linux/amd64"));
        assert!(fits("linux/arm64", "linux/arm64/v8"));
        assert!(fits("linux/arm64/v8", "linux/arm64"));
        assert!(fits("linux/arm/v7", "linux/arm"));
        assert!(!fits("linux/arm/v7", "linux/arm/v6"));
        assert!(!fits("linux/arm/v8", "linux/arm/v7"));
        assert!(!fits("linux/amd64/v3", "linux/amd64/v2"));
        assert!(!fits("linux/amd64", "linux/arm64"));
        assert!(!fits("windows/amd64", "linux/amd64"));
        assert!(platform("unknown/unknown").is_unknown());
    }

    #[test]
    fn the_best_comes_first() {
        let best = |wanted: &str, there: &[&str]| {
            let wanted = platform(wanted);
            let ranked = there.iter().enumerate();
            let ranked = ranked.filter_map(|(at, text)| Some((platform(text).rank(&wanted)?, at)));
            ranked.min().map(|(_, at)| there[at].to_owned())
        };
        let arms = [
            "linux/arm/v5",
            "linux/arm/v6",
            "linux/arm/v7",
            "linux/arm64",
        ];
        assert_eq!(best("linux/arm", &arms).unwrap(), "linux/arm/v7");
        assert_eq!(best("linux/arm/v8", &arms).unwrap(), "linux/arm/v7");
        assert_eq!(best("linux/arm/v6", &arms).unwrap(), "linux/arm/v6");
        assert_eq!(best("linux/arm/v5", &arms[1..]), None);
        let ones = ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64"];
        assert_eq!(best("linux/amd64", &ones).unwrap(), "linux/amd64");
        assert_eq!(
            best("linux/amd64/v3", &ones[1..]).unwrap(),
            "linux/amd64/v2"
        );
        assert_eq!(
            best("linux/ppc64le/power9", &["linux/ppc64le"]).unwrap(),
            "linux/ppc64le"
        );
    }
}
