//! How the tables of a database came to be what they are, and which builds can use them.
//!
//! The steps of a schema are numbered from 1, and a database keeps the number of the last one that was applied: its
//! `version`. Builds of one application that differ in their number of steps must be able to share a database while they
//! are deployed one after another, or a rolled-back deploy could not open it. So a database also keeps `readable_from`, the
//! least version that a build must know in order to use it: an additive step leaves it as it is, any other step raises it.

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
    /// Those of a build that does not exist yet. For tests.
    later: &'static [Migration],
}

/// What a database says of its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub version: i32,
    pub readable_from: i32,
}

/// How tables and a build go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// The build can use them.
    Usable,
    /// Steps are missing that leave the tables usable for the builds that could use them before.
    Additive,
    /// Steps are missing that take the tables from builds that do not know them.
    Breaking,
    /// The tables are of a newer build, and not readable for this one.
    Newer,
}

impl Version {
    /// Of a database without tables.
    pub const NONE: Version = Version { version: 0, readable_from: 0 };
}

impl Migrations {
    pub const fn new(steps: &'static [Migration]) -> Self {
        Migrations { steps, later: &[] }
    }

    /// With the steps of a later build. For tests.
    pub const fn and(self, later: &'static [Migration]) -> Self {
        Migrations { later, ..self }
    }

    fn iter(self) -> impl Iterator<Item = (i32, &'static Migration)> {
        (1..).zip(self.steps.iter().chain(self.later))
    }

    /// After all steps.
    pub fn newest(self) -> Version {
        let breaking = self.iter().filter(|(_, step)| !step.is_additive);
        Version {
            version: self.iter().map(|(number, _)| number).max().unwrap_or_default(),
            readable_from: breaking.map(|(number, _)| number).max().unwrap_or_default(),
        }
    }

    /// The statements of the steps behind a version.
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

    /// The error of an opener that may not migrate.
    pub fn older(self, place: impl Display, there: Version) -> Error {
        Error::coded(Code::Store, format!("the database {place} was written by an older version of this library"))
            .expected(format!("tables of version {}", self.newest().version))
            .found(format!("version {}", there.version))
            .help("open it once for writing with this version, which brings its tables up to date")
    }
}

/// The error for tables that no release has made.
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
