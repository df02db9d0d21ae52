//! What is read of a file, and which line of it a mistake is in.

use std::collections::BTreeSet;

use rust_decimal::Decimal;

use super::*;

/// Parses `text` and compares the error's text.
fn rejects(text: &str, expected: &str) {
    let error = Config::from_toml(text, "mock.toml").expect_err("a mistake is found");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn empty_file_is_the_default() {
    assert_eq!(
        Config::from_toml("", "mock.toml").expect("valid"),
        Config::default()
    );
}

/// The example with all keys.
fn readme() -> &'static str {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("```toml\n").expect("an example");
    rest.split_once("```").expect("its end").0
}

#[test]
fn the_readme_shows_the_defaults() {
    assert_eq!(
        Config::from_toml(readme(), "README.md").expect("valid"),
        Config::default()
    );
}

/// All names of keys in a value.
fn keys(value: &toml::Value, names: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => {
            names.extend(table.keys().cloned());
            table.values().for_each(|value| keys(value, names));
        }
        toml::Value::Array(list) => list.iter().for_each(|value| keys(value, names)),
        _ => {}
    }
}

#[test]
fn the_readme_shows_all_keys_and_what_has_no_default_is_valid_too() {
    let lines = readme().lines();
    let whole: Vec<_> = lines
        .map(|line| line.strip_prefix("# ").unwrap_or(line))
        .collect();
    let whole = whole.join("\n");
    let config = Config::from_toml(&whole, "README.md").expect("valid");
    assert!(config.profiles.contains_key("slow"));
    // A hostile test sees that the seed has all of them.
    let seed = include_str!("../../fuzz/corpus-seeds/config/all-keys.toml");
    let mut names = BTreeSet::new();
    let seed: toml::Table = seed.parse().expect("TOML");
    keys(&toml::Value::Table(seed), &mut names);
    let is_part = |character: char| character.is_alphanumeric() || "_-".contains(character);
    let words: BTreeSet<_> = whole.split(|character| !is_part(character)).collect();
    names.retain(|name| !words.contains(name.as_str()));
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn every_key_survives_a_round_trip() {
    let text = r#"
        seed = 7
        dialect = "mistral"
        strict = false
        direct = true
        rotate_after = 3
        api_key = "secret"
        models = ["a", "b"]
        [timing]
        ttft_ms = { uniform = { min = 1, max = 2.5 } }
        gap_ms = { gamma = { mean = 8.0, shape = 2.0 } }
        [output]
        tokens = 5
        max_tokens = 10
        tokens_per_event = 2
        reasoning_share = 0.5
        usage_in_stream = "always"
        [tools]
        calls = 3
        arguments = "truncated"
        [delivery]
        line_ending = "crlf"
        silence = { ms = 5, before_event = 2 }
        split = { bytes_max = 7, random = true }
        [cost]
        surfaces = ["usage", "header"]
        per_tokens = 1000
        rounding = { scale = 4, mode = "half_even" }
        [cost.rates."a"]
        input = "0.0000001"
        output = "2"
        cache_read = "0"
        served_as = "b"
        service_tiers = { flex = "0.5" }
        context_tier = { above = 200000, input = "0.0000002", output = "3" }
        [[cost.wrong]]
        class = "UNIT_1K_1M"
        when = { every = 3 }
        [[faults]]
        kind = "html_200"
        when = { share = 0.25, marker = "boom" }
        [[faults]]
        kind = "status"
        status = 503
        headers = { retry-after = "2" }
        [profiles.slow]
        models = ["slow-*"]
        timing.slots = 2
    "#;
    let config = Config::from_toml(text, "mock.toml").expect("valid");
    let again = toml::to_string(&config).expect("serialisable");
    assert_eq!(
        Config::from_toml(&again, "again.toml").expect("valid"),
        config
    );
    let behaviour = &config.behaviour;
    assert_eq!(behaviour.cost.rates["a"].input, Decimal::new(1, 7));
    assert_eq!(behaviour.cost.rates["a"].cache_read, Some(Decimal::ZERO));
    assert_eq!(behaviour.cost.wrong[0].class, Class::Unit1k1m);
    assert_eq!(behaviour.faults[0].kind, FaultKind::Html200);
}

#[test]
fn profiles_are_laid_over_the_file_section_by_section() {
    let text = r#"
        dialect = "mistral"
        [timing]
        ttft_ms = { fixed = 5 }
        gap_ms = { fixed = 6 }
        [cost]
        per_tokens = 1000
        [[faults]]
        kind = "cut"
        [profiles.late]
        models = ["exact", "begin-*"]
        timing.ttft_ms = { gamma = { mean = 8.0, shape = 2.0 } }
        cost.rates.a = { input = "1", output = "2" }
        faults = []
    "#;
    let config = Config::from_toml(text, "mock.toml").expect("valid");
    let (name, late) = config.profile_for("begin-7").expect("a profile");
    assert_eq!(name, "late");
    assert_eq!(late.dialect, Dialect::Mistral);
    assert_eq!(late.timing.gap_ms, Distribution::Fixed(6.0));
    assert_eq!(
        late.timing.ttft_ms,
        Distribution::Gamma {
            mean: 8.0,
            shape: 2.0
        }
    );
    assert_eq!((late.cost.per_tokens, late.cost.rates.len()), (1000, 8));
    assert!(late.faults.is_empty() && !config.behaviour.faults.is_empty());
    assert!(config.profile_for("exact").is_some());
    assert!(config.profile_for("exactly").is_none() && config.profile_for("begin").is_none());
}

#[test]
fn numbers_of_profiles_are_as_large_as_those_of_the_file() {
    let text = "[profiles.a.delivery]\ncomment_every = 18446744073709551615\n";
    let config = Config::from_toml(text, "mock.toml").expect("valid");
    let profile = &config.profiles["a"].behaviour;
    assert_eq!(profile.delivery.comment_every, u64::MAX);
}

#[test]
fn mistakes_in_profiles_and_lists_are_named_with_their_line() {
    rejects(
        "[profiles.a]\nmodels = []\n[profiles.a.output]\ntoken = 1\n",
        "mock.toml:4: `profiles.a.output.token`: unknown field `token`, expected one of `tokens`, `obey_limit`, \
         `max_tokens`, `tokens_per_event`, `reasoning_share`, `unicode`, `usage_in_stream`",
    );
    rejects(
        "[profiles.a]\nmodels = []\n[profiles.a.output]\ntokens = 0\n",
        "mock.toml:4: `profiles.a.output.tokens`: must be at least 1",
    );
    rejects(
        "[[faults]]\nkind = \"cut\"\n[[faults]]\nkind = \"stall\"\nwhen.share = 2\n",
        "mock.toml:5: `faults.1.when.share`: 2 is no share, expected 0 to 1",
    );
    rejects(
        "[profiles]\na = 1\n",
        "mock.toml:2: `profiles.a`: invalid type: integer `1`, expected a table",
    );
}

#[test]
fn keys_that_would_do_nothing_are_mistakes() {
    for (text, expected) in [
        (
            "[output]\ntokens = 5\nmax_tokens = 4\n",
            "2: `output.tokens`: 5 is above `output.max_tokens`, which is 4",
        ),
        (
            "[cost]\nsurfaces = [\"usage\", \"header\", \"usage\"]\n",
            "2: `cost.surfaces`: `usage` is there twice",
        ),
        ("api_key = \"\"\n", "1: `api_key`: must not be empty"),
        (
            "[profiles.a]\nmodels = [\"b-*\", \"m*-7b\"]\n",
            "2: `profiles.a.models`: `m*-7b`: a `*` stands only at the end",
        ),
        (
            "[[faults]]\nkind = \"no_terminator\"\nafter_events = 3\n",
            "3: `faults.0.after_events`: does nothing for the kind `no_terminator`, only for faults in the middle \
             of a stream",
        ),
        (
            "[[faults]]\nkind = \"cut\"\nfor_ms = 5\n",
            "3: `faults.0.for_ms`: does nothing for the kind `cut`, only for `refuse`",
        ),
        (
            "[[faults]]\nkind = \"html_200\"\nstatus = 503\n",
            "3: `faults.0.status`: does nothing for the kind `html_200`, only for `status`",
        ),
        (
            "[[faults]]\nkind = \"stall\"\nheaders = { retry-after = \"1\" }\n",
            "3: `faults.0.headers`: does nothing for the kind `stall`, only for `status`",
        ),
    ] {
        rejects(text, &format!("mock.toml:{expected}"));
    }
    // What is written out as a default, and what has its use.
    for text in [
        "profiles.a.models = [\"*\", \"b-*\"]\n",
        "faults = [{ kind = \"cut\", status = 429, for_ms = 1000, headers = {}, after_events = 0 }]\n",
        "faults = [{ kind = \"refuse\", for_ms = 1 }]\n",
    ] {
        assert!(Config::from_toml(text, "mock.toml").is_ok(), "{text}");
    }
}

#[test]
fn headers_that_the_upstream_writes_are_not_the_configurations() {
    for name in [
        "Content-Length",
        "transfer-encoding",
        "connection",
        "content-type",
    ] {
        let said = format!("`{name}` is a header that the upstream writes itself");
        rejects(
            &format!("[[faults]]\nkind = \"status\"\nheaders = {{ {name} = \"1\" }}\n"),
            &format!("mock.toml:3: `faults.0.headers.{name}`: {said}"),
        );
        rejects(
            &format!("[cost]\nheader = \"{name}\"\n"),
            &format!("mock.toml:2: `cost.header`: {said}"),
        );
    }
    rejects(
        "[cost]\nheader = \"a b\"\n",
        "mock.toml:2: `cost.header`: `a b` is no header name",
    );
    rejects(
        "[[faults]]\nkind = \"status\"\nheaders = { a = \"\\n\" }\n",
        "mock.toml:3: `faults.0.headers.a`: \"\\n\" is no header's value",
    );
}

#[test]
fn elements_of_lists_are_named_by_their_index_and_types_by_a_users_words() {
    let faults = "[[faults]]\nkind = \"cut\"\n[[faults]]\nkind = \"stall\"\n";
    for (text, expected) in [
        (
            format!("{faults}when.share = \"much\"\n"),
            "5: `faults.1.when.share`: invalid type: string \"much\", expected a number",
        ),
        (
            format!("{faults}status = -1\n"),
            "5: `faults.1.status`: invalid value: integer `-1`, expected a whole number from 0 to 65535",
        ),
        (
            "[output]\ntokens = 1.5\n".to_owned(),
            "2: `output.tokens`: invalid type: floating point `1.5`, expected a whole number from 0 on",
        ),
        (
            "models = 1\n".to_owned(),
            "1: `models`: invalid type: integer `1`, expected a list",
        ),
        (
            "models = [\"a\", 1]\n".to_owned(),
            "1: `models.1`: invalid type: integer `1`, expected a string",
        ),
    ] {
        rejects(&text, &format!("mock.toml:{expected}"));
    }
}

#[test]
fn rates_of_a_file_add_to_the_default_table() {
    let text = "[cost.rates.\"codestral-latest\"]\ninput = \"1\"\noutput = \"2\"\n";
    let config = Config::from_toml(text, "mock.toml").expect("valid");
    assert_eq!(config.behaviour.cost.rates.len(), 7);
    assert_eq!(
        config.behaviour.cost.rates["codestral-latest"].input,
        Decimal::ONE
    );
    assert_eq!(
        config.behaviour.cost.rates["magistral-small-latest"].output,
        Decimal::new(15, 1)
    );
}

#[test]
fn unknown_key_is_named_with_the_valid_ones() {
    rejects(
        "seed = 1\n\n[timing]\nttft = { fixed = 1 }\n",
        "mock.toml:4: `timing.ttft`: unknown field `ttft`, expected one of `ttft_ms`, `gap_ms`, \
         `prefill_us_per_token`, `slots`",
    );
}

#[test]
fn unknown_name_is_named_with_the_valid_ones() {
    rejects(
        "dialect = \"cohere\"\n",
        "mock.toml:1: `dialect`: unknown variant `cohere`, expected one of `openai`, `mistral`, `vllm`, `openrouter`",
    );
}

#[test]
fn wrong_type_is_named_with_its_key() {
    rejects(
        "[cost.rates.m]\ninput = 0.5\noutput = \"1\"\n",
        "mock.toml:2: `cost.rates.m.input`: invalid type: floating point `0.5`, \
         expected a decimal number in quotes, such as \"0.50\"",
    );
}

#[test]
fn impossible_value_is_named_with_its_line() {
    rejects(
        "seed = 1\n[output]\ntokens = 0\n",
        "mock.toml:3: `output.tokens`: must be at least 1",
    );
    rejects(
        "[[faults]]\nkind = \"status\"\nstatus = 200\n",
        "mock.toml:3: `faults.0.status`: 200 is no error status, expected 400 to 599",
    );
    rejects(
        "[output]\nreasoning_share = 1.5\n",
        "mock.toml:2: `output.reasoning_share`: 1.5 is no share, expected 0 to 1",
    );
}

#[test]
fn impossible_prices_are_named_with_their_line() {
    let rate = "[cost.rates.m]\ninput = \"1\"\noutput = \"1\"\n";
    rejects(
        &format!("{rate}context_tier = {{ above = 5, input = \"-1\", output = \"1\" }}\n"),
        "mock.toml:1: `cost.rates.m`: a rate cannot be negative",
    );
    rejects(
        &format!("{rate}service_tiers = {{ flex = \"-0.5\" }}\n"),
        "mock.toml:1: `cost.rates.m`: a rate cannot be negative",
    );
    for (price, tiers) in [
        ("1000000000", ""),
        ("79228162514264337593543950335", ""),
        ("0.0000000001", ""),
        ("1", "service_tiers = { flex = \"0.0000000001\" }"),
        ("1", "service_tiers = { priority = \"1000000000\" }"),
        ("1", "per_request = \"10000000000000000000000000\""),
    ] {
        rejects(
            &format!("[cost.rates.m]\ninput = \"1\"\noutput = \"{price}\"\n{tiers}\n"),
            "mock.toml:1: `cost.rates.m`: has prices too large, or with too many decimals, for all amounts to be exact",
        );
    }
    rejects(
        &format!("{rate}served_as = \"\"\n"),
        "mock.toml:4: `cost.rates.m.served_as`: must not be empty",
    );
    rejects(
        "[cost]\nper_tokens = 3000\n",
        "mock.toml:2: `cost.per_tokens`: must have no factors but 2 and 5, as 1000 and 1000000, \
         so that costs are exact",
    );
    rejects(
        "[cost]\nsurfaces = [\"usage\", \"usage_object\"]\n",
        "mock.toml:2: `cost.surfaces`: `usage` and `usage_object` are both `usage.cost`, expected one of them",
    );
}

#[test]
fn broken_syntax_names_the_line() {
    let error = Config::from_toml("seed = 1\nseed = \n", "mock.toml").expect_err("broken");
    assert_eq!(error.line, Some(2));
}

#[test]
fn value_made_in_code_is_checked_without_a_line() {
    let mut config = Config::default();
    config.behaviour.timing.ttft_ms = Distribution::Uniform { min: 2.0, max: 1.0 };
    let error = config.validate("scenario").expect_err("min is above max");
    assert!(
        error
            .to_string()
            .starts_with("scenario: `timing.ttft_ms`: ")
    );
}
