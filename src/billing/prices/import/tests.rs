use super::super::PriceTable;
use super::*;

fn import(format: Format, json: &str) -> Import {
    read(format, json.as_bytes(), Wanted::default()).expect(json)
}

/// The rows of the written table, without what stands in every one of them.
fn rows(import: &Import) -> String {
    let csv = import.csv("list.json", "2026-08-01".parse().expect("a date"), None);
    if !import.entries.is_empty() {
        PriceTable::read("t.csv", csv.clone()).expect("what is written can be read");
    }
    csv.lines()
        .skip(1)
        .map(|line| {
            line.replace(",USD,1000000,", "|")
                .replace(",,list.json,2026-08-01", "")
                + "\n"
        })
        .collect()
}

fn refusals(import: &Import) -> String {
    let lines: Vec<String> = import.refused.iter().map(ToString::to_string).collect();
    lines.join("\n") + "\n"
}

const LITELLM: &str = r#"{
  "sample_spec": {"input_cost_per_token": 0.0, "mode": "one of: chat, embedding"},
  "mistral/small": {"litellm_provider": "mistral", "mode": "chat", "max_tokens": 8191,
    "input_cost_per_token": 5e-07, "output_cost_per_token": 1.5e-06, "supports_vision": true},
  "claude-x": {"litellm_provider": "anthropic", "mode": "chat",
    "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05,
    "cache_read_input_token_cost": 3e-07, "cache_creation_input_token_cost": 3.75e-06,
    "cache_creation_input_token_cost_above_1hr": 6e-06,
    "input_cost_per_token_above_200k_tokens": 6e-06, "output_cost_per_token_above_200k_tokens": 2.25e-05,
    "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 1.2e-05,
    "search_context_cost_per_query": {"search_context_size_low": 0.01}},
  "gpt-x": {"litellm_provider": "openai", "mode": "chat",
    "input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 1.25e-07,
    "input_cost_per_token_priority": 2.5e-06, "output_cost_per_token_priority": 2e-05,
    "input_cost_per_token_flex": 6.25e-07, "output_cost_per_token_flex": 5e-06,
    "input_cost_per_token_batches": 6.25e-07, "output_cost_per_token_batches": 5e-06,
    "input_cost_per_audio_token": 1e-06, "input_cost_per_token_above_272k_tokens": null},
  "gemini-x": {"litellm_provider": "gemini", "mode": "chat", "input_cost_per_token": 3e-07,
    "output_cost_per_token": 2.5e-06, "output_cost_per_reasoning_token": 2.5e-06},
  "sonar-x": {"litellm_provider": "perplexity", "mode": "chat", "input_cost_per_token": 1e-6,
    "output_cost_per_token": 1e-6, "output_cost_per_reasoning_token": 3e-6, "input_cost_per_request": 0.005},
  "embed-x": {"mode": "embedding", "input_cost_per_token": 2e-08},
  "free-x": {"mode": "chat", "input_cost_per_token": 0.0, "output_cost_per_token": 0},
  "dall-e": {"mode": "image_generation", "input_cost_per_token": 1e-6},
  "cited": {"mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6, "citation_cost_per_token": 2e-6},
  "by-character": {"mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6, "input_cost_per_character": 2e-6},
  "ranges": {"mode": "chat", "tiered_pricing": [{"range": [0, 32000]}]},
  "half": {"mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6, "input_cost_per_token_flex": 1e-7},
  "long-only": {"mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6, "input_cost_per_token_above_272k_tokens_priority": 1e-7},
  "unpriced": {"mode": "chat"},
  "odd-suffix": {"mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6, "input_cost_per_token_fast": 1},
  "apart": {"mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6, "output_cost_per_reasoning_token": 3e-6,
    "input_cost_per_token_above_128k_tokens": 2e-6, "output_cost_per_token_above_128k_tokens": 2e-6},
  "contradiction": {"mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6,
    "cache_read_input_token_cost": 1e-7, "input_cost_per_token_cache_hit": 2e-7},
  "text": {"mode": "chat", "input_cost_per_token": "a lot"},
  "list": []
}"#;

#[test]
fn litellm_is_read_digit_for_digit_or_not_at_all() {
    let import = import(Format::LiteLlm, LITELLM);
    insta::assert_snapshot!(rows(&import), @r"
    mistral/small,mistral|0.5,1.5,,,,,,,,
    claude-x,anthropic|3,15,0.3,3.75,6,,,,,
    claude-x,anthropic|6,22.5,,,12,,,200000,whole,
    gpt-x,openai|1.25,10,0.125,,,,,,,
    gpt-x,openai|0.625,5,,,,,,,,batch
    gpt-x,openai|0.625,5,,,,,,,,flex
    gpt-x,openai|2.5,20,,,,,,,,priority
    gemini-x,gemini|0.3,2.5,,,,,,,,
    sonar-x,perplexity|1,1,,,,3,0.005,,,
    embed-x,|0.02,,,,,,,,,
    free-x,|0,0,,,,,,,,
    ");
    insta::assert_snapshot!(refusals(&import), @r"
    `dall-e`: its mode `image_generation` is not priced by tokens of text
    `cited`: `citation_cost_per_token` is a price that no column can say
    `by-character`: `input_cost_per_character` is a price that no column can say
    `ranges`: `tiered_pricing` is a price that no column can say
    `half`: has no price for output tokens in the service tier `flex`
    `long-only`: has prices for long prompts only in the service tier `priority`
    `unpriced`: has no price for input tokens
    `odd-suffix`: `input_cost_per_token_fast` is a price that no column can say
    `apart`: prices reasoning apart for some sizes of prompt only
    `contradiction`: `input_cost_per_token_cache_hit` contradicts another key for the same price
    `text`: `input_cost_per_token`: `a lot` is not a decimal number; write it like `0.00125` or `5e-07`
    `list`: `entry` is no object
    ");
}

#[test]
fn openrouter_is_read_digit_for_digit_or_not_at_all() {
    let import = import(
        Format::OpenRouter,
        r#"{"data": [
        {"id": "mistralai/small", "name": "x", "pricing": {"prompt": "0.0000005", "completion": "0.0000015",
          "request": "0", "image": "0.01", "web_search": "0", "internal_reasoning": "0"}},
        {"id": "anthropic/claude", "pricing": {"prompt": "0.000003", "completion": "0.000015",
          "input_cache_read": "0.0000003", "input_cache_write": "0.00000375", "discount": 0,
          "overrides": [{"min_prompt_tokens": 500000, "completion": "0.00003"},
                        {"min_prompt_tokens": 200000, "prompt": "0.000006", "input_cache_read": "0.0000006"}]}},
        {"id": "think/apart", "pricing": {"prompt": "0.000001", "completion": "0.000002",
          "internal_reasoning": "0.000003", "request": "0.005"}},
        {"id": "openrouter/auto", "pricing": {"prompt": "-1", "completion": "-1"}},
        {"id": "night/owl", "pricing": {"prompt": "0", "completion": "0", "overrides": [{"utc_start": 1200, "prompt": "1"}]}},
        {"id": "new/key", "pricing": {"prompt": "0", "completion": "0", "per_thought": "1"}},
        {"id": "cheap/er", "pricing": {"prompt": "0", "completion": "0", "discount": 0.5}},
        {"id": "no/price"},
        {"pricing": {"prompt": "0"}}
        ]}"#,
    );
    insta::assert_snapshot!(rows(&import), @r"
    mistralai/small,mistralai|0.5,1.5,,,,,0,,,
    anthropic/claude,anthropic|3,15,0.3,3.75,,,,,,
    anthropic/claude,anthropic|6,15,0.6,3.75,,,,199999,whole,
    anthropic/claude,anthropic|3,30,0.3,3.75,,,,499999,whole,
    think/apart,think|1,2,,,,3,0.005,,,
    ");
    insta::assert_snapshot!(refusals(&import), @r"
    `openrouter/auto`: `prompt`: `-1` is no price, but says that it depends
    `night/owl`: an override that does not depend on `min_prompt_tokens`
    `new/key`: `per_thought` is a price that no column can say
    `cheap/er`: `discount` is a price that no column can say
    `no/price`: has no `pricing`
    `?`: has no `id`
    ");
}

const MODELS_DEV: &str = r#"{
  "mistral": {"id": "mistral", "models": {
    "small": {"id": "small", "cost": {"input": 0.5, "output": 1.5}},
    "shared": {"cost": {"input": 1, "output": 1}}}},
  "openai": {"models": {
    "gpt": {"cost": {"input": 5, "output": 30, "cache_read": 0.5, "cache_write": 6.25, "input_audio": 40,
      "tiers": [{"input": 10, "output": 45, "cache_read": 1, "tier": {"type": "context", "size": 272000}}],
      "context_over_200k": {"input": 10, "output": 45, "cache_read": 1}}},
    "older": {"cost": {"input": 1.25, "output": 10, "reasoning": 10, "context_over_200k": {"input": 2.5, "output": 15}}},
    "shared": {"cost": {"input": 2, "output": 2}},
    "odd": {"cost": {"input": 2, "output": 2, "per_mood": 3}},
    "night": {"cost": {"input": 2, "output": 2, "tiers": [{"input": 1, "output": 1, "tier": {"type": "hour", "size": 3}}]}},
    "fine": {"cost": {"input": 1e-27, "output": 2}},
    "none": {}}},
  "empty": {}
}"#;

#[test]
fn models_dev_is_read_digit_for_digit_or_not_at_all() {
    let import = import(Format::ModelsDev, MODELS_DEV);
    insta::assert_snapshot!(rows(&import), @r"
    small,mistral|0.5,1.5,,,,,,,,
    gpt,openai|5,30,0.5,6.25,,,,,,
    gpt,openai|10,45,1,,,,,272000,whole,
    older,openai|1.25,10,,,,,,,,
    older,openai|2.5,15,,,,,,200000,whole,
    ");
    insta::assert_snapshot!(refusals(&import), @r"
    `shared`: stands more than once, here of mistral; choose one with --provider
    `shared`: stands more than once, here of openai; choose one with --provider
    `odd`: `per_mood` is a price that no column can say
    `night`: a tier that does not depend on the size of the prompt
    `fine`: `input`: `1e-27` is finer than 28 decimal places for one token
    `none`: has no `cost`
    ");
}

#[test]
fn only_what_is_wanted_is_read() {
    let only = |models: &[&str], provider| {
        let models: Vec<String> = models.iter().map(ToString::to_string).collect();
        let wanted = Wanted {
            models: &models,
            provider,
        };
        read(Format::ModelsDev, MODELS_DEV.as_bytes(), wanted)
    };
    let one = only(&["shared"], Some("openai")).expect("there");
    assert_eq!((one.entries.len(), one.refused.len()), (1, 0));
    assert_eq!(one.entries[0].provider.as_deref(), Some("openai"));
    let error = only(&["smal"], None).expect_err("a typo").to_string();
    assert_eq!(error, "there is no model `smal`, did you mean `small`?");
    assert_eq!(only(&[], Some("nobody")), Err(ImportError::Nothing));
    assert!(only(&["gpt"], Some("mistral")).is_err());
}

#[test]
fn what_is_no_such_list_says_so() {
    for (format, json, expected) in [
        (Format::LiteLlm, "[]", "not LiteLLM's object of models"),
        (Format::LiteLlm, "{", "line 1 column 1"),
        (Format::OpenRouter, "{}", "missing field `data`"),
        (
            Format::ModelsDev,
            r#"{"a": 1}"#,
            "not models.dev's object of providers",
        ),
    ] {
        let error = read(format, json.as_bytes(), Wanted::default()).expect_err(json);
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert!(read(Format::LiteLlm, b"\xff", Wanted::default()).is_err());
}

#[test]
fn the_written_table_says_where_it_is_from_and_since_when_it_holds() {
    let import = import(Format::LiteLlm, r#"{"m": {"input_cost_per_token": 1e-6}}"#);
    let day = |text: &str| text.parse().expect("a date");
    let csv = import.csv("a, \"b\".json", day("2026-08-01"), Some(day("2026-07-01")));
    let table = PriceTable::read("t.csv", csv).expect("valid");
    let row = &table.rows()[0];
    assert_eq!(row.source.as_deref(), Some("a, \"b\".json"));
    assert_eq!(row.checked_at, Some(day("2026-08-01")));
    assert_eq!(row.effective_from, Some(day("2026-07-01")));
}
