//! Numbers as Redis reads and writes them: strict integers, and decimal fractions for INCRBYFLOAT.
//!
//! A [`Decimal`] keeps 17 fractional digits in 128 bits, so that 0.1 + 0.2 is 0.3; numbers too large for that are
//! added in binary floating point.

use super::reply::Refusal;

/// The longest integer: `i64::MIN`.
pub(super) const MAX_INTEGER_DIGITS: usize = 20;
/// The most decimal digits that [`sum`] can write: a full-range double.
pub(super) const MAX_FLOAT_DIGITS: usize = 340;

/// Reads a 64-bit integer: no spaces, no plus sign, no leading zeros, no `-0`.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut value: i64 = 0;
    for &digit in digits {
        let digit = i64::from(digit.checked_sub(b'0').filter(|d| *d <= 9)?);
        let shifted = value.checked_mul(10)?;
        value = if negative { shifted.checked_sub(digit)? } else { shifted.checked_add(digit)? };
    }
    Some(value)
}

/// Adds two numbers written as text, and writes the sum without trailing zeros.
///
/// # Errors
/// [`Refusal::NOT_A_FLOAT`] when one is not a number, and a refusal when the sum is not finite.
pub(super) fn sum(left: &[u8], right: &[u8]) -> Result<String, Refusal> {
    if let (Some(left), Some(right)) = (Decimal::parse(left), Decimal::parse(right))
        && let Some(total) = left.0.checked_add(right.0)
    {
        return Ok(Decimal(total).to_text());
    }
    let total = float(left).ok_or(Refusal::NOT_A_FLOAT)? + float(right).ok_or(Refusal::NOT_A_FLOAT)?;
    if !total.is_finite() {
        return Err(Refusal::fixed("ERR increment would produce NaN or Infinity"));
    }
    Ok(trim_zeros(format!("{total:.17}")))
}

/// Reads any number that is not NaN; infinity is a number here, its sums are refused.
fn float(text: &[u8]) -> Option<f64> {
    let text = core::str::from_utf8(text).ok()?;
    let value: f64 = text.parse().ok().filter(|value: &f64| !value.is_nan())?;
    let names_infinity = text.bytes().any(|byte| byte.eq_ignore_ascii_case(&b'i'));
    (value.is_finite() || names_infinity).then_some(value)
}

/// A number in units of 10^-17.
#[derive(Clone, Copy)]
struct Decimal(i128);

impl Decimal {
    const FRACTION_DIGITS: i32 = 17;

    /// Reads `[+-]digits[.digits][e[+-]digits]`; `None` when it is malformed or does not fit.
    fn parse(text: &[u8]) -> Option<Self> {
        let (negative, unsigned) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        let exponent_at = unsigned.iter().position(|byte| matches!(byte, b'e' | b'E'));
        let (mantissa, exponent) = match exponent_at {
            Some(at) => (&unsigned[..at], exponent(&unsigned[at + 1..])?),
            None => (unsigned, 0),
        };
        let mut magnitude: i128 = 0;
        let mut scale = exponent;
        let (mut digits_seen, mut point_seen) = (false, false);
        for &byte in mantissa {
            match byte {
                b'0'..=b'9' => {
                    digits_seen = true;
                    magnitude = magnitude.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
                    scale -= i32::from(point_seen);
                }
                b'.' if !point_seen => point_seen = true,
                _ => return None,
            }
        }
        let scaled = Self::scaled(magnitude, scale + Self::FRACTION_DIGITS)?;
        digits_seen.then_some(Self(if negative { -scaled } else { scaled }))
    }

    /// `magnitude * 10^power`, rounded half away from zero.
    fn scaled(magnitude: i128, power: i32) -> Option<i128> {
        let factor = 10_i128.checked_pow(power.unsigned_abs());
        match (power >= 0, factor) {
            (true, Some(factor)) => magnitude.checked_mul(factor),
            (true, None) => (magnitude == 0).then_some(0),
            (false, Some(factor)) => {
                Some(magnitude / factor + i128::from(magnitude % factor >= factor - factor / 2))
            }
            (false, None) => Some(0),
        }
    }

    fn to_text(self) -> String {
        let unit = 10_u128.pow(Self::FRACTION_DIGITS.unsigned_abs());
        let magnitude = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        trim_zeros(format!("{sign}{}.{:017}", magnitude / unit, magnitude % unit))
    }
}

/// An exponent, kept small enough that the scale never overflows.
fn exponent(text: &[u8]) -> Option<i32> {
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let value: i32 = core::str::from_utf8(text).ok()?.parse().ok()?;
    (value.unsigned_abs() <= 10_000).then_some(value)
}

fn trim_zeros(mut text: String) -> String {
    let kept = text.trim_end_matches('0').trim_end_matches('.').len();
    text.truncate(kept);
    if text == "-0" { "0".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_are_strict() {
        for refused in [
            "",
            "-",
            "+1",
            "01",
            "-0",
            " 1",
            "1 ",
            "1.0",
            "9223372036854775808",
            "-9223372036854775809",
            "1_0",
        ] {
            assert_eq!(integer(refused.as_bytes()), None, "{refused:?}");
        }
        for value in [0, 1, -1, 10, i64::MAX, i64::MIN] {
            assert_eq!(integer(value.to_string().as_bytes()), Some(value));
        }
    }

    #[test]
    fn sums_are_written_as_redis_writes_them() {
        let rows = [
            ("0", "0.1", "0.1"),
            ("0.1", "0.2", "0.3"),
            ("0", "5.0e3", "5000"),
            ("5000", "100000000000000000000", "100000000000000005000"),
            ("0", "1e25", "10000000000000000905969664"),
            ("0", "3.123456789012345678", "3.12345678901234568"),
            ("3.12345678901234568", "-3", "0.12345678901234568"),
            ("2.5", "1e-30", "2.5"),
            ("-0.0", "0", "0"),
            ("0", "+1.5", "1.5"),
            ("1.5", ".5", "2"),
            ("2", "5.", "7"),
        ];
        for (left, right, expected) in rows {
            assert_eq!(sum(left.as_bytes(), right.as_bytes()).as_deref(), Ok(expected), "{left} + {right}");
        }
    }

    #[test]
    fn what_is_not_a_number_is_refused() {
        for text in ["abc", "nan", " 1", "1 ", "", ".", "1e", "e1", "1e5000", "--1"] {
            assert_eq!(sum(b"0", text.as_bytes()), Err(Refusal::NOT_A_FLOAT), "{text:?}");
            assert_eq!(sum(text.as_bytes(), b"0"), Err(Refusal::NOT_A_FLOAT), "{text:?}");
        }
        assert!(sum(b"0", b"inf").unwrap_err().to_string().contains("NaN or Infinity"));
    }

    proptest! {
        #[test]
        fn any_bytes_and_any_sum_stay_bounded(left in ".{0,40}", right in "[-+0-9.eE]{0,40}") {
            if let Ok(text) = sum(left.as_bytes(), right.as_bytes()) {
                prop_assert!(text.len() <= MAX_FLOAT_DIGITS);
            }
        }

        #[test]
        fn doubles_of_any_size_stay_bounded(left: f64, right: f64) {
            if let Ok(text) = sum(format!("{left:e}").as_bytes(), format!("{right:e}").as_bytes()) {
                prop_assert!(text.len() <= MAX_FLOAT_DIGITS);
            }
        }
    }
}
