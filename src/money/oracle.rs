//! Every operation on money against exact rationals: where there is an amount it is the exact one,
//! and where there is none there can be none.

use num_bigint::BigInt;
use num_rational::BigRational;
use proptest::prelude::*;

use super::{Money, MoneyError, PLACES, RoundMode};

fn integer(n: impl Into<BigInt>) -> BigRational {
    BigRational::from_integer(n.into())
}

/// 10^`power`, of either sign.
fn ten(power: i64) -> BigRational {
    let size = num_bigint::BigUint::from(10_u32).pow(u32::try_from(power.abs()).expect("small"));
    let size = integer(BigInt::from(size));
    if power < 0 { size.recip() } else { size }
}

/// The number that `amount` shows.
fn exact(amount: Money) -> BigRational {
    let shown = amount.to_string();
    let (whole, fraction) = shown.split_once('.').unwrap_or((&shown, ""));
    let digits: BigInt = format!("{whole}{fraction}").parse().expect("digits");
    let places = i64::try_from(fraction.len()).expect("short");
    integer(digits) * ten(-places)
}

/// Whether a number can be an amount: in range, and a whole number of the smallest ones.
fn possible(number: &BigRational) -> bool {
    let limit = ten(10);
    *number <= limit && *number >= -limit && (number * ten(i64::from(PLACES))).is_integer()
}

/// The operation gave `expected`, or an error if that is no amount.
fn agrees(result: &Result<Money, MoneyError>, expected: &BigRational) -> Result<(), TestCaseError> {
    match result {
        Ok(amount) => prop_assert_eq!(&exact(*amount), expected),
        Err(error) => {
            prop_assert_eq!(error, &MoneyError::Overflow);
            prop_assert!(!possible(expected), "{} is an amount", expected);
        }
    }
    Ok(())
}

/// `number` rounded to a whole one, by the words of each mode.
fn rounded(number: &BigRational, mode: RoundMode) -> BigRational {
    let (down, rest) = (number.trunc(), number.fract());
    let away = if *number < integer(0) {
        down.clone() - integer(1)
    } else {
        down.clone() + integer(1)
    };
    let half = BigRational::new(1.into(), 2.into());
    let size = if rest < integer(0) { -rest } else { rest };
    let even = (&down / integer(2)).is_integer();
    let to_away = match mode {
        RoundMode::Up => size > integer(0),
        RoundMode::Down => false,
        RoundMode::HalfUp => size >= half,
        RoundMode::HalfEven => size > half || (size == half && !even),
    };
    if to_away { away } else { down }
}

const MODES: [RoundMode; 4] = [
    RoundMode::HalfUp,
    RoundMode::HalfEven,
    RoundMode::Up,
    RoundMode::Down,
];

/// Amounts of every size, most of them with trailing zeros, ties and round numbers among them.
fn amounts() -> impl Strategy<Value = Money> {
    let anywhere = -(10_i128.pow(38))..=10_i128.pow(38);
    let any_size = (any::<i64>(), 0..=PLACES).prop_filter_map("in range", |(mantissa, places)| {
        Money::new(i128::from(mantissa), places)
    });
    let round = (-2000_i128..=2000, 0..=PLACES)
        .prop_filter_map("in range", |(mantissa, places)| {
            Money::new(mantissa * 5, places)
        });
    prop_oneof![
        anywhere.prop_filter_map("in range", |units| Money::new(units, PLACES)),
        any_size,
        round,
        Just(Money::MAX),
        Just(Money::ZERO),
    ]
}

proptest! {
    #[test]
    fn sums_and_multiples(a in amounts(), b in amounts(), count in prop_oneof![0..1000_u64, any::<u64>()]) {
        agrees(&a.checked_add(b), &(exact(a) + exact(b)))?;
        agrees(&a.checked_sub(b), &(exact(a) - exact(b)))?;
        agrees(&a.checked_mul(count), &(exact(a) * integer(count)))?;
        prop_assert_eq!(a.cmp(&b), exact(a).cmp(&exact(b)));
        prop_assert_eq!(a.is_zero(), exact(a) == integer(0));
        prop_assert_eq!(a.is_negative(), exact(a) < integer(0));
        let size = if exact(a) < integer(0) { -exact(a) } else { exact(a) };
        prop_assert_eq!(exact(a.abs()), size);
    }

    #[test]
    fn shifts_and_percentages(a in amounts(), b in amounts(), power in 0..60_u32) {
        agrees(&a.checked_shift(power), &(exact(a) * ten(-i64::from(power))))?;
        agrees(&a.checked_percent(b), &(exact(a) * exact(b) * ten(-2)))?;
    }

    #[test]
    fn hundredths_of_another(a in amounts(), b in amounts(), places in 0..=30_u32) {
        let found = a.percent_of(b, places);
        if b.is_zero() || places > PLACES {
            prop_assert_eq!(found, None);
        } else {
            let scaled = exact(a) / exact(b) * ten(2 + i64::from(places));
            let expected = rounded(&scaled, RoundMode::HalfEven) * ten(-i64::from(places));
            match found {
                Some(found) => prop_assert_eq!(exact(found), expected),
                None => prop_assert!(!possible(&expected)),
            }
        }
    }

    #[test]
    fn rounding(a in amounts(), places in 0..40_u32) {
        for mode in MODES {
            let scale = i64::from(places.min(PLACES));
            let expected = rounded(&(exact(a) * ten(scale)), mode) * ten(-scale);
            prop_assert_eq!(exact(a.round(places, mode)), expected, "{:?}", mode);
        }
        let (mut mantissa, mut least) = (exact(a), 0);
        while !mantissa.is_integer() {
            mantissa *= ten(1);
            least += 1;
        }
        prop_assert_eq!(a.places(), least);
    }

    #[test]
    fn texts(
        sign in "[-+]?", whole in "[0-9]{0,25}", fraction in "[0-9]{0,45}",
        zeros in 0..30_usize, exponent in prop_oneof![Just(None), (-60..60_i64).prop_map(Some)],
    ) {
        prop_assume!(!(whole.is_empty() && fraction.is_empty() && zeros == 0));
        let fraction = format!("{}{fraction}", "0".repeat(zeros));
        let e = exponent.map_or(String::new(), |e| format!("e{e}"));
        let text = format!("{sign}{whole}.{fraction}{e}");
        let digits: BigInt = format!("0{whole}{fraction}").parse().expect("digits");
        let size = integer(digits) * ten(exponent.unwrap_or(0) - i64::try_from(fraction.len()).expect("short"));
        let said = if sign == "-" { -size } else { size };
        let units = &said * ten(i64::from(PLACES));
        let nearest = rounded(&units, RoundMode::HalfEven) * ten(-i64::from(PLACES));
        match Money::read(&text) {
            Ok(reading) => {
                prop_assert_eq!(exact(reading.amount), nearest);
                prop_assert_eq!(reading.beyond_28_places, !units.is_integer());
                prop_assert_eq!(text.parse::<Money>().is_ok(), units.is_integer());
                prop_assert_eq!(reading.amount.to_string().parse(), Ok(reading.amount));
            }
            Err(error) => {
                prop_assert_eq!(error, MoneyError::TooLarge(text));
                prop_assert!(!possible(&nearest), "{} is an amount", nearest);
            }
        }
    }
}
