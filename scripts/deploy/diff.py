"""What a deployment of an environment would change: `scripts/diff dev`, `scripts/diff prod messaging`.

Synthesizes once and plans every stack, or those named, in the order of deployment; applies nothing and locks
nothing. A stack that needs another one's outputs before those exist is blocked, which is no failure.

Exit status: 0 nothing would change, 2 something would or is blocked, 1 an error (the other stacks are planned
all the same).
"""

import argparse
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, NoReturn

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scripts.deploy import terraform_plans
from scripts.deploy.plan_changes import (
    LOUD,
    UNKNOWN,
    Change,
    Difference,
    Kind,
    changed_outputs,
    changes,
    drift,
)
from scripts.deploy.terraform_plans import Planned, PlanningError, Synthesis
from scripts.laptop.install import TERRAFORM, tool_fault

COMMENT_LIMIT: Final = 65_536
"""Most characters in a comment on GitHub."""

Outcome = Literal["unchanged", "changed", "blocked", "failed"]

_Look = Literal["plain", "new", "altered", "loud", "noted"]
_LOOKS: Final[dict[Kind, _Look]] = {
    "create": "new",
    "update": "altered",
    "replace": "loud",
    "destroy": "loud",
}
_STYLES: Final[dict[_Look, str]] = {
    "plain": "",
    "new": "green",
    "altered": "yellow",
    "loud": "bold white on red",
    "noted": "magenta",
}
# GitHub colours the lines of a diff by their first characters.
_SIGNS: Final[dict[_Look, str]] = {"plain": " ", "new": "+", "altered": "!", "loud": "-", "noted": "#"}
_LONGEST_VALUE: Final = 200
_REMARK_BYTES: Final = 100
"""Kept for the remark that something was cut off."""

_MOST_LOUD: Final = 50
"""Destroyed resources named at the top of a comment, where nothing is cut off."""


class StackDiff(msgspec.Struct, frozen=True):
    """What a deployment would do to one stack.

    Attributes:
        stack: its id.
        outcome: in a word.
        changes: of resources.
        outputs: names of outputs that change.
        drift: resources that changed outside of Terraform since the last apply.
        stale: stacks whose outputs this plan was made with, and which change these outputs themselves.
        blocked_by: what has to exist before there can be a plan.
        message: why it is blocked, or what failed.
    """

    stack: str
    outcome: Outcome
    changes: tuple[Change, ...] = ()
    outputs: tuple[str, ...] = ()
    drift: tuple[Change, ...] = ()
    stale: tuple[str, ...] = ()
    blocked_by: tuple[str, ...] = ()
    message: str = ""

    @property
    def counts(self) -> Counter[Kind]:
        """How many resources what happens to."""
        return Counter(change.kind for change in self.changes)

    @property
    def loud(self) -> tuple[Change, ...]:
        """Changes that destroy something."""
        return tuple(change for change in self.changes if change.kind in LOUD)

    @property
    def summary(self) -> str:
        """In a line."""
        match self.outcome:
            case "blocked":
                return f"blocked by {', '.join(self.blocked_by)}"
            case "failed":
                return "FAILED"
            case "unchanged":
                return "no changes"
            case "changed":
                parts = [f"{count} to {kind}" for kind, count in self.counts.items()]
                if self.outputs:
                    parts.append(f"outputs: {len(self.outputs)}")
                return ", ".join(parts)


class Diff(msgspec.Struct, frozen=True):
    """What a deployment would do to an environment."""

    environment: str
    stacks: tuple[StackDiff, ...]

    @property
    def status(self) -> int:
        """The exit status."""
        outcomes = {stack.outcome for stack in self.stacks}
        return 1 if "failed" in outcomes else 0 if outcomes == {"unchanged"} else 2


def diff(synthesis: Synthesis, stacks: Sequence[str]) -> Iterator[StackDiff]:
    """Plan stacks, in the order given; yields each when it is ready."""
    changing: dict[str, frozenset[str]] = {}
    for planned in terraform_plans.plan(synthesis, stacks):
        if planned.plan is not None:
            changing[planned.stack] = changed_outputs(planned.plan)
        reads = synthesis.reads(planned.stack)
        stale = sorted(each for each in reads if reads[each] & changing.get(each, frozenset()))
        yield _stack_diff(planned, tuple(stale))


def _stack_diff(planned: Planned, stale: tuple[str, ...]) -> StackDiff:
    if planned.plan is None:
        return StackDiff(
            planned.stack,
            "failed" if planned.error else "blocked",
            blocked_by=planned.blocked_by,
            message=planned.error or planned.blocked_because,
        )
    return StackDiff(
        planned.stack,
        "changed" if planned.changed else "unchanged",
        changes=changes(planned.plan),
        outputs=tuple(sorted(changed_outputs(planned.plan))),
        drift=drift(planned.plan),
        stale=stale,
    )


def show(result: Diff, console: Console) -> None:
    """Print a table of the stacks, then what changes in each."""
    table = Table("stack", "what would change")
    for stack in result.stacks:
        table.add_row(stack.stack, Text(stack.summary, _STYLES[_look(stack)]))
    console.print(table)
    for stack in result.stacks:
        # All of a new resource is new: its values are in the Markdown and the JSON.
        lines = list(_lines(stack, created=False))
        if lines:
            console.print(f"\n[bold]{stack.stack}[/]", highlight=False)
        for line in lines:
            console.print(
                f"  {line.text}", style=_STYLES[line.look], markup=False, highlight=False, soft_wrap=True
            )


