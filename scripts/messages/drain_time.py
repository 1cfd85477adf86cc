"""Compute how long a backlog takes to drain, and whether the oldest message meets its objective meanwhile.

    scripts/drain_time --backlog 1000000 --rate 500 --replicas 5

Messages arrive at rate r and are served at capacity c: a backlog b changes by r - c a second (the fluid limit
of a queue; Kleinrock, Queueing Systems I, 1975, section 2.7). It is drained after

    b / (c - r)    if c > r, 0 if b = 0 and c = r, else never,    c = replicas * cpu * utilization / cost

where cost is the CPU time per message; by default the last result of `make bench-streaming`. Messages are
served in order of arrival: one that arrives after s seconds is served at (b + r s) / c. With c > r the first
one waits longest: b / c.
"""

import json
import math
from typing import Final

from rich.console import Console
from rich.table import Table

from scripts.command import CommandError, argument, command
from scripts.paths import BENCH

_MEASURED: Final = BENCH / "streaming.json"


def drain(backlog: float, rate: float, capacity: float) -> tuple[float, float]:
    """Seconds until a backlog is drained, and the longest wait of a message; rates are per second."""
    if rate > capacity:
        return math.inf, math.inf
    longest = backlog / capacity
    if rate == capacity:
        return math.inf if backlog else 0.0, longest
    return backlog / (capacity - rate), longest


@command(
    "drain_time",
    argument("--backlog", type=float, default=0, help="messages waiting at the start"),
    argument("--rate", type=float, default=0, help="messages arriving per second"),
    argument("--replicas", type=int, default=1, help="number of pods"),
    argument("--cpu", type=float, default=1, help="CPUs of a pod; a process uses one at most"),
    argument("--utilization", type=float, default=0.7, help="usable share of the CPUs"),
    argument("--cost", type=float, help="CPU microseconds per message; default: as measured"),
    argument("--objective", type=float, default=300, help="most seconds a message may wait"),
)
def main(
    replicas: int, cpu: float, utilization: float, cost: float | None, objective: float, **load: float
) -> int:
    """Print the figures; 1 if the objective does not hold."""
    if cost is None:
        if not _MEASURED.exists():
            raise CommandError("give --cost, or run `make bench-streaming` first")
        cost = float(json.loads(_MEASURED.read_text(encoding="utf-8"))["ours"]["cpu_us"])
    capacity = replicas * min(cpu, 1) * utilization / cost * 1e6
    drained, longest = drain(**load, capacity=capacity)
    table = Table("", "", show_header=False)
    table.add_row("cost of a message", f"{cost:.0f} us")
    table.add_row("capacity", f"{capacity:,.0f} messages/s")
    table.add_row("drained after", f"{drained:,.0f} s")
    table.add_row("longest wait of a message", f"{longest:,.0f} s")
    table.add_row(f"objective of {objective:,.0f} s", "holds" if longest <= objective else "does NOT hold")
    Console().print(table)
    return int(longest > objective)
