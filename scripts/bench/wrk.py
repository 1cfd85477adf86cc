"""The load generator wrk, on core 1."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Final, NamedTuple

from scripts.bench.servers import WORK
from scripts.command import CommandError

_SCRIPT: Final = """
%s
done = function(summary, latency)
  local failed = 0
  for _, number in pairs(summary.errors) do failed = failed + number end
  io.write(string.format("@%%d %%d %%f %%f %%f %%f", failed, summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
"""
_POST: Final = """
wrk.method, wrk.body, wrk.headers["Content-Type"] = "POST", %s, "application/json"
"""


class Load(NamedTuple):
    """What was answered, and how fast."""

    requests: float
    seconds: float
    p50_ms: float
    p99_ms: float
    longest_ms: float


def check(*others: str) -> None:
    """Look for what a benchmark of servers needs.

    Raises:
        CommandError: the machine lacks a program or a core.
    """
    if not all(map(shutil.which, ("wrk", "taskset", *others))) or (os.cpu_count() or 1) < 2:
        programs = " and ".join(("wrk", *others))
        raise CommandError(f"needs two cores, and {programs}: see scripts/debian_packages.sh")


def command(url: str, connections: int, seconds: int) -> Sequence[str]:
    """Sends requests on a number of connections."""
    wrk = ("wrk", "--threads", "1", "--connections", str(connections), "--timeout", "30s")
    return ("taskset", "--cpu-list", "1", *wrk, "--duration", f"{seconds}s", "--latency", url)


def run(url: str, connections: int, seconds: int, body: str | None = None) -> Load:
    """Send requests: GET, or POST if there is a body.

    Raises:
        CommandError: an answer was not a success.
    """
    script = WORK / "wrk.lua"
    script.write_text(_SCRIPT % (_POST % json.dumps(body) if body else ""))
    words = [*command(url, connections, seconds), "--script", str(script)]
    output = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    failed, *load = map(float, output.rpartition("@")[2].split())
    if failed or not load[0]:
        raise CommandError(f"{connections} connections, {url}:\n{output}")
    return Load(*load)
