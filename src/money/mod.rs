//! Exact decimal amounts of money, and the currency that they are shown in.
//!
//! Text in, text out; never through a float. An amount is a whole number of 10^-28 units in an
//! `i128`, bounded by ten billion either way. That is wider than `rust_decimal`, whose 96 bits
//! hold 28 places only up to 7.9 and whose checked operations round silently beyond that: one
//! recorded cost with float noise would make a bill of eight dollars inexact. `rust_decimal` is the
//! tests' independent oracle instead. Every operation is exact or an error; the only rounding is
//! the one that is asked for.
//!
//! An amount does not know its currency: a price table has one, and whoever shows an amount says
//! which.

#![deny(clippy::float_arithmetic)]

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Decimal places of the smallest amount.
pub const PLACES: u32 = 28;
/// Units of the smallest amount in one unit of the currency.
const ONE: i128 = 10_i128.pow(PLACES);
/// Ten billion. It is a multiple of every rounding step, so that rounding never leaves the range.
const LIMIT: i128 = 10_i128.pow(38);

/// An exact amount, to 28 decimal places, of at most ten billion either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(i128);

/// An amount read from a text that may be finer than an amount can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The text's amount, half-even at 28 places.
    pub amount: Money,
    /// Whether that rounding lost digits; the text itself then holds what was said.
    pub beyond_28_places: bool,
}

/// Which way an amount is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoundMode {
    /// To the nearest, ties away from zero.
    HalfUp,
    /// To the nearest, ties to the even digit.
    HalfEven,
    /// Away from zero.
    Up,
    /// Towards zero.
    Down,
}

/// Why there is no such amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not digits with an optional sign, point and exponent.
    #[error("`{0}` is not a decimal number; write it like `0.00125` or `5e-07`")]
    NotANumber(String),
    /// More than 28 decimal places, where an exact amount is needed.
    #[error("`{0}` has more than 28 decimal places")]
    TooFine(String),
    /// More than ten billion.
    #[error("`{0}` is beyond ten billion")]
    TooLarge(String),
    /// An operation left the range, or its result has more than 28 decimal places.
    #[error("an amount of money left the range of ten billion or 28 decimal places")]
    Overflow,
}

impl Money {
    /// Nothing; free.
    pub const ZERO: Self = Self(0);
    /// The largest amount: ten billion.
    pub const MAX: Self = Self(LIMIT);

    /// `mantissa` x 10^-`places`; `None` unless it is within the range and at most 28 places fine.
    pub const fn new(mantissa: i128, places: u32) -> Option<Self> {
        if places > PLACES {
            return None;
        }
        match mantissa.checked_mul(10_i128.pow(PLACES - places)) {
            Some(units) => Self::within(units),
            None => None,
        }
    }

    const fn within(units: i128) -> Option<Self> {
        if units >= -LIMIT && units <= LIMIT {
            Some(Self(units))
        } else {
            None
        }
    }

    /// Reads digits with an optional sign, point and exponent. A text of more than 28 places is
    /// read half-even at 28 and flagged; [`FromStr`] refuses it.
    pub fn read(text: &str) -> Result<Reading, MoneyError> {
        let not_a_number = || MoneyError::NotANumber(text.to_owned());
        let too_large = || MoneyError::TooLarge(text.to_owned());
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let (number, exponent) = match unsigned.find(['e', 'E']) {
            Some(at) => (
                &unsigned[..at],
                exponent(&unsigned[at + 1..]).ok_or_else(not_a_number)?,
            ),
            None => (unsigned, 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = || whole.bytes().chain(fraction.bytes());
        if digits().next().is_none() || !digits().all(|b| b.is_ascii_digit()) {
            return Err(not_a_number());
        }

        // Digit `i` of the text stands for d x 10^(first - i); `unit` is where 10^-28 is.
        let length = |s: &str| i64::try_from(s.len()).map_err(|_| too_large());
        let first = length(whole)? - 1 + exponent;
        let (mut units, mut next, mut rest_nonzero) = (0_i128, 0_u8, false);
        let mut place = first;
        for digit in digits().map(|b| b - b'0') {
            if place >= -i64::from(PLACES) {
                units = units
                    .checked_mul(10)
                    .and_then(|u| u.checked_add(i128::from(digit)))
                    .ok_or_else(too_large)?;
            } else if place == -i64::from(PLACES) - 1 {
                next = digit;
            } else {
                rest_nonzero |= digit != 0;
            }
            place -= 1;
        }
        // `place` is now one below the text's last digit: fill up to 10^-28.
        if units != 0 && place >= -i64::from(PLACES) {
            let missing = u32::try_from(place + i64::from(PLACES) + 1).map_err(|_| too_large())?;
            units = 10_i128
                .checked_pow(missing)
                .and_then(|scale| units.checked_mul(scale))
                .ok_or_else(too_large)?;
        }
        let beyond = next != 0 || rest_nonzero;
        if next > 5 || (next == 5 && (rest_nonzero || units % 2 == 1)) {
            units += 1;
        }
        let signed = if negative { -units } else { units };
        Ok(Reading {
            amount: Self::within(signed).ok_or_else(too_large)?,
            beyond_28_places: beyond,
        })
    }

    /// The sum.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        exact(self.0.checked_add(other.0))
    }

    /// The difference.
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        exact(self.0.checked_sub(other.0))
    }

