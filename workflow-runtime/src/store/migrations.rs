//! The version of a database's tables, and which builds can use them.
//!
//! A database stores the number of the last applied step of its schema, counted from 1, as its `version`. Builds of one
//! application that differ in their number of steps must be able to share a database during a rolling deployment, and after
//! a rollback. A database therefore also stores `readable_from`, the lowest version that a build must know to use it: an
//! additive step does not change it, any other step raises it.

use std::fmt::Display;

use crate::error::{Code, Error};

/// A step of a schema: applied once, in order, in one transaction, and never changed after its release.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The statements.
    pub sql: &'static str,
    /// Whether builds that lack this step can use the tables nevertheless: it adds a table, an index, or a column that is
    /// nullable or has a default.
    pub is_additive: bool,
}

/// The steps that a build knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Migrations {
    steps: &'static [Migration],
    /// Additional steps, which simulate a later build. For tests.
    later: &'static [Migration],
}

/// The version that a database stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub version: i32,
    pub readable_from: i32,
}

/// The compatibility of a build with existing tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// The build can use them.
    Usable,
    /// Steps are missing, and applying them keeps the tables usable for every build that can use them now.
    Additive,
    /// Steps are missing, and applying them makes the tables unusable for builds that do not know them.
    Breaking,
    /// A newer build made the tables, and this build cannot read them.
    Newer,
}

impl Version {
    /// The version of a database without tables.
    pub const NONE: Version = Version { version: 0, readable_from: 0 };
}

impl Migrations {
    pub const fn new(steps: &'static [Migration]) -> Self {
        Migrations { steps, later: &[] }
    }

    /// Adds the steps of a later build. For tests.
    pub const fn and(self, later: &'static [Migration]) -> Self {
        Migrations { later, ..self }
    }

    fn iter(self) -> impl Iterator<Item = (i32, &'static Migration)> {
        (1..).zip(self.steps.iter().chain(self.later))
    }

    /// The version after all steps.
    pub fn newest(self) -> Version {
        let breaking = self.iter().filter(|(_, step)| !step.is_additive);
        Version {
            version: self.iter().map(|(number, _)| number).max().unwrap_or_default(),
            readable_from: breaking.map(|(number, _)| number).max().unwrap_or_default(),
        }
    }

    /// The statements of the steps after a version.
    pub fn missing(self, version: i32) -> impl Iterator<Item = &'static str> {
        self.iter().filter(move |(number, _)| *number > version).map(|(_, step)| step.sql)
    }

    pub fn fit(self, there: Version) -> Fit {
        let newest = self.newest();
        if there.readable_from > newest.version {
            Fit::Newer
        } else if there.version >= newest.version {
            Fit::Usable
        } else if there.readable_from >= newest.readable_from {
            Fit::Additive
        } else {
            Fit::Breaking
        }
    }

    /// The error of a build that cannot use the tables, or must not write them: see [`Fit::Newer`].
    pub fn newer(self, place: impl Display, there: Version) -> Error {
        Error::coded(Code::NewerStore, format!("the database {place} was written by a newer version of this library"))
            .expected(format!("tables that version {} can use", self.newest().version))
            .found(format!("version {}, usable from version {} on", there.version, there.readable_from))
            .help("update this program; nothing in the database has been changed")
    }

    /// The error for a caller that opens the database without the permission to migrate it.
    pub fn older(self, place: impl Display, there: Version) -> Error {
        if there == Version::NONE {
            return Error::coded(Code::Store, format!("the database {place} has no tables of this library"))
                .help("check the URL; an engine creates the tables when it opens the store");
        }
        Error::coded(Code::Store, format!("the database {place} was written by an older version of this library"))
            .expected(format!("tables of version {}", self.newest().version))
            .found(format!("version {}", there.version))
            .help("open an engine of this version on it, which migrates the tables, or use a tool of the version that made them")
    }
}

/// The error for tables that a pre-release build made.
pub(super) fn pre_release(place: impl Display, found: impl Display) -> Error {
    Error::coded(Code::Store, format!("the database {place} was written by a pre-release build of this library"))
        .expected("tables of a release")
        .found(found)
        .help("remove it, or finish its runs with the build that wrote it; nothing in it has been changed")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Migration = Migration { sql: "1", is_additive: false };
    const ADDS: Migration = Migration { sql: "2", is_additive: true };
    const BREAKS: Migration = Migration { sql: "3", is_additive: false };

    #[test]
    fn a_build_uses_tables_that_are_readable_from_its_version() {
        let old = Migrations::new(&[FIRST]);
        let new = Migrations::new(&[FIRST, ADDS]);
        let newest = Migrations::new(&[FIRST, ADDS, BREAKS, ADDS]);
        assert_eq!(newest.newest(), Version { version: 4, readable_from: 3 });
        assert_eq!((old.fit(old.newest()), old.fit(new.newest()), old.fit(newest.newest())), {
            (Fit::Usable, Fit::Usable, Fit::Newer)
        });
        assert_eq!((new.fit(old.newest()), newest.fit(new.newest())), (Fit::Additive, Fit::Breaking));
        assert_eq!(newest.missing(2).collect::<Vec<_>>(), ["3", "2"]);
    }
}
