//! The configurations that every request is tried with: all dialects, everything that changes the shape of an answer,
//! and all faults.

use mock_upstream::Config;
use mock_upstream::config::FaultKind;

/// Methods and paths that mean something.
pub const PATHS: [(&str, &str); 8] = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/magistral-small-latest"),
    ("GET", "/v1/models/"),
    ("DELETE", "/v1/chat/completions"),
    ("GET", "/v1/generation"),
];

/// Small answers, so that a request is answered in microseconds.
const OUTPUT: &str = "[output]\ntokens = 6\nmax_tokens = 12\n";

/// Everything that changes the shape of an answer.
const SHAPES: [&str; 5] = [
    "",
    "reasoning_share = 0.5\nunicode = true\nusage_in_stream = \"every\"\n[tools]\ninterleave = true\ntext_tokens = 2\n\
     [cost]\nsurfaces = [\"usage\", \"header\", \"after_terminator\", \"metadata\"]\n\
     [cache]\nenabled = true\nmin_tokens = 1\nblock_tokens = 1\n",
    "usage_in_stream = \"never\"\ntokens_per_event = 3\n[tools]\narguments = \"truncated\"\ncalls = 3\n\
     [timing]\nslots = 1\nprefill_us_per_token = 3.5\n\
     [delivery]\nline_ending = \"crlf\"\nbom = true\ncomment_every = 2\nevents_per_write = 3\n",
    "obey_limit = false\n[tools]\narguments = \"invalid\"\n\
     [delivery]\nline_ending = \"cr\"\nping_after_ms = 1.0\nsilence = { ms = 5, before_event = 1 }\n\
     split = { bytes_max = 3, random = true }\n\
     [cost]\nrounding = { scale = 4, mode = \"half_even\" }\nsurfaces = [\"usage_ticks\"]\n",
    "reasoning_share = 1.0\n[tools]\narguments = \"empty\"\nturns = 0\n",
];

/// All dialects with all shapes, strict and not, and all of that with every kind of fault.
pub fn all() -> Vec<Config> {
    let mut all = Vec::new();
    for dialect in ["openai", "mistral", "vllm", "openrouter"] {
        for (index, shape) in SHAPES.iter().enumerate() {
            let strict = index % 2 == 0;
            let head = format!("dialect = \"{dialect}\"\nstrict = {strict}\n{OUTPUT}{shape}");
            all.push(read(&head));
            all.push(read(&format!("{head}{}", faults())));
        }
    }
    let profiles = "[profiles.slow]\nmodels = [\"m*\"]\n[profiles.slow.output]\ntokens = 2\n\
                    [profiles.mistral]\ndialect = \"mistral\"\n";
    all.push(read(&format!(
        "models = [\"magistral-small-latest\", \"m\"]\n{OUTPUT}{profiles}"
    )));
    all.push(read(&format!(
        "api_key = \"k\"\njournal_bodies = true\n{OUTPUT}"
    )));
    all
}

/// Each kind with a share, so that different requests meet different ones.
fn faults() -> String {
    let mut faults = String::new();
    for kind in FaultKind::ALL {
        faults.push_str("[[faults]]\nwhen = { share = 0.15 }\nkind = \"");
        faults.push_str(kind.name());
        faults.push_str("\"\n");
    }
    faults
}

fn read(text: &str) -> Config {
    Config::from_toml(text, "hostile.toml").unwrap_or_else(|error| panic!("{error} in\n{text}"))
}
