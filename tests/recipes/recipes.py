"""Runs the recipes of a document and compares what they print with what it says."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

PORT = "8080"  # the one that recipes are written with
RELEASE = "target/release"  # the folder that recipes are written with
BINARIES = os.environ.get("BINARIES") or RELEASE
LIMIT_S = 60
RECIPE = re.compile(r"^\*\*(?P<title>\d\. .+?)\*\*.*?^```bash\n(?P<commands>.*?)^```\n+^```text\n(?P<printed>.*?)^```", re.M | re.S)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def run(commands):
    """Exit code and output of a shell of its own, of which nothing is left behind."""
    with tempfile.TemporaryFile("w+") as output:
        shell = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", commands],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = shell.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            # What a recipe leaves in the background, too.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
        output.seek(0)
        return code, output.read()


def missing(printed, output):
    """The first line that was not printed after those before it."""
    lines = iter(output.splitlines())
    for wanted in printed.splitlines():
        if wanted != "..." and wanted not in lines:
            return wanted
    return None


def main(document):
    failed = 0
    recipes = list(RECIPE.finditer(Path(document).read_text()))
    for recipe in recipes:
        port = free_port()
        code, output = run(recipe["commands"].replace(PORT, port).replace(RELEASE, BINARIES))
        output = output.replace(port, PORT)
        absent = missing(recipe["printed"], output)
        good = code == 0 and absent is None
        print(f"{'ok  ' if good else 'FAIL'}  {recipe['title']}")
        if not good:
            failed += 1
            print(f"exit code {code} (None is none within {LIMIT_S} s); missing: {absent!r}; the output was:\n{output}")
    print(f"{len(recipes) - failed} passed, {failed} failed")
    return 0 if recipes and not failed else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
