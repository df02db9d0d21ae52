//! What a plan will cost, to the digit.

use super::*;
use crate::money::Money;
use crate::scenario::Scenario;
use crate::slice::Slice;
use crate::time::Offset;

const TABLE: &str = "model,currency,per_tokens,input,output,cache_read\n\
                     m,USD,1,0.001,0.01,0.0001\n\
                     n,USD,1,0.002,0.02,\n";

fn day() -> Date {
    "2026-08-01".parse().expect("a date")
}

fn plan(more: &str) -> Plan {
    let text = format!(
        "name = \"t\"\n[workload]\ninput_tokens = {{ fixed = 100 }}\noutput_tokens = {{ fixed = 10 }}\n{more}"
    );
    let scenario = Scenario::parse("t.toml", &text, &[]).expect(&text);
    Plan {
        run_id: "run".to_owned(),
        seed: scenario.seed,
        endpoints: scenario.target.endpoints.clone(),
        schedule: scenario.load.spec(None),
        workload: scenario.workload.spec(None),
        dialect: scenario.target.dialect.clone(),
        slice: Slice::WHOLE,
        begins: Offset::ZERO,
    }
}

fn terms() -> Terms {
    Terms {
        date: day(),
        attempts_max: 1,
        budget: None,
        policy: Policy::default(),
        reasoning_share: 0.0,
    }
}

fn preview(plan: &Plan, terms: &Terms) -> Preview {
    let table = PriceTable::read("t.csv", TABLE).expect("valid");
    Preview::new(plan, &table, terms)
}

fn money(text: &str) -> Money {
    text.parse().expect(text)
}

const LOAD: &str = "[load]\nconcurrency = 2\ncount = 20\n[target]\nmodel = \"m\"\n";

#[test]
fn it_is_the_sum_of_the_turns_that_will_be_sent() {
    let plan = plan(LOAD);
    let preview = preview(&plan, &terms());
    assert_eq!((preview.requests, preview.preflights), (Some(40), 2));
    // 21 requests to each: 100 x 0.001 + 10 x 0.01.
    assert_eq!(preview.together.expected, Some(money("8.4")));
    let worst = plan.endpoints.iter().flat_map(|&endpoint| {
        let load = (0..20)
            .map(|n| plan.turn(Part::Measured, n, endpoint))
            .collect::<Vec<_>>();
        load.into_iter().chain([plan.preflight(endpoint)])
    });
    let bytes: u64 = worst.map(|turn| turn.request.body.len() as u64).sum();
    let expected = money("0.001").checked_mul(bytes).expect("in range");
    let expected = expected.checked_add(money("4.2")).expect("in range");
    assert_eq!(preview.together.worst, Some(expected));
    assert!(
        preview
            .to_string()
            .contains("40 requests and 2 before the load: expected $8.4, at most $")
    );
}

#[test]
fn every_attempt_of_the_load_counts_in_the_worst_case() {
    let plan = plan(&format!("{LOAD}endpoint = \"openai\"\n"));
    let once = preview(&plan, &terms());
    let thrice = preview(
        &plan,
        &Terms {
            attempts_max: 3,
            ..terms()
        },
    );
    assert_eq!(once.together.expected, thrice.together.expected);
    let table = PriceTable::read("t.csv", TABLE).expect("valid");
    let preflight = worst(&plan.preflight(Endpoint::OpenAi), &table, day()).expect("priced");
    let load = |preview: &Preview| {
        let worst = preview.together.worst.expect("priced");
        worst.checked_sub(preflight).expect("in range")
    };
    assert_eq!(load(&once).checked_mul(3), Ok(load(&thrice)));
}

