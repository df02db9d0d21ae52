"""What must hold of a run through LiteLLM: pure functions of the facts in its run folder.

Each check has a *doctor* beside it: a change of the facts that it must not pass. `blind` names the
checks that pass all the same, so that no check is worth nothing without anyone noticing.

Amounts are computed here from the legs' own prices, in exact fractions, and texts from the rule of
mock-upstream's README: nothing is taken from the harness but what it recorded.
"""

import copy
import csv
import dataclasses
import hashlib
import json
import pathlib
from collections import Counter, defaultdict
from fractions import Fraction

import evidence
from evidence import NOISE, Prices

ENDPOINTS = ("openai", "anthropic")
WHOLE_COST = "header:x-litellm-response-cost"
STREAM_COST = "stream:/usage/cost"
# LiteLLM's cost before discounts. The one cost header that its streams have, and it says 0.0.
EARLY_HEADER = "header:x-litellm-response-cost-original"
COUNT = 80


@dataclasses.dataclass(frozen=True)
class Defect:
    """What LiteLLM is known to get wrong: a finding on the requests of a kind."""

    code: str
    endpoint: str
    streaming: bool
    # None: of either class.
    request_class: str | None
    why: str
    # An estimate may be right by chance, or its two errors may cancel in the cost. Seen on 1 of 31
    # requests; more than half is asked for.
    by_chance: bool = False


@dataclasses.dataclass(frozen=True)
class Leg:
    """One run: a model of LiteLLM's, and the mock-upstream behind it."""

    name: str
    about: str
    model: str
    prices: Prices
    upstream: dict
    # Keys of the scenario that this leg sets.
    settings: dict = dataclasses.field(default_factory=dict)
    defects: tuple[Defect, ...] = ()
    # Departures from the protocol, or from what the upstream wrote: (code, endpoint), of the kind of
    # requests that is said. Which requests have them, the bytes say.
    departures: frozenset = frozenset()
    # In what the two endpoints' answers to one request are known to differ.
    differences: frozenset = frozenset()
    # Gates that must fail because of the defects, by endpoint.
    failing_gates: frozenset = frozenset()


def upstream(dialect="openai", reasoning_share=0.0, usage_in_stream="always", more=""):
    return locals()


def per_million(*prices):
    return Prices(*(Fraction(price) / 10**6 for price in prices))


ESTIMATE = "LiteLLM does not ask its mistral upstream for usage and reports an estimate of its own"
MERGED = "parallel calls that came in one chunk are merged into one block"
REASONING = "LiteLLM estimates the reasoning tokens, which Mistral does not report"
THINKING = "of thinking that comes in several chunks, only the first arrives as thinking"

CACHED_RATES = """
[cost.rates."codestral-latest"]
input = "0.30"
output = "0.90"
cache_read = "0.03"
[cache]
enabled = true
"""

# `cost.findings` also counts what is wrong with usage, tool calls and texts.
FINDINGS_GATE = "cost.findings == 0"

# On every leg: the input of a stream's first event is zero, whatever the last one says.
STARTS_AT_ZERO = ("START_USAGE_ZERO", "anthropic")

