//! Mistakes in bills, as they are drawn and as an answer shows them.

use rust_decimal::Decimal;

use super::*;
use crate::billing::Delivery;
use crate::config::{Aborts, Class, Rate, When, Wrong};
use crate::config::{Fault, FaultKind, Surface, UsageInStream};
use crate::journal::Usage;

/// 1,000 + 500 tokens, half of the latter reasoning.
fn body(stream: bool) -> Value {
    prompt(&json!({
        "max_tokens": 500, "stream": stream,
        // The nonce is 6 tokens, and the message costs 4.
        "messages": [{"role": "user", "content": format!("{NONCE} {}", "word ".repeat(990))}],
    }))
}

fn wrong(class: Class) -> Vec<Wrong> {
    vec![Wrong {
        class,
        when: When::default(),
    }]
}

/// All surfaces that go together, at rates with tiers and cached tokens that cost less.
fn billed() -> Config {
    let mut config = config();
    config.behaviour.output.reasoning_share = 0.5;
    config.behaviour.output.usage_in_stream = UsageInStream::Always;
    let cost = &mut config.behaviour.cost;
    cost.surfaces = vec![
        Surface::Usage,
        Surface::UsageTicks,
        Surface::Metadata,
        Surface::Header,
        Surface::AfterTerminator,
    ];
    let toml = r#"
        [cost.rates.magistral-small-latest]
        input = "0.50"
        output = "1.50"
        service_tiers = { flex = "0.5" }
    "#;
    let read = Config::from_toml(toml, "mock.toml").expect("valid");
    cost.rates = read.behaviour.cost.rates;
    config
}

fn text(script: &Script) -> String {
    String::from_utf8_lossy(script.frames.bytes()).into_owned()
}

fn bill(script: &Script) -> &crate::billing::Bill {
    truth(script).bill.as_ref().expect("a bill")
}

/// The usage at the end of an answer.
fn final_usage(script: &Script, path: &str, stream: bool) -> Value {
    match (stream, path) {
        (false, _) => whole_body(script)["usage"].clone(),
        (true, CHAT_COMPLETIONS) => {
            let chunks: Vec<Value> = data(script);
            let mut with_usage = chunks.iter().filter(|chunk| chunk["usage"].is_object());
            with_usage.next_back().expect("a usage")["usage"].clone()
        }
        (true, _) => {
            let events: Vec<Value> = data(script);
            let mut ends = events
                .iter()
                .filter(|event| event["type"] == "message_delta");
            ends.next().expect("an end")["usage"].clone()
        }
    }
}

/// The data of all events, without the terminator.
fn data(script: &Script) -> Vec<Value> {
    text(script)
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect()
}

#[test]
fn every_surface_has_the_same_digits() {
    for path in [CHAT_COMPLETIONS, MESSAGES] {
        for stream in [true, false] {
            let script = ask(path, &body(stream), &billed());
            let text = text(&script);
            for member in [
                "\"cost\":0.00125,\"cost_in_usd_ticks\":12500000}",
                ",\"provider_metadata\":{\"gateway\":{\"cost\":\"0.00125\"}}",
                "\"associated_dollar_cost\":0.00125",
            ] {
                assert_eq!(text.matches(member).count(), 1, "{path} {stream} {member}");
            }
            let header = if stream { "0" } else { "0.00125" };
            assert_eq!(script.headers["x-mock-response-cost"], header);
            if stream {
                let terminator = match path {
                    CHAT_COMPLETIONS => "data: [DONE]\n\n",
                    _ => "data: {\"type\":\"message_stop\"}\n\n",
                };
                let (_, after) = text.split_once(terminator).expect("a terminator");
                assert!(after.contains("associated_dollar_cost"), "{after}");
                assert!(after.ends_with("}\n\n"));
            } else {
                whole_body(&script);
            }
        }
    }
}

