"""What an environment costs a month by list price: `scripts/cost dev`.

Reads the synthesized stacks and the prices of the region (scripts/deployment/list_prices). Each figure is a
range: idle, with the fewest nodes; full, with the most. What depends on traffic is listed with its price, and
what has no price here by name: neither is in the sums. Exit status: 0 shown, 1 no prices for the region.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from infra.environment import Environment
from scripts.command import TARGET, CommandError, command
from scripts.deployment import prices
from scripts.deployment.prices import Cost
from scripts.deployment.terraform import Synthesis, synthesize


def of_stack(configuration: Mapping[str, Any], region: str) -> list[Cost]:
    """What the resources of a stack cost."""
    return [
        cost
        for kind, named in configuration.get("resource", {}).items()
        for values in named.values()
        for cost in prices.costs(kind, values, region)
    ]


def total(costs: Sequence[Cost], what: str) -> Cost:
    """The sum of costs."""
    return Cost(what, sum(each.idle for each in costs), sum(each.full for each in costs))


def _show(target: Environment, synthesis: Synthesis) -> None:
    dollars = [Column(each, justify="right") for each in ("idle", "full")]
    table = Table("stack", "what", *dollars, title=f"{target.name}: US dollars a month, list prices")

    def add(stack: str, what: str, cost: Cost) -> None:
        table.add_row(stack, what, f"{cost.idle:,.2f}", f"{cost.full:,.2f}", end_section=bool(stack))

    kinds: set[str] = set()
    every: list[Cost] = []
    for stack in synthesis.stacks:
        configuration = synthesis.configuration(stack)
        kinds |= configuration.get("resource", {}).keys()
        costs = of_stack(configuration, target.region)
        every += costs
        for each in costs:
            add("", each.what, each)
        if costs:
            add(stack, "together", total(costs, stack))
    add(target.name, "all stacks", total(every, target.name))
    listed = prices.prices(target.region)
    lines = ["By use, not in the sums:"]
    lines += [f"  {each['what']} ({each['date']})" for kind, each in listed["use"].items() if kind in kinds]
    lines += ["Not counted:"]
    lines += [f"  {text}" for kind, text in listed["not_counted"].items() if kind in kinds]
    console = Console()
    console.print(table)
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


@command("cost", TARGET)
def main(target: Environment) -> int:
    """Print what is billed, with sums, and what is not counted."""
    if target.name == "local":
        raise CommandError("local runs on this machine and costs nothing")
    with tempfile.TemporaryDirectory(prefix="cost-") as folder:
        _show(target, synthesize(target.name, Path(folder) / "out"))
    return 0