LEGS = (
    Leg(
        name="asked",
        about="openai dialect, usage in streams only when asked for",
        model="magistral-small-latest",
        prices=per_million("0.50", "1.50"),
        upstream=upstream(usage_in_stream="asked"),
        defects=tuple(
            Defect(code, endpoint, True, None, ESTIMATE, by_chance=True)
            for code in ("USAGE_NOT_TRUE", "COST_NOT_TRUE")
            for endpoint in ENDPOINTS
        )
        # All 18 texts, whose words are short, and by chance one of the calls.
        + tuple(
            Defect("TOKENS_IMPLAUSIBLE", endpoint, True, None, ESTIMATE, by_chance=True)
            for endpoint in ENDPOINTS
        ),
        departures=frozenset({STARTS_AT_ZERO, *(("USAGE_WRONG", at) for at in ENDPOINTS)}),
        differences=frozenset({"USAGE_DIFFERS", "PRICE_DIFFERS"}),
        failing_gates=frozenset((FINDINGS_GATE, endpoint) for endpoint in ENDPOINTS),
    ),
    Leg(
        name="mistral",
        about="mistral dialect, thinking, whole tool calls in one chunk",
        model="magistral-medium-latest",
        prices=per_million("2", "5"),
        upstream=upstream(dialect="mistral", reasoning_share=0.4),
        defects=(
            Defect("TOOL_CALLS_LOST", "anthropic", True, "tools", MERGED),
            Defect("USAGE_NOT_TRUE", "openai", True, None, REASONING, by_chance=True),
            Defect("REASONING_NOT_TRUE", "anthropic", True, None, THINKING),
        ),
        departures=frozenset(
            {
                STARTS_AT_ZERO,
                ("USAGE_WRONG", "openai"),
                ("REASONING_LOST", "anthropic"),
                ("CALLS_MERGED", "anthropic"),
                # Mistral signs no thinking: its whole bodies have none to hand on, and streams say "mistral".
                ("SIGNATURE_LOST", "anthropic"),
                # Beside tool calls, an empty text.
                ("EMPTY_BLOCK", "anthropic"),
            }
        ),
        differences=frozenset({"REASONING_DIFFERS", "CALLS_DIFFER"}),
        failing_gates=frozenset(
            {
                (FINDINGS_GATE, "openai"),
                (FINDINGS_GATE, "anthropic"),
                ("tool_calls.valid_json == 100%", "anthropic"),
            }
        ),
    ),
    # The control: with this upstream LiteLLM gets everything right, so that the findings of the
    # other legs are LiteLLM's and not the harness's.
    Leg(
        name="always",
        about="openai dialect, usage in every stream",
        model="devstral-medium-latest",
        prices=per_million("0.40", "2"),
        upstream=upstream(),
        departures=frozenset({STARTS_AT_ZERO}),
    ),
    # A begin that all prompts have, which the upstream's cache keeps: cached tokens in every usage.
    Leg(
        name="cached",
        about="openai dialect, usage in every stream, a cached prefix",
        model="codestral-latest",
        prices=per_million("0.30", "0.90", "0.03"),
        upstream=upstream(more=CACHED_RATES),
        departures=frozenset({STARTS_AT_ZERO}),
        settings={"workload.cached_prefix": "{ tokens = 1543 }"},
    ),
)

# The leg that is broken on purpose.
(CONTROL,) = (leg for leg in LEGS if leg.name == "always")


@dataclasses.dataclass
class Facts:
    """A run folder, read."""

    leg: Leg
    exit_code: int
    report: dict
    # The same with LiteLLM's spend log as its ledger.
    late_report: dict
    # Measured rows of `requests.csv`, numbers as numbers, empty cells as `None`.
    rows: list[dict]
    # Rows of `truth.csv` by nonce.
    truths: dict[str, list[dict]]
    # What passed between the harness and LiteLLM, and between LiteLLM and the upstream, by nonce.
    ours: dict[str, list]
    theirs: dict[str, list]
    # LiteLLM's own rows of this leg's model.
    spend_log: list[dict]
    # How many other rows there are.
    others_log: int
    # The run folder.
    folder: pathlib.Path

    @staticmethod
    def read(leg, folder, exit_code, report, ours, theirs, spend_log):
        truths = defaultdict(list)
        if (folder / "truth.csv").exists():
            for truth in table(folder / "truth.csv"):
                truths[truth["nonce"]].append(truth)
        rows = [row for row in table(folder / "requests.csv") if row["phase"] == "measured"]
        for row in rows:
            row["costs"] = json.loads(row["costs"] or "{}")
        late_report = json.loads((folder / "report.json").read_text())
        own = [row for row in spend_log if row["model_group"] == leg.model]
        others = len(spend_log) - len(own)
        return Facts(
            *(leg, exit_code, report, late_report, rows, dict(truths)),
            *(ours, theirs, own, others, folder),
        )

    def truth(self, row):
        """The upstream's one entry for this request, or nothing."""
        entries = self.truths.get(row["trace_id"], [])
        return entries[0] if len(entries) == 1 else None

    def findings(self):
        return [f for e in self.report["endpoints"].values() for f in e["cost"]["findings"]]

    def passed(self):
        """Each measured request as its bytes show it, in the order of the rows."""
        for row in self.rows:
            nonce = row["trace_id"]
            ours, theirs = self.ours.get(nonce, []), self.theirs.get(nonce, [])
            yield evidence.Passed.of(nonce, ours, theirs, self.spend_log)

    def bytes_of(self, finding):
        """What the bytes of the finding's first example show."""
        see = evidence.WITNESSES.get(observation(finding))
        for passed in self.passed() if see else ():
            if passed.nonce in finding["examples"][:1]:
                return f"{passed.nonce[:8]}: {see(passed, self.leg.prices)}"
        return None

    def findings_in_words(self):
        yield f"{self.leg.name}: {self.leg.about}"
        for f in self.findings():
            how = "stream" if f["streaming"] else "whole"
            place = f"{f['endpoint']} {how}"
            yield f"  {f['severity']:7} {place:16} {f['code']:18} {f['message']}"
            yield f"{'':27}bytes: {self.bytes_of(f)}"
        if not self.findings():
            yield "  nothing found"


