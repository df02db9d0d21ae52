"""What the Python checks of both SDKs share: the plan, the journal, and the cases that are alike.

An adapter (`with_openai.py`, `with_anthropic.py`) turns what its SDK returns into an `Answer`. The journal of
mock-upstream says what that has to be. Sync and async clients take the same path: `settle`, `each` and
`opened` await only what can be awaited.
"""

import asyncio
import contextlib
import dataclasses
import hashlib
import inspect
import json
import re
import secrets
import sys
import urllib.request
from collections import defaultdict
from decimal import Decimal

CASE_S = 20
# The tokens of a `plain` answer; half of them arrive before a planted fault.
TOKENS = 40


class Wrong(Exception):
    """What a check has to report."""


def expect(what, seen, wanted):
    if seen != wanted:
        raise Wrong(f"{what}: {seen!r}, expected {wanted!r}")


async def settle(value):
    return await value if inspect.isawaitable(value) else value


async def each(items):
    if hasattr(items, "__aiter__"):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


@contextlib.asynccontextmanager
async def opened(manager):
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value


@dataclasses.dataclass
class Call:
    id: str
    name: str
    arguments: dict


@dataclasses.dataclass
class Answer:
    """What an SDK made of an answer."""

    model: str
    finish: str
    text: str
    reasoning: str
    calls: list[Call]
    # By the names of `truth_of`; what the SDK does not give is None.
    usage: dict
    cost: Decimal | None
    # The assistant's message as the SDK takes it back in the next request.
    message: object
    request_id: str | None = None


def valid(thing):
    """The thing, if it has all that the SDK's own type demands: the SDKs do not check answers themselves."""
    type(thing).model_validate(thing.to_dict())
    return thing


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16] if text else None


def decimal(number):
    """A cost; the SDKs read JSON numbers as doubles, whose shortest digits are those that were written."""
    return None if number is None else Decimal(repr(number))


def text_of(nonce, count):
    return "".join(f"{nonce[:8]}.{i} " for i in range(count))


