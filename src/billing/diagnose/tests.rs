//! Every hypothesis alone, in pairs and in groups, against amounts that are computed here by hand: a
//! token's price times a count, in whole numbers.

use proptest::prelude::*;

use super::super::Attempt;
use super::super::bill::Bill;
use super::super::finding::{Code, Finding};
use super::super::policy::Policy;
use super::super::prices::PriceTable;
use super::super::reconcile::judge;
use super::super::testing::{money, record};
use crate::endpoint::Endpoint;
use crate::record::Record;
use crate::usage::Usage;

/// Prices in billionths of a dollar a token: easy to compute with.
const TABLE: &str = "\
model,currency,per_tokens,input,output,cache_read,cache_write_5m,cache_write_1h,per_request,service_tier,tier_above,tier_mode\n\
m,USD,1000000000,500,1500,50,625,1000,0.00007,,,\n\
m,USD,1000000000,1000,2250,100,1250,2000,0.00007,,100000,whole\n\
m,USD,1000000000,875,2625,85,1090,1750,0.00007,priority,,\n\
other,USD,1000000000,2000,5000,200,2500,4000,0.00007,,,\n";

/// The tokens of an answer, disjoint.
#[derive(Clone, Copy, Debug)]
struct Tokens {
    input: u64,
    read: u64,
    write_5m: u64,
    write_1h: u64,
    output: u64,
    reasoning: u64,
}

const TOKENS: Tokens = Tokens {
    input: 613,
    read: 307,
    write_5m: 101,
    write_1h: 53,
    output: 419,
    reasoning: 127,
};

/// Prices of one token in billionths: input, read, write for five minutes and for an hour, output.
const RATES: [u64; 5] = [500, 50, 625, 1_000, 1_500];
/// The price of a request, in billionths.
const REQUEST: u64 = 70_000;

fn table() -> PriceTable {
    PriceTable::read("t.csv", TABLE).expect("valid")
}

impl Tokens {
    fn cost(self, rates: [u64; 5]) -> u64 {
        let [input, read, five, hour, output] = rates;
        self.input * input
            + self.read * read
            + self.write_5m * five
            + self.write_1h * hour
            + self.output * output
            + REQUEST
    }

    fn usage(self, endpoint: Endpoint) -> Usage {
        let writes = self.write_5m + self.write_1h;
        let input = match endpoint {
            Endpoint::OpenAi => self.input + self.read + writes,
            Endpoint::Anthropic => self.input,
        };
        Usage {
            input: Some(input),
            cache_read: Some(self.read),
            cache_write: Some(writes),
            cache_write_1h: Some(self.write_1h),
            output: Some(self.output),
            reasoning: Some(self.reasoning),
            ..Usage::default()
        }
    }

    /// Session `n` of a stream whose first report has one token of output, recorded as so many
    /// billionths.
    fn attempt(self, endpoint: Endpoint, n: u64, billionths: u64) -> Record {
        let last = self.usage(endpoint);
        let first = Usage {
            output: Some(1),
            reasoning: Some(0),
            ..last
        };
        let mut summed = first;
        summed.add(&last);
        Record {
            endpoint,
            session: n,
            trace_id: format!("{n:032x}"),
            first_usage: first,
            last_usage: last,
            summed_usage: summed,
            usage_reports: 2,
            costs: vec![("stream:/usage/cost".to_owned(), format!("{billionths}e-9"))],
            ..record("m", last)
        }
    }
}

