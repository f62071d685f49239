//! Figures of ours and of a peer, taken in turn, and what they say about a goal.

use core::fmt;

use crate::table::{Verdict, escaped};

/// What either side gave in each round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pair {
    ours: Vec<f64>,
    peer: Vec<f64>,
}

/// Measures both sides in every round; who begins changes from round to round.
pub(crate) fn interleaved(
    rounds: usize,
    mut ours: impl FnMut() -> Result<f64, String>,
    mut peer: impl FnMut() -> Result<f64, String>,
) -> Result<Pair, String> {
    let mut pair = Pair::default();
    for round in 0..rounds {
        let (mine, theirs) = if round % 2 == 0 {
            let mine = ours()?;
            (mine, peer()?)
        } else {
            let theirs = peer()?;
            (ours()?, theirs)
        };
        pair.push(mine, theirs);
    }
    Ok(pair)
}

impl Pair {
    /// A single measurement.
    pub(crate) fn of(ours: f64, peer: f64) -> Self {
        Self { ours: vec![ours], peer: vec![peer] }
    }

    fn push(&mut self, ours: f64, peer: f64) {
        self.ours.push(ours);
        self.peer.push(peer);
    }

    pub(crate) fn ours(&self) -> f64 {
        median(&self.ours)
    }

    pub(crate) fn peer(&self) -> f64 {
        median(&self.peer)
    }

    /// Median of the ratios of the rounds: what slows the machine down for a moment slows both.
    pub(crate) fn ratio(&self) -> f64 {
        let ratios: Vec<f64> = self.ours.iter().zip(&self.peer).map(|(ours, peer)| ours / peer).collect();
        median(&ratios)
    }
}

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// Ours is at least so many times the peer's.
    AtLeast(f64),
    /// Ours is at most so many times the peer's.
    AtMost(f64),
    /// Our figure is at most this, whatever the peer has.
    NoMoreThan(f64),
    /// None: the figure is for those who want to know.
    Reported,
}

impl Goal {
    fn met(self, pair: &Pair) -> bool {
        match self {
            Self::AtLeast(times) => pair.ratio() >= times,
            Self::AtMost(times) => pair.ratio() <= times,
            Self::NoMoreThan(most) => pair.ours() <= most,
            Self::Reported => true,
        }
    }

    fn show(self, unit: Unit) -> String {
        match self {
            Self::AtLeast(times) => format!("≥ {times} ×"),
            Self::AtMost(times) => format!("≤ {times} ×"),
            Self::NoMoreThan(most) => format!("≤ {}", unit.show(most)),
            Self::Reported => "–".into(),
        }
    }
}

/// What a figure counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    PerSecond,
    BytesPerSecond,
    Seconds,
    /// Of seconds, shown as millionths.
    Micros,
    Bytes,
    Count,
}

impl Unit {
    fn show(self, figure: f64) -> String {
        match self {
            Self::PerSecond if figure >= 1e6 => format!("{:.2} M/s", figure / 1e6),
            Self::PerSecond => format!("{:.1} k/s", figure / 1e3),
            Self::BytesPerSecond => format!("{:.0} MB/s", figure / 1e6),
            Self::Seconds if figure < 0.1 => format!("{:.1} ms", figure * 1e3),
            Self::Seconds => format!("{figure:.2} s"),
            Self::Micros => format!("{:.0} µs", figure * 1e6),
            Self::Count => format!("{figure:.2}"),
            Self::Bytes if figure >= 1e6 => format!("{:.1} MB", figure / 1e6),
            Self::Bytes => format!("{figure:.0} B"),
        }
    }
}

/// One measurement of a row with its goal.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) pair: Pair,
    pub(crate) goal: Goal,
}

/// A row: its parts are separated by slashes, in the order that the measure names.
pub(crate) struct Comparison {
    pub(crate) id: &'static str,
    pub(crate) measure: &'static str,
    pub(crate) peer: &'static str,
    pub(crate) unit: Unit,
    /// Its parts, or why it could not be measured.
    pub(crate) parts: Result<Vec<Part>, String>,
}

impl Comparison {
    pub(crate) fn verdict(&self) -> Verdict {
        match &self.parts {
            Ok(parts) if parts.iter().all(|part| matches!(part.goal, Goal::Reported)) => Verdict::Reported,
            parts => Verdict::of(parts, |parts| parts.iter().all(|part| part.goal.met(&part.pair))),
        }
    }

    fn cell(&self, show: impl Fn(&Part) -> String) -> String {
        match &self.parts {
            Ok(parts) => parts.iter().map(show).collect::<Vec<_>>().join(" / "),
            Err(_) => "–".into(),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, measure, peer, unit, .. } = self;
        let ours = match &self.parts {
            Ok(_) => self.cell(|part| unit.show(part.pair.ours())),
            Err(why) => escaped(why),
        };
        let theirs = self.cell(|part| unit.show(part.pair.peer()));
        let ratio = self.cell(|part| format!("{:.2}", part.pair.ratio()));
        let goal = self.cell(|part| part.goal.show(*unit));
        write!(f, "| {id} | {measure} | {ours} | {peer}: {theirs} | {ratio} | {goal} | {} |", self.verdict())
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[len / 2],
        len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
    }
}

pub(crate) const HEAD: &str =
    "| row | measure | ours | peer | ratio | goal | verdict |\n|---|---|---|---|---|---|---|";

#[cfg(test)]
mod tests {
    use super::*;

    fn row(parts: Result<Vec<Part>, String>) -> String {
        let unit = Unit::PerSecond;
        Comparison { id: "H15", measure: "SET", peer: "redis-server", unit, parts }.to_string()
    }

    fn part(ours: &[f64], peer: &[f64], goal: Goal) -> Part {
        Part { pair: Pair { ours: ours.into(), peer: peer.into() }, goal }
    }

    #[test]
    fn a_row_tells_medians_and_the_median_of_the_ratios() {
        let first = part(&[100e3, 300e3, 200e3], &[100e3, 200e3, 400e3], Goal::AtLeast(1.0));
        let second = part(&[2e6], &[1e6], Goal::AtLeast(1.2));
        let line = "| H15 | SET | 200.0 k/s / 2.00 M/s | redis-server: 200.0 k/s / 1.00 M/s | 1.00 / 2.00 | \
                    ≥ 1 × / ≥ 1.2 × | met |";
        assert_eq!(row(Ok(vec![first.clone(), second])), line);
        let third = part(&[1.0], &[1.0], Goal::AtMost(0.9));
        assert!(row(Ok(vec![first, third])).ends_with("| missed |"), "every part counts");
        assert!(row(Err("no | peer".into())).contains("| no / peer |"));
        assert!(row(Err(String::new())).ends_with("| not measured |"));
    }

    #[test]
    fn rounds_alternate_who_begins() {
        let order = core::cell::RefCell::new(String::new());
        let side = |name: char, figure: f64| {
            order.borrow_mut().push(name);
            Ok(figure)
        };
        let pair = interleaved(3, || side('a', 3.0), || side('b', 2.0)).unwrap();
        assert_eq!((order.borrow().as_str(), pair.ratio()), ("abbaab", 1.5));
        assert!(interleaved(3, || Err("broken".into()), || Ok(1.0)).is_err());
    }

    #[test]
    fn a_bound_of_its_own_ignores_the_peer() {
        assert!(Goal::NoMoreThan(120.0).met(&part(&[120.0], &[1.0], Goal::AtMost(0.0)).pair));
        assert!(!Goal::NoMoreThan(120.0).met(&part(&[121.0], &[500.0], Goal::AtMost(0.0)).pair));
    }
}
