//! Measures ours and raw alternately, while the speed of the disk is stable.

use std::time::{Duration, Instant};

use cpu_time::ProcessTime;

use super::Result;
use super::disk::{Disk, Syncs};

/// The number of pairs, of which the median counts.
const PAIRS: usize = 5;
/// The largest accepted factor between the bare syncs before and after a pair.
const MOVED_MAX: f64 = 1.2;
/// How often a pair is measured before its noise is accepted.
const TRIES_MAX: usize = 5;

/// The work of one side, and the time that it took.
#[derive(Clone, Copy)]
pub struct Spent {
    /// Steps, rows, runs.
    units: f64,
    time: Duration,
    /// The time on all processors.
    cpu: Duration,
}

/// Measures the work of one side.
pub struct Watch(Instant, ProcessTime);

impl Watch {
    pub fn start() -> Self {
        Watch(Instant::now(), ProcessTime::now())
    }

    pub fn stop(&self, units: impl Into<f64>) -> Spent {
        Spent { units: units.into(), time: self.0.elapsed(), cpu: self.1.elapsed() }
    }
}

impl Spent {
    /// A time that was measured elsewhere.
    pub fn once(time: Duration) -> Self {
        Spent { units: 1.0, time, cpu: Duration::ZERO }
    }

    /// With a time of one unit that was measured elsewhere, such as a percentile.
    #[cfg(all(unix, feature = "postgres"))]
    pub fn with_time_of_unit(self, time: Duration) -> Self {
        Spent { time: time.mul_f64(self.units), ..self }
    }

    fn cpu_micros_per_unit(self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.units
    }

    pub fn time(self) -> Duration {
        self.time
    }

    pub fn micros_per_unit(self) -> f64 {
        self.time.as_secs_f64() * 1e6 / self.units
    }

    pub fn units_per_second(self) -> f64 {
        self.units / self.time.as_secs_f64()
    }
}

struct Pair {
    ours: Spent,
    raw: Spent,
    syncs: [Syncs; 2],
}

impl Pair {
    fn moved(&self) -> f64 {
        self.syncs[0].moved(self.syncs[1])
    }
}

/// The result of the pairs.
pub struct Pairs {
    pub ours: f64,
    pub raw: f64,
    pub ratio: f64,
    /// The processor time of a unit, in microseconds: ours, and raw.
    pub cpu: [f64; 2],
    /// Medians over all probes.
    pub syncs: Syncs,
    /// Pairs during which the speed of the disk changed in every try.
    pub noisy: usize,
}

/// The figure of a side that is compared.
pub type Figure = fn(Spent) -> f64;

/// Measures pairs, the sides in alternating order.
pub fn measure(
    disk: &Disk,
    figure: Figure,
    mut ours: impl FnMut() -> Result<Spent>,
    mut raw: impl FnMut() -> Result<Spent>,
) -> Result<Pairs> {
    let mut pairs = Vec::with_capacity(PAIRS);
    let mut noisy = 0;
    for number in 0..PAIRS {
        let mut best: Option<Pair> = None;
        for _ in 0..TRIES_MAX {
            let pair = take(disk, number % 2 == 1, &mut ours, &mut raw)?;
            eprintln!(
                "  pair {}: ours {:.1}, raw {:.1}, syncs {:?} then {:?}",
                number + 1,
                figure(pair.ours),
                figure(pair.raw),
                pair.syncs[0].p50,
                pair.syncs[1].p50,
            );
            if best.as_ref().is_none_or(|best| pair.moved() < best.moved()) {
                best = Some(pair);
            }
            if best.as_ref().is_some_and(|best| best.moved() <= MOVED_MAX) {
                break;
            }
        }
        noisy += usize::from(best.as_ref().is_some_and(|best| best.moved() > MOVED_MAX));
        pairs.extend(best);
    }
    let syncs = || pairs.iter().flat_map(|pair| pair.syncs);
    Ok(Pairs {
        ours: median(pairs.iter().map(|pair| figure(pair.ours))),
        raw: median(pairs.iter().map(|pair| figure(pair.raw))),
        ratio: median(pairs.iter().map(|pair| figure(pair.ours) / figure(pair.raw))),
        cpu: [
            median(pairs.iter().map(|pair| pair.ours.cpu_micros_per_unit())),
            median(pairs.iter().map(|pair| pair.raw.cpu_micros_per_unit())),
        ],
        syncs: Syncs {
            p50: Duration::from_secs_f64(median(syncs().map(|syncs| syncs.p50.as_secs_f64()))),
            p99: Duration::from_secs_f64(median(syncs().map(|syncs| syncs.p99.as_secs_f64()))),
        },
        noisy,
    })
}

fn take(
    disk: &Disk,
    raw_first: bool,
    ours: &mut impl FnMut() -> Result<Spent>,
    raw: &mut impl FnMut() -> Result<Spent>,
) -> Result<Pair> {
    let before = disk.probe()?;
    let (ours, raw) = match raw_first {
        true => {
            let raw = raw()?;
            (ours()?, raw)
        }
        false => (ours()?, raw()?),
    };
    Ok(Pair { ours, raw, syncs: [before, disk.probe()?] })
}

/// The time that so many of a hundred do not exceed.
pub fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent).div_ceil(100) - 1]
}

/// The median: of an even number of values, the mean of the two in the middle.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}
