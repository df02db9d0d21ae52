//! Numbers as people read them; shared by the console and Markdown forms.

use crate::money::Money;

/// Decimal places of an amount that people are shown; `report.json` has all.
const PLACES_MAX: u32 = 12;

/// A count with thousands separated.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// A rate or a mean: as many decimals as it deserves.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1_000.0 => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a rounded positive rate"
            )]
            let whole = value.abs().round() as u64;
            format!("{}{}", if value < 0.0 { "-" } else { "" }, count(whole))
        }
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Milliseconds.
pub(crate) fn ms(value: f64) -> String {
    match value {
        v if v >= 10_000.0 => number(v),
        v if v >= 1_000.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A share in per cent, never rounded up to 100 or down to 0.
pub(crate) fn percent(share: f64) -> String {
    let value = share * 100.0;
    if value == 0.0 || (value - 100.0).abs() < f64::EPSILON {
        return format!("{value:.0} %");
    }
    for decimals in 1..=6 {
        let text = format!("{value:.decimals$}");
        if text.parse::<f64>().is_ok_and(|v| v > 0.0 && v < 100.0) {
            return format!("{text} %");
        }
    }
    format!("{value} %")
}

/// An amount: exact up to 12 decimal places, and marked where that is not all.
pub(super) fn money(digits: &str) -> String {
    let Ok(exact) = digits.parse::<Money>() else {
        return digits.to_owned();
    };
    let rounded = exact.round_half_up(PLACES_MAX);
    match () {
        () if rounded == exact => exact.to_string(),
        () if !rounded.is_zero() => format!("~{rounded}"),
        () if exact.is_negative() => "> -0.000000000001".to_owned(),
        () => "< 0.000000000001".to_owned(),
    }
}

/// An amount with its currency.
pub(super) fn amount(digits: &str, currency: &str) -> String {
    format!("{} {currency}", money(digits))
}

/// A percentage with its sign, to 4 decimal places if that is not nothing.
pub(super) fn bias(percent: f64) -> String {
    let rounded = (percent * 1e4).round() / 1e4;
    match () {
        () if percent == 0.0 => "0 %".to_owned(),
        () if rounded == 0.0 => format!("{percent:+} %"),
        () => format!("{rounded:+} %"),
    }
}

/// What stands where nothing was measured.
pub(crate) const NOTHING: &str = "-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_or_marked() {
        for (digits, shown) in [
            ("0", "0"),
            ("-0.00125", "-0.00125"),
            ("12345.000000000001", "12345.000000000001"),
            ("0.1000000000004", "~0.1"),
            ("0.0000000000005", "~0.000000000001"),
            ("0.0000000000004999", "< 0.000000000001"),
            ("-0.0000000000000002", "> -0.000000000001"),
        ] {
            assert_eq!(money(digits), shown, "{digits}");
        }
        assert_eq!(amount("0.5", "EUR"), "0.5 EUR");
        assert_eq!(
            [bias(4.0), bias(-0.031_26), bias(0.0), bias(1e-6)],
            ["+4 %", "-0.0313 %", "0 %", "+0.000001 %"]
        );
    }

    #[test]
    fn numbers_keep_their_meaning() {
        assert_eq!(
            [count(0), count(999), count(1_000), count(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [number(0.5), number(12.34), number(123.4), number(12_345.6)],
            ["0.50", "12.3", "123", "12,346"]
        );
        assert_eq!(
            [
                percent(1.0),
                percent(0.0),
                percent(0.999_96),
                percent(0.000_01)
            ],
            ["100 %", "0 %", "99.996 %", "0.001 %"]
        );
        assert_eq!([ms(0.5), ms(61.25), ms(1_500.4)], ["0.50", "61.2", "1500"]);
    }
}