def markdown(result: Diff) -> str:
    """A comment for a pull request: at most `COMMENT_LIMIT` characters, each stack folded.

    Its first line names the environment, so that the comment is found again and replaced.
    """
    loud = [(stack.stack, change) for stack in result.stacks for change in stack.loud]
    head = [f"<!-- diff of {result.environment} -->", f"### Diff of `{result.environment}`", ""]
    if loud:
        head += ["> [!CAUTION]", "> This destroys:"]
        head += [f"> - {stack}: `{_title(change)}`" for stack, change in loud[:_MOST_LOUD]]
        head += [f"> - and {len(loud) - _MOST_LOUD} more"] if len(loud) > _MOST_LOUD else []
        head += [""]
    head += ["| stack | what would change |", "|---|---|"]
    for stack in result.stacks:
        strong = "**" if _look(stack) == "loud" else ""
        head.append(f"| {stack.stack} | {strong}{stack.summary}{strong} |")
    text = "\n".join(head) + "\n"
    details = {
        stack.stack: [f"{_SIGNS[line.look]} {line.text}" for line in _lines(stack, created=True)]
        for stack in result.stacks
    }
    told = [stack for stack in result.stacks if details[stack.stack]]
    # Bytes: there are never fewer than characters. What short ones leave of their shares is the long ones'.
    left = COMMENT_LIMIT - len(text.encode())
    folded: dict[str, str] = {}
    for number, stack in enumerate(sorted(told, key=lambda stack: len("".join(details[stack.stack])))):
        folded[stack.stack] = _folded(stack, details[stack.stack], left // (len(told) - number))
        left -= len(folded[stack.stack].encode())
    return text + "".join(folded[stack.stack] for stack in told)


def _folded(stack: StackDiff, lines: list[str], limit: int) -> str:
    """A stack's lines below its summary, cut off to this many bytes."""
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


class _Line(msgspec.Struct, frozen=True):
    text: str
    look: _Look = "plain"


def _look(stack: StackDiff) -> _Look:
    return "loud" if stack.loud or stack.outcome == "failed" else "plain"


def _lines(stack: StackDiff, *, created: bool) -> Iterator[_Line]:
    """What is to tell of a stack below its summary.

    Args:
        stack: which.
        created: whether to tell the values of new resources.
    """
    for text in stack.message.splitlines():
        yield _Line(text)
    for upstream in stack.stale:
        yield _Line(
            f"planned with outputs of {upstream} that change: look again once it is deployed", "noted"
        )
    for change in stack.drift:
        yield _Line(f"changed outside of Terraform: {_title(change)}", "noted")
        yield from (_Line(f"    {_in_words(difference)}") for difference in change.differences)
    for change in stack.changes:
        yield _Line(_title(change), _LOOKS.get(change.kind, "plain"))
        if change.kind != "create":
            yield from (_Line(f"    {_in_words(difference)}") for difference in change.differences)
        elif created:
            known = (difference for difference in change.differences if difference.after != UNKNOWN)
            yield from (_Line(f"    {_in_words(difference)}") for difference in known)
    for output in stack.outputs:
        yield _Line(f"output {output}")


def _title(change: Change) -> str:
    kind = change.kind.upper() if change.kind in LOUD else change.kind
    reason = f" ({change.reason})" if change.reason else ""
    moved = f", was {change.moved_from}" if change.moved_from else ""
    return f"{kind} {change.address}{reason}{moved}"


def _in_words(difference: Difference) -> str:
    forces = "  # forces replacement" if difference.forces_replacement else ""
    before, after = _short(difference.before), _short(difference.after)
    return f"{difference.path}: {after if before == 'null' else f'{before} -> {after}'}{forces}"


def _short(value: str) -> str:
    return value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}..."


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """As argparse, but with 1: here 2 means changes."""
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = _Parser(
        prog="scripts/diff", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("environment", help="such as dev: one of infra/environments")
    parser.add_argument("stacks", nargs="*", metavar="stack", help="such as messaging; all when absent")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write a comment for a pull request")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it as JSON")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        if fault := tool_fault(TERRAFORM):
            raise PlanningError(fault)
        with tempfile.TemporaryDirectory(prefix="diff-") as folder:
            synthesis = terraform_plans.synthesize(options.environment, Path(folder) / "out")
            stacks = synthesis.select(options.stacks)
            with console.status("synthesized; planning") as status:
                found: list[StackDiff] = []
                for each in diff(synthesis, stacks):
                    found.append(each)
                    status.update(f"planned {len(found)} of {len(stacks)} stacks")
    except PlanningError as error:
        print(f"diff: {error}", file=sys.stderr)
        return 1
    result = Diff(options.environment, tuple(found))
    show(result, console)
    if options.markdown:
        options.markdown.write_text(markdown(result), encoding="utf-8")
    if options.json:
        content = {"status": result.status, **msgspec.to_builtins(result)}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return result.status


if __name__ == "__main__":
    sys.exit(main())
