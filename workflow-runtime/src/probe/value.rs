//! Values that a workflow must not use: results of foreign clocks and generators, and values that read the outside world.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::hash::RandomState;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, MutexGuard, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Instant, SystemTime};

use super::Pass;
use super::callee::{Clock, Identifier, World};

/// Never implemented: its message is the error.
#[diagnostic::on_unimplemented(
    message = "a hash map is iterated in another order on each replay, and so are the steps of this loop",
    label = "use a `BTreeMap` or a `BTreeSet`, or collect into a `Vec` and sort it"
)]
pub trait Order {}

/// The result of a clock of another crate.
pub struct TimeOf<T>(pub T);

impl<T: WallTime> TimeOf<T> {
    /// Refuses everything.
    pub fn pass(self) -> T
    where
        T: Clock,
    {
        self.0
    }
}

impl<T> Pass for TimeOf<T> {
    type Probed = T;

    fn pass(self) -> T {
        self.0
    }
}

/// The result of a generator of ids.
pub struct IdentifierOf<T>(pub T);

impl<T: RandomId> IdentifierOf<T> {
    /// Refuses everything.
    pub fn pass(self) -> T
    where
        T: Identifier,
    {
        self.0
    }
}

impl<T> Pass for IdentifierOf<T> {
    type Probed = T;

    fn pass(self) -> T {
        self.0
    }
}

/// A variable on which `elapsed()` is called.
pub struct ElapsedOf<'a, T: ?Sized>(pub &'a T);

impl<T: Elapses + ?Sized> ElapsedOf<'_, T> {
    /// Refuses everything.
    pub fn pass(self)
    where
        T: Clock,
    {
    }
}

impl<T: ?Sized> Pass for ElapsedOf<'_, T> {
    type Probed = ();

    fn pass(self) {}
}

/// A value on which `elapsed()` is called.
pub struct ElapsedBy<T>(pub T);

impl<T: Elapses> ElapsedBy<T> {
    /// Refuses everything.
    pub fn pass(self) -> T
    where
        T: Clock,
    {
        self.0
    }
}

impl<T> Pass for ElapsedBy<T> {
    type Probed = T;

    fn pass(self) -> T {
        self.0
    }
}

/// A variable on which a method of the file system is called.
pub struct PathOf<'a, T: ?Sized>(pub &'a T);

impl<T: OnDisk + ?Sized> PathOf<'_, T> {
    /// Refuses everything.
    pub fn pass(self)
    where
        T: World,
    {
    }
}

impl<T: ?Sized> Pass for PathOf<'_, T> {
    type Probed = ();

    fn pass(self) {}
}

/// A value on which a method of the file system is called.
pub struct PathBy<T>(pub T);

impl<T: OnDisk> PathBy<T> {
    /// Refuses everything.
    pub fn pass(self) -> T
    where
        T: World,
    {
        self.0
    }
}

impl<T> Pass for PathBy<T> {
    type Probed = T;

    fn pass(self) -> T {
        self.0
    }
}

/// A variable that is iterated.
pub struct OrderOf<'a, T: ?Sized>(pub &'a T);

impl<T: HashOrdered + ?Sized> OrderOf<'_, T> {
    /// Refuses everything.
    pub fn pass(self)
    where
        T: Order,
    {
    }
}

impl<T: ?Sized> Pass for OrderOf<'_, T> {
    type Probed = ();

    fn pass(self) {}
}

/// A value that is iterated when it is returned, or from which an iterator is made.
pub struct OrderOfValue<T>(pub T);

impl<T: HashOrdered> OrderOfValue<T> {
    /// Refuses everything.
    pub fn pass(self) -> T
    where
        T: Order,
    {
        self.0
    }
}

impl<T> Pass for OrderOfValue<T> {
    type Probed = T;

    fn pass(self) -> T {
        self.0
    }
}

/// A time of another crate. `SystemTime`, which [`now`](crate::now) returns, is excluded: it does not implement `Display`.
pub trait WallTime {}
impl<T: TryFrom<SystemTime> + Display> WallTime for T {}

/// A type whose constructors draw random bits.
pub trait RandomId {}
impl RandomId for uuid::Uuid {}

/// A time that `elapsed()` compares with the clock.
pub trait Elapses {}
impl Elapses for SystemTime {}
impl Elapses for Instant {}
impl Elapses for tokio::time::Instant {}
impl<T: Elapses> Elapses for &T {}

/// A path, whose methods query the file system.
pub trait OnDisk {}
impl OnDisk for Path {}
impl OnDisk for PathBuf {}
impl<T: OnDisk + ?Sized> OnDisk for &T {}

/// A map or set in the order of hashes with a random seed; another hasher may have the same order in every process.
pub trait HashOrdered {}
impl<K, V> HashOrdered for HashMap<K, V, RandomState> {}
impl<T> HashOrdered for HashSet<T, RandomState> {}
impl<T: HashOrdered + ?Sized> HashOrdered for &T {}
impl<T: HashOrdered + ?Sized> HashOrdered for &mut T {}
impl<T: HashOrdered + ?Sized> HashOrdered for Box<T> {}
impl<T: HashOrdered + ?Sized> HashOrdered for Rc<T> {}
impl<T: HashOrdered + ?Sized> HashOrdered for Arc<T> {}
impl<T: HashOrdered + ?Sized> HashOrdered for MutexGuard<'_, T> {}
impl<T: HashOrdered + ?Sized> HashOrdered for RwLockReadGuard<'_, T> {}
impl<T: HashOrdered + ?Sized> HashOrdered for RwLockWriteGuard<'_, T> {}
