//! The checks that turn a scenario file into a validated [`Scenario`].

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::file::{self, Endpoints, File, Offline, WeightedModel};
use super::source::{Problem, ScenarioError, Source};
use super::{Ledger, LedgerSource, Pricing, Retries, Scenario, Target, Timeouts, Truth};
use crate::endpoint::Endpoint;
use crate::metrics::{Limits, Metric};
use crate::money::{Currency, Money};
use crate::prompt::Tool;
use crate::protocol;
use crate::suggest;
use crate::surface::{self, LookupUrl, Surface};
use crate::verdict::Gate;

/// What the default grace period has beyond the total timeout.
const GRACE_BEYOND_TOTAL: Duration = Duration::from_secs(1);

/// What is wrong with a value that should name an environment variable. The value itself is not
/// repeated: it may be a key pasted in the wrong place.
const NOT_A_VARIABLE: &str = "must be the *name* of an environment variable, in capitals, such as `KEEPROUTER_KEY`, not the key itself";

/// Whether a text can be the name of an environment variable: capitals, since a key often is
/// letters and digits too.
fn is_variable(name: &str) -> bool {
    let valid = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_') && name.chars().all(valid)
}

/// Builds the scenario, or says everything that is wrong with it. `tools` are those of the file that it names, if that
/// has been read.
pub(super) fn scenario(
    source: &Source<'_>,
    tools: Option<&[Tool]>,
) -> Result<Scenario, ScenarioError> {
    let mut check = Check {
        source,
        tools,
        problems: Vec::new(),
    };
    match (check.scenario(), check.problems) {
        (Some(scenario), problems) if problems.is_empty() => Ok(scenario),
        (_, problems) => {
            assert!(
                !problems.is_empty(),
                "a scenario that cannot be built has a problem"
            );
            Err(ScenarioError { problems })
        }
    }
}

/// Collects problems while the parts are built. A part that cannot be built is `None`, and then
/// there is a problem that says why.
pub(super) struct Check<'a> {
    source: &'a Source<'a>,
    /// The tools of the scenario's file, once it has been read.
    pub(super) tools: Option<&'a [Tool]>,
    problems: Vec<Problem>,
}

