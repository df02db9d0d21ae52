//! `[workload.tools]`: what it becomes, and what is refused.

use std::time::Duration;

use crate::prompt::{Tool, ToolChoice};
use crate::scenario::Scenario;
use crate::seed::Wait;
use crate::workload::{Says, Tools};

fn text(workload: &str) -> String {
    format!(
        "name = \"t\"\ntarget.model = \"m\"\nload = {{ concurrency = 1, count = 1 }}\n[workload]\n{workload}"
    )
}

fn tools(workload: &str) -> Tools {
    let scenario = Scenario::parse("t.toml", &text(workload), &[]);
    let scenario = scenario.unwrap_or_else(|error| panic!("{error}"));
    scenario.workload.spec(None).tools
}

#[track_caller]
fn refused(workload: &str, problems: &[&str]) {
    let error = Scenario::parse("t.toml", &text(workload), &[]).expect_err(workload);
    let said = error.to_string();
    for problem in problems {
        assert!(said.contains(problem), "{problem} in {said}");
    }
}

const DEFINED: &str = "tools_share = 1.0\n[[workload.tools.define]]\nname = \"read_file\"\nschema = { type = \"object\", properties = { path = { type = \"string\" } }, required = [\"path\"] }\n";

#[test]
fn without_a_table_all_offer_the_built_in_tools() {
    let tools = tools("tools_share = 0.5\ntool_choice = \"search_orders\"");
    assert_eq!(
        (tools.share, tools.turns_max, tools.kinds.len()),
        (0.5, 1, 1)
    );
    let kind = &tools.kinds[0];
    assert_eq!(kind.choice, ToolChoice::Named("search_orders".to_owned()));
    assert_eq!((kind.offered.tools().len(), kind.parallel), (3, None));
    assert!(!kind.offered.has("current_time"));
}

#[test]
fn kinds_offer_choose_and_ask_for_their_own() {
    let tools = tools(
        "tools_share = 1.0\n[workload.tools]\nparallel = false\nturns_max = 3\n\
         mix = [{ name = \"all\", weight = 2 }, { name = \"now\", offer = [\"current_time\"], choice = \"current_time\" }, \
         { name = \"free\", parallel = true, choice = \"none\", task = \"Say hello.\" }]",
    );
    let [all, now, free] = &tools.kinds[..] else {
        panic!("three kinds")
    };
    assert_eq!((all.weight, now.weight), (2.0, 1.0));
    assert_eq!((all.parallel, free.parallel), (Some(false), Some(true)));
    assert_eq!(
        (all.offered.tools().len(), now.offered.tools().len()),
        (3, 1)
    );
    assert_eq!(now.choice, ToolChoice::Named("current_time".to_owned()));
    assert_eq!(
        (now.task.as_str(), free.task.as_str()),
        ("Use the tool current_time.", "Say hello.")
    );
    // Nothing is called where nothing may be.
    assert_eq!([all, now, free].map(|kind| tools.turns_of(kind)), [3, 3, 1]);
}

#[test]
fn results_are_texts_templates_errors_and_take_their_time() {
    let tools = tools(&format!(
        "{DEFINED}[workload.tools]\nturns_max = 2\n[[workload.tools.results]]\ntool = \"read_file\"\ntemplate = \"# {{path}}\"\nshare = 0.5\n\
         [[workload.tools.results]]\ntext = \"gone\"\nerror = true\ndelay = \"2s\"\n\
         [[workload.tools.results]]\ntext = \"\"\ndelay = {{ uniform = {{ min = \"1s\", max = \"3s\" }} }}\n"
    ));
    assert!(tools.kinds[0].offered.has("read_file"));
    assert_eq!(tools.kinds[0].task, "Use the tools that you need.");
    let [template, gone, slow] = &tools.results[..] else {
        panic!("three rules")
    };
    assert!(matches!(template.says, Says::Template(_)));
    assert_eq!(
        (template.tool.as_deref(), template.share),
        (Some("read_file"), 0.5)
    );
    assert_eq!(
        (gone.is_error, gone.delay),
        (true, Wait::Fixed(Duration::from_secs(2)))
    );
    assert_eq!(slow.delay.longest(), Duration::from_secs(3));
}

#[test]
fn names_that_are_none_are_refused_with_the_nearest() {
    refused(
        "tools_share = 1.0\ntool_choice = \"get_wether\"",
        &[
            "t.toml:6: workload.tool_choice: unknown choice `get_wether`, did you mean `get_weather`?",
            "known are auto, required, none, get_weather",
        ],
    );
    refused(
        "tools_share = 1.0\ntool_choice = \"current_time\"",
        &[
            "workload.tool_choice: `current_time` is not offered here",
            "name it in `offer`",
        ],
    );
    refused(
        "tools_share = 1.0\n[workload.tools]\nturns_max = 2\n[[workload.tools.mix]]\nname = \"a\"\noffer = [\"get_weather\", \"serch_orders\"]\n[[workload.tools.results]]\ntool = \"get_wether\"\ntext = \"x\"",
        &[
            "t.toml:10: workload.tools.mix[0].offer: there is no tool `serch_orders`, did you mean `search_orders`?",
            "t.toml:12: workload.tools.results[0].tool: there is no tool `get_wether`",
            "there are get_weather, search_orders, convert_currency, current_time",
        ],
    );
    refused(
        &format!("{DEFINED}[[workload.tools.mix]]\nname = \"a\"\nchoice = \"get_weather\""),
        &[
            "workload.tools.mix[0].choice: unknown choice `get_weather`; known are auto, required, none, read_file",
        ],
    );
}

