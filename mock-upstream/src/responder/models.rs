//! Which models there are, and the counting of a prompt's tokens: what is asked of either API before a completion.

use std::collections::BTreeSet;

use http::StatusCode;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::anthropic::{self, Limit};
use super::refusal::{Refusal, json_now, refuse};
use super::{MODELS, Received, asked_for, check_names, choose, parse};
use crate::config::Config;
use crate::script::Script;

/// `GET /v1/models`: the models of the configuration; where all are answered, those with rates and those of profiles.
pub(super) fn list(received: &Received<'_>, config: &Config) -> Script {
    let models = names(config);
    let data: Vec<Value> = models.iter().map(|model| describe(model)).collect();
    let body = json!({
        "object": "list", "data": data, "has_more": false,
        "first_id": models.first(), "last_id": models.last(),
    });
    json_now(received, StatusCode::OK, &body.to_string(), None)
}

/// `GET /v1/models/{id}`: one that is listed, or whose name a profile is for.
pub(super) fn retrieve(received: &Received<'_>, config: &Config) -> Script {
    let id = model_in(received.path).unwrap_or_default();
    // A name may have a slash, which clients encode or not.
    let id = percent_decode_str(id).decode_utf8_lossy();
    let open = config.models.is_none() && config.profile_for(&id).is_some();
    if !open && !names(config).contains(id.as_ref()) {
        let (_, asked) = asked_for(received.headers, config);
        return refuse(received, asked, &missing(&id), None);
    }
    json_now(received, StatusCode::OK, &describe(&id).to_string(), None)
}

/// The name in the path of one model.
pub(super) fn model_in(path: &str) -> Option<&str> {
    let id = path.strip_prefix(MODELS)?.strip_prefix('/')?;
    (!id.is_empty()).then_some(id)
}

/// `POST /v1/messages/count_tokens`: what is read and checked as a message request is, but needs no limit.
pub(super) fn count_tokens(received: &Received<'_>, config: &Config) -> Script {
    let counted = parse(received.body).and_then(|body| {
        let model = body["model"].as_str().unwrap_or_default();
        let (_, behaviour) = choose(received.headers, model, config)?;
        let ask = anthropic::read(&body, received.headers, behaviour, Limit::Optional)?;
        Ok(check_names(ask, config)?.input_tokens)
    });
    match counted {
        Ok(count) => {
            let body = json!({ "input_tokens": count }).to_string();
            json_now(received, StatusCode::OK, &body, None)
        }
        Err(refusal) => refuse(received, &config.behaviour, &refusal, None),
    }
}

/// Refuses a model that is not among those of the configuration, if it names any.
pub(super) fn check(model: &str, config: &Config) -> Result<(), Refusal> {
    match &config.models {
        Some(models) if !models.iter().any(|known| known == model) => Err(missing(model)),
        _ => Ok(()),
    }
}

fn missing(model: &str) -> Refusal {
    let message = format!("the model `{model}` does not exist");
    Refusal::new(StatusCode::NOT_FOUND, message).coded("model_not_found")
}

fn names(config: &Config) -> BTreeSet<String> {
    if let Some(models) = &config.models {
        return models.iter().cloned().collect();
    }
    let profiles = || config.profiles.values();
    let priced = profiles()
        .map(|profile| &profile.behaviour)
        .chain([&config.behaviour])
        .flat_map(|behaviour| behaviour.cost.rates.keys());
    let patterns = profiles().flat_map(|profile| &profile.models);
    let named = patterns.filter(|pattern| !pattern.ends_with('*'));
    priced.chain(named).cloned().collect()
}

