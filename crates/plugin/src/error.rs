//! What can go wrong with a plugin, and with the backend in it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::fault::Fault;

/// Why a backend did not do what it was asked for.
#[derive(Debug)]
#[non_exhaustive]
pub enum BackendError {
    /// It could not, and says why.
    Failed {
        /// The error of the system that made it fail, if one did.
        errno: Option<i32>,
        /// What it was doing, or what is wrong; may be empty.
        message: String,
    },
    /// It broke the rules of the ABI. What it did is not known.
    Broken {
        /// The plugin's file.
        file: PathBuf,
        /// The function that was called.
        function: &'static str,
        /// What it did.
        fault: Fault,
    },
}

impl BackendError {
    /// Returns the error that says this.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self::Failed {
            errno: None,
            message: message.into(),
        }
    }

    /// Says what was being done, before what is known.
    #[must_use]
    pub fn during(self, doing: impl fmt::Display) -> Self {
        match self {
            Self::Failed { errno, message } => Self::Failed {
                errno,
                message: if message.is_empty() {
                    doing.to_string()
                } else {
                    format!("{doing}: {message}")
                },
            },
            broken @ Self::Broken { .. } => broken,
        }
    }

    /// Returns the error of the system that it is about.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Failed { errno, .. } => *errno,
            Self::Broken { .. } => None,
        }
    }

    pub(crate) fn not_offered(function: &str) -> Self {
        Self::Failed {
            errno: Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()),
            message: format!("the backend has no `{function}`"),
        }
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { errno, message } => {
                f.write_str(message)?;
                match errno {
                    Some(errno) if message.is_empty() => system(*errno).fmt(f),
                    Some(errno) => write!(f, ": {}", system(*errno)),
                    None if message.is_empty() => f.write_str("the driver gives no reason"),
                    None => Ok(()),
                }
            }
            Self::Broken {
                file,
                function,
                fault,
            } => write!(
                f,
                "the plugin {} is broken: `{function}` {fault}; what it did is not known: \
                 report this to those who made it",
                file.display(),
            ),
        }
    }
}

impl std::error::Error for BackendError {}

fn system(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

impl From<io::Error> for BackendError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::Failed {
                errno: Some(errno),
                message: String::new(),
            },
            None => Self::new(error.to_string()),
        }
    }
}

impl From<rustix::io::Errno> for BackendError {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Failed {
            errno: Some(error.raw_os_error()),
            message: String::new(),
        }
    }
}

/// Why a plugin cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The file is not there, or cannot be looked at.
    #[error("cannot {action} the plugin {}", file.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// The plugin's file.
        file: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// It is no shared object of this machine, or not all of one.
    #[error(
        "{} is no shared object: {found}; name the file that `cargo build` (of a cdylib) or \
         `cc -shared` made",
        file.display()
    )]
    NotShared {
        /// The file.
        file: PathBuf,
        /// What it is instead.
        found: String,
    },
    /// The system's loader refuses it.
    #[error("cannot load the plugin {}: {reason}", file.display())]
    Load {
        /// The file.
        file: PathBuf,
        /// What the loader says.
        reason: String,
    },
    /// It is a shared object, but not a plugin.
    #[error(
        "{} is a shared object, but no driver of lith: it has no function \
         `lith_driver_plugin` (`export_driver!` makes it in Rust, `lith_plugin.h` declares it for C)",
        file.display()
    )]
    NoEntry {
        /// The file.
        file: PathBuf,
    },
    /// Its entry returned null: it does not want to work with this lith.
    #[error(
        "{} refuses to work with this lith, whose plugin ABI has version {version}: \
         build it for that version",
        file.display()
    )]
    Refused {
        /// The file.
        file: PathBuf,
        /// The version of this lith's ABI.
        version: u32,
    },
    /// It is made for another version of the ABI.
    #[error(
        "{} is made for version {found} of the plugin ABI, this lith has version {expected}: \
         build it with the header or the crate `lith-plugin` of this lith",
        file.display()
    )]
    Version {
        /// The file.
        file: PathBuf,
        /// The version that it says.
        found: u32,
        /// This lith's.
        expected: u32,
    },
    /// Its table is too short for the functions that every driver has.
    #[error(
        "the table of the plugin {} has {found} bytes, version {version} of the ABI needs at \
         least {expected}: its field `size` must be the size of `lith_driver`",
        file.display()
    )]
    Table {
        /// The file.
        file: PathBuf,
        /// The version of the ABI.
        version: u32,
        /// The size that it says.
        found: u32,
        /// The least size.
        expected: usize,
    },
    /// A function is missing that every driver has, or that the driver promises.
    #[error("the plugin {} has no function `{function}`, {reason}", file.display())]
    Function {
        /// The file.
        file: PathBuf,
        /// The function.
        function: &'static str,
        /// Why it must have it.
        reason: &'static str,
    },
    /// Its name is none for a driver.
    #[error(
        "the plugin {} calls itself \"{found}\": a driver's name has 1 to 32 of a-z, 0-9 and -, \
         the first a letter",
        file.display()
    )]
    Name {
        /// The file.
        file: PathBuf,
        /// The name.
        found: String,
    },
    /// What it says of itself is nonsense.
    #[error("the plugin {} is broken: its table {fault}", file.display())]
    Broken {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        fault: Fault,
    },
    /// It cannot work on the driver's folder.
    #[error("the driver {driver} ({}) cannot be opened on {}", file.display(), home.display())]
    Open {
        /// The driver's name.
        driver: String,
        /// The plugin's file.
        file: PathBuf,
        /// The driver's folder.
        home: PathBuf,
        /// Why.
        source: Box<BackendError>,
    },
}

impl PluginError {
    pub(crate) fn io(action: &'static str, file: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            action,
            file: file.to_owned(),
            source: source.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::TextFault;

    #[test]
    fn errors_say_what_was_done_and_what_the_system_said() {
        let full = io::Error::from_raw_os_error(28);
        assert_eq!(
            BackendError::from(full)
                .during("make a subvolume")
                .to_string(),
            "make a subvolume: No space left on device (os error 28)"
        );
        let plain = BackendError::new("not btrfs").during("look at the folder");
        assert_eq!(plain.to_string(), "look at the folder: not btrfs");
        assert_eq!(plain.errno(), None);
        assert_eq!(
            BackendError::new("").to_string(),
            "the driver gives no reason"
        );
        assert_eq!(BackendError::from(rustix::io::Errno::PERM).errno(), Some(1));
    }

    #[test]
    fn what_a_plugin_broke_is_named_with_its_file() {
        let broken = BackendError::Broken {
            file: PathBuf::from("/lib/libx.so"),
            function: "status",
            fault: Fault::Text {
                what: "a fact",
                fault: TextFault::NotUtf8 { at: 3 },
            },
        };
        assert_eq!(
            broken.to_string(),
            "the plugin /lib/libx.so is broken: `status` gave a fact that is not UTF-8 (byte 3); \
             what it did is not known: report this to those who made it"
        );
    }
}