class Suite:
    """The cases; what differs between the SDKs is in the methods that a subclass adds.

    `ask(way, mock, ask, messages, heard, **options)` gives an `Answer`, and appends texts to `heard` as they
    come. `prompt(text, cached)` is the messages of a first turn, `results(answer, contents)` those that follow an
    answer with calls.
    """

    name = ""
    # What the ids of calls look like.
    call_id = ""
    # Classes of errors that are not of a status, by way.
    event_error = ""
    cut_errors = {}

    def __init__(self, plan, is_async):
        self.plan = plan
        self.is_async = is_async
        # The retry counts of the requests that went out, by nonce.
        self.sent = defaultdict(list)
        self.clients = {}

    def hooks(self):
        """Event hooks for the SDK's own HTTP client."""

        def note(request):
            if nonce := re.search(rb"[0-9a-f]{32}", request.content):
                self.sent[nonce[0].decode()].append(request.headers["x-stainless-retry-count"])

        async def note_async(request):
            note(request)

        return {"request": [note_async if self.is_async else note]}

    def client(self, mock, key=None, retries=0):
        """The SDK's client, made once for each mock and key."""
        made = self.clients.get((mock, key))
        if made is None:
            made = self.make_client(self.plan["origins"][mock], key or self.plan["key"])
            self.clients[mock, key] = made
        return made.with_options(max_retries=retries)

    def journal(self, mock, nonce):
        url = f"{self.plan['origins'][mock]}/__mock/journal?nonce={nonce}"
        with urllib.request.urlopen(url, timeout=5) as response:
            return [json.loads(line) for line in response]

    def check(self, answer, entry, ask, way, nonce):
        """Whether the answer is the one that the journal tells of."""
        usage = self.usage_of(entry["usage"])
        expect("status", entry["status"], 200)
        expect("stream", entry["stream"], way != "whole")
        expect("model", answer.model, entry["model"])
        expect("finish", answer.finish, entry["finish"])
        expect("text", digest(answer.text), entry["text_sha256"])
        expect("reasoning", digest(answer.reasoning), entry["reasoning_sha256"])
        expect("usage", answer.usage, usage)
        expect("cost", answer.cost, Decimal(entry["cost"]))
        expect("number of calls", len(answer.calls), entry["tool_calls"])
        expect("names of calls", [call.name for call in answer.calls], ask.get("calls", []))
        for index, call in enumerate(answer.calls):
            properties = self.plan["tools"][call.name]["schema"]["properties"]
            mark = f"{nonce[:8]}.c{index}"
            wanted = {k: mark if v["type"] == "string" else index for k, v in properties.items()}
            expect(f"arguments of call {index}", call.arguments, wanted)
            if not re.fullmatch(self.call_id, call.id):
                raise Wrong(f"id of call {index}: {call.id!r}, expected {self.call_id}")
        expect("distinct ids", len({call.id for call in answer.calls}), len(answer.calls))
        if answer.request_id:
            expect("request id", answer.request_id, f"req_{entry['seq']:016x}")

    def only(self, entries, count=1):
        expect("attempts in the journal", len(entries), count)
        return entries[-1]

    async def answered(self, way, mock, ask, attempts=1):
        nonce, heard = secrets.token_hex(16), []
        retries = {"retries": attempts - 1} if attempts > 1 else {}
        answer = await self.ask(way, mock, ask, self.prompt(nonce), heard, **retries)
        entry = self.only(self.journal(mock, nonce), attempts)
        self.check(answer, entry, ask, way, nonce)
        if way != "whole":
            expect("text as it came", "".join(heard), answer.text)

    async def cached_prompt(self, way):
        """The same prompt twice; the second time it is read from the cache."""
        nonce, mock = secrets.token_hex(16), "caching"
        messages = self.prompt(nonce + 30 * " word", cached=True)
        for turn in (1, 2):
            answer = await self.ask(way, mock, {}, messages, [])
            entry = self.only(self.journal(mock, nonce), turn)
            self.check(answer, entry, {}, way, nonce)
            expect("read from the cache", entry["usage"]["cache_read"] > 0, turn == 2)

    async def fails(self, way, mock, nonce, heard=None, ask=None, **options):
        """The error of a request that has to fail."""
        try:
            await self.ask(
                way, mock, ask or {}, self.prompt(nonce), [] if heard is None else heard, **options
            )
        except Exception as error:
            return error
        raise Wrong("no error")

    async def status(self, way, code):
        mock, nonce = ("plain" if code in (401, 404) else f"status-{code}"), secrets.token_hex(16)
        options = {401: {"key": "another"}, 404: {"model": "another"}}.get(code, {})
        # What the request is to blame for is not tried again.
        retries = 2 if code < 429 else 0
        error = await self.fails(way, mock, nonce, retries=retries, **options)
        entry = self.only(self.journal(mock, nonce))
        name, kind = self.plan["errors"][self.name][str(code)]
        expect("class", type(error).__name__, name)
        expect("status", (error.status_code, entry["status"]), (code, code))
        expect("request id", error.request_id, f"req_{entry['seq']:016x}")
        self.check_error(error, kind)
        patience = str(self.plan["retry_after_s"]) if code in (429, 503, 529) else None
        expect("retry-after", error.response.headers.get("retry-after"), patience)

    async def error_event(self, way):
        nonce, heard = secrets.token_hex(16), []
        error = await self.fails(way, "error-event", nonce, heard)
        expect("class", type(error).__name__, self.event_error)
        expect("message", "a planted fault" in str(error), True)
        expect("text before the error", "".join(heard), text_of(nonce, TOKENS // 2))

    async def cut(self, way):
        nonce, heard = secrets.token_hex(16), []
        error = await self.fails(way, "cut", nonce, heard)
        expect("class", type(error).__name__, self.cut_errors[way])
        if way != "whole":
            expect("text before the cut", "".join(heard), text_of(nonce, TOKENS // 2))

    async def retries(self, way):
        nonce = secrets.token_hex(16)
        error = await self.fails(way, "status-500", nonce, retries=2)
        expect("class", type(error).__name__, "InternalServerError")
        self.only(self.journal("status-500", nonce), 3)
        expect("x-stainless-retry-count", self.sent[nonce], ["0", "1", "2"])

    async def retry_after(self, way):
        nonce = secrets.token_hex(16)
        error = await self.fails(way, "status-429", nonce, retries=1)
        expect("class", type(error).__name__, "RateLimitError")
        entries = self.journal("status-429", nonce)
        self.only(entries, 2)
        # Without the header the SDKs wait half a second at most.
        waited = (entries[1]["received_ns"] - entries[0]["received_ns"]) / 1e9
        expect("waited long enough", waited > 0.95 * self.plan["retry_after_s"], True)

    async def tool_results(self, way):
        await self.converse(way, {"calls": [], "choice": "none"})

    async def tool_loop(self, way):
        await self.converse(way, {"calls": []})

    async def converse(self, way, after_calls):
        """Sends reasoning, calls and their results back until there is an answer in words."""
        nonce, mock = secrets.token_hex(16), "thinking"
        messages, ask = self.prompt(nonce), self.plan["asks"]["parallel tools"]
        for turn in range(1, self.plan["turns"] + 1):
            answer = await self.ask(way, mock, ask, messages, [])
            entry = self.only(self.journal(mock, nonce), turn)
            self.check(answer, entry, ask, way, nonce)
            if not answer.calls:
                expect("turns", turn, 2)
                expect("text at the end", answer.text != "", True)
                return
            messages = [*messages, *self.results(answer, ["21 degrees", "Ada"])]
            ask = {**ask, **after_calls}
        raise Wrong(f"no answer in {self.plan['turns']} turns")

    def end_of_runner(self, nonce, text, called):
        """What has to be so after an SDK ran the tools by itself."""
        mark = nonce[:8]
        calls = [("customer", {"id": f"{mark}.c1"}), ("weather", {"city": f"{mark}.c0", "days": 0})]
        expect("calls", sorted(called), calls)
        expect("text at the end", text, text_of(nonce, TOKENS))

    def cases(self):
        asks = self.plan["asks"]
        cases = {
            name: lambda way, ask=ask: self.answered(way, "plain", ask)
            for name, ask in asks.items()
        }
        cases["recovery"] = lambda way: self.answered(way, "recovering", {}, attempts=3)
        cases["reasoning"] = lambda way: self.answered(way, "thinking", {})
        cases["reasoning, then tools"] = lambda way: self.answered(
            way, "thinking", asks["parallel tools"]
        )
        cases["dressed bytes"] = lambda way: self.answered(way, "dressed", {})
        for code in self.plan["errors"][self.name]:
            cases[f"status {code}"] = lambda way, code=int(code): self.status(way, code)
        own = (
            "cached prompt",
            "error event",
            "cut",
            "retries",
            "retry-after",
            "tool results",
            "tool loop",
        )
        for case in own:
            cases[case] = getattr(self, re.sub("[ -]", "_", case))
        return {**cases, **self.own_cases()}


async def run(suite, version):
    """Runs the checks of this column and prints a line of JSON for each."""
    print(json.dumps({"version": version}), flush=True)
    cases = suite.cases()
    for name, way in suite.plan["checks"]:
        try:
            await asyncio.wait_for(cases[name](way), CASE_S)
            problem = None
        except Wrong as wrong:
            problem = str(wrong)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        print(json.dumps({"case": name, "way": way, "problem": problem}), flush=True)


def main(suite, version):
    plan = json.load(sys.stdin)
    asyncio.run(run(suite(plan, sys.argv[1] == "async"), version))
