"""What in the bytes shows a finding: a witness for each code, over what passed on the wire.

A witness looks at what LiteLLM answered (`reply`), at what it had asked the upstream and was told
(`asked`, `told`), and at its row in the spend log. It says in words what shows the finding on this
request, or nothing. The harness's facts are not looked at: `wire.py` kept the bytes, and they are
read here by other code. Tokens are counted in the upstream's bytes, by the rules of mock-upstream's
README.
"""

import dataclasses
import json
import re
from fractions import Fraction

WHOLE_HEADER = "x-litellm-response-cost"
# A difference below it is the noise of doubles.
NOISE = Fraction(1, 10**12)


@dataclasses.dataclass(frozen=True)
class Prices:
    """USD for a token."""

    input: Fraction
    output: Fraction
    cache_read: Fraction | None = None


@dataclasses.dataclass(frozen=True)
class Usage:
    """Token counts in one meaning for both endpoints: `input` with the cached ones."""

    input: int
    output: int
    cache_read: int = 0
    reasoning: int | None = None

    def cost(self, prices):
        cached = prices.input if prices.cache_read is None else prices.cache_read
        return (
            prices.input * (self.input - self.cache_read)
            + cached * self.cache_read
            + prices.output * self.output
        )

    def __str__(self):
        words = f"{self.input} in, {self.output} out"
        words += f", {self.cache_read} cached" if self.cache_read else ""
        return words + (f", {self.reasoning} reasoning" if self.reasoning is not None else "")


@dataclasses.dataclass
class Answer:
    """What an answer holds, whichever its shape."""

    text: str = ""
    thinking: str = ""
    # (name, arguments as text)
    calls: list = dataclasses.field(default_factory=list)
    usage: dict = dataclasses.field(default_factory=dict)
    # The bytes of the usage that counts.
    usage_bytes: bytes = b""
    # Of `/v1/messages`: the content blocks, as their deltas make them.
    blocks: list = dataclasses.field(default_factory=list)
    # The usage of `message_start`.
    start_usage: dict | None = None


