"""Starts mock-upstream and LiteLLM on loopback, runs `scenarios/litellm.toml` through them, checks.

A leg is one run of the scenario against one mock-upstream; LiteLLM serves the three legs as three
models with a price each. What must hold is in `checks.py`. Standard library only. Both programs are
stopped by their process ids, whatever happens.
"""

import argparse
import csv
import dataclasses
import decimal
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from fractions import Fraction

import checks
import wire

HERE = pathlib.Path(__file__).resolve().parent
SCENARIO = HERE.parent.parent / "scenarios" / "litellm.toml"

READY_S = 120
RUN_S = 180
STOP_S = 15
# What LiteLLM adds, with so many users; no check rests on the times. `--levels 1,8,32` takes minutes.
LEVELS = (1, 8)
OVERHEAD_REQUESTS, BLOCKS, OVERHEAD_S = 64, 8, 300
# LiteLLM logs behind the answers' backs.
SPEND_LOG_S = 30

# The header of the cost before discounts beside the scenario's two: on streams it is the one that
# LiteLLM sends, and it says 0.
RECORDED = ["header:x-litellm-response-cost", "stream:/usage/cost", checks.EARLY_HEADER]

MOCK = """\
seed = 1
dialect = "{dialect}"
[timing]
ttft_ms = {{ fixed = 20.0 }}
gap_ms = {{ fixed = 2.0 }}
[output]
reasoning_share = {reasoning_share}
usage_in_stream = "{usage_in_stream}"
[cost]
surfaces = [] # any cost that arrives is LiteLLM's
{more}
"""

MODEL = """\
  - model_name: {model}
    litellm_params:
      model: mistral/{model}
      api_base: {origin}/v1
      api_key: none
    model_info:
      input_cost_per_token: {input}
      output_cost_per_token: {output}
"""
CACHED = """\
      cache_read_input_token_cost: {cache_read}
"""

SETTINGS = """\
litellm_settings:
  drop_params: true
  include_cost_in_streaming_usage: true
  callbacks: spend_log.rows
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
"""


class Failure(Exception):
    """What the check cannot go on with."""