#[test]
fn every_mistake_is_planted_where_it_can_be_and_nothing_else_changes() {
    let mut planted = Vec::new();
    for class in Class::ALL {
        for path in [CHAT_COMPLETIONS, MESSAGES] {
            for stream in [true, false] {
                let mut config = billed();
                let right = ask(path, &body(stream), &config);
                config.behaviour.cost.wrong = wrong(class);
                let script = ask(path, &body(stream), &config);
                let context = format!("{class:?} {path} {stream}");
                let (seen, expected) = (truth(&script), truth(&right));
                assert_eq!(seen.cost.as_deref(), Some("0.00125"), "{context}");
                assert_eq!(seen.usage, expected.usage, "{context}");
                assert_eq!(seen.text_sha256, expected.text_sha256, "{context}");
                let bill = bill(&script);
                if bill.planted.has(class) {
                    planted.push(class);
                } else {
                    assert_eq!(script, right, "{context}");
                }
                let usage = final_usage(&script, path, stream);
                let cost = bill.surfaces.get(&Surface::Usage);
                assert_eq!(
                    usage.get("cost").map(ToString::to_string),
                    cost.map(|digits| {
                        let number: serde_json::Number = digits.parse().expect("a number");
                        number.to_string()
                    }),
                    "{context}"
                );
                let is_about_usage = matches!(
                    class,
                    Class::TranslationUsageLost
                        | Class::TokensImplausible
                        | Class::UsageInconsistent
                );
                if !is_about_usage {
                    let mut other = final_usage(&right, path, stream);
                    let mut usage = usage;
                    for usage in [&mut usage, &mut other] {
                        let members = usage.as_object_mut().expect("an object");
                        members.retain(|name, _| !name.starts_with("cost"));
                    }
                    assert_eq!(usage, other, "{context}");
                }
            }
        }
    }
    planted.dedup();
    let not_here = [
        // They need a cache, another attempt, a long prompt, or an error: see the tests of `billing`, and below.
        Class::CacheDouble,
        Class::CacheDropped,
        Class::CacheTierWrong,
        Class::RetryDouble,
        Class::ErrorBilled,
        Class::ContextTier,
    ];
    let expected: Vec<_> = Class::ALL
        .into_iter()
        .filter(|class| !not_here.contains(class))
        .collect();
    assert_eq!(planted, expected);
}

/// What the answer records as `usage.cost`, and the bill's mistakes.
fn recorded(script: &Script) -> (&str, &[Class]) {
    let bill = bill(script);
    let cost = bill.surfaces.get(&Surface::Usage);
    (cost.map_or("", String::as_str), bill.planted.classes())
}

#[test]
fn streams_are_summed_up_or_kept_in_part_as_each_api_reports_its_usage() {
    for (path, every, class, expected) in [
        // 2000 at 0.50, and 501 at 1.50; 1000, and 1.
        (MESSAGES, false, Class::StreamCumulativeSummed, "0.0017515"),
        (MESSAGES, false, Class::StreamPartialKept, "0.0005015"),
        // One usage only.
        (
            CHAT_COMPLETIONS,
            false,
            Class::StreamCumulativeSummed,
            "0.00125",
        ),
        (CHAT_COMPLETIONS, false, Class::StreamPartialKept, "0.00125"),
        // The first chunk has no output yet.
        (CHAT_COMPLETIONS, true, Class::StreamPartialKept, "0.0005"),
    ] {
        let mut config = billed();
        config.behaviour.cost.wrong = wrong(class);
        if every {
            config.behaviour.output.usage_in_stream = UsageInStream::Every;
        }
        let script = ask(path, &body(true), &config);
        assert_eq!(recorded(&script).0, expected, "{path} {class:?}");
    }
}

#[test]
fn running_counts_sum_up_to_what_their_chunks_say() {
    for dialect in [Dialect::OpenAi, Dialect::Mistral] {
        for tools in [false, true] {
            let mut config = billed();
            config.behaviour.dialect = dialect;
            config.behaviour.output.usage_in_stream = UsageInStream::Every;
            config.behaviour.output.tokens_per_event = 7;
            config.behaviour.cost.wrong = wrong(Class::StreamCumulativeSummed);
            let mut body = body(true);
            if tools {
                body["tools"] = openai_tools();
            }
            let script = ask(CHAT_COMPLETIONS, &body, &config);
            let chunks = data(&script);
            let usages: Vec<_> = chunks
                .iter()
                .filter(|chunk| chunk["choices"].is_array())
                .map(|chunk| &chunk["usage"])
                .collect();
            assert!(usages.len() > 3);
            let sum = |member: &str| -> u64 {
                let counts = usages.iter().map(|usage| usage[member].as_u64());
                counts
                    .map(|count| count.expect("a usage in each chunk"))
                    .sum()
            };
            let counts = usages
                .iter()
                .map(|usage| usage["completion_tokens"].as_u64());
            assert!(counts.is_sorted());
            // Millionths: half for each token of input, one and a half for each of output.
            let cost = Decimal::from(sum("prompt_tokens")) * Decimal::new(5, 7)
                + Decimal::from(sum("completion_tokens")) * Decimal::new(15, 7);
            assert_eq!(
                recorded(&script).0,
                cost.normalize().to_string(),
                "{dialect:?} {tools}"
            );
        }
    }
}

