"""What is asked of every SDK, and of which mock-upstream. The checks of both languages read this as JSON.

All configuration of the mocks is in this file: `MOCKS`, `fault` and `BREAKS`.
"""

import dataclasses

MODEL = "magistral-small-latest"
KEY = "a-key-of-no-worth"
# The SDKs' classes, in both languages, and the types in the bodies.
ERRORS = {
    "openai": {
        400: ("BadRequestError", "invalid_request_error"),
        401: ("AuthenticationError", "invalid_request_error"),
        404: ("NotFoundError", "invalid_request_error"),
        429: ("RateLimitError", "rate_limit_error"),
        500: ("InternalServerError", "server_error"),
        503: ("InternalServerError", "server_error"),
        529: ("InternalServerError", "server_error"),
    },
    "anthropic": {
        400: ("BadRequestError", "invalid_request_error"),
        401: ("AuthenticationError", "authentication_error"),
        404: ("NotFoundError", "not_found_error"),
        429: ("RateLimitError", "rate_limit_error"),
        500: ("InternalServerError", "api_error"),
        503: ("ServiceUnavailableError", "api_error"),
        529: ("OverloadedError", "overloaded_error"),
    },
}
STATUSES = tuple(ERRORS["openai"])
# What the mock says with 429, 503 and 529.
RETRY_AFTER_S = 1
# Most turns of a tool loop. One that ends as it should takes two.
TURNS = 4

# Every mock has these; a key is dotted, a value is TOML.
BASE = {
    "api_key": f'"{KEY}"',
    "models": f'["{MODEL}"]',
    "timing.ttft_ms.fixed": "2",
    "timing.gap_ms.fixed": "0",
    # Fewer than any limit but that of the ask `limit`, so that answers end by themselves.
    "output.tokens": "40",
    "output.max_tokens": "40",
}


def fault(kind, more=""):
    """A fault of every answer, unless `more` says otherwise."""
    return {"faults": f'[{{ kind = "{kind}"{more} }}]'}


ANSWERING = {
    "plain": {},
    "thinking": {"output.reasoning_share": "0.4"},
    "mistral": {"dialect": '"mistral"', "output.reasoning_share": "0.4"},
    # Bytes as a hostile network has them; what the SDKs read has to be the same.
    "dressed": {
        "output.unicode": "true",
        "output.reasoning_share": "0.4",
        "delivery.line_ending": '"crlf"',
        "delivery.comment_every": "2",
        "delivery.ping_after_ms": "1",
        "delivery.split": "{ bytes_max = 3, random = true, gap_ms = 0.05 }",
    },
    "caching": {"cache.enabled": "true", "cache.min_tokens": "16", "cache.block_tokens": "8"},
}
FAILING = {
    # 401 and 404 are what `plain` says of a wrong key and an unknown model.
    **{
        f"status-{code}": fault("status", f", status = {code}")
        for code in STATUSES
        if code not in (401, 404)
    },
    "recovering": fault("status", ", status = 500, when = { attempts = 2 }"),
    "error-event": fault("error_in_stream"),
    "cut": fault("cut"),
}
MOCKS = {**ANSWERING, **FAILING}

# What `--break` does to the mocks, by their names; None takes a key away.
BREAKS = {
    # Answers break off.
    "cut": {name: fault("cut") for name in ANSWERING},
    # Nothing fails any more.
    "heal": {name: dict.fromkeys(keys) for name, keys in FAILING.items()},
    # Any key will do, another model is the one there is, usage comes unasked, nothing is cached.
    "lax": {
        "plain": {"api_key": None, "models": '["another"]', "output.usage_in_stream": '"always"'},
        "caching": {"cache.enabled": "false"},
    },
    # OpenAI's endpoint speaks Mistral's dialect.
    "dialect": {name: {"dialect": '"mistral"'} for name in ("plain", "thinking")},
}


def config(name, broken=None):
    """The TOML of a mock."""
    keys = {**BASE, **MOCKS[name], **BREAKS.get(broken, {}).get(name, {})}
    return "".join(f"{key} = {value}\n" for key, value in keys.items() if value is not None)


def schema(**properties):
    types = {name: {"type": kind} for name, kind in properties.items()}
    return {"type": "object", "properties": types, "required": list(types)}