/// What is recorded by each mistake, in billionths, and its code and detail.
fn mistakes(t: Tokens) -> Vec<(Code, Option<&'static str>, u64)> {
    let base = t.cost(RATES);
    let [input, read, five, hour, output] = RATES;
    let rates = |input, read, five, hour, output| t.cost([input, read, five, hour, output]);
    let with_output = |tokens| {
        Tokens {
            output: tokens,
            ..t
        }
        .cost(RATES)
    };
    let first = with_output(1);
    vec![
        (Code::UnpricedZero, None, 0),
        (Code::CacheDouble, None, base + t.read * input),
        (
            Code::CacheDropped,
            Some("nothing for cache_read"),
            rates(input, 0, five, hour, output),
        ),
        (
            Code::CacheDropped,
            Some("nothing for cache_write"),
            rates(input, read, 0, 0, output),
        ),
        (
            Code::CacheDropped,
            Some("nothing for cache_read and cache_write"),
            rates(input, 0, 0, 0, output),
        ),
        (
            Code::CacheTierWrong,
            Some("cache_read at the input rate"),
            rates(input, input, five, hour, output),
        ),
        (
            Code::CacheTierWrong,
            Some("cache_write_1h at the rate for five minutes"),
            rates(input, read, five, five, output),
        ),
        (
            Code::CacheTierWrong,
            Some("cache_read at the input rate and cache_write_1h at the rate for five minutes"),
            rates(input, input, five, five, output),
        ),
        (
            Code::CacheTierWrong,
            Some("cache_write_5m at the rate for an hour"),
            rates(input, read, hour, hour, output),
        ),
        (
            Code::CacheTierWrong,
            Some("cache_write at the input rate"),
            rates(input, read, input, input, output),
        ),
        (Code::StreamCumulativeSummed, None, base + first - REQUEST),
        (Code::StreamPartialKept, None, first),
        (Code::TerminalEventMissed, None, with_output(0)),
        (
            Code::ReasoningDropped,
            None,
            with_output(t.output - t.reasoning),
        ),
        (
            Code::ReasoningDouble,
            None,
            with_output(t.output + t.reasoning),
        ),
        (Code::TranslationUsageLost, None, REQUEST),
        (
            Code::ServiceTier,
            Some("the tier `priority`"),
            t.cost([875, 85, 1_090, 1_750, 2_625]),
        ),
        (
            Code::ContextTier,
            Some("the prices above 100000 tokens"),
            t.cost([1_000, 100, 1_250, 2_000, 2_250]),
        ),
        (
            Code::ModelAlias,
            Some("the prices of `other`"),
            t.cost([2_000, 200, 2_500, 4_000, 5_000]),
        ),
        (
            Code::RatesSwapped,
            None,
            rates(output, read, five, hour, input),
        ),
        (Code::RetryDouble, Some("2 times"), base * 2),
        (Code::Unit1k1m, Some("1,000 times the amount"), base * 1_000),
    ]
}

fn findings(table: &PriceTable, records: &[Record]) -> Vec<Finding> {
    let mut bill = Bill::new(table, Policy::default());
    for record in records {
        bill.add(&Attempt::seen(record)).expect("small");
    }
    let bills = Endpoint::ALL.iter().filter_map(|e| bill.endpoint(*e));
    bills.flat_map(|bill| bill.findings).collect()
}

/// Causes, each with its detail.
type Causes = Vec<(Code, Option<String>)>;

/// Each finding as its code, how many, and its causes with their details.
fn told(found: &[Finding]) -> Vec<(Code, u64, Causes)> {
    let causes = |f: &Finding| {
        f.causes
            .iter()
            .map(|c| (c.code, c.detail.clone()))
            .collect()
    };
    found.iter().map(|f| (f.code, f.count, causes(f))).collect()
}

#[test]
fn every_mistake_is_named_on_both_accountings() {
    let table = table();
    for endpoint in Endpoint::ALL {
        for (code, detail, billionths) in mistakes(TOKENS) {
            let found = findings(&table, &[TOKENS.attempt(endpoint, 0, billionths)]);
            let cause = (code, detail.map(str::to_owned));
            assert_eq!(told(&found), [(code, 1, vec![cause])], "{endpoint}");
        }
        let right = TOKENS.attempt(endpoint, 0, TOKENS.cost(RATES));
        assert_eq!(findings(&table, &[right]), []);
    }
}

