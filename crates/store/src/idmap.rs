//! Maps between the IDs of users and groups in containers and those of this machine.

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A run of IDs in a container and the equally long run of IDs here that stand for them.
///
/// Written `CONTAINER:HOST:COUNT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IdRange {
    /// The first ID in the container.
    pub container: u32,
    /// The first ID here.
    pub host: u32,
    /// How many there are.
    pub count: u32,
}

/// Which users and groups of containers are which of this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdMaps {
    /// Users.
    pub uids: Vec<IdRange>,
    /// Groups.
    pub gids: Vec<IdRange>,
}

/// A text that is no range of IDs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a range of IDs: expected CONTAINER:HOST:COUNT, three numbers")]
pub struct ParseIdRangeError {
    /// What was given.
    pub text: String,
}

/// Why maps cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdMapError {
    /// A range has no IDs, or reaches beyond those that there are.
    #[error("range {range} of {what} does not fit: IDs end before {}", u32::MAX)]
    Range {
        /// "users" or "groups".
        what: &'static str,
        /// The range.
        range: IdRange,
    },
    /// Two ranges share IDs, in the container or here.
    #[error("ranges {first} and {second} of {what} overlap")]
    Overlap {
        /// "users" or "groups".
        what: &'static str,
        /// The one.
        first: IdRange,
        /// The other.
        second: IdRange,
    },
    /// Nobody stands for the container's root.
    #[error("no range of {what} has ID 0, that of root: {}", show(ranges))]
    NoRoot {
        /// "users" or "groups".
        what: &'static str,
        /// What there is.
        ranges: Vec<IdRange>,
    },
}

impl IdRange {
    /// The first and the last ID of a run that starts at `first`.
    fn run(&self, first: u32) -> Option<(u32, u32)> {
        let last = first.checked_add(self.count.checked_sub(1)?)?;
        // The highest number stands for no ID.
        (last < u32::MAX).then_some((first, last))
    }
}

impl IdMaps {
    /// Checks that ranges fit, do not overlap, neither in the container nor here, and that
    /// there is a root.
    ///
    /// # Errors
    /// [`IdMapError`] names the ranges.
    pub fn check(&self) -> Result<(), IdMapError> {
        check("users", &self.uids)?;
        check("groups", &self.gids)
    }

    /// Returns the user and the group here that stand for the container's root.
    pub fn root(&self) -> Option<(u32, u32)> {
        Some((of_root(&self.uids)?, of_root(&self.gids)?))
    }

    /// Returns whether this process runs in a user namespace that has these very maps: then the
    /// kernel shifts, and files have the container's IDs.
    ///
    /// The maps that change nothing count for nothing.
    pub fn in_force(&self) -> bool {
        let whole = |ranges: &[IdRange]| ranges.iter().all(|range| range.container == range.host);
        if whole(&self.uids) && whole(&self.gids) {
            return false;
        }
        IdMaps::of_this_process().is_ok_and(|here| {
            joined(&here.uids) == joined(&self.uids) && joined(&here.gids) == joined(&self.gids)
        })
    }

    /// Returns the maps of the user namespace that this process runs in.
    ///
    /// # Errors
    /// When `/proc` does not say.
    pub fn of_this_process() -> io::Result<IdMaps> {
        let read = |path: &str| parse_map(&std::fs::read_to_string(path)?);
        Ok(IdMaps {
            uids: read("/proc/self/uid_map")?,
            gids: read("/proc/self/gid_map")?,
        })
    }

    /// The same maps with their ranges in order.
    pub(crate) fn sorted(&self) -> IdMaps {
        let mut sorted = self.clone();
        sorted.uids.sort_unstable();
        sorted.gids.sort_unstable();
        sorted
    }
}

/// Three numbers a line: container, here, how many.
fn parse_map(text: &str) -> io::Result<Vec<IdRange>> {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Some(container)), Some(Some(host)), Some(Some(count))) => Some(IdRange {
                container,
                host,
                count,
            }),
            _ => None,
        }
    };
    let ranges: Option<Vec<IdRange>> = text.lines().map(line).collect();
    ranges.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a map of IDs"))
}

/// The ranges in order, those that continue each other as one.
fn joined(ranges: &[IdRange]) -> Vec<IdRange> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let mut joined: Vec<IdRange> = Vec::new();
    for range in sorted {
        let follows = |last: &&mut IdRange| {
            last.container.checked_add(last.count) == Some(range.container)
                && last.host.checked_add(last.count) == Some(range.host)
        };
        match joined.last_mut().filter(follows) {
            Some(last) => last.count = last.count.saturating_add(range.count),
            None => joined.push(range),
        }
    }
    joined
}