#[test]
fn a_budget_allows_as_many_as_fit_at_their_worst() {
    let plan = plan(LOAD);
    let with = |budget: &str| {
        let terms = Terms {
            budget: Some(money(budget)),
            ..terms()
        };
        preview(&plan, &terms)
    };
    let worst = with("1").together.worst.expect("priced");
    let exact = with(&worst.to_string());
    assert_eq!(exact.allowed(), Some((42, 42)));
    assert!(exact.to_string().contains("it allows all 42 requests"));
    assert_eq!(with("0.0001").allowed(), Some((0, 42)));
    let (some, all) = with("5").allowed().expect("a budget");
    assert!(0 < some && some < all);
    let at = |n| worst.checked_mul(n).expect("in range");
    let limit = money("5").checked_mul(all).expect("in range");
    assert!(at(some) <= limit && at(some + 1) > limit);
}

#[test]
fn long_plans_are_scaled_and_say_about() {
    let load =
        "[load]\nconcurrency = 2\ncount = 12345\n[target]\nmodel = \"m\"\nendpoint = \"openai\"\n";
    let preview = preview(&plan(load), &terms());
    assert_eq!(preview.together.expected, Some(money("2469.2")));
    assert!(
        preview
            .to_string()
            .contains("expected about $2469.2, at most about $")
    );

    let load = "[load]\nconcurrency = 2\nduration = \"9s\"\n[target]\nmodel = \"m\"\nendpoint = \"openai\"\n";
    let preview = self::preview(&plan(load), &terms());
    assert_eq!((preview.requests, preview.allowed()), (None, None));
    assert_eq!(preview.together.expected, Some(money("0.2")), "of one");
    assert!(preview.to_string().contains("only time will tell"));
}

#[test]
fn a_count_beyond_all_numbers_is_no_panic() {
    let load = "[load]\nconcurrency = 2\ncount = 9223372036854775807\n[target]\nmodel = \"m\"\n";
    let budget = Terms {
        budget: Some(money("5")),
        ..terms()
    };
    let preview = preview(&plan(load), &budget);
    assert!(preview.scaled);
    assert_eq!(preview.requests, Some(u64::MAX - 1));
    assert_eq!(preview.allowed(), None, "beyond an amount");
}

#[test]
fn a_prefix_is_expected_from_the_cache_and_reasoning_is_output() {
    let load = "cached_prefix = { tokens = 1000 }\n[load]\nconcurrency = 2\ncount = 9\n[target]\nmodel = \"m\"\nendpoint = \"openai\"\n";
    let half = Terms {
        reasoning_share: 0.5,
        ..terms()
    };
    let preview = preview(&plan(load), &half);
    // The prefix has 1000 tokens and those of its message.
    assert_eq!(preview.together.expected, Some(money("3.004")));
    assert_eq!(preview.unpriced, []);
}

#[test]
fn what_has_no_price_is_said_and_makes_no_amount() {
    let load = "cached_prefix = { tokens = 1000, ttl = \"1h\" }\n[load]\nconcurrency = 2\ncount = 9\n[target]\nmodels = [{ model = \"n\", weight = 1.0 }, { model = \"x\", weight = 1.0 }]\n";
    let preview = preview(&plan(load), &terms());
    assert_eq!(
        preview.together,
        Cost {
            expected: None,
            worst: None
        }
    );
    let said = preview.to_string();
    for expected in [
        "expected unknown, at most unknown",
        "no price: t.csv:3: cache_read: the price of tokens read from a cache of `n` is unknown; fill it in",
        "no price: t.csv:3: cache_write_1h: ",
        "no price: t.csv: no row for `x` holds on 2026-08-01; add one",
    ] {
        assert!(said.contains(expected), "{expected} in {said}");
    }
    assert!(!said.contains("cache_write_5m"), "{said}");
}

#[test]
fn what_the_sizes_cannot_show_is_said() {
    let fixed = preview(&plan(LOAD), &terms());
    let all = fixed.warnings(usize::MAX);
    assert!(
        all.iter()
            .any(|line| line.contains("RETRY_DOUBLE cannot be told from MODEL_ALIAS")),
        "{all:?}"
    );
    assert_eq!(
        fixed.warnings(0),
        [format!("{} more: see `weighbridge check`", all.len())]
    );
    let unseen = fixed.blind_spots();
    assert!(
        unseen.contains(
            &"CACHE_DOUBLE, CACHE_DROPPED, CACHE_TIER_WRONG cannot be seen: no cached tokens are planned"
                .to_owned()
        ),
        "{unseen:?}"
    );
}