#[test]
fn a_thousandth_is_told_where_it_is_an_amount() {
    let table = table();
    let base = TOKENS.cost(RATES);
    let mut record = TOKENS.attempt(Endpoint::OpenAi, 0, 0);
    record.costs[0].1 = format!("{base}e-12");
    let found = findings(&table, &[record]);
    let cause = (
        Code::Unit1k1m,
        Some("a thousandth of the amount".to_owned()),
    );
    assert_eq!(told(&found), [(Code::Unit1k1m, 1, vec![cause])]);
}

#[test]
fn a_percentage_is_told_once_several_amounts_have_it() {
    let table = table();
    let records: Vec<Record> = (0..20)
        .map(|n| {
            let tokens = Tokens {
                output: 419 + 7 * n,
                ..TOKENS
            };
            let mut record = tokens.attempt(Endpoint::OpenAi, n, 0);
            record.costs[0].1 = format!("{}e-12", tokens.cost(RATES) * 1_055);
            record
        })
        .collect();
    let found = findings(&table, &records);
    let cause = (Code::MarkupUndeclared, Some("+5.5 %".to_owned()));
    assert_eq!(told(&found), [(Code::MarkupUndeclared, 20, vec![cause])]);
    assert!(
        found[0]
            .message
            .starts_with("all 20 streamed requests are billed +5.5 % of the price list"),
        "{}",
        found[0].message
    );
}

#[test]
fn percentages_that_differ_from_amount_to_amount_are_none() {
    let table = table();
    let tokens = Tokens {
        read: 308,
        write_5m: 104,
        ..TOKENS
    };
    let quarter = tokens.cost(RATES) / 4;
    assert_eq!(quarter * 4, tokens.cost(RATES));
    // +50 %, -25 %.
    let records = [
        tokens.attempt(Endpoint::OpenAi, 0, quarter * 6),
        tokens.attempt(Endpoint::OpenAi, 1, quarter * 3),
    ];
    let found = findings(&table, &records);
    assert_eq!(told(&found), [(Code::CostMismatch, 2, Vec::new())]);
}

#[test]
fn a_float_s_noise_hides_no_cause() {
    let table = table();
    let (code, detail, billionths) = mistakes(TOKENS)[1];
    let mut record = TOKENS.attempt(Endpoint::OpenAi, 0, 0);
    record.costs[0].1 = format!("{billionths}0000000002e-19");
    let found = findings(&table, &[record]);
    let cause = (code, detail.map(str::to_owned));
    assert_eq!(
        told(&found),
        [(code, 1, vec![cause]), (Code::FloatNoise, 1, Vec::new())]
    );
}

#[test]
fn two_mistakes_in_one_bill_are_both_named_and_their_sums_add_up() {
    let table = table();
    let t = TOKENS;
    let [input, read, five, hour, output] = RATES;
    let swapped = |t: Tokens| t.cost([output, read, five, hour, input]);
    let no_reasoning = Tokens {
        output: t.output - t.reasoning,
        ..t
    };
    for (a, b, billionths) in [
        (
            Code::CacheDouble,
            Code::ReasoningDropped,
            no_reasoning.cost(RATES) + t.read * input,
        ),
        (
            Code::ReasoningDouble,
            Code::RatesSwapped,
            swapped(Tokens {
                output: t.output + t.reasoning,
                ..t
            }),
        ),
        (
            Code::CacheDropped,
            Code::RetryDouble,
            2 * t.cost([input, 0, five, hour, output]),
        ),
        (
            Code::TerminalEventMissed,
            Code::CacheTierWrong,
            Tokens { output: 0, ..t }.cost([input, input, five, hour, output]),
        ),
    ] {
        for endpoint in Endpoint::ALL {
            let found = findings(&table, &[t.attempt(endpoint, 0, billionths)]);
            let mut codes: Vec<Code> = found.iter().map(|f| f.code).collect();
            codes.sort_unstable();
            let mut expected = [a, b];
            expected.sort_unstable();
            assert_eq!(codes, expected, "{found:?}");
        }
    }
}

