//! What a gateway says of itself in the head of an answer: its names for the request, and whether its
//! own cache answered.

use http::HeaderMap;

/// Headers that name a request.
const REQUEST_IDS: [&str; 2] = ["x-request-id", "request-id"];

/// Headers with the gateway's own id of a call, by which its logs are joined: those of LiteLLM,
/// OpenRouter, Portkey, Helicone, Cloudflare and Kong.
const CALL_IDS: [&str; 6] = [
    "x-litellm-call-id",
    "x-generation-id",
    "x-portkey-trace-id",
    "helicone-id",
    "cf-aig-log-id",
    "x-kong-request-id",
];

/// Headers in which gateways say whether their own cache answered; those of any HTTP cache last.
const GATEWAY_CACHES: [&str; 9] = [
    "x-litellm-cache-hit",
    "cf-aig-cache-status",
    "x-portkey-cache-status",
    "helicone-cache",
    "x-kong-cache-status",
    "x-mock-cache",
    "x-gateway-cache",
    "x-cache-status",
    "x-cache",
];

/// What a head says of the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The provider's or gateway's id of the request.
    pub request_id: Option<String>,
    /// The gateway's own id of the call.
    pub call_id: Option<String>,
    /// What a header says of the gateway's cache, as `name: value`.
    pub cache: Option<String>,
}

impl Said {
    /// What `headers` say.
    pub fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let first = |names: &[&str]| names.iter().find_map(|name| text(name)).map(str::to_owned);
        Self {
            request_id: first(&REQUEST_IDS),
            call_id: first(&CALL_IDS),
            cache: cache(text),
        }
    }
}

/// What the head says of the gateway's cache, as `name: value`: the first header that says that it
/// was hit, or else the first that says that it was not.
fn cache<'h>(text: impl Fn(&str) -> Option<&'h str>) -> Option<String> {
    let mut missed = None;
    for name in GATEWAY_CACHES {
        let Some(value) = text(name) else { continue };
        let said = format!("{name}: {}", value.trim());
        match cache_hit(&said) {
            Some(true) => return Some(said),
            Some(false) => missed = missed.or(Some(said)),
            None => {}
        }
    }
    missed
}

/// Whether a header, as `name: value`, says that the gateway's own cache answered; `None` if it does
/// not speak of that. `HIT` and `MISS` are understood with other words around them; `true` and
/// `false` where the name says what is meant.
pub fn cache_hit(header: &str) -> Option<bool> {
    let (name, value) = header.split_once(':')?;
    let about_hits = name.trim().to_ascii_lowercase().ends_with("-hit");
    let value = value.to_ascii_lowercase();
    let says = |words: &[&str]| {
        value
            .split(|c: char| !c.is_ascii_alphanumeric())
            .any(|word| words.contains(&word))
    };
    if says(&["hit"]) || about_hits && says(&["true", "1"]) {
        return Some(true);
    }
    let missed = says(&[
        "miss", "bypass", "refresh", "expired", "disabled", "dynamic", "skip",
    ]);
    (missed || about_hits && says(&["false", "0"])).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_say_hit_and_miss_in_their_own_words() {
        for (header, expected) in [
            ("x-litellm-cache-hit: True", Some(true)),
            ("x-litellm-cache-hit: False", Some(false)),
            ("x-litellm-cache-hit: None", None),
            ("cf-aig-cache-status: HIT", Some(true)),
            ("x-portkey-cache-status: SEMANTIC HIT", Some(true)),
            ("x-portkey-cache-status: REFRESH", Some(false)),
            ("helicone-cache: MISS", Some(false)),
            ("x-cache: Hit from cloudfront", Some(true)),
            ("x-cache: TCP_MISS", Some(false)),
            ("x-cache: true", None),
            ("x-cache: white", None),
            ("x-cache", None),
        ] {
            assert_eq!(cache_hit(header), expected, "{header}");
        }
    }

    #[test]
    fn a_hit_in_any_cache_stands_over_a_miss_in_another() {
        let said = |headers: &[(&str, &'static str)]| {
            cache(|name| headers.iter().find(|h| h.0 == name).map(|h| h.1))
        };
        assert_eq!(said(&[]), None);
        assert_eq!(said(&[("x-litellm-cache-hit", "None")]), None);
        let miss = ("x-litellm-cache-hit", "False");
        assert_eq!(
            said(&[("x-cache", "MISS"), miss]).as_deref(),
            Some("x-litellm-cache-hit: False")
        );
        assert_eq!(
            said(&[miss, ("x-portkey-cache-status", " SEMANTIC HIT ")]).as_deref(),
            Some("x-portkey-cache-status: SEMANTIC HIT")
        );
    }

    #[test]
    fn the_first_header_that_speaks_of_it_counts() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("request-id", "r2"),
            ("x-request-id", "r1"),
            ("helicone-id", "c"),
            ("x-cache", "MISS"),
            ("x-mock-cache", "HIT"),
        ] {
            headers.insert(name, value.parse().expect("a header"));
        }
        assert_eq!(
            Said::of(&headers),
            Said {
                request_id: Some("r1".to_owned()),
                call_id: Some("c".to_owned()),
                cache: Some("x-mock-cache: HIT".to_owned()),
            }
        );
        assert_eq!(Said::of(&HeaderMap::new()), Said::default());
    }
}
