"""What the benchmarks share: medians of runs, tables, and results as JSON."""

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from rich.table import Table

from scripts.paths import BENCH

Run = TypeVar("Run")


def median(runs: Sequence[Run]) -> Run:
    """The median of each field.

    Args:
        runs: instances of one dataclass whose fields are numbers.
    """
    values: list[Any] = [*runs]
    columns = zip(*map(dataclasses.astuple, values), strict=True)
    return type(runs[0])(*(statistics.median(column) for column in columns))


def table(title: str, *headings: str) -> Table:
    """An empty table: names on the left, numbers aligned to the right."""
    result = Table("", title=title)
    for heading in headings:
        result.add_column(heading, justify="right")
    return result


def write(
    name: str, unit: str, *, ours: object, peers: Mapping[str, Any], ratios: Mapping[str, float], **more: Any
) -> None:
    """Write `build/bench/NAME.json`.

    Args:
        name: of the benchmark.
        unit: of the ratios' measure.
        ours: what was measured of this project.
        peers: likewise of each other program.
        ratios: each other program's measure divided by ours.
        more: other keys of the result.
    """
    BENCH.mkdir(parents=True, exist_ok=True)
    result = {"unit": unit, "ours": ours, "peers": peers, "ratios": ratios, **more}
    (BENCH / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