@dataclasses.dataclass
class Passed:
    """One request, as it passed on both sides of LiteLLM."""

    nonce: str
    endpoint: str
    streaming: bool
    limit: int
    size: int
    reply: Answer
    # The digits of the cost that stands, and of all costs by place.
    cost: str | None
    costs: dict
    asked: dict
    told: Answer
    # Rows of the spend log.
    rows: list

    @staticmethod
    def of(nonce, ours, upstreams, spend_log):
        (ours,), (theirs,) = ours, upstreams
        endpoint = "anthropic" if ours.path.endswith("/messages") else "openai"
        request = json.loads(ours.request)
        asked = json.loads(theirs.request)
        streaming = request.get("stream", False)
        reply = (blocks if endpoint == "anthropic" else chat)(ours, streaming)
        costs = {
            name: value
            for name, value in ours.headers.items()
            if re.fullmatch(rf"{WHOLE_HEADER}(-original)?", name)
        }
        if b'"cost"' in reply.usage_bytes:
            costs["usage"] = re.search(rb'"cost":\s*([^,}\s]+)', reply.usage_bytes)[1].decode()
        cost = costs.get("usage" if streaming else WHOLE_HEADER)
        limit = request.get("max_completion_tokens") or request["max_tokens"]
        id_of = {ours.headers.get("x-litellm-call-id"), response_id(ours, streaming)}
        return Passed(
            nonce,
            endpoint,
            streaming,
            limit,
            len(ours.request),
            reply,
            cost,
            costs,
            asked,
            chat(theirs, asked.get("stream", False)),
            [row for row in spend_log if row["request_id"] in id_of],
        )

    def reported(self):
        """The usage that LiteLLM reports."""
        usage = self.reply.usage
        if self.endpoint == "openai":
            return Usage(
                usage["prompt_tokens"],
                usage["completion_tokens"],
                (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
                (usage.get("completion_tokens_details") or {}).get("reasoning_tokens"),
            )
        cached = usage.get("cache_read_input_tokens") or 0
        written = usage.get("cache_creation_input_tokens") or 0
        return Usage(usage["input_tokens"] + cached + written, usage["output_tokens"], cached)

    def counted(self):
        """The tokens that went to the upstream and came from it, counted in its bytes."""
        reasoning = len(self.told.thinking.split())
        output = reasoning + len(self.told.text.split())
        output += sum(-(-len((name + text).encode()) // 4) for name, text in self.told.calls)
        told = (self.told.usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return Usage(prompt_tokens(self.asked), output, told, reasoning)


def response_id(exchange, streaming):
    if not streaming:
        return exchange.json().get("id")
    _, first = next(exchange.events())
    return first.get("id") or first.get("message", {}).get("id")


def chat(exchange, streaming):
    """An answer of `/v1/chat/completions`."""
    found, calls = Answer(), {}
    pieces = exchange.events() if streaming else [(exchange.body, exchange.json())]
    for line, piece in pieces:
        for choice in piece.get("choices", []):
            said = choice.get("delta" if streaming else "message") or {}
            content = said.get("content") or ""
            if isinstance(content, str):
                content = [{"type": "text", "text": content}]
            for part in content:
                if part["type"] == "thinking":
                    found.thinking += "".join(inner["text"] for inner in part["thinking"])
                else:
                    found.text += part["text"]
            found.thinking += said.get("reasoning_content") or ""
            for n, call in enumerate(said.get("tool_calls") or []):
                name, text = calls.setdefault(call.get("index", n), ["", ""])
                function = call["function"]
                name += function.get("name") or ""
                text += function.get("arguments") or ""
                calls[call.get("index", n)] = [name, text]
        if piece.get("usage"):
            found.usage, found.usage_bytes = piece["usage"], line
    found.calls = list(calls.values())
    return found


def blocks(exchange, streaming):
    """An answer of `/v1/messages`."""
    found = Answer()
    if not streaming:
        message = exchange.json()
        for block in message["content"]:
            if block["type"] == "tool_use":
                found.calls.append([block["name"], json.dumps(block["input"])])
            found.text += block.get("text", "")
            found.thinking += block.get("thinking", "")
        found.usage, found.usage_bytes = message["usage"], exchange.body
        found.blocks = message["content"]
        return found
    for line, event in exchange.events():
        block, delta = event.get("content_block", {}), event.get("delta", {})
        if event["type"] == "message_start":
            found.start_usage = event["message"].get("usage") or {}
        if block:
            found.blocks.append(dict(block))
        for name in ("text", "thinking"):
            if name in delta:
                found.blocks[-1][name] = found.blocks[-1].get(name, "") + delta[name]
        if "signature" in delta:
            found.blocks[-1]["signature"] = delta["signature"]
        if block.get("type") == "tool_use":
            found.calls.append([block["name"], ""])
        for piece in (block, delta):
            found.text += piece.get("text", "")
            found.thinking += piece.get("thinking", "")
        if "partial_json" in delta:
            found.calls[-1][1] += delta["partial_json"]
        usage = event.get("usage") or event.get("message", {}).get("usage")
        if usage:
            found.usage, found.usage_bytes = {**found.usage, **usage}, line
    return found


def prompt_tokens(request):
    """By the rules of mock-upstream's README."""
    total = 0
    for message in request["messages"]:
        content = message["content"]
        parts = [content] if isinstance(content, str) else [part["text"] for part in content]
        total += 4 + sum(-(-len(word) // 6) for part in parts for word in part.split())
    for tool in request.get("tools") or []:
        function = tool["function"]
        schema = canonical(function.get("parameters") or {})
        name, about = canonical(function["name"]), canonical(function.get("description") or "")
        text = f'{{"name":{name},"description":{about},"schema":{schema}}}'
        total += -(-len(text.encode()) // 4)
    return total


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


# --- the witnesses --------------------------------------------------------------------------------


def usage_not_true(passed, _):
    said, true = passed.reported(), passed.counted()
    reasoning = true.reasoning if said.reasoning is not None else None
    if (said.input, said.output, said.cache_read, said.reasoning) != (
        *(true.input, true.output, true.cache_read),
        reasoning,
    ):
        asked = "asks for usage" if "stream_options" in passed.asked else "does not ask for usage"
        told = "the upstream reports one" if passed.told.usage else "the upstream reports none"
        return f"reported {said}; passed {true}; LiteLLM {asked}, {told}"


def cost_not_true(passed, prices):
    true = passed.counted().cost(prices)
    if passed.cost is not None and abs(Fraction(passed.cost) - true) >= NOISE:
        return f"cost {passed.cost}; the tokens that passed come to {float(true):.10g}"


def cost_mismatch(passed, prices):
    predicted = passed.reported().cost(prices)
    if passed.cost is not None and abs(Fraction(passed.cost) - predicted) >= NOISE:
        return f"cost {passed.cost}; {passed.reported()} come to {float(predicted):.10g}"


def float_noise(passed, prices):
    predicted = passed.reported().cost(prices)
    if passed.cost is not None and 0 < abs(Fraction(passed.cost) - predicted) < NOISE:
        return f"cost {passed.cost}; {passed.reported()} come to {float(predicted):.10g}"


def cost_not_recorded(passed, _):
    return f"costs are {passed.costs}" if passed.cost is None and not passed.streaming else None


def stream_cost_missing(passed, _):
    return f"costs are {passed.costs}" if passed.cost is None and passed.streaming else None


def tokens_implausible(passed, _):
    said = passed.reported()
    if said.output > passed.limit:
        return f"reported {said.output} output tokens; the request allows {passed.limit}"
    if said.input > passed.size + 2048:
        return f"reported {said.input} input tokens of a request of {passed.size} bytes"


def calls_lost(passed, _):
    told, reply = passed.told.calls, passed.reply.calls
    if len(reply) < len(told):
        merged = [text for _, text in reply if "}{" in text]
        return f"{len(told)} calls came, {len(reply)} went on, with the input {merged[:1]}"


def reasoning_not_true(passed, _):
    if passed.reply.thinking != passed.told.thinking:
        pieces = len(passed.told.thinking.split()), len(passed.reply.thinking.split())
        return "{} tokens of thinking came, {} went on".format(*pieces)


def text_not_true(passed, _):
    if passed.reply.text != passed.told.text:
        return f"not the text that came: {passed.reply.text[:40]!r}, {passed.told.text[:40]!r}"


def ledger_missing(passed, _):
    return None if passed.rows else "no row of the spend log has its id"


def ledger_duplicate(passed, _):
    return f"{len(passed.rows)} rows of the spend log" if len(passed.rows) > 1 else None


def surface_disagree(passed, _):
    spends = [row["spend"] for row in passed.rows]
    if passed.cost and any(abs(Fraction(s) - Fraction(passed.cost)) >= NOISE for s in spends):
        return f"cost {passed.cost}; the spend log says {spends}"


# --- witnesses of a translation's faults: how often, and what shows it -----------------------------


def usage_wrong(passed, prices):
    words = usage_not_true(passed, prices)
    return words and (1, words)


def start_usage_zero(passed, _):
    start = passed.reply.start_usage
    if start is None:
        return None
    counts = [v for k, v in start.items() if k.endswith("input_tokens")]
    return None if sum(counts) else (1, f"message_start says {start}")


def reasoning_lost(passed, _):
    told, reply = passed.told.thinking.split(), passed.reply.thinking.split()
    lost = len(set(told) - set(reply))
    return (lost, f"of {len(told)} tokens of thinking {len(reply)} went on") if lost else None


def calls_merged(passed, prices):
    merged = [text for _, text in passed.reply.calls if "}{" in text]
    return (len(merged), calls_lost(passed, prices)) if merged else None


def signature_lost(passed, _):
    blocks = passed.reply.blocks
    bare = [b for b in blocks if b["type"] == "thinking" and not b.get("signature")]
    return (len(bare), f"the keys of the block are {sorted(bare[0])}") if bare else None


def empty_block(passed, _):
    empty = [b for b in passed.reply.blocks if b["type"] == "text" and not b["text"]]
    return (len(empty), f"{len(passed.reply.blocks)} blocks, one is {empty[0]}") if empty else None


def text_lost(passed, _):
    told, reply = passed.told.text.split(), passed.reply.text.split()
    lost = len(set(told) - set(reply))
    return (lost, f"of {len(told)} tokens of text {len(reply)} went on") if lost else None


DEPARTURES = {
    "USAGE_WRONG": usage_wrong,
    "START_USAGE_ZERO": start_usage_zero,
    "REASONING_LOST": reasoning_lost,
    "CALLS_MERGED": calls_merged,
    "SIGNATURE_LOST": signature_lost,
    "EMPTY_BLOCK": empty_block,
    "TEXT_LOST": text_lost,
}

WITNESSES = {
    "USAGE_NOT_TRUE": usage_not_true,
    "COST_NOT_TRUE": cost_not_true,
    "COST_MISMATCH": cost_mismatch,
    "FLOAT_NOISE": float_noise,
    "COST_NOT_RECORDED": cost_not_recorded,
    "STREAM_COST_MISSING": stream_cost_missing,
    "TOKENS_IMPLAUSIBLE": tokens_implausible,
    "TOOL_CALLS_LOST": calls_lost,
    "REASONING_NOT_TRUE": reasoning_not_true,
    "TEXT_NOT_TRUE": text_not_true,
    "LEDGER_MISSING": ledger_missing,
    "LEDGER_DUPLICATE": ledger_duplicate,
    "SURFACE_DISAGREE": surface_disagree,
}
