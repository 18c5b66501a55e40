//! Maps between the owners that a layer names and those its files have on the disk.

use std::fmt;

/// A run of IDs: `container` lies as `host` on the disk, the next as the next, `count` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdRange {
    /// The first ID, as layers name it.
    pub container: u32,
    /// The first ID, as files on the disk have it.
    pub host: u32,
    /// How many IDs there are.
    pub count: u32,
}

/// Whose ID it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdKind {
    /// A user's.
    User,
    /// A group's.
    Group,
}

/// How owners of layers lie on the disk: ranges for users and for groups.
///
/// Nothing is mapped twice, on either side, so that each way can be gone back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdMaps {
    uids: Vec<IdRange>,
    gids: Vec<IdRange>,
}

/// Ranges that make no map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidIdMaps {
    /// There is no range.
    #[error("no range for {kind}s")]
    Empty {
        /// For whom.
        kind: IdKind,
    },
    /// A range holds no ID, or one that no file can have.
    #[error("range {range} for {kind}s is empty or goes beyond 4294967294")]
    OutOfBounds {
        /// For whom.
        kind: IdKind,
        /// The range.
        range: IdRange,
    },
    /// Two ranges share IDs.
    #[error("ranges {one} and {other} for {kind}s overlap")]
    Overlap {
        /// For whom.
        kind: IdKind,
        /// A range.
        one: IdRange,
        /// One that comes later.
        other: IdRange,
    },
}

impl IdMaps {
    /// Checks the ranges.
    ///
    /// # Errors
    /// When there are none for users or for groups, when one is empty or goes beyond the highest
    /// ID there is (4294967294), or when two share IDs of the layers or of the disk.
    pub fn new(uids: Vec<IdRange>, gids: Vec<IdRange>) -> Result<Self, InvalidIdMaps> {
        check(IdKind::User, &uids)?;
        check(IdKind::Group, &gids)?;
        Ok(Self { uids, gids })
    }

    /// Returns the ranges for users or for groups.
    #[must_use]
    pub fn ranges(&self, kind: IdKind) -> &[IdRange] {
        match kind {
            IdKind::User => &self.uids,
            IdKind::Group => &self.gids,
        }
    }

    /// Returns what an ID of a layer is on the disk, `None` when it is outside the map.
    #[must_use]
    pub fn to_host(&self, kind: IdKind, id: u32) -> Option<u32> {
        let ranges = self.ranges(kind).iter();
        ranges
            .filter_map(|range| shift(id, range.container, range.host, range.count))
            .next()
    }

    /// Returns what an ID on the disk is in a layer, `None` when it is outside the map.
    #[must_use]
    pub fn to_container(&self, kind: IdKind, id: u32) -> Option<u32> {
        let ranges = self.ranges(kind).iter();
        ranges
            .filter_map(|range| shift(id, range.host, range.container, range.count))
            .next()
    }

    /// Returns the maps as they are for processes in a user namespace that has them: every ID that
    /// there is stays as it is.
    pub(crate) fn inside(&self) -> Self {
        let inside = |ranges: &[IdRange]| {
            let range = |range: &IdRange| IdRange {
                host: range.container,
                ..*range
            };
            ranges.iter().map(range).collect()
        };
        Self {
            uids: inside(&self.uids),
            gids: inside(&self.gids),
        }
    }

    /// Returns the user and the group that root of a layer is on the disk, if the maps have it.
    #[must_use]
    pub fn root(&self) -> Option<(u32, u32)> {
        Some((
            self.to_host(IdKind::User, 0)?,
            self.to_host(IdKind::Group, 0)?,
        ))
    }
}

fn shift(id: u32, from: u32, to: u32, count: u32) -> Option<u32> {
    let offset = id.checked_sub(from).filter(|offset| *offset < count)?;
    to.checked_add(offset)
}

