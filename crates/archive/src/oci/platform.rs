//! The machine and system that an image is for.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

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

    /// True when an image for `self` is one for `wanted`.
    ///
    /// A variant that `wanted` does not name fits whatever it is; `v8` is what 64-bit ARM is
    /// without saying so.
    pub fn fits(&self, wanted: &Platform) -> bool {
        let variant = |platform: &Platform| match platform.variant.as_deref() {
            None | Some("") if platform.architecture == "arm64" => Some("v8".to_owned()),
            None | Some("") => None,
            Some(variant) => Some(variant.to_owned()),
        };
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && (wanted.variant.is_none() || variant(self) == variant(wanted))
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
        assert!(!fits("linux/arm", "linux/arm/v6"));
        assert!(!fits("linux/amd64", "linux/arm64"));
        assert!(!fits("windows/amd64", "linux/amd64"));
        assert!(platform("unknown/unknown").is_unknown());
    }
}
