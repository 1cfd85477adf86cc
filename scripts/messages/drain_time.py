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

from scripts.command import command_parser
from scripts.paths import BENCH

_MEASURED: Final = BENCH / "streaming.json"


@dataclass(frozen=True)
class Load:
    """A backlog, its arrivals and the capacity that drains it.

    Attributes:
        backlog: messages waiting at the start.
        rate: messages arriving per second.
        capacity: messages served per second.
        outage_seconds: time at the start in which nothing is served.
    """

    backlog: float
    rate: float
    capacity: float
    outage_seconds: float

    @property
    def peak(self) -> float:
        """Messages waiting when the outage ends."""
        return self.backlog + self.rate * self.outage_seconds

    @property
    def drain_seconds(self) -> float:
        """Seconds until the backlog is empty; infinite if more arrives than can be served."""
        if self.capacity > self.rate:
            return self.outage_seconds + self.peak / (self.capacity - self.rate)
        return math.inf if self.peak or self.rate > self.capacity else self.outage_seconds

    @property
    def oldest_seconds(self) -> float:
        """The longest wait of a message from the start on."""
        if self.rate > self.capacity:
            return math.inf
        return self.outage_seconds + self.backlog / self.capacity


def main() -> int:
    """Returns 1 if the objective does not hold."""
    parser = command_parser(__doc__)
    parser.add_argument("--backlog", type=float, default=0, help="messages waiting at the start")
    parser.add_argument("--rate", type=float, default=0, help="messages arriving per second")
    parser.add_argument("--replicas", type=int, default=1, help="number of pods")
    parser.add_argument("--cpu", type=float, default=1, help="CPUs of a pod; a process uses one at most")
    parser.add_argument("--utilization", type=float, default=0.7, help="usable share of the CPUs")
    parser.add_argument("--cost", type=float, help="CPU microseconds per message; default: as measured")
    parser.add_argument(
        "--outage", type=float, default=0, help="seconds at the start in which nothing is served"
    )
    parser.add_argument("--objective", type=float, default=300, help="most seconds a message may wait")
    options = parser.parse_args()
    cost = options.cost
    if not cost:
        if not _MEASURED.exists():
            parser.error("give --cost, or run `make bench-streaming` first")
        cost = json.loads(_MEASURED.read_text(encoding="utf-8"))["ours"]["cpu_us"]
    capacity = options.replicas * min(options.cpu, 1) * options.utilization / cost * 1e6
    load = Load(options.backlog, options.rate, capacity, options.outage)
    holds = load.oldest_seconds <= options.objective
    table = Table("", "", show_header=False)
    for name, value in (
        ("cost of a message", f"{cost:.0f} us"),
        ("capacity", f"{capacity:,.0f} messages/s"),
        ("backlog at the end of the outage", f"{load.peak:,.0f} messages"),
        ("drained after", f"{load.drain_seconds:,.0f} s"),
        ("longest wait of a message", f"{load.oldest_seconds:,.0f} s"),
        (f"objective of {options.objective:,.0f} s", "holds" if holds else "does NOT hold"),
    ):
        table.add_row(name, value)
    Console().print(table)
    return int(not holds)