#[test]
fn a_pair_with_a_free_parameter_is_named_once_two_amounts_bear_it_out() {
    let table = table();
    let at_other_s = |output: u64| {
        let tokens = Tokens { output, ..TOKENS };
        let without = Tokens {
            output: output - tokens.reasoning,
            ..tokens
        };
        let billed = without.cost([2_000, 200, 2_500, 4_000, 5_000]);
        tokens.attempt(Endpoint::OpenAi, output, billed)
    };
    let one = [at_other_s(419), at_other_s(419)];
    let found = findings(&table, &one);
    assert_eq!(told(&found), [(Code::CostMismatch, 2, Vec::new())]);
    let found = findings(&table, &[at_other_s(419), at_other_s(433)]);
    let mut codes: Vec<(Code, u64)> = found.iter().map(|f| (f.code, f.count)).collect();
    codes.sort_unstable();
    let expected = [(Code::ReasoningDropped, 2), (Code::ModelAlias, 2)];
    assert_eq!(codes, expected);
    // The answer names the model: nobody picked it out.
    let said = Record {
        served_model: Some("other".to_owned()),
        ..at_other_s(419)
    };
    let found = findings(&table, &[said]);
    assert!(
        found.iter().any(|f| f.code == Code::ModelAlias),
        "{found:?}"
    );
}

#[test]
fn one_amount_shows_whole_percentages_only() {
    let table = table();
    // Of few digits, so that hundredths of a percentage are exact.
    let of = |millionths: u64| {
        let mut record = TOKENS.attempt(Endpoint::OpenAi, 0, 0);
        let amount = u128::from(TOKENS.cost(RATES)) * u128::from(millionths);
        record.costs[0].1 = format!("{amount}e-15");
        findings(&table, &[record])
    };
    for (millionths, code) in [
        (1_070_000, Code::MarkupUndeclared),
        (930_000, Code::MarkupUndeclared),
        (1_072_500, Code::CostMismatch),
    ] {
        let found = of(millionths);
        assert_eq!((found.len(), found[0].code), (1, code), "{found:?}");
    }
}

#[test]
fn what_fits_a_few_of_many_that_nothing_fits_is_chance() {
    let table = table();
    let wrong = |n: u64| {
        let tokens = Tokens {
            output: 419 + 7 * n,
            ..TOKENS
        };
        tokens.attempt(
            Endpoint::OpenAi,
            n,
            tokens.cost(RATES) + 1_237 + n * n * 7_919,
        )
    };
    for (unknown, is_named) in [(8, true), (9, false)] {
        let mut records: Vec<Record> = (0..unknown).map(wrong).collect();
        records.push(TOKENS.attempt(Endpoint::OpenAi, 99, mistakes(TOKENS)[1].2));
        let found = findings(&table, &records);
        let named = found.iter().any(|f| f.code == Code::CacheDouble);
        assert_eq!(named, is_named, "{found:?}");
        let other = |f: &Finding| ![Code::CacheDouble, Code::CostMismatch].contains(&f.code);
        assert!(!found.iter().any(other), "{found:?}");
    }
}

/// So many attempts of 1,000 + 500 tokens at the published prices, recorded in `digits`.
fn fixed(count: u64, digits: &str) -> Vec<Record> {
    let usage = super::super::testing::usage(1_000, 500);
    (0..count)
        .map(|n| Record {
            session: n,
            trace_id: format!("{n:032x}"),
            costs: vec![("stream:/usage/cost".to_owned(), digits.to_owned())],
            ..record("magistral-small-latest", usage)
        })
        .collect()
}

#[test]
fn rounding_that_is_not_declared_is_one_finding_with_its_rule() {
    let table = PriceTable::builtin("builtin:keeprouter").expect("built in");
    let found = findings(&table, &fixed(100, "0.0013"));
    let [finding] = &found[..] else {
        panic!("one finding: {found:?}");
    };
    assert_eq!((finding.code, finding.count), (Code::Rounding, 100));
    assert_eq!(
        finding.causes[0].detail.as_deref(),
        Some(
            "half_up at 4 decimals of the request's total; up of the request's total, half_up of each component, half_even of each component and up of each component fit as well"
        )
    );
    assert!(
        finding.message.contains("$0.005 too much, +4.0 %"),
        "{}",
        finding.message
    );
}