#[test]
fn what_does_nothing_or_cannot_be_is_refused() {
    for (workload, problem) in [
        (
            "tools = { turns_max = 3 }",
            "workload.tools_share: is 0, so that no session offers tools",
        ),
        (
            "tools_share = 1.0\ntools = { turns_max = 0 }",
            "workload.tools.turns_max: must be from 1 to 1000, not 0",
        ),
        (
            "tools_share = 1.0\ntools.results = [{ text = \"x\" }]",
            "workload.tools.results: are never sent",
        ),
        (
            "tools_share = 1.0\ntools = { turns_max = 2, results = [{ tool = \"get_weather\" }] }",
            "workload.tools.results[0]: needs `text`, or `template`",
        ),
        (
            "tools_share = 1.0\ntools = { turns_max = 2, results = [{ text = \"x\", template = \"y\" }] }",
            "workload.tools.results[0].template: and `text` exclude each other",
        ),
        (
            "tools_share = 1.0\ntools = { turns_max = 2, results = [{ template = \"in {city\" }] }",
            "workload.tools.results[0].template: `{city` has no `}`",
        ),
        (
            "tools_share = 1.0\ntools = { turns_max = 2, results = [{ text = \"x\", share = 2.0 }] }",
            "workload.tools.results[0].share: is a share from 0 to 1, not 2",
        ),
        (
            "tools_share = 1.0\ntools = { turns_max = 2, results = [{ text = \"x\", delay = \"soon\" }] }",
            "workload.tools.results[0].delay: `soon` is not a duration",
        ),
        (
            "tools_share = 1.0\ntool_choice = \"none\"\ntools.mix = [{ name = \"a\" }]",
            "workload.tool_choice: does nothing beside `[[workload.tools.mix]]`",
        ),
        (
            "tools_share = 1.0\ntools.mix = [{ name = \"a\", weight = 0 }]",
            "workload.tools.mix[0].weight: must be above zero, not 0",
        ),
        (
            "tools_share = 1.0\ntools.mix = [{ name = \"a\" }, { name = \"a\" }]",
            "workload.tools.mix[1].name: there are two kinds called `a`",
        ),
        (
            "tools_share = 1.0\ntools.mix = [{ name = \"a\", wieght = 1 }]",
            "did you mean `weight`?",
        ),
        (
            "tools_share = 1.0\ntools.define = [{ name = \"a b\", schema = { type = \"object\" } }]",
            "workload.tools.define[0].name: the tool `a b`: a name is 1 to 64",
        ),
        (
            "tools_share = 1.0\ntools.define = [{ name = \"a\", schema = { type = \"string\" } }]",
            "workload.tools.define[0].schema: the tool `a`: its schema must be an object",
        ),
        (
            "tools_share = 1.0\ntools.define = [{ name = \"a\", schema = { type = \"object\", required = 1 } }]",
            "workload.tools.define[0].schema: the tool `a`: its schema is no JSON Schema",
        ),
        (
            "cache_conversation = \"5m\"",
            "workload.cache_conversation: keeps a conversation for its next turn",
        ),
        (
            "tools_share = 1.0\ntools.turns_max = 2\ncache_conversation = \"1h\"\ncached_prefix = { tokens = 9 }",
            "workload.cache_conversation: must not be kept for longer",
        ),
    ] {
        refused(workload, &[problem]);
    }
    let twice = "[[workload.tools.define]]\nname = \"read_file\"\nschema = { type = \"object\" }\n";
    refused(
        &format!("{DEFINED}{twice}"),
        &["workload.tools.define[1].name: the tool `read_file`: there are two tools"],
    );
    refused(
        &format!("{DEFINED}[workload.tools]\nfile = \"tools.json\""),
        &["exclude each other; keep one"],
    );
}

#[test]
fn names_are_held_against_a_file_once_it_is_read() {
    let workload = "tools_share = 1.0\ntool_choice = \"read\"\n[workload.tools]\nfile = \"tools.json\"\nturns_max = 2\nresults = [{ tool = \"write\", text = \"x\" }]";
    let unread = Scenario::parse("t.toml", &text(workload), &[]).expect("names are not known yet");
    assert_eq!(unread.workload.tools_file.as_deref(), Some("tools.json"));
    let tool = |name: &str, schema: &str| Tool {
        name: name.to_owned(),
        description: String::new(),
        schema: serde_json::from_str(schema).expect(schema),
    };
    let with = |tools: &[Tool]| Scenario::parse_with_tools("t.toml", &text(workload), &[], tools);
    let object = r#"{"type": "object"}"#;
    let scenario = with(&[tool("read", object), tool("write", object)]).expect("sound");
    let kind = &scenario.workload.spec(None).tools.kinds[0];
    assert_eq!(kind.choice, ToolChoice::Named("read".to_owned()));
    for (tools, problem) in [
        (vec![], "workload.tools.file: has no tools in it"),
        (
            vec![tool("read", object)],
            "workload.tools.results[0].tool: there is no tool `write`; there are read",
        ),
        (
            vec![tool("read", object), tool("write", "{}")],
            "t.toml:8: workload.tools.file: tools.json: tool 2 (`write`): its schema must be an object",
        ),
    ] {
        let said = with(&tools).expect_err(problem).to_string();
        assert!(said.contains(problem), "{problem} in {said}");
        // Without any tools, that is all there is to say.
        let is_unknown = said.contains("there is no tool") || said.contains("unknown choice");
        assert!(!tools.is_empty() || !is_unknown, "{said}");
    }
}