class Program:
    """A program that was started here and is stopped here."""

    def __init__(self, name, command, log, environment):
        self.name, self.log = name, log
        with open(log, "wb") as out:
            try:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment
                )
            except OSError as error:
                raise Failure(f"{name} could not be started: {error}") from error

    def wait_until(self, ready, limit_s):
        """What `ready()` gives, once it gives something."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failure(f"{self.name} ended with {self.process.returncode}{self.tail()}")
            if answer := ready():
                return answer
            time.sleep(0.1)
        raise Failure(f"{self.name} was not ready in {limit_s} s{self.tail()}")

    def tail(self):
        lines = self.log.read_text(errors="replace").splitlines()[-30:]
        return "\n".join([f"; the end of {self.log} follows", *lines])

    def stop(self):
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_S)


class Stage:
    """The programs of a check, in a folder of its own."""

    def __init__(self, options):
        self.options = options
        self.folder = options.work / "runs"
        # A key for this run only. It is in the environment of two programs and nowhere else.
        self.key = f"sk-{secrets.token_hex(24)}"
        self.programs = []
        self.taps = []
        # LiteLLM's origin, and that of each leg's upstream, once they are there.
        self.gateway, self.upstreams = None, {}
        self.spend_log = self.folder / "spend-log.csv"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for program in reversed(self.programs):
            program.stop()
        for tap in self.taps:
            tap.stop()

    def environment(self, **more):
        """Nothing of the caller's but where programs are: no keys, no proxies, no home."""
        kept = {k: os.environ[k] for k in ("PATH", "LANG", "TMPDIR") if k in os.environ}
        return {**kept, "HOME": str(self.folder), "LITELLM_MASTER_KEY": self.key, **more}

    def start(self, name, command, **more):
        program = Program(name, command, self.folder / f"{name}.log", self.environment(**more))
        self.programs.append(program)
        return program

    def tap(self, origin):
        self.taps.append(wire.Tap(origin))
        return self.taps[-1]

    def mock(self, leg):
        """Starts the leg's mock-upstream; its origin."""
        config = self.folder / f"mock-{leg.name}.toml"
        config.write_text(MOCK.format(**leg.upstream))
        program = self.start(
            f"mock-{leg.name}", [self.options.mock, "--listen", "127.0.0.1:0", "--config", config]
        )
        listening = re.compile(r"listening on (http://\S+)\n")
        return program.wait_until(lambda: listening.search(program.log.read_text()), 20)[1]

    def litellm(self, models):
        """Starts LiteLLM with these entries; its origin."""
        config = self.folder / "litellm.yaml"
        # LiteLLM looks for callbacks beside its configuration.
        shutil.copy(HERE / "spend_log.py", self.folder)
        config.write_text("model_list:\n" + "".join(models) + SETTINGS)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        origin = f"http://127.0.0.1:{port}"
        command = [self.options.litellm, "--config", config, "--host", "127.0.0.1"]
        program = self.start(
            "litellm",
            [*command, "--port", str(port), "--num_workers", "1"],
            SPEND_LOG=str(self.spend_log),
            LITELLM_LOCAL_MODEL_COST_MAP="True",
            PYTHONUNBUFFERED="1",
        )
        program.wait_until(lambda: answers(f"{origin}/health/liveliness"), READY_S)
        return origin

    def run(self, leg, origin, upstream, journal, recorded):
        """Runs the scenario and joins LiteLLM's spend log; the leg's facts.

        `origin` is LiteLLM's, `upstream` the tap before its upstream."""
        tap = self.tap(origin)
        out, log = self.folder / leg.name, self.folder / f"{leg.name}.log"
        overrides = {
            "target.model": text(leg.model),
            "target.truth": text(journal),
            "pricing.recorded": f"[{', '.join(map(text, recorded))}]",
            **leg.settings,
        }
        if leg.prices.cache_read is not None:
            overrides["pricing.table"] = text(self.table(leg))
        command = [self.options.weighbridge, "run", SCENARIO, "--target", tap.origin, "--out", out]
        command += ["--quiet"]
        command += [part for k, v in overrides.items() for part in ("--set", f"{k}={v}")]
        code = self.weighbridge(leg, command, log)
        if not (out / "report.json").is_file():
            raise Failure(f"leg {leg.name}: no report, exit code {code}:\n{log.read_text()}")
        report = json.loads((out / "report.json").read_text())
        rows = self.spend_rows(leg, out)
        command = [self.options.weighbridge, "report", out, "--ledger", self.spend_log]
        self.weighbridge(leg, command, self.folder / f"{leg.name}-report.log")
        bytes_of = tap.exchanges(), upstream.exchanges()
        facts = checks.Facts.read(leg, out, code, report, *bytes_of, rows)
        self.keep_bytes(facts, self.folder / f"{leg.name}-bytes")
        return facts

    def overhead(self, leg):
        """Runs `weighbridge overhead` with the leg's model; its exit code and folder."""
        out, log = self.folder / "overhead", self.folder / "overhead.log"
        command = [self.options.weighbridge, "overhead", SCENARIO, "--out", out, "--quiet"]
        command += ["--direct", self.upstreams[leg.name], "--via", self.gateway]
        command += ["--concurrency", ",".join(map(str, self.options.levels))]
        command += ["--requests", str(OVERHEAD_REQUESTS), "--blocks", str(BLOCKS)]
        command += ["--set", f"target.model={text(leg.model)}", "--budget", "20 USD"]
        return self.weighbridge(leg, command, log, OVERHEAD_S), out

    def keep_bytes(self, facts, folder):
        """Writes what passed of the findings' examples: a file for each request and answer."""
        folder.mkdir()
        for nonce in {nonce for f in facts.findings() for nonce in f["examples"]}:
            for side, found in (("client", facts.ours), ("upstream", facts.theirs)):
                for n, exchange in enumerate(found.get(nonce, [])):
                    head = "".join(f"{k}: {v}\n" for k, v in exchange.headers.items())
                    stem = f"{nonce}-{side}-{n}"
                    (folder / f"{stem}-request.json").write_bytes(exchange.request)
                    answer = head.encode() + b"\n" + exchange.body
                    (folder / f"{stem}-answer.txt").write_bytes(answer)

    def weighbridge(self, leg, command, log, limit_s=RUN_S):
        """Runs it to its end; the exit code."""
        with open(log, "wb") as stream:
            try:
                return subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    env=self.environment(),
                    timeout=limit_s,
                ).returncode
            except subprocess.TimeoutExpired as error:
                raise Failure(f"leg {leg.name}: no end after {limit_s} s; see {log}") from error

    def table(self, leg):
        """A price table with the leg's prices; its path."""
        prices = leg.prices
        cells = {"model": leg.model, "currency": "USD", "per_tokens": 1_000_000}
        cells |= {"input": prices.input, "output": prices.output, "cache_read": prices.cache_read}
        # None is written, but a budget wants to know.
        cells |= {"cache_write_5m": prices.input, "cache_write_1h": prices.input}
        path = self.folder / f"{leg.name}-prices.csv"
        with open(path, "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            for row in (cells, cells.values()):
                table.writerow(digits(c * 10**6) if isinstance(c, Fraction) else c for c in row)
        return path

    def spend_rows(self, leg, out):
        """LiteLLM's rows, once there is one of the leg's model for each request."""
        with open(out / "requests.csv", newline="", encoding="utf-8") as file:
            wanted = sum(1 for _ in csv.DictReader(file))
        deadline = time.monotonic() + SPEND_LOG_S
        while True:
            with open(self.spend_log, newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            own = sum(row["model_group"] == leg.model for row in rows)
            # What does not come is for the checks to say.
            if own >= wanted or time.monotonic() > deadline:
                return rows
            time.sleep(0.1)


def text(value):
    """A TOML string; none of ours needs escapes."""
    return f'"{value}"'


def digits(fraction):
    """A price as a plain decimal number: 0.0000005, which every YAML reader takes for a number."""
    return format(decimal.Decimal(fraction.numerator) / fraction.denominator, "f")


def answers(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def broken(kind, leg):
    """The leg with one thing wrong, and the checks that must see it."""
    fails = {
        "price": {"costs", "defects", "verdict"},
        "surface": {"cost places", "costs", "bytes", "spend log", "defects", "verdict"},
        "truth": {"truth joined", "defects", "texts", "tool calls"},
        # The harness refuses the run before its load.
        "model": {"run"},
    }[kind]
    return dataclasses.replace(leg, name=f"{leg.name}-{kind}"), fails


def stage_legs(stage, legs, kind=None):
    """Starts everything and gives the facts of each leg."""
    origins = {leg.name: stage.mock(leg) for leg in legs}
    upstreams = {leg.name: stage.tap(origins[leg.name]) for leg in legs}
    models = []
    for leg in legs:
        dear = 2 if kind == "price" else 1
        name = "another" if kind == "model" else leg.model
        prices = leg.prices
        entry = MODEL if prices.cache_read is None else MODEL + CACHED
        models.append(
            entry.format(
                model=name,
                origin=upstreams[leg.name].origin,
                input=digits(prices.input),
                output=digits(prices.output * dear),
                cache_read=digits(prices.cache_read or prices.input),
            )
        )
    gateway = stage.gateway = stage.litellm(models)
    stage.upstreams = origins
    recorded = ["body:/cost", "stream:/cost"] if kind == "surface" else RECORDED
    # The journal of an upstream that nobody asked anything.
    journals = {leg.name: origins[leg.name] for leg in legs}
    if kind == "truth":
        idle = dataclasses.replace(legs[0], name="idle")
        journals = {leg.name: stage.mock(idle) for leg in legs}
    for leg in legs:
        started = time.monotonic()
        journal = f"{journals[leg.name]}/__mock/journal"
        facts = stage.run(leg, gateway, upstreams[leg.name], journal, recorded)
        say(f"leg {leg.name}: {leg.about} ({time.monotonic() - started:.0f} s)")
        yield facts


def say(line):
    print(line, flush=True)


def check(options):
    """The whole check; whether it passed."""
    passed = True
    with Stage(options) as stage:
        done = []
        for facts in stage_legs(stage, checks.LEGS):
            for name, problems in checks.run_all(facts):
                passed &= not problems
                say(f"  {'ok    ' if not problems else 'FAILED'} {name}")
                for problem in problems[:5]:
                    say(f"         {problem}")
            blind = list(checks.blind(facts))
            passed &= not blind
            for name in blind:
                say(f"  FAILED `{name}` also passes on facts that were made wrong")
            done.append(facts)
        code, folder = stage.overhead(checks.CONTROL)
        problems = list(checks.overhead(code, folder, options.levels, OVERHEAD_REQUESTS, BLOCKS))
        passed &= not problems
        say("overhead: what LiteLLM adds to the upstream of the control")
        say(f"  {'ok    ' if not problems else 'FAILED'} overhead")
        for problem in problems[:5]:
            say(f"         {problem}")
        say((folder / "overhead.txt").read_text())
    say("")
    for facts in done:
        for line in facts.findings_in_words():
            say(line)
    say("")
    say("the gateway check passed" if passed else f"the gateway check FAILED; see {stage.folder}")
    return passed


def check_broken(options, kind):
    """Breaks one thing of the leg without defects; whether every check that must see it does."""
    leg, wanted = broken(kind, checks.CONTROL)
    with Stage(options) as stage:
        try:
            (facts,) = stage_legs(stage, [leg], kind)
            results = list(checks.run_all(facts))
        except Failure as failure:
            results = [("run", [str(failure)])]
    failed = {name for name, problems in results if problems}
    for name, problems in results:
        say(f"  {'failed' if problems else 'ok    '} {name}")
        for problem in problems[:2]:
            say(f"         {problem}")
    say(f"broken on purpose ({kind}): {'seen' if wanted <= failed else 'NOT SEEN'}")
    return wanted <= failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("weighbridge", "mock", "litellm", "work"):
        # Not resolved: a virtual environment is found by the path of its link.
        parser.add_argument(f"--{name}", type=lambda p: pathlib.Path(p).absolute(), required=True)
    levels = {"type": lambda text: [int(n) for n in text.split(",")], "default": LEVELS}
    parser.add_argument("--levels", **levels)
    parser.add_argument("--break", dest="broken", choices=("price", "surface", "truth", "model"))
    options = parser.parse_args()
    # A signal ends in the stage's exit, which stops the programs.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        passed = check_broken(options, options.broken) if options.broken else check(options)
    except Failure as failure:
        say(f"the gateway check FAILED: {failure}")
        passed = False
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