NUMBERS = {
    *("output_limit", "body_bytes"),
    *("attempt", "session", "token_events", "reasoning_events", "calls", "calls_valid"),
    *("last_input", "last_cache_read", "last_output", "last_reasoning_tokens"),
    *("input", "cache_read", "output", "reasoning", "tool_calls", "status"),
}
FLAGS = {"true": True, "false": False}


def table(path):
    """Rows of a CSV file with typed cells."""

    def typed(name, cell):
        if cell == "":
            return None
        return int(cell) if name in NUMBERS else FLAGS.get(cell, cell)

    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield {name: typed(name, cell) for name, cell in row.items()}


# --- what the facts say, without the harness's judgement -----------------------------------------


def usage_of(row):
    """As reported. Anthropic's count of input tokens leaves out the cached ones."""
    cached = row["last_cache_read"] or 0
    tokens_in = row["last_input"] + (cached if row["endpoint"] == "anthropic" else 0)
    return evidence.Usage(tokens_in, row["last_output"], cached, row["last_reasoning_tokens"])


def price(leg, row):
    """What the reported usage costs."""
    return usage_of(row).cost(leg.prices)


def true_price(leg, truth):
    return evidence.Usage(truth["input"], truth["output"], truth["cache_read"]).cost(leg.prices)


def recorded(row):
    """The cost that stands, from the place where LiteLLM puts it."""
    digits = row["costs"].get(STREAM_COST if row["streaming"] else WHOLE_COST)
    return None if digits is None else Fraction(digits)


def usage_is_true(row, truth):
    said = usage_of(row)
    return (
        (said.input, said.output) == (truth["input"], truth["output"])
        and row["last_cache_read"] in (None, truth["cache_read"])
        and said.reasoning in (None, truth["reasoning"])
    )


def is_implausible(row):
    """More output than the request allows, or more input than its bytes and a chat's template."""
    said = usage_of(row)
    return said.output > row["output_limit"] or said.input > row["body_bytes"] + 2048


def observed(facts):
    """The findings that the rows and the journal give: (code, endpoint, streaming) -> rows."""
    found = defaultdict(list)
    for row in facts.rows:
        truth, cost = facts.truth(row), recorded(row)
        codes = []
        if cost is None:
            codes.append("STREAM_COST_MISSING" if row["streaming"] else "COST_NOT_RECORDED")
        elif abs(cost - price(facts.leg, row)) >= NOISE:
            codes.append("COST_MISMATCH")
        if is_implausible(row):
            codes.append("TOKENS_IMPLAUSIBLE")
        if truth is None:
            codes.append("TRUTH_MISSING")
        else:
            if not usage_is_true(row, truth):
                codes.append("USAGE_NOT_TRUE")
            if row["calls"] < truth["tool_calls"]:
                codes.append("TOOL_CALLS_LOST")
            if cost is not None and abs(cost - Fraction(truth["cost"])) >= NOISE:
                codes.append("COST_NOT_TRUE")
            if row["text_sha256"] != digest(text_of(row, truth)):
                codes.append("TEXT_NOT_TRUE")
            if row["reasoning_sha256"] != digest(thinking_of(row, truth["reasoning"])):
                codes.append("REASONING_NOT_TRUE")
        for code in codes:
            found[code, row["endpoint"], row["streaming"]].append(row)
    return found