    /// `count` times the amount.
    pub fn checked_mul(self, count: u64) -> Result<Self, MoneyError> {
        exact(self.0.checked_mul(i128::from(count)))
    }

    /// The amount divided by 10^`power`, if that is exact.
    pub fn checked_shift(self, power: u32) -> Result<Self, MoneyError> {
        exact(times(self.0, 1, power))
    }

    /// `percent` hundredths of the amount, if that is exact.
    pub fn checked_percent(self, percent: Self) -> Result<Self, MoneyError> {
        let (mantissa, places) = percent.parts();
        exact(times(self.0, mantissa, places + 2))
    }

    /// How many hundredths of `whole` the amount is, half-even at `places`; `None` of nothing, and where
    /// the result is out of range or `places` beyond 28.
    pub fn percent_of(self, whole: Self, places: u32) -> Option<Self> {
        if whole.is_zero() || places > PLACES {
            return None;
        }
        let (part, of) = (self.0.unsigned_abs(), whole.0.unsigned_abs());
        let (mut quotient, mut rest) = (part / of, part % of);
        for _ in 0..places + 2 {
            let (digit, next) = tenfold(rest, of);
            quotient = quotient.checked_mul(10)?.checked_add(digit)?;
            rest = next;
        }
        // Both are below 10^38 each, so twice the rest fits.
        let twice = rest * 2;
        if twice > of || (twice == of && quotient % 2 == 1) {
            quotient += 1;
        }
        let size = i128::try_from(quotient).ok()?;
        let negative = self.is_negative() != whole.is_negative();
        Self::new(if negative { -size } else { size }, places)
    }

    /// The distance from zero.
    #[must_use]
    pub const fn abs(self) -> Self {
        Self(self.0.abs())
    }

    /// Whether it is exactly nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Whether it is below nothing.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// How many decimal places its exact digits have.
    pub fn places(self) -> u32 {
        self.parts().1
    }

    /// Rounded to `places` decimal places.
    #[must_use]
    pub fn round(self, places: u32, mode: RoundMode) -> Self {
        if places >= PLACES {
            return self;
        }
        let step = 10_i128.pow(PLACES - places);
        let (kept, rest) = (self.0 / step, (self.0 % step).abs());
        let away = match mode {
            RoundMode::HalfUp => rest * 2 >= step,
            RoundMode::HalfEven => rest * 2 > step || (rest * 2 == step && kept % 2 != 0),
            RoundMode::Up => rest != 0,
            RoundMode::Down => false,
        };
        let rounded = if away { kept + self.0.signum() } else { kept };
        Self(rounded * step)
    }

    /// Rounded to `places` decimal places, ties away from zero.
    #[must_use]
    pub fn round_half_up(self, places: u32) -> Self {
        self.round(places, RoundMode::HalfUp)
    }

    /// With its currency: `$0.00125` in dollars, `0.00125 EUR` in any other.
    pub const fn display(self, currency: Currency) -> InCurrency {
        InCurrency {
            amount: self,
            currency,
        }
    }

    /// The least (mantissa, places) that stand for the amount.
    fn parts(self) -> (i128, u32) {
        let (mut mantissa, mut places) = (self.0, PLACES);
        while places > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            places -= 1;
        }
        (mantissa, places)
    }
}

