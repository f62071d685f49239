//! Fractions as Redis has them on x86: 80-bit floating point, 64 bits of it for the digits, written with `%.17Lf`.
//!
//! ```text
//!  text ─► exact ratio of integers ─► nearest digits × 2^exponent ─┐
//!                                                                  ├─ exact sum ─► nearest ─► 17 places, zeros cut off
//!  text ─► …                                                       ┘
//! ```
//!
//! Every rounding is to the nearest, ties to even. Magnitudes are bounded before anything is computed: no exponent makes
//! a number long.

use super::reply::Refusal;
use num_bigint::{BigInt, BigUint, Sign};

/// A finite number: `digits × 2^exponent`, the magnitude of `digits` below 2^64.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LongDouble {
    digits: BigInt,
    exponent: i64,
}

/// What a text means.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Number {
    Finite(LongDouble),
    Infinite,
}

/// Adds two numbers written as text.
///
/// # Errors
/// [`Refusal::NOT_A_FLOAT`] when one is not a number, and a refusal when the sum is not finite.
pub(super) fn sum(left: &[u8], right: &[u8]) -> Result<String, Refusal> {
    let not_finite = Refusal::fixed("ERR increment would produce NaN or Infinity");
    let [left, right] = [left, right].map(|text| Number::parse(text).ok_or(Refusal::NOT_A_FLOAT));
    match (left?, right?) {
        (Number::Finite(left), Number::Finite(right)) => {
            left.plus(&right).map(|sum| sum.to_text()).ok_or(not_finite)
        }
        _ => Err(not_finite),
    }
}

impl Number {
    /// Reads what `strtold` reads, without leading spaces and not NaN; `None` too for what is too large or too near to 0.
    fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= MAX_TEXT_BYTES {
            return None;
        }
        let (negative, unsigned) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
            return Some(Self::Infinite);
        }
        let magnitude = match unsigned {
            [b'0', b'x' | b'X', hexadecimal @ ..] => Written::parse(hexadecimal, 16)?.nearest_of_binary()?,
            decimal => Written::parse(decimal, 10)?.nearest_of_decimal()?,
        };
        let LongDouble { digits, exponent } = magnitude;
        Some(Self::Finite(LongDouble { digits: if negative { -digits } else { digits }, exponent }))
    }
}

/// Digits with a point somewhere, and an exponent, as written.
struct Written {
    digits: BigUint,
    /// Digits behind the point.
    places: i64,
    exponent: i64,
}

impl Written {
    /// Reads `digits[.digits][e[+-]digits]`, or with base 16 `digits[.digits][p[+-]digits]`.
    fn parse(text: &[u8], base: u32) -> Option<Self> {
        let is_mark = |byte: &u8| byte.eq_ignore_ascii_case(if base == 16 { &b'p' } else { &b'e' });
        let (mantissa, exponent) = match text.iter().position(is_mark) {
            Some(at) => (&text[..at], exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let point = mantissa.iter().position(|byte| *byte == b'.');
        let places = point.map_or(0, |at| mantissa.len() - at - 1);
        let digit = |byte: &u8| char::from(*byte).to_digit(base).and_then(|digit| u8::try_from(digit).ok());
        let digits = mantissa.iter().enumerate().filter(|(at, _)| Some(*at) != point);
        let digits: Option<Vec<u8>> = digits.map(|(_, byte)| digit(byte)).collect();
        let digits = digits.filter(|digits| !digits.is_empty())?;
        let digits = BigUint::from_radix_be(&digits, base)?;
        Some(Self { digits, places: i64::try_from(places).ok()?, exponent })
    }

    fn nearest_of_decimal(self) -> Option<LongDouble> {
        let power = self.exponent - self.places;
        // Far beyond the range on either side, whatever the digits are.
        if self.digits != BigUint::ZERO && power.unsigned_abs() > 2 * MAX_TEXT_BYTES as u64 {
            return None;
        }
        let scale = BigUint::from(10_u8).pow(u32::try_from(power.unsigned_abs()).unwrap_or(0));
        let (over, under) =
            if power >= 0 { (self.digits * scale, BigUint::from(1_u8)) } else { (self.digits, scale) };
        nearest_ratio(over, &under)
    }

    fn nearest_of_binary(self) -> Option<LongDouble> {
        let power = self.exponent - 4 * self.places;
        nearest(self.digits, power, false)
    }
}

/// An exponent; how far it is beyond the range does not matter.
fn exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: i64, digit: &u8| (sum * 10 + i64::from(digit - b'0')).min(1_000_000);
    let magnitude = digits.iter().fold(0, add);
    Some(if negative { -magnitude } else { magnitude })
}

/// The nearest number to `over / under`.
fn nearest_ratio(over: BigUint, under: &BigUint) -> Option<LongDouble> {
    let bits = |number: &BigUint| i64::try_from(number.bits()).unwrap_or(i64::MAX);
    // The quotient has two bits more than are kept, at least.
    let shift = (DIGIT_BITS + 2 + bits(under) - bits(&over)).max(0);
    let over = over << shift;
    let quotient = &over / under;
    let is_more = &quotient * under != over;
    nearest(quotient, -shift, is_more)
}

/// The nearest number to `digits × 2^exponent`, or if `is_more` to something between that and the next digit; `None`
/// outside the range.
fn nearest(digits: BigUint, exponent: i64, is_more: bool) -> Option<LongDouble> {
    let bits = i64::try_from(digits.bits()).ok()?;
    if bits == 0 {
        return Some(LongDouble { digits: BigInt::ZERO, exponent: 0 });
    }
    let (mut kept, mut exponent) = (digits, exponent);
    let cut = bits - DIGIT_BITS;
    if cut > 0 {
        let rest = &kept - ((&kept >> cut) << cut);
        let half = BigUint::from(1_u8) << (cut - 1);
        kept >>= cut;
        exponent += cut;
        let up = rest > half || rest == half && (is_more || kept.bit(0));
        kept += u8::from(up);
    }
    let top = exponent + i64::try_from(kept.bits()).ok()? - 1;
    if !(MIN_TOP..=MAX_TOP).contains(&top) {
        return None;
    }
    Some(LongDouble { digits: kept.into(), exponent })
}

impl LongDouble {
    /// The nearest number to the sum; `None` if it is too large.
    fn plus(&self, other: &Self) -> Option<Self> {
        let exponent = self.exponent.min(other.exponent);
        let aligned = |number: &Self| number.digits.clone() << (number.exponent - exponent);
        let (sign, magnitude) = (aligned(self) + aligned(other)).into_parts();
        let Self { digits, exponent } = nearest(magnitude, exponent, false)?;
        Some(Self { digits: if sign == Sign::Minus { -digits } else { digits }, exponent })
    }