def text_of(row, truth):
    """The visible text that mock-upstream wrote: none beside tool calls."""
    tokens = range(0 if truth["tool_calls"] else truth["output"] - truth["reasoning"])
    return "".join(f"{row['trace_id'][:8]}.{i} " for i in tokens)


def thinking_of(row, tokens):
    return "".join(f"{row['trace_id'][:8]}.r{i} " for i in range(tokens))


def digest(text):
    """As `requests.csv` has it: nothing for nothing."""
    return hashlib.sha256(text.encode()).hexdigest()[:16] if text else None


def of(row):
    how = "stream" if row["streaming"] else "whole"
    return f"{row['endpoint']} {how} {row['class']} {row['trace_id']}"


# --- the checks -----------------------------------------------------------------------------------


def requests(facts):
    """Every planned request succeeded, on both endpoints, of every kind."""
    for endpoint in ENDPOINTS:
        counts = facts.report["endpoints"].get(endpoint, {}).get("requests", {})
        if (counts.get("planned"), counts.get("ok")) != (COUNT, COUNT):
            yield f"{endpoint}: not {COUNT} of {COUNT} ok but {counts}"
    kinds = Counter((r["endpoint"], r["streaming"], r["class"]) for r in facts.rows)
    for endpoint in ENDPOINTS:
        for streaming in (False, True):
            for kind in ("chat", "tools"):
                if kinds[endpoint, streaming, kind] < 5:
                    yield f"too few of {endpoint}, streaming {streaming}, {kind}: {kinds}"
    for row in facts.rows:
        if row["outcome"] != "ok" or row["served_model"] != facts.leg.model:
            yield f"{of(row)}: {row['outcome']} by {row['served_model']}: {row['error']}"


def cost_places(facts):
    """The cost is where LiteLLM puts it: a whole body's in a header, a stream's in its last usage.

    LiteLLM sends a stream's headers before its cost is known: `x-litellm-response-cost` is left
    out, and `x-litellm-response-cost-original` says 0.0.
    """
    for row in facts.rows:
        places = set(row["costs"])
        early = row["costs"].get(EARLY_HEADER)
        if row["streaming"]:
            if places != {STREAM_COST, EARLY_HEADER} or early != "0.0":
                yield f"{of(row)}: costs are {row['costs']}"
        elif places != {WHOLE_COST, EARLY_HEADER} or early != row["costs"][WHOLE_COST]:
            yield f"{of(row)}: costs are {row['costs']}"


def costs(facts):
    """Each recorded cost is the reported usage times the price, and the bill says so."""
    sums = defaultdict(Fraction)
    for row in facts.rows:
        cost = recorded(row)
        wanted = price(facts.leg, row)
        if cost is None or abs(cost - wanted) >= NOISE:
            yield f"{of(row)}: recorded {cost and float(cost)}, not {float(wanted)}"
        sums[row["endpoint"]] += wanted
    for endpoint in ENDPOINTS:
        cost = facts.report["endpoints"][endpoint]["cost"]
        if Fraction(cost["predicted"]) != sums[endpoint]:
            yield f"{endpoint}: predicted {cost['predicted']}, not {float(sums[endpoint])}"
        billed = Fraction(cost["recorded"] or 0)
        if abs(billed - sums[endpoint]) >= NOISE * COUNT:
            yield f"{endpoint}: recorded {cost['recorded']}, not {float(sums[endpoint])}"
        if cost["coverage"] != 1 or cost["statuses"].get("matched") != COUNT:
            yield f"{endpoint}: coverage {cost['coverage']}, statuses {cost['statuses']}"