fn check(kind: IdKind, ranges: &[IdRange]) -> Result<(), InvalidIdMaps> {
    if ranges.is_empty() {
        return Err(InvalidIdMaps::Empty { kind });
    }
    // The highest number stands for "no ID".
    let fits = |first: u32, count: u32| {
        count > 0 && u64::from(first) + u64::from(count) <= u64::from(u32::MAX)
    };
    let apart = |one: u32, other: u32, counts: (u32, u32)| {
        u64::from(one) + u64::from(counts.0) <= u64::from(other)
            || u64::from(other) + u64::from(counts.1) <= u64::from(one)
    };
    for (n, range) in ranges.iter().enumerate() {
        if !fits(range.container, range.count) || !fits(range.host, range.count) {
            return Err(InvalidIdMaps::OutOfBounds {
                kind,
                range: *range,
            });
        }
        for earlier in ranges.iter().take(n) {
            let counts = (earlier.count, range.count);
            if !apart(earlier.container, range.container, counts)
                || !apart(earlier.host, range.host, counts)
            {
                return Err(InvalidIdMaps::Overlap {
                    kind,
                    one: *earlier,
                    other: *range,
                });
            }
        }
    }
    Ok(())
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.container, self.host, self.count)
    }
}

impl fmt::Display for IdKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Group => "group",
        })
    }
}

impl fmt::Display for IdMaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, ranges) in [("users", &self.uids), (", groups", &self.gids)] {
            f.write_str(name)?;
            for range in ranges {
                write!(f, " {range}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(container: u32, host: u32, count: u32) -> IdRange {
        IdRange {
            container,
            host,
            count,
        }
    }

    #[test]
    fn ids_go_there_and_back_through_several_ranges() {
        let uids = vec![
            range(0, 1000, 1),
            range(1, 100_000, 999),
            range(1000, 0, 10),
        ];
        let gids = vec![range(0, 4_294_967_290, 5)];
        let maps = IdMaps::new(uids, gids).unwrap();
        let user = |id| maps.to_host(IdKind::User, id);
        assert_eq!(
            [0, 1, 999, 1000, 1009, 1010].map(user),
            [
                Some(1000),
                Some(100_000),
                Some(100_998),
                Some(0),
                Some(9),
                None
            ]
        );
        for id in 0..1100 {
            let there = user(id);
            let back = there.and_then(|id| maps.to_container(IdKind::User, id));
            assert_eq!(back, (id < 1010).then_some(id));
        }
        assert_eq!(maps.to_container(IdKind::User, 100_999), None);
        assert_eq!(maps.to_container(IdKind::User, 10), None);
        assert_eq!(maps.to_host(IdKind::Group, 4), Some(4_294_967_294));
        assert_eq!(maps.to_host(IdKind::Group, 5), None);
        assert_eq!(maps.to_host(IdKind::Group, u32::MAX), None);
        assert_eq!(maps.root(), Some((1000, 4_294_967_290)));
        assert_eq!(
            maps.to_string(),
            "users 0:1000:1 1:100000:999 1000:0:10, groups 0:4294967290:5"
        );
    }

    #[test]
    fn ranges_that_cannot_be_gone_back_are_refused() {
        let good = || vec![range(0, 100, 10)];
        let refused = |ranges: Vec<IdRange>| {
            let groups = IdMaps::new(good(), ranges.clone()).unwrap_err();
            let users = IdMaps::new(ranges, good()).unwrap_err();
            assert_eq!(
                groups.to_string(),
                users.to_string().replace("user", "group")
            );
            users.to_string()
        };
        assert_eq!(refused(vec![]), "no range for users");
        for bad in [
            range(0, 1, 0),
            range(0, u32::MAX, 1),
            range(u32::MAX, 0, 1),
            range(1, 0, u32::MAX),
        ] {
            let expected = format!("range {bad} for users is empty or goes beyond 4294967294");
            assert_eq!(refused(vec![bad]), expected);
        }
        for (one, other) in [
            (range(0, 100, 10), range(9, 200, 1)),
            (range(0, 100, 10), range(10, 109, 1)),
            (range(5, 100, 10), range(0, 200, 6)),
            (range(5, 100, 1), range(0, 50, 100)),
        ] {
            let expected = format!("ranges {one} and {other} for users overlap");
            assert_eq!(refused(vec![one, other]), expected);
        }
        IdMaps::new(vec![range(0, 0, u32::MAX)], good()).unwrap();
        assert_eq!(
            IdMaps::new(good(), good()).unwrap().root(),
            Some((100, 100))
        );
        let rootless = IdMaps::new(vec![range(1, 100, 10)], good()).unwrap();
        assert_eq!(rootless.root(), None);
    }
}