#[test]
fn numbers_are_grouped() {
    for (number, expected) in [
        (0, "0"),
        (999, "999"),
        (1000, "1,000"),
        (1_234_567, "1,234,567"),
    ] {
        assert_eq!(grouped(number), expected);
    }
}

#[test]
fn turns_grow_by_what_was_said_and_count_up_to_the_most() {
    let text = "tools_share = 1.0\ntools = { turns_max = 3, results = [{ text = \"four words of result\" }] }\n";
    let plan = plan(&format!("{text}{LOAD}endpoint = \"openai\"\n"));
    let preview = preview(&plan, &terms());
    assert_eq!((preview.requests, preview.turns_max), (Some(60), 3));
    let said = preview.to_string();
    assert!(
        said.starts_with(
            "up to 60 requests (up to 3 turns a session) and 1 before the load: expected $"
        ),
        "{said}"
    );
    let turns: Vec<Turn> = turns(&plan, Part::Measured, 4, Endpoint::OpenAi).collect();
    let inputs: Vec<u64> = turns
        .iter()
        .map(|turn| turn.planned.record.planned_input)
        .collect();
    assert_eq!(
        turns.iter().map(|turn| turn.before).collect::<Vec<_>>(),
        [None, Some(inputs[0]), Some(inputs[1])]
    );
    // Ten words and a call of `get_weather` with `{}`; four words, `[request` and the nonce; two messages.
    let grown = 10 + 4 + (4 + 2 + 6) + 2 * 4;
    assert_eq!(
        (inputs[1] - inputs[0], inputs[2] - inputs[1]),
        (grown, grown)
    );
    let amount = |turn: &Turn| {
        expected(
            turn,
            &plan,
            &PriceTable::read("t.csv", TABLE).expect("valid"),
            &terms(),
        )
    };
    // 10 tokens of output at 0.01, each input token at 0.001.
    let cost = |input: u64| money("0.001").checked_mul(input + 100).ok();
    assert_eq!(
        turns.iter().map(amount).collect::<Vec<_>>(),
        inputs.iter().map(|n| cost(*n)).collect::<Vec<_>>()
    );
}

#[test]
fn a_conversation_that_is_kept_is_read_by_its_next_turn() {
    let text = "tools_share = 1.0\ntools.turns_max = 3\ncached_prefix = { tokens = 1000, ttl = \"1h\" }\ncache_conversation = \"5m\"\n";
    let plan = plan(&format!("{text}{LOAD}endpoint = \"anthropic\"\n"));
    let turns: Vec<Turn> = turns(&plan, Part::Measured, 0, Endpoint::Anthropic).collect();
    let usages: Vec<Usage> = turns.iter().map(|turn| usage(turn, &plan, 0.0)).collect();
    let inputs: Vec<u64> = turns
        .iter()
        .map(|turn| turn.planned.record.planned_input)
        .collect();
    assert_eq!(
        usages
            .iter()
            .map(|usage| usage.cache_read)
            .collect::<Vec<_>>(),
        [1004, inputs[0], inputs[1]].map(Some)
    );
    assert_eq!(
        usages
            .iter()
            .map(|usage| usage.cache_write)
            .collect::<Vec<_>>(),
        [
            inputs[0] - 1004,
            inputs[1] - inputs[0],
            inputs[2] - inputs[1]
        ]
        .map(Some)
    );
    // Both lifetimes need a price.
    let unpriced = preview(&plan, &terms()).unpriced;
    let said: Vec<String> = unpriced.iter().map(ToString::to_string).collect();
    for column in ["cache_write_5m", "cache_write_1h"] {
        assert!(said.iter().any(|text| text.contains(column)), "{said:?}");
    }
}