    fn to_text(&self) -> String {
        let magnitude = self.digits.magnitude();
        let unit = BigUint::from(10_u8).pow(PLACES);
        let scaled = magnitude * &unit;
        let units = if self.exponent >= 0 {
            scaled << self.exponent
        } else {
            let cut = -self.exponent;
            let whole = &scaled >> cut;
            let rest = scaled - (&whole << cut);
            let half = BigUint::from(1_u8) << (cut - 1);
            let up = rest > half || rest == half && whole.bit(0);
            whole + u8::from(up)
        };
        let (whole, places) = (&units / &unit, &units % &unit);
        let sign = if self.digits.sign() == Sign::Minus && units != BigUint::ZERO { "-" } else { "" };
        let text = format!("{sign}{whole}.{:0>width$}", places.to_string(), width = PLACES as usize);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// The longest text that [`sum`] writes: sign, 4,932 digits, point and places.
pub(super) const MAX_SUM_BYTES: usize = 4960;
/// No text is longer, as in Redis.
const MAX_TEXT_BYTES: usize = 5 * 1024;
const DIGIT_BITS: i64 = 64;
/// The exponents of the highest bit of the largest and of the smallest number.
const MAX_TOP: i64 = 16_383;
const MIN_TOP: i64 = -16_445;
const PLACES: u32 = 17;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sums_are_written_as_redis_writes_them() {
        let rows = [
            ("0", "0.1", "0.1"),
            ("0.1", "0.2", "0.3"),
            ("5000", "0.3", "5000.29999999999999982"),
            ("0", "5.0e3", "5000"),
            ("5000", "100000000000000000000", "100000000000000005000"),
            ("0", "1e25", "10000000000000000000000000"),
            ("0", "3.123456789012345678", "3.12345678901234568"),
            ("2.5", "1e-30", "2.5"),
            ("-0.0", "-0", "0"),
            ("0", "-1e-20", "0"),
            ("0", "+1.5", "1.5"),
            ("1.5", ".5", "2"),
            ("2", "5.", "7"),
            ("0", "0x10", "16"),
            ("0", "0x.8p1", "1"),
            ("0", "-0X1.8P-1", "-0.75"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("18446744073709551616", "1", "18446744073709551616"),
        ];
        for (left, right, expected) in rows {
            assert_eq!(sum(left.as_bytes(), right.as_bytes()).as_deref(), Ok(expected), "{left} + {right}");
        }
    }

    #[test]
    fn what_is_not_a_number_or_beyond_the_range_is_refused() {
        let long = "1".repeat(MAX_TEXT_BYTES);
        for text in [
            "abc",
            "nan",
            "-nan",
            " 1",
            "1 ",
            "",
            ".",
            "1e",
            "e1",
            "--1",
            "1e5000",
            "1e-5000",
            "0x",
            "0xg",
            "1.2.3",
            "1e999999999999999999999",
            "0x1p16384",
            "1\0",
            &long,
        ] {
            assert_eq!(sum(b"0", text.as_bytes()), Err(Refusal::NOT_A_FLOAT), "{text:?}");
            assert_eq!(sum(text.as_bytes(), b"0"), Err(Refusal::NOT_A_FLOAT), "{text:?}");
        }
        for (left, right) in [("0", "inf"), ("-Infinity", "1"), ("1e4932", "1e4932")] {
            let said = sum(left.as_bytes(), right.as_bytes()).unwrap_err().to_string();
            assert!(said.contains("NaN or Infinity"), "{left} {right}: {said}");
        }
        assert_eq!(sum(b"0", b"0e999999999999").as_deref(), Ok("0"));
    }

    proptest! {
        #[test]
        fn any_bytes_and_any_sum_stay_bounded(left in ".{0,40}", right in "[-+0-9.eExXpP]{0,40}") {
            for (left, right) in [(&*left, &*right), (&*right, &*right)] {
                if let Ok(text) = sum(left.as_bytes(), right.as_bytes()) {
                    prop_assert!(text.len() <= MAX_SUM_BYTES);
                }
            }
        }

        #[test]
        fn doubles_are_added_exactly_where_doubles_are_exact(left in -1_000_000_000_i64..1_000_000_000, right: i32) {
            let eighth = |number: i64| format!("{}", number as f64 / 8.0);
            let text = sum(eighth(left).as_bytes(), eighth(right.into()).as_bytes());
            prop_assert_eq!(text, Ok(eighth(left + i64::from(right))));
        }
    }
}
