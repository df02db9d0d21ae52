//! `/metrics`: read as a scraper reads it, and compared with the stats.

use std::collections::{BTreeMap, HashSet};

use mock_upstream::config::{Cache, Fault, FaultKind};
use mock_upstream::journal::Usage;
use mock_upstream::{Config, Stats};
use serde_json::json;

use crate::client::{Exchange, get, post};
use crate::{CHAT_COMPLETIONS, MESSAGES, on_each_runtime, prompt, quick, run, start};

/// A metric as a scraper reads it.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    /// Values by name and labels, as they stand.
    series: BTreeMap<String, f64>,
}

/// Reads `OpenMetrics` text as strictly as it is written here: each family's metadata first, then its series, each once.
fn scrape(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let body = text.strip_suffix("# EOF\n").expect("the end is marked");
    for line in body.lines() {
        if let Some(metadata) = line.strip_prefix("# ") {
            let mut words = metadata.splitn(3, ' ');
            let [word, name, rest] = [(); 3].map(|()| words.next().expect("three words"));
            if word == "HELP" {
                name.clone_into(&mut current);
                let before = families.insert(current.clone(), Family::default());
                assert!(before.is_none(), "{name} is described twice");
            }
            assert_eq!(name, current);
            let family = families.get_mut(name).expect("help is first");
            match word {
                "HELP" => rest.clone_into(&mut family.help),
                "TYPE" => rest.clone_into(&mut family.kind),
                "UNIT" => assert!(name.ends_with(&format!("_{rest}"))),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        assert!(!series.ends_with("{}"), "{line}");
        let family = families.get_mut(&current).expect("described before");
        let suffixes: &[&str] = match family.kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            other => panic!("{current} is a {other}"),
        };
        let suffix = name.strip_prefix(&current).expect("the family's name");
        assert!(suffixes.contains(&suffix), "{line}");
        let names: Vec<_> = labels
            .strip_suffix('}')
            .expect("labels end")
            .split("\",")
            .filter_map(|label| label.split_once("=\""))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(
            names.iter().collect::<HashSet<_>>().len(),
            names.len(),
            "{line}"
        );
        let before = family
            .series
            .insert(series.to_owned(), value.parse().expect("a number"));
        assert_eq!(before, None, "{series} is there twice");
    }
    families
}

impl Family {
    /// The sum of the series that have a label's value.
    fn sum(&self, label: &str) -> u64 {
        let series = self.series.iter().filter(|(name, _)| name.contains(label));
        let sum: f64 = series.map(|(_, value)| value).sum();
        format!("{sum}").parse().expect("a count")
    }
}

/// What `/metrics` has to say of these stats: family, label and value.
fn series_of(stats: &Stats) -> [(&'static str, &'static str, u64); 28] {
    // Taken apart by name, so that a count that is new does not compile before it has a row.
    let Stats {
        requests,
        openai,
        anthropic,
        streams,
        completed,
        aborted,
        faults,
        statuses,
        frames,
        token_events,
        usage,
        lateness,
        in_flight,
        rotations,
        journal_errors,
        accept_errors,
        protocol_errors,
        listen_errors,
    } = stats.clone();
    let Usage {
        input,
        cache_read,
        cache_write,
        cache_write_1h,
        output,
        reasoning,
    } = usage;
    [
        ("requests", "", requests),
        ("requests", "endpoint=\"openai\"", openai),
        ("requests", "endpoint=\"anthropic\"", anthropic),
        ("requests", "stream=\"true\"", streams),
        ("requests", "status=\"200\"", statuses[&200]),
        ("requests", "status=\"400\"", statuses[&400]),
        ("requests", "fault=\"cut\"", 1),
        ("requests", "fault=\"\"", requests - faults),
        ("model_requests", "", requests),
        ("model_requests", "magistral-small-latest", 4),
        ("answers", "completed=\"true\"", completed),
        ("answers", "completed=\"false\"", aborted),
        ("tokens", "kind=\"input\"", input),
        ("tokens", "kind=\"cache_read\"", cache_read),
        ("tokens", "kind=\"cache_write\"", cache_write),
        ("tokens", "kind=\"cache_write_1h\"", cache_write_1h),
        ("tokens", "kind=\"output\"", output),
        ("tokens", "kind=\"reasoning\"", reasoning),
        ("token_events", "", token_events),
        ("frames", "", frames),
        ("lateness_seconds", "_count", lateness.count),
        ("lateness_seconds", "le=\"+Inf\"", lateness.count),
        ("in_flight", "", in_flight),
        ("rotations", "", rotations),
        ("journal_errors", "", journal_errors),
        ("accept_errors", "", accept_errors),
        ("protocol_errors", "", protocol_errors),
        ("listen_errors", "", listen_errors),
    ]
}

#[test]
fn metrics_say_what_the_stats_say() {
    on_each_runtime(|| async {
        let mut config = quick();
        let mut fault = Fault::new(FaultKind::Cut);
        fault.when.marker = Some("boom".to_owned());
        config.behaviour.faults = vec![fault];
        // So that the kinds of tokens differ.
        config.behaviour.output.reasoning_share = 0.4;
        config.behaviour.cache = Cache {
            enabled: true,
            min_tokens: 1,
            block_tokens: 1,
            ..Cache::default()
        };
        let mock = start(config).await;
        let address = mock.address();
        post(address, MESSAGES, &prompt(1, true)).await;
        for _ in 0..2 {
            post(address, CHAT_COMPLETIONS, &prompt(2, false)).await;
        }
        post(
            address,
            CHAT_COMPLETIONS,
            &json!({"model": "a\"b\\c\nd{x=\"y\"}"}),
        )
        .await;
        let body = prompt(3, true).to_string();
        let marked = Exchange::open(address, "POST", MESSAGES, "x-mock-marker: boom\r\n", &body);
        assert!(!marked.await.finish().await.complete);
        mock.idle().await;

        let reply = get(address, "/metrics").await;
        assert!(
            reply.headers["content-type"]
                .starts_with("application/openmetrics-text; version=1.0.0")
        );
        let stats: Stats =
            serde_json::from_value(get(address, "/__mock/stats").await.json()).expect("stats");
        let families = scrape(&reply.text());
        let family = |name: &str| &families[&format!("mock_upstream_{name}")];
        for (name, label, expected) in series_of(&stats) {
            assert_eq!(family(name).sum(label), expected, "{name} {label}");
        }
        assert_eq!((stats.requests, stats.faults, stats.aborted), (5, 1, 1));
        let bodies: u64 = mock
            .journal()
            .expect("readable")
            .iter()
            .map(|entry| entry.body_bytes)
            .sum();
        assert_eq!(family("request_body_bytes").sum(""), bodies);
        let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
        assert_eq!(family("build").sum(&version), 1);
        assert!(families.values().all(|family| !family.help.is_empty()));
        mock.shutdown().await;
    });
}

#[test]
fn a_client_cannot_make_as_many_series_as_it_likes() {
    run(async {
        let mock = start(Config {
            direct: true,
            ..quick()
        })
        .await;
        for number in 0..80 {
            post(
                mock.address(),
                MESSAGES,
                &json!({"model": format!("m{number}")}),
            )
            .await;
        }
        let families = scrape(&get(mock.address(), "/metrics").await.text());
        let models = &families["mock_upstream_model_requests"];
        assert_eq!(models.series.len(), 65);
        assert_eq!(models.sum("model=\"(other)\""), 16);
        mock.shutdown().await;
    });
}
