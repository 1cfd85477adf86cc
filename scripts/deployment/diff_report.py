"""Show the diff of an environment: as text in the terminal, as Markdown in a pull request."""

import re
from collections.abc import Iterator
from typing import Final, Literal

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scripts.deployment.plan_changes import DESTRUCTIVE, UNKNOWN, Action, Change, Difference
from scripts.deployment.stack_diff import EnvironmentDiff, StackDiff

COMMENT_LIMIT: Final = 65_536
"""Most characters in a comment on GitHub."""

_Look = Literal["plain", "create", "update", "destroy", "note"]
_LOOKS: Final[dict[Action, _Look]] = {
    "create": "create",
    "update": "update",
    "replace": "destroy",
    "destroy": "destroy",
}
_STYLES: Final[dict[_Look, str]] = {
    "plain": "",
    "create": "green",
    "update": "yellow",
    "destroy": "bold white on red",
    "note": "magenta",
}
# GitHub colours a line of a diff by its first character.
_SIGNS: Final[dict[_Look, str]] = {"plain": " ", "create": "+", "update": "!", "destroy": "-", "note": "#"}
_LONGEST_VALUE: Final = 200
_REMARK_BYTES: Final = 100
"""Reserved for the remark that lines were cut off."""

_MOST_NAMED: Final = 50
"""Most destroyed resources named at the top of a comment, which is never cut off."""


def show(result: EnvironmentDiff, console: Console) -> None:
    """Print a table of the stacks, then what changes in each."""
    table = Table("stack", "what would change")
    for stack in result.stacks:
        table.add_row(stack.stack, Text(stack.summary, _STYLES[_look(stack)]))
    console.print(table)
    for stack in result.stacks:
        # The values of new resources are in the Markdown and the JSON only.
        lines = list(_lines(stack, with_created=False))
        if lines:
            console.print(f"\n[bold]{stack.stack}[/]", highlight=False)
        for line in lines:
            console.print(
                f"  {line.text}", style=_STYLES[line.look], markup=False, highlight=False, soft_wrap=True
            )


def markdown(result: EnvironmentDiff) -> str:
    """A comment for a pull request: at most `COMMENT_LIMIT` characters, each stack folded.

    Its first line names the environment, by which a later run finds and replaces the comment.
    """
    destroyed = [(stack.stack, change) for stack in result.stacks for change in stack.destructive]
    head = [f"<!-- diff of {result.environment} -->", f"### Diff of `{result.environment}`", ""]
    if destroyed:
        head += ["> [!CAUTION]", "> This destroys:"]
        head += [f"> - {stack}: `{_title(change)}`" for stack, change in destroyed[:_MOST_NAMED]]
        head += [f"> - and {len(destroyed) - _MOST_NAMED} more"] if len(destroyed) > _MOST_NAMED else []
        head += [""]
    head += ["| stack | what would change |", "|---|---|"]
    for stack in result.stacks:
        strong = "**" if _look(stack) == "destroy" else ""
        head.append(f"| {stack.stack} | {strong}{stack.summary}{strong} |")
    text = "\n".join(head) + "\n"
    details = {
        stack.stack: [f"{_SIGNS[line.look]} {line.text}" for line in _lines(stack, with_created=True)]
        for stack in result.stacks
    }
    described = [stack for stack in result.stacks if details[stack.stack]]
    # Counts bytes, of which there are at least as many as characters. Short stacks leave room for long ones.
    left = COMMENT_LIMIT - len(text.encode())
    folded: dict[str, str] = {}
    for number, stack in enumerate(sorted(described, key=lambda stack: len("".join(details[stack.stack])))):
        folded[stack.stack] = _folded(stack, details[stack.stack], left // (len(described) - number))
        left -= len(folded[stack.stack].encode())
    return text + "".join(folded[stack.stack] for stack in described)


def _folded(stack: StackDiff, lines: list[str], limit: int) -> str:
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


class _Line(msgspec.Struct, frozen=True):
    text: str
    look: _Look = "plain"


def _look(stack: StackDiff) -> _Look:
    return "destroy" if stack.destructive or stack.outcome == "failed" else "plain"


def _lines(stack: StackDiff, *, with_created: bool) -> Iterator[_Line]:
    """The lines below the summary of a stack.

    Args:
        stack: the stack.
        with_created: whether to include the values of new resources.
    """
    for text in stack.message.splitlines():
        yield _Line(text)
    for upstream in stack.stale:
        yield _Line(
            f"planned with outputs of {upstream} that change: run the diff again once it is deployed", "note"
        )
    for change in stack.drift:
        yield _Line(f"changed outside of Terraform: {_title(change)}", "note")
        yield from (_Line(f"    {_describe(difference)}") for difference in change.differences)
    for change in stack.changes:
        yield _Line(_title(change), _LOOKS.get(change.action, "plain"))
        if change.action != "create":
            yield from (_Line(f"    {_describe(difference)}") for difference in change.differences)
        elif with_created:
            known = (difference for difference in change.differences if difference.after != UNKNOWN)
            yield from (_Line(f"    {_describe(difference)}") for difference in known)
    for output in stack.outputs:
        yield _Line(f"output {output}")


def _title(change: Change) -> str:
    kind = change.action.upper() if change.action in DESTRUCTIVE else change.action
    reason = f" ({change.reason})" if change.reason else ""
    moved = f", was {change.moved_from}" if change.moved_from else ""
    return f"{kind} {change.address}{reason}{moved}"


def _describe(difference: Difference) -> str:
    forces = "  # forces replacement" if difference.forces_replacement else ""
    before, after = _short(difference.before), _short(difference.after)
    return f"{difference.path}: {after if before == 'null' else f'{before} -> {after}'}{forces}"


def _short(value: str) -> str:
    return value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}..."
