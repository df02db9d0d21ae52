//! What sessions ask for, by draw.

use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef";
const OTHER_ID: &str = "fedcba9876543210fedcba9876543210";

fn spec() -> Spec {
    Spec {
        models: vec![("m".to_owned(), 1.0)],
        source: Source::Generated(Size::Uniform { min: 100, max: 300 }),
        output_tokens: Size::Lognormal {
            median: 60.0,
            sigma: 0.5,
            max: 200,
        },
        tools: Tools::none(),
        stream_share: 1.0,
        cache: Cache::Unique,
        prefix: None,
        cache_conversation: None,
        temperature: None,
        hang_up: None,
    }
}

/// The built-in tools in this share of the sessions.
fn tools(share: f64) -> Tools {
    Tools {
        share,
        ..Tools::none()
    }
}

fn user(turn: &Turn) -> &str {
    match &turn.prompt.messages[0] {
        Message::User(text) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_session_differs_only_in_its_nonce() {
    let (a, b) = (
        spec().turn(1, "measured", 5, ID),
        spec().turn(1, "measured", 5, OTHER_ID),
    );
    assert!(user(&a).starts_with(ID) && user(&b).starts_with(OTHER_ID));
    assert_eq!(user(&a).replace(ID, ""), user(&b).replace(OTHER_ID, ""));
    assert_eq!(a.planned_input, b.planned_input);
    assert_ne!(user(&a), user(&spec().turn(1, "measured", 6, ID)));
    assert_ne!(user(&a), user(&spec().turn(2, "measured", 5, ID)));
    assert_ne!(user(&a), user(&spec().turn(1, "warmup", 5, ID)));
}

#[test]
fn generated_prompts_have_the_wanted_size_exactly() {
    for tools_share in [0.0, 1.0] {
        let spec = Spec {
            source: Source::Generated(Size::Fixed(700)),
            tools: tools(tools_share),
            ..spec()
        };
        for session in 0..20 {
            assert_eq!(spec.turn(1, "measured", session, ID).planned_input, 700);
        }
        assert_eq!(spec.input_max(), 700);
    }
}

#[test]
fn a_shared_prefix_is_in_front_of_everything_and_the_nonce_behind_it() {
    let prefix = |seed| shared_prefix(seed, 1500, CacheTtl::Hour);
    assert_eq!(prefix(1), prefix(1));
    assert_ne!(prefix(1), prefix(2));
    let spec = Spec {
        source: Source::Generated(Size::Fixed(700)),
        prefix: Some(prefix(1)),
        ..spec()
    };
    let around = 1500 + tokens::PER_MESSAGE;
    for session in 0..3 {
        let turn = spec.turn(1, "measured", session, ID);
        assert_eq!(turn.prompt.prefix, spec.prefix);
        assert!(user(&turn).starts_with(ID));
        assert_eq!(turn.planned_input, around + 700);
    }
    assert_eq!(
        (spec.input_max(), spec.input_mean()),
        (around + 700, around + 700)
    );

    let given = Given {
        system: Some("Be brief.".into()),
        user: "Hello".into(),
        max_output_tokens: None,
    };
    let spec = Spec {
        source: Source::Given(vec![given]),
        ..spec
    };
    let turn = spec.turn(1, "measured", 0, ID);
    assert_eq!(turn.prompt.system.as_deref(), Some("Be brief."));
    assert_eq!(user(&turn), format!("{ID} Hello"));
    assert!(turn.planned_input <= spec.input_max());
}

#[test]
fn what_must_be_sent_bounds_the_size_from_below() {
    let spec = Spec {
        source: Source::Generated(Size::Fixed(1)),
        tools: tools(1.0),
        ..spec()
    };
    let turn = spec.turn(1, "measured", 0, ID);
    assert!(turn.planned_input > 1 && turn.planned_input <= spec.input_max());
}

#[test]
fn draws_stay_in_range_and_shares_hold() {
    let spec = Spec {
        tools: tools(0.25),
        stream_share: 0.5,
        ..spec()
    };
    let turns: Vec<_> = (0..2000).map(|k| spec.turn(3, "measured", k, ID)).collect();
    assert!(
        turns
            .iter()
            .all(|t| (1..=200).contains(&t.prompt.max_output_tokens.expect("set")))
    );
    let share = |is: &dyn Fn(&Turn) -> bool| turns.iter().filter(|t| is(t)).count() as f64 / 2000.0;
    assert!((share(&|t| t.class == Class::Tools) - 0.25).abs() < 0.05);
    assert!((share(&|t| t.prompt.stream) - 0.5).abs() < 0.06);
    assert!(
        turns
            .iter()
            .all(|t| (t.class == Class::Tools) != t.prompt.tools.is_empty())
    );
}

#[test]
fn models_are_drawn_by_weight() {
    let spec = Spec {
        models: vec![("a".into(), 3.0), ("b".into(), 1.0)],
        ..spec()
    };
    let a = (0..2000)
        .filter(|&k| spec.turn(3, "measured", k, ID).prompt.model == "a")
        .count();
    assert!((a as f64 / 2000.0 - 0.75).abs() < 0.05, "{a}");
}

#[test]
fn given_prompts_keep_their_text_and_a_shared_cache_has_no_nonce() {
    let given = Given {
        system: Some("Be brief.".into()),
        user: "Hello".into(),
        max_output_tokens: Some(9),
    };
    let spec = Spec {
        source: Source::Given(vec![given]),
        ..spec()
    };
    let turn = spec.turn(1, "measured", 3, ID);
    assert_eq!(
        turn.prompt.system.as_deref(),
        Some(format!("{ID} Be brief.").as_str())
    );
    assert_eq!(
        (user(&turn), turn.prompt.max_output_tokens),
        ("Hello", Some(9))
    );

    let shared = Spec {
        cache: Cache::Shared,
        ..spec
    };
    assert_eq!(
        shared.turn(1, "measured", 3, ID).prompt.system.as_deref(),
        Some("Be brief.")
    );
}

#[test]
fn kinds_of_sessions_are_drawn_by_weight() {
    let kind = |weight: f64, choice: ToolChoice, task: &str| Kind {
        weight,
        choice,
        task: task.to_owned(),
        ..Kind::default()
    };
    let spec = Spec {
        tools: Tools {
            share: 1.0,
            kinds: vec![
                kind(3.0, ToolChoice::Required, "Do it."),
                kind(1.0, ToolChoice::None, "Say it."),
            ],
            turns_max: 4,
            results: Vec::new(),
        },
        ..spec()
    };
    assert_eq!(spec.turns_max(), 4);
    let turns: Vec<Turn> = (0..2000).map(|k| spec.turn(3, "measured", k, ID)).collect();
    let (required, none): (Vec<&Turn>, Vec<&Turn>) = turns
        .iter()
        .partition(|turn| turn.prompt.tool_choice == ToolChoice::Required);
    assert!((required.len() as f64 / 2000.0 - 0.75).abs() < 0.05);
    assert!(
        required
            .iter()
            .all(|turn| turn.turns_max == 4 && user(turn).ends_with("Do it."))
    );
    assert!(
        none.iter()
            .all(|turn| turn.turns_max == 1 && user(turn).ends_with("Say it."))
    );
}