#[test]
fn the_rule_is_the_one_that_explains_the_most() {
    let table = table();
    let rounded = |n: u64, up: bool| {
        let tokens = Tokens {
            output: 300 + 37 * n,
            ..TOKENS
        };
        let exact = tokens.cost(RATES);
        let unit = 100_000;
        let half_up = (exact + unit / 2) / unit * unit;
        let ceiling = exact.div_ceil(unit) * unit;
        tokens.attempt(Endpoint::Anthropic, n, if up { ceiling } else { half_up })
    };
    for (up, rule) in [(false, "half_up"), (true, "up")] {
        let records: Vec<Record> = (0..40).map(|n| rounded(n, up)).collect();
        let found = findings(&table, &records);
        let rounding: Vec<&Finding> = found.iter().filter(|f| f.code == Code::Rounding).collect();
        assert_eq!((found.len(), rounding.len()), (1, 1), "{found:?}");
        let detail = rounding[0].causes[0].detail.as_deref().expect("a rule");
        let first = format!("{rule} at 4 decimals of the request's total");
        assert!(detail.starts_with(&first), "{detail}");
    }
}

#[test]
fn nothing_at_all_is_not_rounding() {
    let table = PriceTable::builtin("builtin:keeprouter").expect("built in");
    let found = findings(&table, &fixed(7, "0"));
    assert_eq!(
        told(&found),
        [(Code::UnpricedZero, 7, vec![(Code::UnpricedZero, None)])]
    );
    assert_eq!(
        found[0].message,
        "all 7 streamed requests are billed at nothing: $0.00875 too little"
    );
}

#[test]
fn causes_that_explain_the_same_attempts_are_all_named() {
    let table = PriceTable::builtin("builtin:keeprouter").expect("built in");
    // At 1,000 + 500 tokens: prices swapped, or the input counted twice.
    let records: Vec<Record> = fixed(5, "0.00175")
        .into_iter()
        .map(|record| {
            let mut summed = record.last_usage;
            summed.input = Some(2_000);
            Record {
                first_usage: Usage {
                    output: Some(0),
                    ..record.last_usage
                },
                summed_usage: summed,
                usage_reports: 2,
                ..record
            }
        })
        .collect();
    let found = findings(&table, &records);
    let causes = vec![
        (Code::StreamCumulativeSummed, None),
        (Code::RatesSwapped, None),
    ];
    assert_eq!(told(&found), [(Code::CostMismatch, 5, causes.clone())]);
    assert!(
        found[0]
            .message
            .ends_with("; STREAM_CUMULATIVE_SUMMED and RATES_SWAPPED explain it equally"),
        "{}",
        found[0].message
    );
    // One more attempt of another size tells them apart.
    let usage = super::super::testing::usage(700, 300);
    let swapped = Record {
        session: 9,
        last_usage: usage,
        costs: vec![("stream:/usage/cost".to_owned(), "0.0012".to_owned())],
        usage_reports: 2,
        first_usage: Usage {
            output: Some(0),
            ..usage
        },
        summed_usage: super::super::testing::usage(1_400, 300),
        ..record("magistral-small-latest", usage)
    };
    let all: Vec<Record> = records.into_iter().chain([swapped]).collect();
    let found = findings(&table, &all);
    assert_eq!(
        told(&found),
        [(Code::RatesSwapped, 6, vec![(Code::RatesSwapped, None)])]
    );
}

