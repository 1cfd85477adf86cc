"""Show the diff of an environment: as text in the terminal, as Markdown in a pull request."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from scripts.deployment.terraform_plans import StackPlan

COMMENT_LIMIT: Final = 65_400
"""Most characters in a comment: 65,536 on GitHub, where the workflow adds the commit."""

_STYLES: Final = {"+": "green", "~": "yellow", "-": "red", "#": "bold"}
"""Colour of a line of a plan, by its first character."""

_SIGNS: Final = {"~": "!"}
"""GitHub colours a line of a diff by its first character, likewise; it has another one for updates."""

_LONGEST_LINE: Final = 300
_REMARK_BYTES: Final = 100
"""Reserved for the remark that lines were cut off."""

_MOST_NAMED: Final = 50
"""Most destroyed resources named at the top of a comment, which is never cut off."""


def show(stacks: Sequence[StackPlan], console: Console) -> None:
    """Print a table of the stacks, then what changes in each."""
    table = Table("stack", "what would change")
    for stack in stacks:
        table.add_row(stack.stack, stack.summary, style="red" if _is_alarming(stack) else "")
    console.print(table)
    if cost := _cost(stacks):
        console.print(cost, highlight=False, soft_wrap=True)
    for stack in stacks:
        lines = list(_lines(stack))
        if lines:
            console.print(f"\n[bold]{stack.stack}[/]", highlight=False)
        for sign, line in lines:
            console.print(
                f"  {line}", style=_STYLES.get(sign, ""), markup=False, highlight=False, soft_wrap=True
            )


def markdown(environment: str, stacks: Sequence[StackPlan]) -> str:
    """A comment for a pull request: at most `COMMENT_LIMIT` characters, each stack folded.

    Its first line names the environment, by which a later run finds and replaces the comment.
    """
    destroyed = [(stack.stack, change) for stack in stacks for change in stack.destructive]
    head = [f"<!-- diff of {environment} -->", f"### Diff of `{environment}`", ""]
    if destroyed:
        head += ["> [!CAUTION]", "> This destroys:"]
        head += [
            f"> - {stack}: {change.action} `{change.address}`" for stack, change in destroyed[:_MOST_NAMED]
        ]
        head += [f"> - and {len(destroyed) - _MOST_NAMED} more"] if len(destroyed) > _MOST_NAMED else []
        head += [""]
    head += ["| stack | what would change |", "|---|---|"]
    for stack in stacks:
        strong = "**" if _is_alarming(stack) else ""
        head.append(f"| {stack.stack} | {strong}{stack.summary}{strong} |")
    if cost := _cost(stacks):
        head += ["", cost]
    text = "\n".join(head) + "\n"
    details = {
        stack.stack: [f"{_SIGNS.get(sign, sign)} {line}" for sign, line in _lines(stack)] for stack in stacks
    }
    described = [stack for stack in stacks if details[stack.stack]]
    # Counts bytes, of which there are at least as many as characters. Short stacks leave room for long ones.
    left = COMMENT_LIMIT - len(text.encode())
    folded: dict[str, str] = {}
    for number, stack in enumerate(sorted(described, key=lambda stack: len("".join(details[stack.stack])))):
        folded[stack.stack] = _folded(stack, details[stack.stack], left // (len(described) - number))
        left -= len(folded[stack.stack].encode())
    return text + "".join(folded[stack.stack] for stack in described)


def _folded(stack: StackPlan, lines: list[str], limit: int) -> str:
    """A folded section with the lines of a stack, cut off to this many bytes."""
    runs: list[str] = re.findall("`+", "\n".join(lines))
    fence = "`" * max([3, *(len(run) + 1 for run in runs)])
    head = f"\n<details><summary>{stack.stack}: {stack.summary}</summary>\n\n{fence}diff\n"
    tail = f"{fence}\n\n</details>\n"
    left = limit - len((head + tail).encode()) - _REMARK_BYTES
    for number, line in enumerate(lines):
        left -= len(line.encode()) + 1
        if left < 0:
            remark = f"# and {len(lines) - number} more lines, too many for a comment: see the job's log\n"
            return head + "".join(f"{each}\n" for each in lines[:number]) + remark + tail
    return head + "".join(f"{each}\n" for each in lines) + tail


def _cost(stacks: Sequence[StackPlan]) -> str:
    """What the changes add to the costs; empty if none has a price."""
    known = [stack.cost for stack in stacks if stack.cost]
    idle, full = sum(each.idle for each in known), sum(each.full for each in known)
    if not (idle or full):
        return ""
    return (
        f"Costs by list price: {idle:+,.2f} US dollars a month without load, {full:+,.2f} at the limits "
        "(`scripts/cost` says what is counted)"
    )


def _is_alarming(stack: StackPlan) -> bool:
    return bool(stack.destructive) or stack.outcome == "failed"


def _lines(stack: StackPlan) -> Iterator[tuple[str, str]]:
    """The lines below the summary of a stack, each with its sign: one of `_STYLES`, or a space."""
    for upstream in stack.stale:
        yield "#", f"planned with outputs of {upstream} that change: run the diff again once it is deployed"
    for change in stack.drift:
        yield "#", f"changed outside of Terraform: {change.address}: {', '.join(change.fields)}"
    for line in stack.text.splitlines():
        sign = line.lstrip()[:1] if stack.outcome == "changed" else ""
        cut = line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}..."
        yield sign if sign in _STYLES else " ", cut