/// The exponent behind an `e`; clamped to where every number is either zero or too large.
fn exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse::<i64>().unwrap_or(i64::MAX).min(1 << 40);
    Some(if text.starts_with('-') { -size } else { size })
}

/// `units` x `factor` x 10^-`places`, if that is whole. What the divisor has in common with either
/// factor is taken out first, so that no intermediate overflows where the result would not.
fn times(units: i128, factor: i128, places: u32) -> Option<i128> {
    if units == 0 || factor == 0 {
        return Some(0);
    }
    let mut divisor = 10_u128.checked_pow(places)?;
    let mut reduced = |factor: i128| {
        let common = common_divisor(factor.unsigned_abs(), divisor);
        divisor /= common;
        i128::try_from(common).map(|common| factor / common).ok()
    };
    let product = (reduced(factor)?, reduced(units)?);
    if divisor > 1 {
        return None;
    }
    product.0.checked_mul(product.1)
}

/// The greatest number that divides both.
fn common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Ten times `rest`, divided by `of`: quotient and rest, without an intermediate beyond twice `of`.
fn tenfold(rest: u128, of: u128) -> (u128, u128) {
    let (mut digit, mut sum) = (0, 0);
    for _ in 0..10 {
        sum += rest;
        if sum >= of {
            sum -= of;
            digit += 1;
        }
    }
    (digit, sum)
}

fn exact(units: Option<i128>) -> Result<Money, MoneyError> {
    units.and_then(Money::within).ok_or(MoneyError::Overflow)
}

impl FromStr for Money {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let reading = Self::read(text)?;
        if reading.beyond_28_places {
            Err(MoneyError::TooFine(text.to_owned()))
        } else {
            Ok(reading.amount)
        }
    }
}

impl fmt::Display for Money {
    /// Exact digits: no exponent, no trailing zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad_integral(self.0 >= 0, "", &unsigned_digits(*self))
    }
}

/// The exact digits of the amount's distance from zero.
fn unsigned_digits(amount: Money) -> String {
    let units = amount.0.abs();
    let fraction = format!("{:028}", units % ONE);
    match fraction.trim_end_matches('0') {
        "" => (units / ONE).to_string(),
        fraction => format!("{}.{fraction}", units / ONE),
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Money {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Money".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "An exact amount of money in decimal digits.",
            "pattern": r"^-?[0-9]+(\.[0-9]+)?$",
        })
    }
}

/// A currency: three capital letters (ISO 4217). Dollars unless said otherwise.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

/// A text that is no currency.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a currency; write three letters, as in `USD`")]
pub struct CurrencyError(pub String);

impl Currency {
    /// United States dollars.
    pub const USD: Self = Self(*b"USD");

    /// The three letters.
    pub fn code(&self) -> &str {
        str::from_utf8(&self.0).expect("three ASCII letters")
    }
}

impl Default for Currency {
    fn default() -> Self {
        Self::USD
    }
}

impl FromStr for Currency {
    type Err = CurrencyError;

    fn from_str(text: &str) -> Result<Self, CurrencyError> {
        let upper = text.to_ascii_uppercase();
        match <[u8; 3]>::try_from(upper.as_bytes()) {
            Ok(letters) if letters.iter().all(u8::is_ascii_uppercase) => Ok(Self(letters)),
            _ => Err(CurrencyError(text.to_owned())),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Currency {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Currency".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A currency's three letters (ISO 4217).",
            "pattern": "^[A-Z]{3}$",
        })
    }
}

/// An amount with its currency, to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InCurrency {
    amount: Money,
    currency: Currency,
}

impl fmt::Display for InCurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.amount.is_negative() { "-" } else { "" };
        let digits = unsigned_digits(self.amount);
        if self.currency == Currency::USD {
            f.pad(&format!("{sign}${digits}"))
        } else {
            f.pad(&format!("{sign}{digits} {}", self.currency))
        }
    }
}

