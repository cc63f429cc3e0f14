//! The whole of a run at a glance, in bounded memory: how much was called when.

use super::branch::Place;

/// A stretch of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Calls that began in it.
    pub calls: u64,
    /// Attempts that failed in it.
    pub failures: u64,
    /// The first call that began in it.
    pub first: Option<Place>,
}

/// Stretches of equal length, which double when they become too many.
#[derive(Clone, Debug, Default)]
pub(crate) struct Density {
    began: Option<u64>,
    /// The length of a bucket, in milliseconds.
    length: u64,
    buckets: Vec<Bucket>,
}

const BUCKETS_MAX: usize = 512;

impl Density {
    fn bucket(&mut self, at: u64) -> &mut Bucket {
        let began = *self.began.get_or_insert(at);
        self.length = self.length.max(1);
        let index = |length: u64| usize::try_from(at.saturating_sub(began) / length).unwrap_or(usize::MAX);
        while index(self.length) >= BUCKETS_MAX {
            self.length *= 2;
            let joined = self.buckets.chunks(2).map(|pair| Bucket {
                calls: pair.iter().map(|bucket| bucket.calls).sum(),
                failures: pair.iter().map(|bucket| bucket.failures).sum(),
                first: pair.iter().find_map(|bucket| bucket.first),
            });
            self.buckets = joined.collect();
        }
        let index = index(self.length);
        if index >= self.buckets.len() {
            self.buckets.resize(index + 1, Bucket::default());
        }
        &mut self.buckets[index]
    }

    /// Adds a call.
    pub fn call(&mut self, place: Place, at: u64) {
        let bucket = self.bucket(at);
        bucket.calls += 1;
        bucket.first.get_or_insert(place);
    }

    /// Adds an attempt that failed.
    pub fn failure(&mut self, at: u64) {
        self.bucket(at).failures += 1;
    }

    /// The stretches in which something was called or failed: their beginnings and ends, in milliseconds since 1970.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, &Bucket)> {
        let began = self.began.unwrap_or_default();
        let used = self.buckets.iter().zip(0..).filter(|(bucket, _)| bucket.calls + bucket.failures > 0);
        used.map(move |(bucket, index)| (began + index * self.length, began + (index + 1) * self.length, bucket))
    }
}