#[test]
fn progress_ends_with_all_tokens_of_the_answer() {
    for (path, dialect, tools) in [
        (CHAT_COMPLETIONS, Dialect::OpenAi, None),
        (CHAT_COMPLETIONS, Dialect::OpenAi, Some(openai_tools())),
        (CHAT_COMPLETIONS, Dialect::Mistral, None),
        (CHAT_COMPLETIONS, Dialect::Mistral, Some(openai_tools())),
        (MESSAGES, Dialect::OpenAi, None),
        (MESSAGES, Dialect::OpenAi, Some(anthropic_tools())),
    ] {
        let mut config = billed();
        config.behaviour.cost.aborts = Aborts::Delivered;
        config.behaviour.dialect = dialect;
        config.behaviour.output.tokens_per_event = 3;
        let mut body = body(true);
        if let Some(tools) = tools {
            body["tools"] = tools;
        }
        let script = ask(path, &body, &config);
        let progress = &bill(&script).progress;
        assert_eq!(
            progress.len(),
            script.frames.token_events(),
            "{path} {dialect:?}"
        );
        let usage = truth(&script).usage;
        let last = progress.last().expect("an event");
        assert_eq!(
            (last.tokens, last.reasoning),
            (usage.output, usage.reasoning)
        );
        assert!(progress.is_sorted_by_key(|progress| progress.tokens));
    }
}

#[test]
fn a_token_event_that_comes_twice_is_delivered_once() {
    // 11 tokens of input at 0.50, and as many of output at 1.50 as are told apart.
    let expected = [
        "0.0000055",
        "0.000007",
        "0.0000085",
        "0.00001",
        "0.0000115",
        "0.000013",
    ];
    for path in [CHAT_COMPLETIONS, MESSAGES] {
        for (kind, after_events, distinct) in [
            (None, None, [0, 1, 2, 3, 4, 5]),
            (Some(FaultKind::DuplicateEvent), None, [0, 1, 2, 3, 4, 4]),
            (Some(FaultKind::DuplicateEvent), Some(0), [0, 1, 1, 2, 3, 4]),
            (Some(FaultKind::DuplicateEvent), Some(2), [0, 1, 2, 3, 3, 4]),
            // Too short for that.
            (Some(FaultKind::DuplicateEvent), Some(5), [0, 1, 2, 3, 4, 5]),
            (Some(FaultKind::LateEvent), None, [0, 1, 2, 3, 4, 5]),
        ] {
            let mut config = config();
            config.behaviour.cost.aborts = Aborts::Delivered;
            let fault = kind.map(|kind| Fault {
                after_events,
                ..Fault::new(kind)
            });
            config.behaviour.faults = fault.into_iter().collect();
            let body = prompt(&json!({"max_tokens": 5, "stream": true}));
            let script = ask(path, &body, &config);
            for (token_events, distinct) in distinct.into_iter().enumerate() {
                let delivery = Delivery {
                    started: true,
                    cost_written: false,
                    completed: false,
                    token_events: token_events as u64,
                    ended_unix_us: 0,
                };
                let settlement = bill(&script).settle(&config.behaviour.cost, delivery);
                let context = format!("{path} {kind:?} {after_events:?} {token_events}");
                let charged: usize = distinct;
                assert_eq!(
                    settlement.charged.as_deref(),
                    Some(expected[charged]),
                    "{context}"
                );
            }
        }
    }
}

