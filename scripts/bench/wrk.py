"""The load generator wrk, on core 1."""

import json
import os
import shutil
import subprocess
from typing import Final

from scripts.bench import harness
from scripts.bench.servers import WORK
from scripts.command import CommandError

_REPORT: Final = """
done = function(summary, latency)
  local failed = 0
  for _, number in pairs(summary.errors) do failed = failed + number end
  io.write(string.format("@%d %d %f %f %f %f", failed, summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
"""
_POST: Final = """
wrk.method, wrk.body, wrk.headers["Content-Type"] = "POST", %s, "application/json"
"""


def check(*others: str) -> None:
    """Look for what a benchmark of servers needs.

    Raises:
        CommandError: the machine lacks a program or a core.
    """
    if not all(map(shutil.which, ("wrk", "taskset", *others))) or (os.cpu_count() or 1) < 2:
        programs = " and ".join(("wrk", *others))
        raise CommandError(f"needs two cores, and {programs}: see scripts/debian_packages.sh")


def start(url: str, connections: int, seconds: int, script: str) -> subprocess.Popen[str]:
    """Send requests on a number of connections, as a script in Lua says."""
    file = WORK / f"wrk-{connections}.lua"
    file.write_text(script)
    wrk = ("wrk", "--threads=1", f"--connections={connections}", f"--duration={seconds}s", "--timeout=30s")
    words = ("taskset", "--cpu-list", "1", *wrk, "--latency", f"--script={file}", url)
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def run(url: str, connections: int, seconds: int, body: str | None = None) -> harness.Figures:
    """Send requests, POST if there is a body: their number, seconds, percentiles of latency in ms.

    Raises:
        CommandError: an answer was not a success.
    """
    with start(url, connections, seconds, _REPORT + (_POST % json.dumps(body) if body else "")) as process:
        output, _ = process.communicate()
    failed, *load = map(float, output.rpartition("@")[2].split())
    if failed or not load[0]:
        raise CommandError(f"{connections} connections, {url}:\n{output}")
    return dict(zip(("requests", "seconds", "p50_ms", "p99_ms", "longest_ms"), load, strict=True))