impl Check<'_> {
    pub(super) fn say(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(self.source.problem(key, message));
    }

    fn scenario(&mut self) -> Option<Scenario> {
        let file = self.source.file.clone();
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if file.name.is_empty() || file.name.len() > 64 || !file.name.chars().all(valid) {
            self.say(
                "name",
                "must be 1 to 64 letters, digits, `-` or `_`: it names a folder",
            );
        }
        // Each part is checked whatever the others say, so that all problems are shown at once.
        let target = self.target(&file);
        let workload = self.workload(&file);
        let load = self.load(&file.load);
        let limits = self.limits(&file.limits);
        let pricing = self.pricing(&file.pricing);
        let gates = self.gates(&file.gates, limits.as_ref());
        let grace = match &file.load.grace {
            Some(text) => self.duration("load.grace", text),
            // A little beyond the total limit, so that a request that runs into it is told from one
            // that is cut.
            // And that as often as it may be tried, and as a session has turns.
            None => target.as_ref().map(|t| {
                let attempt = t.timeouts.total + GRACE_BEYOND_TOTAL;
                let turn = t.retries.map_or(attempt, |r| {
                    let again = attempt.saturating_add(r.wait_max);
                    attempt.saturating_add(again.saturating_mul(r.attempts_max.saturating_sub(1)))
                });
                let (turns, delay) = workload.as_ref().map_or((1, Duration::ZERO), |workload| {
                    (workload.spec.turns_max(), workload.spec.delay_max())
                });
                let again = turn.saturating_add(delay);
                turn.saturating_add(again.saturating_mul(turns.saturating_sub(1)))
            }),
        };
        let seed = file.load.seed;
        Some(Scenario {
            name: file.name.clone(),
            file,
            target: target?,
            workload: workload?,
            load: load?,
            seed,
            grace: grace?,
            limits,
            pricing: pricing?,
            gates,
        })
    }

    pub(super) fn duration(&mut self, key: &str, text: &str) -> Option<Duration> {
        match humantime::parse_duration(text) {
            Ok(duration) => Some(duration),
            Err(_) => {
                self.say(
                    key,
                    format!("`{text}` is not a duration; write `800ms`, `30s` or `5m`"),
                );
                None
            }
        }
    }

    pub(super) fn positive_duration(&mut self, key: &str, text: &str) -> Option<Duration> {
        let duration = self.duration(key, text)?;
        if duration.is_zero() {
            self.say(key, "must be above zero");
            return None;
        }
        Some(duration)
    }

    fn target(&mut self, file: &File) -> Option<Target> {
        let target = &file.target;
        let origin = match &target.base_url {
            Some(url) => Some(self.origin(url)?),
            None => None,
        };
        if origin.is_some() && file.offline.is_some() {
            self.say("offline", "describes the offline upstream, but `target.base_url` names another target; remove one of them");
        }
        let endpoints = match target.endpoint {
            Endpoints::OpenAi => vec![Endpoint::OpenAi],
            Endpoints::Anthropic => vec![Endpoint::Anthropic],
            Endpoints::Both => Endpoint::ALL.to_vec(),
        };
        let models = self
            .models(target)
            .into_iter()
            .map(|(model, _)| model)
            .collect();
        if target
            .api_key_env
            .as_ref()
            .is_some_and(|name| !is_variable(name))
        {
            self.say("target.api_key_env", NOT_A_VARIABLE);
        }
        let headers = self.headers(&target.headers);
        let headers_env = self.headers_env(&target.headers_env);
        if let Some(truth) = target.truth.as_ref().filter(|t| t.contains("://")) {
            self.url_without_secrets("target.truth", truth);
        }
        let timeouts = &target.timeouts;
        let connect = self.positive_duration("target.timeouts.connect", &timeouts.connect);
        let first_token =
            self.positive_duration("target.timeouts.first_token", &timeouts.first_token);
        let idle = self.positive_duration("target.timeouts.idle", &timeouts.idle);
        let total = self.positive_duration("target.timeouts.total", &timeouts.total);
        let retries = match &target.retries {
            Some(retries) => Some(self.retries(retries)?),
            None => None,
        };
        let anthropic_version = HeaderValue::from_str(&target.anthropic_version);
        if anthropic_version.is_err() {
            self.say(
                "target.anthropic_version",
                "cannot be sent in a header; it is a date such as `2023-06-01`",
            );
        }
        if target.service_tier.as_deref() == Some("") {
            self.say(
                "target.service_tier",
                "must not be empty; to ask for none, leave it out",
            );
        }
        let offline = file.offline.clone().unwrap_or_default();
        self.offline(&offline);
        Some(Target {
            origin,
            endpoints,
            models,
            api_key_env: target.api_key_env.clone(),
            headers: headers?,
            headers_env,
            http: target.http,
            ca_file: target.ca_file.clone(),
            truth: target.truth.as_ref().map(|text| {
                if text.starts_with("http://") || text.starts_with("https://") {
                    Truth::Url(text.clone())
                } else {
                    Truth::File(text.clone())
                }
            }),
            dialect: protocol::Dialect {
                output_limit_field: match target.output_limit_field {
                    file::OutputLimitField::MaxTokens => protocol::OutputLimitField::MaxTokens,
                    file::OutputLimitField::MaxCompletionTokens => {
                        protocol::OutputLimitField::MaxCompletionTokens
                    }
                },
                include_usage: target.include_usage,
                anthropic_version: anthropic_version.ok()?,
                service_tier: target.service_tier.clone(),
            },
            timeouts: Timeouts {
                connect: connect?,
                first_token: first_token?,
                idle: idle?,
                total: total?,
            },
            retries,
            offline,
        })
    }

    fn retries(&mut self, retries: &file::Retries) -> Option<Retries> {
        if retries.attempts < 2 {
            self.say(
                "target.retries.attempts",
                "counts the first attempt too, so it must be at least 2; without retries, leave `target.retries` out",
            );
        }
        let first = self.positive_duration("target.retries.wait", &retries.wait);
        let longest = self.positive_duration("target.retries.wait_max", &retries.wait_max);
        let (first, longest) = (first?, longest?);
        if first > longest {
            self.say(
                "target.retries.wait",
                "is longer than `target.retries.wait_max`",
            );
        }
        Some(Retries {
            attempts_max: retries.attempts,
            wait_first: first,
            wait_max: longest,
        })
    }

    /// Headers whose values stand in environment variables.
    fn headers_env(&mut self, headers: &BTreeMap<String, String>) -> Vec<(HeaderName, String)> {
        let mut list = Vec::new();
        for (name, variable) in headers {
            let key = format!("target.headers_env.{name}");
            match HeaderName::from_bytes(name.as_bytes()) {
                Err(_) => self.say(&key, "is not a header's name"),
                Ok(_) if !is_variable(variable) => self.say(&key, NOT_A_VARIABLE),
                Ok(name) => list.push((name, variable.clone())),
            }
        }
        list
    }

    /// `scheme://host[:port]` of a base URL.
    fn origin(&mut self, url: &str) -> Option<String> {
        let key = "target.base_url";
        let fix =
            "write the origin, such as `https://gateway.example`; the endpoint's path is added";
        if url.contains('@') {
            // Not repeated either.
            self.say(key, "holds a user name or password; name the variable that holds the key in `target.api_key_env` instead");
            return None;
        }
        let Ok(uri) = url.parse::<Uri>() else {
            self.say(key, format!("`{url}` is not a URL; {fix}"));
            return None;
        };
        let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            self.say(
                key,
                format!("`{url}` has no http:// or https:// and host; {fix}"),
            );
            return None;
        };
        if !matches!(uri.path().trim_end_matches('/'), "" | "/v1") || uri.query().is_some() {
            self.say(key, format!("`{url}` has a path or query; {fix}"));
            return None;
        }
        Some(format!(
            "{}://{authority}",
            uri.scheme_str().expect("matched above")
        ))
    }

    fn models(&mut self, target: &file::Target) -> Vec<(String, f64)> {
        match (&target.model, target.models.as_slice()) {
            (Some(model), []) if !model.is_empty() => vec![(model.clone(), 1.0)],
            (Some(_), []) => {
                self.say("target.model", "must not be empty");
                Vec::new()
            }
            (None, []) => {
                self.say("target.model", "is missing: name the model to ask for, such as `magistral-small-latest`");
                Vec::new()
            }
            (Some(_), _) => {
                self.say("target.model", "and `target.models` exclude each other; keep one");
                Vec::new()
            }
            (None, models) => models
                .iter()
                .map(|WeightedModel { model, weight }| {
                    if model.is_empty() || !weight.is_finite() || *weight <= 0.0 {
                        self.say("target.models", format!("needs a model id and a weight above zero, not `{model}` with {weight}"));
                    }
                    (model.clone(), *weight)
                })
                .collect(),
        }
    }

    fn headers(&mut self, headers: &BTreeMap<String, String>) -> Option<HeaderMap> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let key = format!("target.headers.{name}");
            if surface::is_credential(name) {
                self.say(&key, "seems to carry a credential, which must not stand in a file; name the variable that holds the key in `target.api_key_env`, or the one that holds this header's value in `[target.headers_env]`");
                return None;
            }
            match (
                HeaderName::from_bytes(name.as_bytes()),
                HeaderValue::from_str(value),
            ) {
                (Ok(name), Ok(value)) => {
                    map.insert(name, value);
                }
                _ => {
                    self.say(
                        &key,
                        "is not a header: its name or value has characters that none can hold",
                    );
                    return None;
                }
            }
        }
        Some(map)
    }

    fn offline(&mut self, offline: &Offline) {
        for (name, value, min) in [
            ("ttft_ms_median", offline.ttft_ms_median, f64::MIN_POSITIVE),
            ("ttft_sigma", offline.ttft_sigma, 0.0),
            ("gap_ms_median", offline.gap_ms_median, f64::MIN_POSITIVE),
            ("gap_sigma", offline.gap_sigma, 0.0),
        ] {
            if !value.is_finite() || value < min {
                let bound = if min > 0.0 {
                    "above zero"
                } else {
                    "zero or above"
                };
                self.say(
                    &format!("offline.{name}"),
                    format!("must be {bound}, not {value}"),
                );
            }
        }
        self.share("offline.reasoning_share", offline.reasoning_share);
        if offline.config.is_some() {
            let beside: Vec<String> = self
                .source
                .keys_of("offline")
                .into_iter()
                .filter(|key| key != "config")
                .map(|key| format!("`offline.{key}`"))
                .collect();
            if !beside.is_empty() {
                self.say(
                    "offline.config",
                    format!(
                        "says everything of the offline upstream, but {} stands beside it; say it in the configuration file, or remove `offline.config`",
                        beside.join(", ")
                    ),
                );
            }
        }
    }

    pub(super) fn share(&mut self, key: &str, value: f64) {
        if !(0.0..=1.0).contains(&value) {
            self.say(key, format!("is a share from 0 to 1, not {value}"));
        }
    }

    fn limits(&mut self, limits: &BTreeMap<String, String>) -> Option<Limits> {
        let known = || {
            Metric::ALL
                .into_iter()
                .filter(|m| {
                    !matches!(
                        m,
                        Metric::Icl | Metric::TimeToToolCall | Metric::ScheduleLag
                    )
                })
                .map(Metric::name)
        };
        let mut list = Vec::new();
        for (name, text) in limits {
            let key = format!("limits.{name}");
            match known().find(|k| k == name).and_then(Metric::from_name) {
                Some(metric) => list.extend(
                    self.positive_duration(&key, text)
                        .map(|limit| (metric, limit)),
                ),
                None => {
                    let hint = suggest::clause(name, known());
                    let names: Vec<&str> = known().collect();
                    self.say(
                        &key,
                        format!(
                            "unknown limit `{name}`{hint}; known are {}",
                            names.join(", ")
                        ),
                    );
                }
            }
        }
        (!list.is_empty()).then_some(Limits(list))
    }

    fn pricing(&mut self, pricing: &file::Pricing) -> Option<Pricing> {
        let (surfaces, lookups) = self.surfaces(pricing.recorded.as_deref());
        let lookup_timeout =
            self.positive_duration("pricing.lookup_timeout", &pricing.lookup_timeout);
        let late_after = match &pricing.late_after {
            Some(text) => Some(self.positive_duration("pricing.late_after", text)?),
            None => None,
        };
        if late_after.is_some() && lookups.is_empty() {
            self.say("pricing.late_after", "needs a `lookup:` in `pricing.recorded`: nothing else tells when a cost becomes known");
        } else if late_after > lookup_timeout {
            self.say(
                "pricing.late_after",
                "is beyond `pricing.lookup_timeout`, so nothing would ever be late",
            );
        }
        let ledger = match &pricing.ledger {
            Some(ledger) => Some(self.ledger(ledger)?),
            None => None,
        };
        let budget = match &pricing.budget {
            None => None,
            Some(text) => {
                let parsed = text.trim().split_once(' ').and_then(|(amount, currency)| {
                    Some((
                        amount.parse::<Money>().ok()?,
                        currency.trim().parse::<Currency>().ok()?,
                    ))
                });
                match parsed.filter(|(amount, _)| *amount > Money::ZERO) {
                    Some(budget) => Some(budget),
                    None => {
                        self.say("pricing.budget", format!("`{text}` is not an amount above zero with its currency; write `5 USD`"));
                        return None;
                    }
                }
            }
        };
        Some(Pricing {
            table: pricing.table.clone(),
            policy: pricing.policy,
            surfaces: surfaces.into(),
            lookups,
            lookup_timeout: lookup_timeout?,
            late_after,
            ledger,
            budget,
        })
    }

    /// Where costs are recorded in answers, and where they are asked for.
    fn surfaces(&mut self, recorded: Option<&[String]>) -> (Vec<Surface>, Vec<LookupUrl>) {
        let Some(list) = recorded else {
            return (Surface::defaults(), Vec::new());
        };
        let (mut surfaces, mut lookups) = (Vec::new(), Vec::new());
        for (n, text) in list.iter().enumerate() {
            let read = if text == "default" {
                surfaces.extend(Surface::defaults());
                Ok(())
            } else if text.starts_with(surface::LOOKUP) {
                text.parse().map(|lookup| lookups.push(lookup))
            } else {
                text.parse().map(|surface| surfaces.push(surface))
            };
            if let Err(error) = read {
                self.say(&format!("pricing.recorded[{n}]"), error.to_string());
            }
        }
        (surfaces, lookups)
    }

    /// Says it where a URL carries what must not stand in a file.
    fn url_without_secrets(&mut self, key: &str, url: &str) {
        if url.contains('@') {
            self.say(
                key,
                "holds a user name or password, which must not stand in a file",
            );
        }
        if surface::query_has_credential(url) {
            self.say(key, surface::CREDENTIAL_IN_QUERY);
        }
    }

    fn ledger(&mut self, ledger: &file::Ledger) -> Option<Ledger> {
        let source = &ledger.source;
        let is_url = ["{base_url}/", "http://", "https://"]
            .iter()
            .any(|begin| source.starts_with(begin));
        if source.is_empty() {
            self.say("pricing.ledger.source", "must name a CSV file or a URL");
        }
        if is_url {
            self.url_without_secrets("pricing.ledger.source", source);
        }
        if let Err(error) = ledger.format.check(ledger.columns.as_ref()) {
            self.say("pricing.ledger.columns", error.to_string());
        }
        let wait = self.duration("pricing.ledger.wait", &ledger.wait)?;
        Some(Ledger {
            source: if is_url {
                LedgerSource::Url(source.clone())
            } else {
                LedgerSource::File(source.clone())
            },
            format: ledger.format,
            columns: ledger.columns.clone(),
            wait,
        })
    }

    fn gates(&mut self, expressions: &[String], limits: Option<&Limits>) -> Vec<Gate> {
        let endpoints = self.source.file.target.endpoint;
        let mut gates = Vec::new();
        for (n, expression) in expressions.iter().enumerate() {
            let key = format!("gates[{n}]");
            match Gate::parse(expression) {
                Err(error) => self.say(&key, format!("`{expression}`: {error}")),
                Ok(gate) => {
                    let missing = matches!(
                        (gate.endpoint, endpoints),
                        (Some(Endpoint::OpenAi), Endpoints::Anthropic)
                            | (Some(Endpoint::Anthropic), Endpoints::OpenAi)
                    );
                    if missing {
                        self.say(
                            &key,
                            format!(
                                "`{expression}`: the endpoint is not loaded; see `target.endpoint`"
                            ),
                        );
                    }
                    if gate.is_about_parity() && endpoints != Endpoints::Both {
                        self.say(
                            &key,
                            format!("`{expression}`: parity needs `target.endpoint = \"both\"`"),
                        );
                    }
                    if gate.is_about_goodput() && limits.is_none() {
                        self.say(&key, format!("`{expression}`: goodput needs `[limits]`"));
                    }
                    gates.push(gate);
                }
            }
        }
        gates
    }
}