TOOLS = {
    "weather": {
        "description": "The weather of a city",
        "schema": schema(city="string", days="integer"),
    },
    "customer": {"description": "A customer by id", "schema": schema(id="string")},
    "now": {"description": "The time", "schema": schema()},
}

# `calls` are the tools that have to be called, in order.
ASKS = {
    "text": {},
    "limit": {"limit": 12},
    "one tool": {"tools": ["weather"], "parallel": False, "calls": ["weather"]},
    "parallel tools": {"tools": ["weather", "customer"], "calls": ["weather", "customer"]},
    "tool without arguments": {"tools": ["now"], "parallel": False, "calls": ["now"]},
    "named tool": {"tools": ["weather", "customer"], "choice": "customer", "calls": ["customer"]},
    "required tools": {
        "tools": ["customer", "now"],
        "choice": "required",
        "calls": ["customer", "now"],
    },
    "forbidden tools": {"tools": ["weather"], "choice": "none"},
}

WHOLE, STREAMED, HELPER = "whole", "streamed", "helper"
WAYS = (WHOLE, STREAMED, HELPER)
# The package, and the program with its checks.
COLUMNS = {
    "openai py": ("openai", "with_openai.py", "sync"),
    "openai py async": ("openai", "with_openai.py", "async"),
    "openai js": ("openai", "with_openai.mjs"),
    "anthropic py": ("anthropic", "with_anthropic.py", "sync"),
    "anthropic py async": ("anthropic", "with_anthropic.py", "async"),
    "anthropic js": ("@anthropic-ai/sdk", "with_anthropic.mjs"),
}
OPENAI = tuple(name for name in COLUMNS if name.startswith("openai"))
ANTHROPIC = tuple(name for name in COLUMNS if name.startswith("anthropic"))


@dataclasses.dataclass(frozen=True)
class Case:
    """A row of the summary: one check for each of its ways in each of its columns."""

    name: str
    # The `BREAKS` under which none of its checks may pass.
    breaks: tuple[str, ...]
    ways: tuple[str, ...] = WAYS
    columns: tuple[str, ...] = tuple(COLUMNS)

    def must_fail(self, column, broken):
        # Only OpenAI's endpoint has dialects.
        return broken in self.breaks and (broken != "dialect" or column in OPENAI)


CASES = (
    *(Case(name, ("cut", "dialect")) for name in ASKS),
    Case("reasoning", ("cut", "dialect")),
    Case("reasoning, then tools", ("cut", "dialect")),
    Case("dressed bytes", ("cut",)),
    Case("mistral's text", ("cut",), (WHOLE, STREAMED), OPENAI),
    Case("mistral's tools", ("cut",), (WHOLE, STREAMED), OPENAI),
    Case("cached prompt", ("cut", "lax")),
    Case("usage unasked", ("cut", "lax"), (STREAMED,), OPENAI),
    # Sends results back with a request that forbids further calls; the loop leaves that to the model.
    Case("tool results", ("cut",)),
    Case("tool loop", ("cut",)),
    # The SDK runs the tools by itself. Anthropic's has the server keep the conversation unless told not to.
    Case("tool runner", ("cut",), (WHOLE, STREAMED), ("openai js", *ANTHROPIC)),
    Case("threaded tool runner", ("cut",), (WHOLE, STREAMED), ANTHROPIC),
    Case("count tokens", ("cut",), (WHOLE,), ANTHROPIC),
    Case("models", ("lax",), (WHOLE,)),
    *(Case(f"status {code}", ("lax" if code in (401, 404) else "heal",)) for code in STATUSES),
    Case("error event", ("heal",), (STREAMED, HELPER)),
    Case("cut", ("heal",)),
    Case("retries", ("heal",), (WHOLE, STREAMED)),
    Case("retry-after", ("heal",), (WHOLE,)),
    Case("recovery", ("heal",)),
)


def plan(origins):
    """What the checks have to know."""
    return {
        "origins": origins,
        "model": MODEL,
        "key": KEY,
        "errors": ERRORS,
        "retry_after_s": RETRY_AFTER_S,
        "turns": TURNS,
        "tools": TOOLS,
        "asks": ASKS,
    }