def truth_joined(facts):
    """Every request has exactly one entry of the upstream's journal, streamed if it was, and priced
    as here."""
    for row in facts.rows:
        truth = facts.truth(row)
        if truth is None:
            entries = len(facts.truths.get(row["trace_id"], []))
            yield f"{of(row)}: {entries} entries in the journal"
        elif truth["stream"] != row["streaming"] or truth["status"] != 200:
            yield f"{of(row)}: the upstream was asked otherwise: {truth}"
        elif Fraction(truth["cost"]) != true_price(facts.leg, truth):
            yield f"{of(row)}: the mock's true cost {truth['cost']} is not usage times price"
    for endpoint in ENDPOINTS:
        truth = facts.report["endpoints"][endpoint]["truth"]
        wrong = sum(
            len(rows)
            for (code, at, _), rows in observed(facts).items()
            if at == endpoint and code in ("USAGE_NOT_TRUE", "TRUTH_MISSING")
        )
        if truth is None or (truth["verified"], truth["of"]) != (COUNT - wrong, COUNT):
            yield f"{endpoint}: not {COUNT - wrong} of {COUNT} verified but {truth}"


def findings(facts):
    """The report's findings are the ones that the rows and the journal give, no more, no fewer."""
    wanted = {key: len(rows) for key, rows in observed(facts).items()}
    reported = Counter()
    for f in facts.findings():
        if f["severity"] != "info" or f["code"] in ("UPSTREAM_RETRIED", "STREAM_DOWNGRADED"):
            reported[observation(f), f["endpoint"], f["streaming"]] += f["count"]
    for key in sorted(wanted.keys() | reported.keys()):
        if wanted.get(key) != reported.get(key):
            yield f"{key}: reported on {reported.get(key)} requests, seen on {wanted.get(key)}"


def observation(finding):
    """What was seen, where the code is the cause of it: a wrong cost."""
    return "COST_MISMATCH" if finding["causes"] else finding["code"]


def traced(facts):
    """Each finding is shown by the bytes of just as many requests, its examples among them, and the
    bytes show nothing that the report does not say."""
    shown, reported = defaultdict(dict), defaultdict(list)
    for passed in facts.passed():
        for code, see in evidence.WITNESSES.items():
            if words := see(passed, facts.leg.prices):
                shown[code, passed.endpoint, passed.streaming][passed.nonce] = words
    for f in facts.findings():
        reported[observation(f), f["endpoint"], f["streaming"]].append(f)
    for key in sorted(shown.keys() | reported.keys()):
        count = sum(f["count"] for f in reported[key])
        if count != len(shown[key]):
            bytes_say = next(iter(shown[key].items()), None)
            yield f"{key}: reported on {count}, shown by {len(shown[key])} in bytes: {bytes_say}"
        for f in reported[key]:
            unseen = [nonce for nonce in f["examples"] if nonce not in shown[key]]
            if unseen or not f["examples"]:
                yield f"{key}: not shown by the bytes of its examples {unseen}"


# What depends on how busy the machine is: no check rests on it.
TIMED = ("BUFFERED", "KEEPALIVE_LOST")


def translation(facts):
    """Each departure is shown by the bytes of just as many answers, its examples among them, which are
    kept in the run folder; and it is one that LiteLLM is known for on this leg, and none is missing."""
    known = set(facts.leg.departures)
    for endpoint in ENDPOINTS:
        part = facts.report["endpoints"][endpoint]["conformance"]
        if (part["checked"], part["sampled"], part["unread"]) != (COUNT, False, 0):
            yield f"{endpoint}: not all of {COUNT} answers were checked: {part}"
        shown = defaultdict(dict)
        for passed in facts.passed():
            for code, see in evidence.DEPARTURES.items():
                if passed.endpoint == endpoint and (seen := see(passed, facts.leg.prices)):
                    shown[code][passed.nonce] = seen
        reported = {f["code"]: f for f in part["findings"] if f["code"] not in TIMED}
        for code in sorted(shown.keys() | reported.keys()):
            seen, finding = shown[code], reported.get(code, {})
            wanted = (sum(n for n, _ in seen.values()), len(seen))
            found = (finding.get("count"), finding.get("attempts"))
            if found != wanted:
                yield f"{endpoint} {code}: reported (count, answers) {found}, in bytes {wanted}"
            if (code, endpoint) not in known:
                yield f"{endpoint} {code}: not known of LiteLLM: {finding.get('message')}"
            known.discard((code, endpoint))
            examples = finding.get("examples", [])
            if not examples or any(e["trace_id"] not in seen for e in examples):
                yield f"{endpoint} {code}: not shown by the bytes of its examples {examples}"
            for example in examples:
                yield from kept(facts, example)
    for code, endpoint in sorted(known):
        yield f"{endpoint} {code}: not found"