fn of_root(ranges: &[IdRange]) -> Option<u32> {
    let range = ranges.iter().find(|range| range.container == 0)?;
    Some(range.host)
}

fn check(what: &'static str, ranges: &[IdRange]) -> Result<(), IdMapError> {
    for start in [(|range| range.container) as fn(&IdRange) -> u32, |range| {
        range.host
    }] {
        let mut runs = Vec::with_capacity(ranges.len());
        for range in ranges {
            let Some((first, last)) = range.run(start(range)) else {
                return Err(IdMapError::Range {
                    what,
                    range: *range,
                });
            };
            runs.push((first, last, *range));
        }
        runs.sort_unstable();
        for pair in runs.windows(2) {
            if let [(_, end, first), (next, _, second)] = *pair
                && next <= end
            {
                return Err(IdMapError::Overlap {
                    what,
                    first,
                    second,
                });
            }
        }
    }
    if of_root(ranges).is_none() {
        return Err(IdMapError::NoRoot {
            what,
            ranges: ranges.to_vec(),
        });
    }
    Ok(())
}

fn show(ranges: &[IdRange]) -> String {
    match ranges {
        [] => "none".to_owned(),
        _ => crate::layers::hold::list(ranges),
    }
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.container, self.host, self.count)
    }
}

impl fmt::Display for IdMaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "users {}; groups {}", show(&self.uids), show(&self.gids))
    }
}

impl FromStr for IdRange {
    type Err = ParseIdRangeError;

    fn from_str(text: &str) -> Result<IdRange, ParseIdRangeError> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u32>().ok().filter(|_| digits)
        };
        let mut parts = text.split(':').map(number);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Some(container)), Some(Some(host)), Some(Some(count)), None) => Ok(IdRange {
                container,
                host,
                count,
            }),
            _ => Err(ParseIdRangeError {
                text: crate::digest::shorten(text),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps(ranges: &[&str]) -> IdMaps {
        let ranges: Vec<IdRange> = ranges.iter().map(|text| text.parse().unwrap()).collect();
        IdMaps {
            uids: ranges.clone(),
            gids: ranges,
        }
    }

    #[test]
    fn texts() {
        let range: IdRange = "0:100000:65536".parse().unwrap();
        assert_eq!(range.to_string(), "0:100000:65536");
        for text in [
            "",
            "0",
            "0:1",
            "0:1:2:3",
            "0:1:",
            ":1:2",
            "0:+1:2",
            "0:-1:2",
            "0:1:4294967296",
            "a:b:c",
            "0: 1:2",
        ] {
            let error = text.parse::<IdRange>().unwrap_err();
            assert!(error.to_string().contains("CONTAINER:HOST:COUNT"), "{text}");
        }
    }

    #[test]
    fn what_fits() {
        for good in [
            &["0:100000:65536"][..],
            &["0:0:4294967295"],
            &["0:1000:1", "1:100000:65536"],
            &["1:100000:65536", "0:1000:1"],
            &["0:5:5", "5:0:5"],
        ] {
            assert_eq!(maps(good).check(), Ok(()), "{good:?}");
        }
        assert_eq!(maps(&["1:9:5", "0:7:1"]).root(), Some((7, 7)));
    }

    #[test]
    fn maps_of_processes() {
        let text = "         0       1000          1\n         1     100000      65536\n";
        let found = parse_map(text).unwrap();
        assert_eq!(found, maps(&["0:1000:1", "1:100000:65536"]).uids);
        for torn in ["0 0", "0 x 1", "0 0 -1"] {
            assert!(parse_map(torn).is_err(), "{torn}");
        }
        let split = maps(&["5:15:5", "0:10:5", "20:30:1"]).uids;
        assert_eq!(joined(&split), maps(&["0:10:10", "20:30:1"]).uids);
        assert!(!maps(&["0:0:4294967295"]).in_force());
        assert!(!maps(&["0:4242:7"]).in_force());
        IdMaps::of_this_process().unwrap();
    }

    #[test]
    fn what_does_not_fit() {
        for (bad, said) in [
            (&["0:0:0"][..], "does not fit"),
            (&["0:0:1", "1:1:4294967295"], "does not fit"),
            (&["0:4294967295:1"], "does not fit"),
            (&["0:0:1", "4294967290:1:100"], "does not fit"),
            (&["0:100:10", "9:200:5"], "overlap"),
            (&["0:100:10", "20:109:5"], "overlap"),
            (&["0:100:10", "0:100:10"], "overlap"),
            (&["1:100:10"], "no range of users has ID 0"),
            (&[], "none"),
        ] {
            let error = maps(bad).check().unwrap_err();
            assert!(error.to_string().contains(said), "{bad:?}: {error}");
        }
    }
}
