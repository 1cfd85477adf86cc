"""Show what a deployment of an environment would change: `scripts/diff dev`, `scripts/diff prod messaging`.

Synthesizes once and plans every stack, or those named, in the order of deployment; applies and locks nothing.
A stack that reads outputs which do not exist yet is blocked; that is not a failure.

Exit status: 0 nothing would change, 2 something would change or is blocked, 1 an error (the other stacks are
planned all the same), 3 data, a cluster, an address or a key would be destroyed without `--allow-destroy`.
"""

import json
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from infra.environment import Environment
from scripts.command import TARGET, CommandError, argument, command
from scripts.deployment import access, plans, terraform
from scripts.deployment.plans import StackPlan
from scripts.laptop.install import TERRAFORM, tool_fault

COMMENT_LIMIT: Final = 65_400
"""Most characters in a comment: 65,536 on GitHub, where the workflow adds the commit."""

_STYLES: Final = {"+": "green", "~": "yellow", "-": "red", "#": "bold"}  # by a line's first character
_LONGEST_LINE: Final = 300
_REMARK_BYTES: Final = 100  # reserved for the remark that lines were cut off
_MOST_NAMED: Final = 50  # destroyed resources at the top of a comment, which is never cut off


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


def comment(environment: str, stacks: Sequence[StackPlan]) -> str:
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
    # GitHub colours a line by its first character, likewise; updates have another one.
    details = {
        stack.stack: [f"{sign.replace('~', '!')} {line}" for sign, line in _lines(stack)] for stack in stacks
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


@command(
    "diff",
    TARGET,
    argument("names", nargs="*", metavar="STACK", help="such as messaging; default: all"),
    argument("--markdown", type=Path, metavar="FILE", help="write a comment for a pull request"),
    argument("--json", type=Path, metavar="FILE", dest="file", help="write the whole diff as JSON"),
    argument(
        "--allow-destroy", action="append", default=[], metavar="ADDRESS", help="accept this loss; repeatable"
    ),
    wrong_arguments=1,
)
def main(
    target: Environment, names: list[str], markdown: Path | None, file: Path | None, allow_destroy: list[str]
) -> int:
    """Print the diff and write the files asked for."""
    console = Console()
    access.check_access(target)
    if fault := tool_fault(TERRAFORM):
        raise CommandError(fault)
    with tempfile.TemporaryDirectory(prefix="diff-") as folder:
        synthesis = terraform.synthesize(target.name, Path(folder) / "out")
        stacks = synthesis.select(names)
        with console.status("synthesized; planning") as progress:
            found: list[StackPlan] = []
            for each in plans.plan(synthesis, stacks):
                found.append(each)
                progress.update(f"planned {len(found)} of {len(stacks)} stacks")
    outcomes = {each.outcome for each in found}
    status = 1 if "failed" in outcomes else 0 if outcomes == {"unchanged"} else 2
    show(found, console)
    changes = [change for each in found for change in each.changes]
    lost = [each.address for each in changes if each.loses and each.address not in allow_destroy]
    if lost and status == 2:
        status = 3
        print(*(f"diff: --allow-destroy {address}?" for address in lost), sep="\n", file=sys.stderr)
    if markdown:
        markdown.write_text(comment(target.name, found), encoding="utf-8")
    if file:
        content = {"environment": target.name, "status": status, "stacks": msgspec.to_builtins(found)}
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return status