def kept(facts, example):
    """An example's file holds the request and the answer, as they passed."""
    if example["file"] is None:
        yield f"no file of {example}"
        return
    content = (facts.folder / example["file"]).read_bytes()
    (passed,) = facts.ours[example["trace_id"]]
    if passed.request not in content or passed.body not in content:
        yield f"{example['file']} is not what passed"


def parity(facts):
    """The two endpoints' answers to one request differ where LiteLLM is known for it, and nowhere else."""
    part = facts.report["parity"]
    counts = (part["pairs"], part["mode"], part["uncompared"])
    if counts != (COUNT, "exact", 0):
        yield f"not {COUNT} pairs, compared exactly: {counts}"
    found = {difference["code"] for difference in part["findings"]}
    if found != set(facts.leg.differences):
        yield f"differences are {sorted(found)}, not {sorted(facts.leg.differences)}"


def report(facts):
    """The report's other parts agree with the findings, with the rows and with each other."""
    if facts.report["schema"] != "weighbridge.report/2":
        yield f"schema {facts.report['schema']}"
    for f in facts.findings():
        causes = [cause["code"] for cause in f["causes"]]
        if causes and f["code"] != (causes[0] if len(causes) == 1 else "COST_MISMATCH"):
            yield f"{f['code']} has the causes {causes}"
    for endpoint in ENDPOINTS:
        whole = facts.report["endpoints"][endpoint]
        cost, truth = whole["cost"], whole["truth"]
        verified = "token_counts" if truth["verified"] == truth["of"] else "arithmetic"
        if cost["verified"] != verified:
            yield f"{endpoint}: verified {cost['verified']}, not {verified}"
        for name in ("predicted", "recorded", "delta", "delta_abs"):
            parts = sum(Fraction(group[name] or 0) for group in cost["groups"])
            if parts != Fraction(cost[name] or 0):
                yield f"{endpoint}: the groups' {name} come to {float(parts)}, not {cost[name]}"
        rows = [row for row in facts.rows if row["endpoint"] == endpoint]
        if sum(group["attempts"] for group in cost["groups"]) != len(rows):
            yield f"{endpoint}: the groups have not {len(rows)} attempts: {cost['groups']}"
        sums, counts = defaultdict(Fraction), Counter()
        for row in rows:
            for place, digits in row["costs"].items():
                sums[place] += Fraction(digits)
                counts[place] += 1
        wanted = {place: (counts[place], sums[place]) for place in counts}
        said = {
            at["surface"]: (at["attempts"], Fraction(at["recorded"])) for at in cost["surfaces"]
        }
        if said != wanted:
            yield f"{endpoint}: the surfaces are {said}, not {wanted}"


def spend_log(facts):
    """LiteLLM's own row of each request is there once, is joined, and says what the bytes say: held
    against it, the report finds the same."""
    ledger = facts.late_report["ledger"]
    wanted = {"joined": len(facts.spend_log), "ledger_only": 0, "duplicate": 0}
    # The legs before this one.
    wanted["out_of_scope"] = facts.others_log
    if len(facts.spend_log) < len(facts.rows) or {k: ledger[k] for k in wanted} != wanted:
        yield f"of {len(facts.spend_log)} rows and {facts.others_log} others: {ledger}"
    for passed in facts.passed():
        spends = [row["spend"] for row in passed.rows]
        # As numbers: 8.946e-05 there is 0.00008946 in a stream.
        if passed.cost is None or [Fraction(s) for s in spends] != [Fraction(passed.cost)]:
            yield f"{passed.nonce}: the spend log says {spends}, the bytes {passed.cost}"
    for endpoint in ENDPOINTS:
        early = facts.report["endpoints"][endpoint]["cost"]
        late = facts.late_report["endpoints"][endpoint]["cost"]
        for name in ("recorded", "delta", "statuses", "findings", "verified"):
            if early[name] != late[name]:
                yield f"{endpoint}: {name} {early[name]}, with the spend log {late[name]}"
        said = {at["surface"]: at for at in late["surfaces"]}.get("ledger") or {}
        if (said.get("attempts"), said.get("recorded")) != (COUNT, early["recorded"]):
            yield f"{endpoint}: of the spend log's rows {said}, not {early['recorded']}"


