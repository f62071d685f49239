//! One line of the table: what was measured, whose figure, and whether the goal is met.

use core::fmt;

/// A row of the goal table with its figures.
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) measure: &'static str,
    pub(crate) ours: String,
    /// Name and figure of each peer.
    pub(crate) peers: Vec<(String, String)>,
    pub(crate) goal: &'static str,
    pub(crate) verdict: Verdict,
}

/// What the row says about the goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Met,
    Missed,
    NotMeasured,
    /// There is no goal.
    Reported,
}

impl Verdict {
    /// Of a figure of ours, if there is one.
    pub(crate) fn of<T, E>(ours: &Result<T, E>, met: impl FnOnce(&T) -> bool) -> Self {
        match ours {
            Ok(figure) if met(figure) => Self::Met,
            Ok(_) => Self::Missed,
            Err(_) => Self::NotMeasured,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::NotMeasured => "not measured",
            Self::Reported => "reported",
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peers: Vec<_> = self.peers.iter().map(|(name, figure)| format!("{name}: {figure}")).collect();
        let peers = if peers.is_empty() { "none".into() } else { peers.join("; ") };
        let Self { id, measure, ours, goal, verdict, .. } = self;
        write!(f, "| {id} | {measure} | {} | {} | {goal} | {verdict} |", escaped(ours), escaped(&peers))
    }
}

/// Text as it may stand in a cell: a bar in an error message would begin another one.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('|', "/").replace('\n', " ")
}

/// A figure, or why there is none.
pub(crate) fn cell<T, E: fmt::Display>(figure: &Result<T, E>, show: impl FnOnce(&T) -> String) -> String {
    match figure {
        Ok(figure) => show(figure),
        Err(error) => error.to_string(),
    }
}

pub(crate) const HEAD: &str = "| row | measure | ours | peers | goal | verdict |\n|---|---|---|---|---|---|";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_six_cells_and_ends_in_its_verdict() {
        let row = Row {
            id: "F1",
            measure: "bytes",
            ours: cell(&Err::<f64, _>("not | built"), |figure| figure.to_string()),
            peers: vec![("queue".into(), "1.13".into()), ("ekv".into(), "22".into())],
            goal: "≤ 1.14",
            verdict: Verdict::of(&Err::<f64, _>(()), |_| true),
        };
        let line = "| F1 | bytes | not / built | queue: 1.13; ekv: 22 | ≤ 1.14 | not measured |";
        assert_eq!(row.to_string(), line);
    }

    #[test]
    fn a_verdict_needs_a_figure() {
        assert_eq!(Verdict::of(&Ok::<_, ()>(1), |figure| *figure <= 1), Verdict::Met);
        assert_eq!(Verdict::of(&Ok::<_, ()>(2), |figure| *figure <= 1), Verdict::Missed);
    }
}
