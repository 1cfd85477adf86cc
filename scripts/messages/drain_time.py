"""Compute how long a backlog takes to drain, and whether the oldest message meets its objective meanwhile.

    scripts/drain_time --backlog 1000000 --rate 500 --replicas 5
    scripts/drain_time --backlog 0 --rate 500 --outage 600 --replicas 5

Messages arrive at rate r and are served at capacity c: the backlog changes by r - c a second (the fluid limit
of a queue; Kleinrock, Queueing Systems I, 1975, section 2.7). A backlog of b messages is drained after

    t = b / (c - r)    if c > r, else never,    c = replicas * cpu * utilization / cost

where cost is the CPU time per message. During an outage of o seconds nothing is served and b grows by r per
second. Messages are served in order of arrival: one that arrives s seconds after the start is served at
o + (b + r s) / c, so it waits s less than that. With c > r the first one waits longest: o + b / c.

The default cost is the last result of `make bench-streaming`.
"""

import json
import math
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

from scripts.command import CommandError, argument, command
from scripts.paths import BENCH

_MEASURED: Final = BENCH / "streaming.json"


@dataclass(frozen=True)
class Load:
    """A backlog, its arrivals and the capacity that drains it.

    Attributes:
        backlog: messages waiting at the start.
        rate: messages arriving per second.
        capacity: messages served per second.
        outage: seconds at the start in which nothing is served.
    """

    backlog: float
    rate: float
    capacity: float
    outage: float

    @property
    def peak(self) -> float:
        """Messages waiting when the outage ends."""
        return self.backlog + self.rate * self.outage

    @property
    def drain_seconds(self) -> float:
        """Seconds until the backlog is empty; infinite if more arrives than can be served."""
        if self.capacity > self.rate:
            return self.outage + self.peak / (self.capacity - self.rate)
        return math.inf if self.peak or self.rate > self.capacity else self.outage

    @property
    def oldest_seconds(self) -> float:
        """The longest wait of a message from the start on."""
        if self.rate > self.capacity:
            return math.inf
        return self.outage + self.backlog / self.capacity


@command(
    "drain_time",
    argument("--backlog", type=float, default=0, help="messages waiting at the start"),
    argument("--rate", type=float, default=0, help="messages arriving per second"),
    argument("--replicas", type=int, default=1, help="number of pods"),
    argument("--cpu", type=float, default=1, help="CPUs of a pod; a process uses one at most"),
    argument("--utilization", type=float, default=0.7, help="usable share of the CPUs"),
    argument("--cost", type=float, help="CPU microseconds per message; default: as measured"),
    argument("--outage", type=float, default=0, help="seconds at the start in which nothing is served"),
    argument("--objective", type=float, default=300, help="most seconds a message may wait"),
)
def main(
    replicas: int, cpu: float, utilization: float, cost: float | None, objective: float, **given: float
) -> int:
    """Returns 1 if the objective does not hold."""
    if cost is None:
        if not _MEASURED.exists():
            raise CommandError("give --cost, or run `make bench-streaming` first")
        cost = float(json.loads(_MEASURED.read_text(encoding="utf-8"))["ours"]["cpu_us"])
    load = Load(**given, capacity=replicas * min(cpu, 1) * utilization / cost * 1e6)
    holds = load.oldest_seconds <= objective
    table = Table("", "", show_header=False)
    for name, value in (
        ("cost of a message", f"{cost:.0f} us"),
        ("capacity", f"{load.capacity:,.0f} messages/s"),
        ("backlog at the end of the outage", f"{load.peak:,.0f} messages"),
        ("drained after", f"{load.drain_seconds:,.0f} s"),
        ("longest wait of a message", f"{load.oldest_seconds:,.0f} s"),
        (f"objective of {objective:,.0f} s", "holds" if holds else "does NOT hold"),
    ):
        table.add_row(name, value)
    Console().print(table)
    return int(not holds)
