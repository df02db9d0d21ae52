"""Starts the mocks, runs the checks of every SDK against them, and says which of them passed.

Runs in the environment of the Python SDKs. Every program is stopped by its process id, whatever happens.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import cases

HERE = pathlib.Path(__file__).resolve().parent
COLUMNS_S = 240
STOP_S = 10
CELL = 20


class Failure(Exception):
    """What the suite cannot go on with."""


class Stage:
    """The programs of a run, with their files in a folder."""

    def __init__(self, options, broken):
        self.options, self.broken = options, broken
        self.folder = options.work / "runs" / (broken or "whole")
        self.programs = {}
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for program in self.programs.values():
            if program.poll() is None:
                program.terminate()
        for program in self.programs.values():
            try:
                program.wait(STOP_S)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait(STOP_S)

    def file(self, name, suffix):
        return self.folder / f"{name.replace(' ', '-')}.{suffix}"

    def start(self, name, command, stdin, stdout):
        # Nothing of the caller's but where programs are: no keys, no proxies, no home.
        kept = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
        environment = {**kept, "HOME": str(self.folder)}
        with open(self.file(name, "err"), "wb") as stderr:
            program = subprocess.Popen(
                command, stdin=stdin, stdout=stdout, stderr=stderr, env=environment
            )
        self.programs[name] = program
        return program

    def mock(self, name):
        """Starts a mock; its origin."""
        config = self.file(name, "toml")
        config.write_text(cases.config(name, self.broken))
        command = [self.options.mock, "--listen", "127.0.0.1:0", "--config", config]
        program = self.start(name, command, subprocess.DEVNULL, subprocess.PIPE)
        # The line comes at once, or the program ends and with it this wait.
        line = program.stdout.readline().decode()
        if not line.startswith("listening on "):
            raise Failure(f"the mock {name} did not start: {self.file(name, 'err').read_text()}")
        return line.removeprefix("listening on ").strip()

    def column(self, name, plan):
        """Starts the checks of an SDK."""
        _, script, *arguments = cases.COLUMNS[name]
        if script.endswith(".py"):
            command = [sys.executable, "-B", HERE / script]
        else:
            command = [self.options.node, self.options.modules / script]
        checks = [
            (case.name, way) for case in cases.CASES if name in case.columns for way in case.ways
        ]
        wanted = self.file(name, "json")
        wanted.write_text(json.dumps({**plan, "checks": checks}))
        with open(wanted, "rb") as stdin, open(self.file(name, "out"), "wb") as stdout:
            return self.start(name, [*command, *arguments], stdin, stdout)

    def run(self):
        """Runs every column; the version that each found, and the problem of each check or None."""
        plan = cases.plan({name: self.mock(name) for name in cases.MOCKS})
        columns = {name: self.column(name, plan) for name in cases.COLUMNS}
        deadline = time.monotonic() + COLUMNS_S
        versions, problems = {}, {}
        for name, program in columns.items():
            try:
                program.wait(max(deadline - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                program.kill()
            lines = [json.loads(line) for line in self.file(name, "out").read_text().splitlines()]
            if not lines:
                raise Failure(f"{name} said nothing: {self.file(name, 'err').read_text()}")
            versions[name] = lines.pop(0)["version"]
            for line in lines:
                problems[name, line["case"], line["way"]] = line["problem"]
        return versions, problems


def pinned():
    """The version of each column's package that was asked for."""
    python = dict(line.split("==") for line in (HERE / "constraints.txt").read_text().split())
    node = json.loads((HERE / "package.json").read_text())["dependencies"]
    return {
        name: (python if script.endswith(".py") else node)[package]
        for name, (package, script, *_) in cases.COLUMNS.items()
    }


def say(line=""):
    print(line, flush=True)


def table(problems, versions):
    """A row for each case: how many of its ways pass with each SDK."""
    width = max(len(case.name) for case in cases.CASES) + 2

    def row(name, cells):
        say(f"{name:{width}}" + "".join(f"{cell:<{CELL}}" for cell in cells).rstrip())

    row("", cases.COLUMNS)
    row("version", (versions[name] for name in cases.COLUMNS))
    for case in cases.CASES:
        cells = []
        for column in cases.COLUMNS:
            if column not in case.columns:
                cells.append("")
                continue
            good = sum(problems[column, case.name, way] is None for way in case.ways)
            whole = good == len(case.ways)
            cells.append(f"{good}" if whole else f"{good} of {len(case.ways)} FAILED")
        row(case.name, cells)
    say()


def run(options, broken=None):
    """Every check's problem, or None; and the versions of the SDKs."""
    with Stage(options, broken) as stage:
        versions, seen = stage.run()
    wanted = [
        (column, case.name, way)
        for case in cases.CASES
        for column in case.columns
        for way in case.ways
    ]
    if strange := set(seen) - set(wanted):
        raise Failure(f"checks that nobody asked for: {sorted(strange)}")
    return versions, {check: seen.get(check, "did not run") for check in wanted}


def check(options):
    """The whole suite; whether it passed."""
    started = time.monotonic()
    versions, problems = run(options)
    table(problems, versions)
    for name, version in pinned().items():
        if versions[name] != version:
            raise Failure(f"{name}: version {versions[name]} runs, {version} is pinned")
    failed = 0
    for (column, case, way), problem in problems.items():
        if problem is not None:
            failed += 1
            say(f"FAILED {column}: {case}, {way}: {problem}")
    passed = len(problems) - failed
    say(f"{time.monotonic() - started:.0f} s; logs in {options.work / 'runs'}")
    say(f"{passed} passed, {failed} failed")
    return not failed


def check_broken(options, broken):
    """Breaks the mocks; whether every check that must see it does."""
    _, problems = run(options, broken)
    must = [
        (column, case.name, way)
        for case in cases.CASES
        for column in case.columns
        for way in case.ways
        if case.must_fail(column, broken)
    ]
    blind = [check for check in must if problems[check] is None]
    for check in blind:
        say(f"NOT SEEN by {', '.join(check)}")
    say(
        f"broken on purpose ({broken}): seen by {len(must) - len(blind)} of {len(must)} checks that must"
    )
    return not blind


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("mock", "node", "modules", "work"):
        parser.add_argument(f"--{name}", type=lambda p: pathlib.Path(p).absolute(), required=True)
    parser.add_argument("--break", dest="broken", choices=(*cases.BREAKS, "all"))
    options = parser.parse_args()
    # A signal ends in the stage's exit, which stops the programs.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    unbreakable = [
        (case.name, column)
        for case in cases.CASES
        for column in case.columns
        if not any(case.must_fail(column, broken) for broken in cases.BREAKS)
    ]
    try:
        if unbreakable:
            raise Failure(f"nothing proves that these can fail: {unbreakable}")
        if options.broken is None:
            passed = check(options)
        else:
            kinds = cases.BREAKS if options.broken == "all" else [options.broken]
            passed = all([check_broken(options, broken) for broken in kinds])
    except Failure as failure:
        say(f"the suite FAILED: {failure}")
        passed = False
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