#[test]
fn calls_are_delivered_by_a_quarter_of_their_bytes() {
    let mut config = config();
    config.behaviour.cost.aborts = Aborts::Delivered;
    config.behaviour.tools.calls = 1;
    let mut body = body(true);
    body["tools"] = openai_tools();
    let script = ask(CHAT_COMPLETIONS, &body, &config);
    let seen: Vec<_> = bill(&script)
        .progress
        .iter()
        .map(|progress| (progress.tokens, progress.characters))
        .take(3)
        .collect();
    // `weather`, and four bytes of its arguments at a time.
    assert_eq!(seen, [(2, 7), (3, 11), (4, 15)]);
}

#[test]
fn wrong_usages_are_on_the_wire_and_not_in_the_truth() {
    for (path, class, expected) in [
        (
            CHAT_COMPLETIONS,
            Class::UsageInconsistent,
            json!({"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1501,
                "prompt_tokens_details": {"cached_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 250}, "cost": 0.00125}),
        ),
        (
            MESSAGES,
            Class::UsageInconsistent,
            json!({"input_tokens": 1000, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
                "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 0},
                "output_tokens": 500, "cost": 0.00125}),
        ),
        (
            CHAT_COMPLETIONS,
            Class::TranslationUsageLost,
            json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0,
                "prompt_tokens_details": {"cached_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0}, "cost": 0}),
        ),
        (
            MESSAGES,
            Class::TokensImplausible,
            json!({"input_tokens": 1000, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
                "output_tokens": 5000, "cost": 0.008}),
        ),
    ] {
        for stream in [true, false] {
            let mut config = billed();
            config.behaviour.cost.surfaces = vec![Surface::Usage];
            config.behaviour.cost.wrong = wrong(class);
            let script = ask(path, &body(stream), &config);
            assert_eq!(final_usage(&script, path, stream), expected, "{class:?}");
            assert_eq!(
                (truth(&script).usage.input, truth(&script).usage.output),
                (1000, 500)
            );
        }
    }
    let mut config = billed();
    config.behaviour.cost.wrong = wrong(Class::TranslationUsageLost);
    let script = ask(MESSAGES, &body(true), &config);
    let start = &data(&script)[0]["message"]["usage"];
    assert_eq!(
        (&start["input_tokens"], &start["output_tokens"]),
        (&json!(0), &json!(0))
    );
}

#[test]
fn mistakes_are_made_only_when_they_are_meant() {
    let mut config = billed();
    let right = ask(CHAT_COMPLETIONS, &body(true), &config);
    let rules = Class::ALL.map(|class| Wrong {
        class,
        when: When {
            marker: Some("boom".to_owned()),
            ..When::default()
        },
    });
    config.behaviour.cost.wrong = rules.to_vec();
    assert_eq!(ask(CHAT_COMPLETIONS, &body(true), &config), right);
    let mut marked = body(true);
    marked["metadata"] = json!({"note": "boom"});
    let script = ask(CHAT_COMPLETIONS, &marked, &config);
    // Without a cache, another attempt, a usage in every chunk, a long context and an error.
    assert_eq!(recorded(&script).1.len(), Class::ALL.len() - 8);
    config.behaviour.cost.wrong = wrong(Class::Unit1k1m);
    config.behaviour.cost.wrong[0].when.share = 0.0;
    assert_eq!(ask(CHAT_COMPLETIONS, &body(true), &config), right);
}

#[test]
fn every_nth_counts_the_answers_that_the_mistake_can_be_made_in() {
    let mut config = billed();
    config.behaviour.cost.wrong = wrong(Class::TerminalEventMissed);
    config.behaviour.cost.wrong[0].when.every = 2;
    let state = State::default();
    let seen: Vec<_> = [true, false, true, true, false, true]
        .into_iter()
        .map(|stream| {
            let body = body(stream).to_string();
            let received = Received {
                method: &Method::POST,
                path: MESSAGES,
                headers: &HeaderMap::new(),
                body: body.as_bytes(),
                arrival: Arrival::default(),
            };
            !recorded(&respond(&received, &config, &state)).1.is_empty()
        })
        .collect();
    assert_eq!(seen, [false, false, true, false, false, true]);
}

#[test]
fn second_attempts_are_billed_twice() {
    let mut config = billed();
    config.behaviour.cost.wrong = wrong(Class::RetryDouble);
    let state = State::default();
    let body = body(false).to_string();
    let received = Received {
        method: &Method::POST,
        path: CHAT_COMPLETIONS,
        headers: &HeaderMap::new(),
        body: body.as_bytes(),
        arrival: Arrival::default(),
    };
    let first = respond(&received, &config, &state);
    assert_eq!(recorded(&first), ("0.00125", &[][..]));
    let second = respond(&received, &config, &state);
    assert_eq!(recorded(&second), ("0.0025", &[Class::RetryDouble][..]));
}

#[test]
fn errors_are_billed_for_their_input_where_they_are_answered() {
    for (kind, status, cost) in [
        (FaultKind::Status, 429, Some("0.0005")),
        (FaultKind::ErrorIn200, 200, Some("0.0005")),
        (FaultKind::Html200, 200, Some("0.0005")),
        (FaultKind::ResetBeforeHeaders, 200, None),
    ] {
        let mut config = billed();
        config.behaviour.faults = vec![Fault::new(kind)];
        let right = ask(CHAT_COMPLETIONS, &body(true), &config);
        assert!(!right.headers.contains_key("x-mock-response-cost"));
        config.behaviour.cost.wrong = wrong(Class::ErrorBilled);
        let script = ask(CHAT_COMPLETIONS, &body(true), &config);
        assert_eq!(script.status, status);
        let header = script.headers.get("x-mock-response-cost");
        assert_eq!(
            header.map(|value| value.to_str().expect("text")),
            cost,
            "{kind:?}"
        );
        assert_eq!(
            (truth(&script).cost.as_ref(), truth(&script).usage),
            (None, Usage::default())
        );
        assert_eq!(truth(&script).bill.is_some(), cost.is_some());
    }
}

#[test]
fn hits_in_a_gateways_cache_say_so_and_are_recorded_in_full() {
    let mut config = billed();
    config.behaviour.cost.wrong = wrong(Class::CacheHitBilled);
    let script = ask(MESSAGES, &body(false), &config);
    assert_eq!(script.headers["x-litellm-cache-hit"], "True");
    assert_eq!(script.headers["x-mock-cache"], "HIT");
    assert_eq!(recorded(&script).0, "0.00125");
}

#[test]
fn tiers_and_aliases_come_from_the_request_and_the_table() {
    let mut config = billed();
    let rate: &mut Rate = config.behaviour.cost.rates.get_mut(MODEL).expect("listed");
    rate.served_as = Some("magistral-small-2509".to_owned());
    let mut body = body(false);
    body["service_tier"] = json!("flex");
    for path in [CHAT_COMPLETIONS, MESSAGES] {
        let script = ask(path, &body, &config);
        assert_eq!(whole_body(&script)["model"], "magistral-small-2509");
        assert_eq!(truth(&script).model, MODEL);
        assert_eq!(truth(&script).cost.as_deref(), Some("0.000625"));
        assert_eq!(bill(&script).service_tier.as_deref(), Some("flex"));
    }
}

#[test]
fn openrouter_details_the_cost() {
    let mut config = billed();
    config.behaviour.dialect = Dialect::OpenRouter;
    let script = ask(CHAT_COMPLETIONS, &body(true), &config);
    let usage = final_usage(&script, CHAT_COMPLETIONS, true);
    assert_eq!(
        usage["cost_details"],
        json!({
            "upstream_inference_cost": null, "upstream_inference_prompt_cost": 0.0005,
            "upstream_inference_completions_cost": 0.00075,
        })
    );
}

#[test]
fn what_follows_the_terminator_is_missing_from_streams_that_break_off() {
    for (kind, follows) in [
        (FaultKind::NoTerminator, false),
        (FaultKind::ErrorInStream, false),
        (FaultKind::ForeignError, false),
        (FaultKind::UnterminatedEvent, false),
        (FaultKind::Cut, false),
        (FaultKind::Stall, false),
        (FaultKind::DuplicateEvent, true),
        (FaultKind::FakeStreaming, true),
    ] {
        let mut config = billed();
        config.behaviour.faults = vec![Fault::new(kind)];
        for path in [CHAT_COMPLETIONS, MESSAGES] {
            let script = ask(path, &body(true), &config);
            assert_eq!(
                text(&script).contains("associated_dollar_cost"),
                follows,
                "{kind:?}"
            );
            assert_eq!(bill(&script).has_event_after, follows);
        }
    }
}
