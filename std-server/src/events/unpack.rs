//! Single values of a payload: what a query compares.

use strandline::core::archive::pack::{Unpack, Value};

/// The encoded value at `path` of a payload, the names in it joined by dots; a name may contain dots itself.
pub(super) fn field<'p>(payload: &'p [u8], path: &str) -> Option<&'p [u8]> {
    let mut at = Unpack(payload);
    let Ok(Value::Map(count)) = at.value() else { return None };
    let mut inner = None;
    for _ in 0..count {
        let key = at.0;
        let Ok(name) = at.text() else {
            // A key that is no text has no name to be asked for by.
            at = Unpack(key);
            at.skip().ok()?;
            at.skip().ok()?;
            continue;
        };
        let start = at.0;
        at.skip().ok()?;
        let value = start.get(..start.len() - at.0.len())?;
        if name == path {
            return Some(value);
        }
        if let Some(rest) = path.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) {
            inner = inner.or_else(|| field(value, rest));
        }
    }
    inner
}

/// Whether a stored value is the wanted one: of the same type, but numbers by their value.
pub(super) fn equals(stored: &[u8], wanted: &[u8]) -> bool {
    stored == wanted
        || match (Unpack(stored).value(), Unpack(wanted).value()) {
            (Ok(stored), Ok(wanted)) => same(stored, wanted),
            _ => false,
        }
}

/// Whether a stored value is this text.
pub(super) fn is_text(stored: &[u8], text: &str) -> bool {
    matches!(Unpack(stored).value(), Ok(Value::Str(found)) if found == text)
}

fn same(stored: Value<'_>, wanted: Value<'_>) -> bool {
    match (stored, wanted) {
        (Value::Array(_) | Value::Map(_), _) => false,
        (Value::Float(one), other) | (other, Value::Float(one)) => {
            float(other).is_some_and(|other| one == other)
        }
        (stored, wanted) => stored == wanted,
    }
}

/// The float that has exactly this value.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "integers that a float does not hold exactly are left out by the way back"
)]
fn float(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Float(number) => Some(number),
        Value::Unsigned(number) => Some(number as f64).filter(|float| *float as i128 == i128::from(number)),
        Value::Signed(number) => Some(number as f64).filter(|float| *float as i128 == i128::from(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use strandline::archive::json::payload;

    use super::*;

    #[test]
    fn fields_are_found_by_their_path_and_compared_by_value() {
        let stored = payload(br#"{"a":{"b":5,"c.d":"x"},"a.b":7,"f":5.0,"n":18446744073709551615,"t":"5"}"#)
            .expect("JSON");
        let wanted = |json: &str| {
            let object = payload(format!("{{\"v\":{json}}}").as_bytes()).expect("JSON");
            field(&object, "v").expect("there").to_vec()
        };
        let is =
            |path: &str, json: &str| field(&stored, path).is_some_and(|found| equals(found, &wanted(json)));
        assert!(is("a.b", "7"), "the whole name first");
        assert!(is("a.c.d", "\"x\"") && is("f", "5") && is("f", "5.0") && is("n", "18446744073709551615"));
        assert!(is("a", r#"{"c.d":"x","b":5}"#));
        assert!(!is("n", "18446744073709551616.0") && !is("t", "5") && !is("x", "5"));
        assert!(is_text(field(&stored, "t").expect("there"), "5"));
    }
}