/// Both APIs' members at once, since both have this path.
fn describe(model: &str) -> Value {
    json!({
        "id": model, "object": "model", "created": 0, "owned_by": "mock-upstream",
        "type": "model", "display_name": model, "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;
    use crate::responder::{Arrival, COUNT_TOKENS, State, respond};

    const PROFILES: &str = "[profiles.a]\nmodels = [\"slow-*\", \"org/exact\"]\n\
                            [profiles.b]\ncost.rates.priced = { input = \"1\", output = \"2\" }\n";

    fn ask(method: &Method, path: &str, anthropic: bool, body: &str, config: &str) -> (u16, Value) {
        let config = Config::from_toml(config, "test").expect("valid");
        let mut headers = HeaderMap::new();
        if anthropic {
            headers.insert("anthropic-version", "2023-06-01".parse().expect("a value"));
        }
        let received = Received {
            method,
            path,
            headers: &headers,
            body: body.as_bytes(),
            arrival: Arrival::default(),
        };
        let script = respond(&received, &config, &State::default());
        assert!(script.truth.is_none(), "no completion");
        let body = serde_json::from_slice(script.frames.bytes()).expect("JSON");
        (script.status.as_u16(), body)
    }

    #[test]
    fn those_of_profiles_are_listed_unless_the_configuration_names_all() {
        let listed = |config: &str| -> Vec<String> {
            let (status, body) = ask(&Method::GET, MODELS, false, "", config);
            assert_eq!(status, 200);
            let data = body["data"].as_array().expect("a list").iter();
            data.map(|model| model["id"].as_str().expect("an id").to_owned())
                .collect()
        };
        let all = listed(PROFILES);
        assert_eq!(all.len(), listed("").len() + 2);
        assert!(all.contains(&"org/exact".to_owned()) && all.contains(&"priced".to_owned()));
        assert!(all.is_sorted());
        assert_eq!(listed(&format!("models = [\"x\"]\n{PROFILES}")), ["x"]);
    }

    #[test]
    fn one_is_found_by_its_name_or_404_in_the_shape_of_each_api() {
        for (path, found) in [
            (
                "/v1/models/magistral-small-latest",
                "magistral-small-latest",
            ),
            ("/v1/models/org%2Fexact", "org/exact"),
            ("/v1/models/org/exact", "org/exact"),
            ("/v1/models/slow-7", "slow-7"),
        ] {
            let (status, body) = ask(&Method::GET, path, false, "", PROFILES);
            assert_eq!((status, &body["id"]), (200, &json!(found)));
            assert_eq!(
                (&body["object"], &body["type"]),
                (&json!("model"), &json!("model"))
            );
        }
        let path = "/v1/models/gone";
        let (status, body) = ask(&Method::GET, path, false, "", PROFILES);
        assert_eq!(
            (status, &body["error"]["code"]),
            (404, &json!("model_not_found"))
        );
        let (status, body) = ask(&Method::GET, path, true, "", PROFILES);
        assert_eq!((status, &body["type"]), (404, &json!("error")));
        assert_eq!(body["error"]["type"], "not_found_error");
        let (status, _) = ask(
            &Method::GET,
            "/v1/models/slow-7",
            false,
            "",
            &format!("models = []\n{PROFILES}"),
        );
        assert_eq!(status, 404, "the configuration names all");
        let (status, _) = ask(&Method::DELETE, path, false, "", "");
        assert_eq!(status, 405);
        let (status, _) = ask(&Method::GET, "/v1/models/", false, "", "");
        assert_eq!(status, 404);
    }

    #[test]
    fn tokens_are_counted_for_models_that_there_are() {
        let count = |body: &str| ask(&Method::POST, COUNT_TOKENS, true, body, "models = [\"m\"]");
        let messages = r#""messages": [{"role": "user", "content": "hello there"}]"#;
        let (status, body) = count(&format!(r#"{{"model": "m", {messages}}}"#));
        assert_eq!((status, body), (200, json!({"input_tokens": 6})));
        for (body, status, kind) in [
            (
                format!(r#"{{"model": "x", {messages}}}"#),
                404,
                "not_found_error",
            ),
            (format!("{{{messages}}}"), 400, "invalid_request_error"),
            (r#"{"model": "m"}"#.to_owned(), 400, "invalid_request_error"),
            ("{".to_owned(), 400, "invalid_request_error"),
        ] {
            let (found, error) = count(&body);
            assert_eq!(
                (found, &error["error"]["type"]),
                (status, &json!(kind)),
                "{body}"
            );
        }
    }
}
