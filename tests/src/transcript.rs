//! What happened, one line each. Only kept when someone is going to read it.

/// Lines, or nothing.
#[derive(Clone, Debug, Default)]
pub struct Transcript(Option<Vec<String>>);

impl Transcript {
    /// Keeps what is noted.
    #[must_use]
    pub const fn kept() -> Self {
        Self(Some(Vec::new()))
    }

    /// Keeps nothing, and makes no line.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Adds the line, if any is kept.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.0 {
            lines.push(line());
        }
    }

    /// How many lines there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lines().len()
    }

    /// Forgets the lines from this one on.
    pub fn forget(&mut self, from: usize) {
        if let Some(lines) = &mut self.0 {
            lines.truncate(from);
        }
    }

    /// The lines.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        self.0.as_deref().unwrap_or_default()
    }
}
