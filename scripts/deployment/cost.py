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
from scripts.deployment.terraform_plans import Synthesis, synthesize


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


def show(target: Environment, synthesis: Synthesis, console: Console) -> None:
    """Print what is billed, with sums, and what is not counted."""
    dollars = [Column(each, justify="right") for each in ("idle", "full")]
    table = Table("stack", "what", *dollars, title=f"{target.name}: US dollars a month, list prices")
    sums: list[Cost] = []
    for stack in synthesis.stacks:
        costs = of_stack(synthesis.configuration(stack), target.region)
        sums.append(total(costs, stack))
        for each in [*costs, sums[-1]] if costs else ():
            name, what = ("", each.what) if each is not sums[-1] else (stack, "together")
            table.add_row(name, what, f"{each.idle:,.2f}", f"{each.full:,.2f}", end_section=bool(name))
    whole = total(sums, target.name)
    table.add_row(target.name, "all stacks", f"{whole.idle:,.2f}", f"{whole.full:,.2f}")
    console.print(table)
    listed = prices.prices(target.region)
    kinds = {
        kind for stack in synthesis.stacks for kind in synthesis.configuration(stack).get("resource", {})
    }
    used = [each for kind, each in listed["use"].items() if kind in kinds]
    missing = [text for kind, text in listed["not_counted"].items() if kind in kinds]
    lines = ["By use, not in the sums:"]
    lines += [f"  {each['what']} ({each['date']})" for each in used]
    lines += ["Not counted:", *(f"  {text}" for text in missing)]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


@command("cost", TARGET)
def main(target: Environment) -> int:
    """Print the costs; returns the exit status."""
    if target.name == "local":
        raise CommandError("local runs on this machine and costs nothing")
    with tempfile.TemporaryDirectory(prefix="cost-") as folder:
        show(target, synthesize(target.name, Path(folder) / "out"), Console())
    return 0