#[cfg(test)]
mod oracle;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rust_decimal::{Decimal, RoundingStrategy};

    fn money(text: &str) -> Money {
        text.parse().expect(text)
    }

    #[test]
    fn digits_survive_and_lose_only_their_form() {
        for (text, shown) in [
            ("5e-07", "0.0000005"),
            ("0.00125", "0.00125"),
            ("0.00125000", "0.00125"),
            ("-0.10", "-0.1"),
            ("+3", "3"),
            (".5", "0.5"),
            ("5.", "5"),
            ("1.5E+3", "1500"),
            ("12e-1", "1.2"),
            ("0", "0"),
            ("-0", "0"),
            ("0e999999999999999999999", "0"),
            (
                "0.0000000000000000000000000001",
                "0.0000000000000000000000000001",
            ),
            ("1e-28", "0.0000000000000000000000000001"),
            ("10000000000", "10000000000"),
            ("000000000000000000000000000000000000000000000001", "1"),
        ] {
            assert_eq!(money(text).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn a_text_beyond_28_places_is_read_half_even_and_flagged() {
        for (text, shown) in [
            ("1.2345678901234567e-15", "0.0000000000000012345678901235"),
            ("0.00000000000000000000000000005", "0"),
            (
                "0.00000000000000000000000000015",
                "0.0000000000000000000000000002",
            ),
            (
                "0.00000000000000000000000000025",
                "0.0000000000000000000000000002",
            ),
            ("-2.50001e-28", "-0.0000000000000000000000000003"),
            ("1e-400", "0"),
        ] {
            let reading = Money::read(text).expect(text);
            assert!(reading.beyond_28_places, "{text}");
            assert_eq!(reading.amount.to_string(), shown, "{text}");
            assert_eq!(
                text.parse::<Money>(),
                Err(MoneyError::TooFine(text.to_owned()))
            );
        }
        let padded = "0.12345678901234567890123456780000";
        assert!(!Money::read(padded).expect(padded).beyond_28_places);
    }

    #[test]
    fn what_is_no_amount_is_refused_with_its_text() {
        for text in [
            "", "-", ".", "e5", "1e", "1e+", "1e1.5", "1,5", "$1", " 1", "1 ", "0x1", "--1", "NaN",
            "inf", "1_000", "١",
        ] {
            assert_eq!(
                Money::read(text),
                Err(MoneyError::NotANumber(text.to_owned()))
            );
        }
        for text in ["1e11", "10000000000.1", "-1e400", "1e99999999999999999999"] {
            assert_eq!(
                Money::read(text),
                Err(MoneyError::TooLarge(text.to_owned()))
            );
        }
    }

    #[test]
    fn leaving_the_range_is_an_error() {
        let smallest = money("1e-28");
        assert_eq!(Money::MAX.checked_add(smallest), Err(MoneyError::Overflow));
        assert_eq!(Money::MAX.checked_mul(2), Err(MoneyError::Overflow));
        assert_eq!(
            smallest.checked_mul(u64::MAX).map(|m| m.to_string()),
            Ok("0.0000000018446744073709551615".to_owned())
        );
        assert_eq!(smallest.checked_shift(1), Err(MoneyError::Overflow));
        assert_eq!(
            smallest.checked_percent(money("50")),
            Err(MoneyError::Overflow)
        );
        let lowest = Money::ZERO.checked_sub(Money::MAX).expect("in range");
        assert_eq!(lowest.checked_sub(Money::MAX), Err(MoneyError::Overflow));
        // The sum that 96 bits do not hold.
        let dollars = money("1000000").checked_add(smallest).expect("in range");
        assert_eq!(dollars.to_string(), "1000000.0000000000000000000000000001");
    }

    #[test]
    fn the_worked_example_rounds_half_up() {
        assert_eq!(money("0.00125").round_half_up(4), money("0.0013"));
        assert_eq!(money("-0.00125").round_half_up(4), money("-0.0013"));
        assert_eq!(
            money("0.00125").round(4, RoundMode::HalfEven),
            money("0.0012")
        );
        assert_eq!(Money::MAX.round(0, RoundMode::Up), Money::MAX);
        assert_eq!(money("0.1").round(40, RoundMode::Up), money("0.1"));
    }

    #[test]
    fn amounts_are_shown_with_their_currency() {
        let eur: Currency = "eur".parse().expect("a currency");
        assert_eq!(
            money("0.00125").display(Currency::USD).to_string(),
            "$0.00125"
        );
        assert_eq!(money("-0.1").display(Currency::USD).to_string(), "-$0.1");
        assert_eq!(money("0.00125").display(eur).to_string(), "0.00125 EUR");
        assert_eq!(money("-0.1").display(eur).to_string(), "-0.1 EUR");
        assert_eq!(
            format!("[{:>6}|{:<6}]", money("-0.1"), money("2")),
            "[  -0.1|2     ]"
        );
        for bad in ["", "US", "USDT", "U$D", "€€"] {
            assert_eq!(bad.parse::<Currency>(), Err(CurrencyError(bad.to_owned())));
        }
    }

    #[test]
    fn json_holds_strings_and_refuses_numbers() {
        let json = serde_json::to_string(&(money("5e-07"), Currency::USD)).expect("serialises");
        assert_eq!(json, r#"["0.0000005","USD"]"#);
        assert_eq!(
            serde_json::from_str::<(Money, Currency)>(&json).expect("reads back"),
            (money("5e-07"), Currency::USD)
        );
        assert!(serde_json::from_str::<Money>("0.1").is_err());
        assert!(serde_json::from_str::<Money>(r#""1e-29""#).is_err());
    }

    /// (mantissa, places) whose sums and products `rust_decimal`'s 96 bits hold exactly.
    fn amounts() -> impl Strategy<Value = (i64, u32)> {
        (-1_000_000_000_i64..=1_000_000_000, 0_u32..=9)
    }

    fn both((mantissa, places): (i64, u32)) -> (Money, Decimal) {
        let decimal = Decimal::from_i128_with_scale(i128::from(mantissa), places);
        (money(&decimal.to_string()), decimal)
    }

    fn shown(decimal: Decimal) -> String {
        let normal = decimal.normalize();
        if normal.is_zero() {
            "0".to_owned()
        } else {
            normal.to_string()
        }
    }

    proptest! {
        #[test]
        fn arithmetic_agrees_with_an_independent_decimal(a in amounts(), b in amounts(), n in 0_u64..1_000_000) {
            let ((ma, da), (mb, db)) = (both(a), both(b));
            prop_assert_eq!(ma.to_string(), shown(da));
            prop_assert_eq!(ma.checked_add(mb).expect("small").to_string(), shown(da + db));
            prop_assert_eq!(ma.checked_sub(mb).expect("small").to_string(), shown(da - db));
            if let Ok(product) = ma.checked_mul(n) {
                prop_assert_eq!(product.to_string(), shown(da * Decimal::from(n)));
            } else {
                prop_assert!((da * Decimal::from(n)).abs() > Decimal::from(10_000_000_000_u64));
            }
            if let Ok(part) = ma.checked_percent(mb) {
                prop_assert_eq!(part.to_string(), shown(da * db / Decimal::from(100)));
            }
            prop_assert_eq!(ma.cmp(&mb), da.cmp(&db));
            prop_assert_eq!(ma.abs().to_string(), shown(da.abs()));
        }

        #[test]
        fn rounding_agrees_with_an_independent_decimal(a in amounts(), places in 0_u32..10) {
            let (money, decimal) = both(a);
            for (mode, strategy) in [
                (RoundMode::HalfUp, RoundingStrategy::MidpointAwayFromZero),
                (RoundMode::HalfEven, RoundingStrategy::MidpointNearestEven),
                (RoundMode::Up, RoundingStrategy::AwayFromZero),
                (RoundMode::Down, RoundingStrategy::ToZero),
            ] {
                prop_assert_eq!(
                    money.round(places, mode).to_string(),
                    shown(decimal.round_dp_with_strategy(places, strategy))
                );
            }
        }

        /// The oracle is integer arithmetic: mantissa x 10^(exponent + 28).
        #[test]
        fn scientific_texts_are_exact(mantissa in -99_999_i64..100_000, exponent in -28_i32..=4) {
            let text = format!("{mantissa}e{exponent}");
            let units = i128::from(mantissa) * 10_i128.pow(u32::try_from(exponent + 28).expect("in range"));
            prop_assert_eq!(money(&text), Money(units));
            prop_assert_eq!(money(&money(&text).to_string()), Money(units));
        }

        #[test]
        fn no_text_panics(text in "[-+.eE0-9]{0,60}") {
            let _ = Money::read(&text);
        }
    }
}