def defects(facts):
    """What LiteLLM is known to get wrong is found on the requests of its kind, and nothing else."""
    found = {(f["code"], f["endpoint"], f["streaming"]): f for f in facts.findings()}
    for defect in facts.leg.defects:
        key = (defect.code, defect.endpoint, defect.streaming)
        kind = [
            row
            for row in facts.rows
            if (row["endpoint"], row["streaming"]) == key[1:]
            and defect.request_class in (None, row["class"])
        ]
        count = found.pop(key, {}).get("count", 0)
        enough = len(kind) // 2 + 1 if defect.by_chance else len(kind)
        if not enough <= count <= len(kind):
            yield f"{key}: found on {count} of {len(kind)} requests ({defect.why})"
    for key, finding in found.items():
        if finding["severity"] != "info":
            yield f"{key}: not known of LiteLLM: {finding['message']}"


def texts(facts):
    """Every answer's text and thinking is the one that the upstream wrote for this very request,
    and the journal's digests are of those words.

    Where LiteLLM is known to lose thinking, the first token of it arrives.
    """
    lost = [d for d in facts.leg.defects if d.code == "REASONING_NOT_TRUE"]
    cut = {(d.endpoint, d.streaming) for d in lost}
    for row in facts.rows:
        truth = facts.truth(row)
        if truth is None:
            yield f"{of(row)}: not in the journal"
            continue
        text = digest(text_of(row, truth))
        if row["text_sha256"] != text:
            yield f"{of(row)}: not the text that the upstream wrote"
        thinking = truth["reasoning"]
        if (truth["text_sha256"], truth["reasoning_sha256"]) != (
            text,
            digest(thinking_of(row, thinking)),
        ):
            yield f"{of(row)}: the journal's digests are not of what the mock writes"
        if (row["endpoint"], row["streaming"]) in cut:
            thinking = min(thinking, 1)
        if row["reasoning_sha256"] != digest(thinking_of(row, thinking)):
            yield f"{of(row)}: not {thinking} tokens of thinking of {truth['reasoning']} written"


def tool_calls(facts):
    """Calls arrive whole, but for merged ones: two arguments in one call are no JSON object."""
    lost = [d for d in facts.leg.defects if d.code == "TOOL_CALLS_LOST"]
    merged = {(d.endpoint, d.streaming) for d in lost}
    for row in facts.rows:
        truth = facts.truth(row)
        made = truth["tool_calls"] if truth else None
        if (row["endpoint"], row["streaming"]) in merged and made:
            wanted = (2, 1, 0)
        else:
            wanted = (2, 2, 2) if row["class"] == "tools" else (0, 0, 0)
        if (made, row["calls"], row["calls_valid"]) != wanted:
            calls = f"{row['calls']} calls, {row['calls_valid']} of them valid, of {made} made"
            yield f"{of(row)}: {calls}"


def verdict(facts):
    """The gates that the defects break fail, the others pass, and the exit code says which."""
    gates = facts.report["verdict"]["gates"]
    for gate in gates:
        broken = (gate["expression"], gate["endpoint"]) in facts.leg.failing_gates
        if gate["status"] != ("failed" if broken else "passed"):
            yield f"gate `{gate['expression']}` at {gate['endpoint']}: {gate}"
    if len(gates) < 2 * len(ENDPOINTS):
        yield f"too few gates: {gates}"
    wanted = ("failed", 1) if facts.leg.failing_gates else ("passed", 0)
    status = facts.report["verdict"]["status"]
    if (status, facts.exit_code) != wanted:
        reasons = facts.report["verdict"]["reasons"]
        yield f"{status} with exit code {facts.exit_code}, not {wanted}: {reasons}"


# --- the doctors: facts made wrong, one for each check --------------------------------------------


def fail_one(facts):
    facts.rows[0]["outcome"] = "truncated"


def move_cost(facts):
    row = next(r for r in facts.rows if r["streaming"])
    row["costs"][WHOLE_COST] = row["costs"].pop(STREAM_COST)


