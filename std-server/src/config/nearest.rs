//! The known spelling that is nearest to an unknown one.

/// The candidate most like `given`. A dotted candidate also counts by its last word alone, so that a key in the wrong
/// section is found where it belongs.
pub(super) fn nearest<'a>(given: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Comparing is quadratic in length; no known spelling is near this one.
    let given: String = given.chars().take(LONGEST).collect::<String>().to_lowercase();
    let leaf = last_word(&given);
    let score = |candidate: &str| {
        let whole = strsim::normalized_damerau_levenshtein(&given, candidate);
        let word = strsim::normalized_damerau_levenshtein(leaf, last_word(candidate));
        let begun = if candidate.starts_with(&given) { BEGUN_WEIGHT } else { 0.0 };
        whole.max(word * LEAF_WEIGHT).max(begun) + whole * TIE_WEIGHT
    };
    let best = candidates.map(|candidate| (score(candidate), candidate));
    // The first of equals wins: a row's full path stands before its other spellings.
    best.reduce(|a, b| if b.0 > a.0 { b } else { a }).map(|(_, candidate)| candidate)
}

fn last_word(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

const LONGEST: usize = 128;
/// A path that was begun is more than a matching last word in another section.
const BEGUN_WEIGHT: f64 = 0.95;
/// A matching last word in another section is a little less than a matching path.
const LEAF_WEIGHT: f64 = 0.9;
/// Among equal last words the more similar section wins.
const TIE_WEIGHT: f64 = 0.01;