#[test]
fn a_sentence_says_who_is_billed_how() {
    let table = table();
    let (_, _, wrong) = mistakes(TOKENS)[5];
    let right = TOKENS.cost(RATES);
    let uncached = Tokens {
        read: 0,
        write_5m: 0,
        write_1h: 0,
        ..TOKENS
    };
    let mut records: Vec<Record> = (0..3)
        .map(|n| TOKENS.attempt(Endpoint::OpenAi, n, wrong))
        .collect();
    records.push(uncached.attempt(Endpoint::OpenAi, 3, uncached.cost(RATES)));
    let found = findings(&table, &records);
    assert_eq!(
        found[0].message,
        "all 3 streamed requests with cached tokens are billed cache_read at the input rate: $0.00041445 too much"
    );
    assert_eq!((found[0].count, found[0].of), (3, 4));
    records.push(TOKENS.attempt(Endpoint::OpenAi, 4, right));
    let found = findings(&table, &records);
    assert!(
        found[0]
            .message
            .starts_with("3 of 4 streamed requests with cached tokens are billed cache_read"),
        "{}",
        found[0].message
    );
}

#[test]
fn memory_is_bounded_and_what_is_left_out_is_still_counted() {
    let table = table();
    // Amounts that are off by anything.
    let records: Vec<Record> = (0..2_000)
        .map(|n| {
            let tokens = Tokens {
                output: 100 + n % 977,
                input: 11 + n,
                ..TOKENS
            };
            tokens.attempt(
                Endpoint::OpenAi,
                n,
                tokens.cost(RATES) + 1 + (n * n * 7_919) % 400_000,
            )
        })
        .collect();
    let found = findings(&table, &records);
    let wrong = records
        .iter()
        .map(|record| judge(&table, Policy::default(), &Attempt::seen(record)).expect("small"))
        .filter(|judgement| judgement.fits.is_some());
    let counted: u64 = found
        .iter()
        .filter(|f| f.code == Code::CostMismatch)
        .map(|f| f.count)
        .sum();
    let wrong = wrong.count() as u64;
    assert!(
        counted <= wrong && counted * 10 > wrong * 9,
        "{counted} of {wrong}"
    );
}

proptest! {
    /// A mistake on any share of attempts of varied sizes is named, on exactly those, in any order.
    #[test]
    fn one_mistake_among_right_bills_is_found_on_exactly_its_attempts(
        which in 0_usize..21,
        every in 1_u64..9,
        sizes in proptest::collection::vec((400_u64..1_500, 30_u64..400, 10_u64..200, 5_u64..90, 200_u64..900), 12..30),
        endpoint in prop_oneof![Just(Endpoint::OpenAi), Just(Endpoint::Anthropic)],
    ) {
        let table = table();
        let mut planted = 0;
        let mut records: Vec<Record> = (0_u64..)
            .zip(&sizes)
            .map(|(n, &(input, read, write_5m, write_1h, output))| {
                let t = Tokens { input, read, write_5m, write_1h, output, reasoning: output / 3 };
                let t = Tokens { input: t.input.min(1_999 - read - write_5m - write_1h), ..t };
                let is_wrong = n % every == 0;
                let billed = if is_wrong { mistakes(t)[which].2 } else { t.cost(RATES) };
                // At some sizes a mistake makes no other amount: as much output as input, swapped.
                planted += u64::from(billed != t.cost(RATES));
                t.attempt(endpoint, n, billed)
            })
            .collect();
        let code = mistakes(TOKENS)[which].0;
        let found = findings(&table, &records);
        if planted > 2 {
            let told: Vec<(Code, u64)> = found.iter().map(|f| (f.code, f.count)).collect();
            prop_assert_eq!(told, [(code, planted)]);
        } else if planted > 0 {
            let named = found.iter().any(|f| f.causes.iter().any(|c| c.code == code));
            prop_assert!(named, "{:?}", found);
        }
        records.reverse();
        prop_assert_eq!(found, findings(&table, &records));
    }
}

#[test]
fn amounts_by_hand_are_the_predicted_ones() {
    let table = table();
    for endpoint in Endpoint::ALL {
        let record = TOKENS.attempt(endpoint, 0, 0);
        let judgement = judge(&table, Policy::default(), &Attempt::seen(&record)).expect("small");
        let by_hand = money(&format!("{}e-9", TOKENS.cost(RATES)));
        assert_eq!(judgement.judged.predicted, Some(by_hand));
    }
}