def raise_cost(facts):
    row = next(r for r in facts.rows if not r["streaming"])
    row["costs"][WHOLE_COST] = "0.1"


def forget_truth(facts):
    del facts.truths[facts.rows[0]["trace_id"]]


def add_finding(facts):
    finding = {"code": "CACHE_DOUBLE", "severity": "wrong", "streaming": True, "count": 1}
    finding |= {"causes": [{"code": "CACHE_DOUBLE", "detail": None}]}
    finding |= {"endpoint": "openai", "message": "made up", "examples": [facts.rows[0]["trace_id"]]}
    facts.report["endpoints"]["openai"]["cost"]["findings"].append(finding)


def mix_texts(facts):
    row, other = [r for r in facts.rows if r["class"] == "chat"][:2]
    row["text_sha256"] = other["text_sha256"]


def lose_call(facts):
    next(r for r in facts.rows if r["class"] == "tools")["calls"] -= 1


def lose_words(facts):
    row = next(r for r in facts.rows if r["class"] == "chat")
    exchange = facts.theirs[row["trace_id"]][0]
    exchange.body = exchange.body.replace(b".0 ", b".7 ")


def claim_counts(facts):
    cost = facts.report["endpoints"]["anthropic"]["cost"]
    cost["verified"] = "nothing"


def raise_surface(facts):
    surface = facts.report["endpoints"]["openai"]["cost"]["surfaces"][0]
    surface["recorded"] = "7"


def hide_departure(facts):
    facts.report["endpoints"]["anthropic"]["conformance"]["findings"].clear()


def add_departure(facts):
    """A text that lacks a token, and a report that does not say so."""
    row = next(r for r in facts.rows if r["class"] == "chat" and r["endpoint"] == "openai")
    exchange = facts.ours[row["trace_id"]][0]
    exchange.body = exchange.body.replace(f"{row['trace_id'][:8]}.1 ".encode(), b"")


def lose_example(facts):
    for part in facts.report["endpoints"].values():
        for finding in part["conformance"]["findings"]:
            finding["examples"][0]["file"] = "report.json"


def zero_start(facts):
    """A leg that is not known to begin with a count of zero."""
    none = frozenset(d for d in facts.leg.departures if d[0] != "START_USAGE_ZERO")
    facts.leg = dataclasses.replace(facts.leg, departures=none)


def hide_difference(facts):
    facts.report["parity"]["findings"].append({"code": "TEXT_DIFFERS"})


def raise_spend(facts):
    nonce = facts.rows[0]["trace_id"]
    passed = next(p for p in facts.passed() if p.nonce == nonce)
    passed.rows[0]["spend"] = "7"


def hide_ledger(facts):
    facts.late_report["endpoints"]["openai"]["cost"]["surfaces"] = []


def flip_gate(facts):
    gate = facts.report["verdict"]["gates"][0]
    gate["status"] = "passed" if gate["status"] == "failed" else "failed"


CHECKS = {
    "requests": (requests, fail_one),
    "cost places": (cost_places, move_cost),
    "costs": (costs, raise_cost),
    "truth joined": (truth_joined, forget_truth),
    "findings": (findings, add_finding),
    "bytes": (traced, add_finding, lose_words),
    "translation": (translation, hide_departure, add_departure, lose_example, zero_start),
    "parity": (parity, hide_difference),
    "report": (report, claim_counts, raise_surface),
    "spend log": (spend_log, raise_spend, hide_ledger),
    "defects": (defects, add_finding),
    "texts": (texts, mix_texts),
    "tool calls": (tool_calls, lose_call),
    "verdict": (verdict, flip_gate),
}


def problems_of(check, facts):
    """What a check finds; facts that it cannot even read do not pass it."""
    try:
        return list(check(facts))
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        return [f"cannot be read: {error!r}"]


def run_all(facts):
    """Each check's name and problems."""
    for name, (check, *_) in CHECKS.items():
        yield name, problems_of(check, facts)


def blind(facts):
    """Names of the checks that pass on facts that were made wrong."""
    for name, (check, *doctors) in CHECKS.items():
        for doctor in doctors:
            wrong = copy.deepcopy(facts)
            doctor(wrong)
            if not problems_of(check, wrong):
                yield name
