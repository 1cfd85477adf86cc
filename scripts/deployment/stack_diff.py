"""What a deployment would do to the stacks of an environment, from Terraform's plans."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from scripts.deployment.plan_changes import DESTRUCTIVE, Action, Change, changed_outputs, changes, drift
from scripts.deployment.terraform_plans import StackPlan, Synthesis, plan

Outcome = Literal["unchanged", "changed", "blocked", "failed"]


class StackDiff(msgspec.Struct, frozen=True):
    """What a deployment would do to one stack.

    Attributes:
        stack: its id.
        outcome: whether there is a plan, and whether it changes anything.
        changes: of resources.
        outputs: names of outputs that change.
        drift: resources that changed outside of Terraform since the last apply.
        stale: upstream stacks whose own diff changes outputs that this plan was made with.
        blocked_by: what must exist before there can be a plan.
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
    def counts(self) -> Counter[Action]:
        """Number of resources by action."""
        return Counter(change.action for change in self.changes)

    @property
    def destructive(self) -> tuple[Change, ...]:
        """Changes that destroy a resource."""
        return tuple(change for change in self.changes if change.action in DESTRUCTIVE)

    @property
    def summary(self) -> str:
        """The outcome in one line."""
        match self.outcome:
            case "blocked":
                return f"blocked by {', '.join(self.blocked_by)}"
            case "failed":
                return "FAILED"
            case "unchanged":
                return "no changes"
            case "changed":
                parts = [f"{count} to {action}" for action, count in self.counts.items()]
                if self.outputs:
                    parts.append(f"outputs: {len(self.outputs)}")
                return ", ".join(parts)


class EnvironmentDiff(msgspec.Struct, frozen=True):
    """What a deployment would do to an environment."""

    environment: str
    stacks: tuple[StackDiff, ...]

    @property
    def status(self) -> int:
        """The exit status."""
        outcomes = {stack.outcome for stack in self.stacks}
        return 1 if "failed" in outcomes else 0 if outcomes == {"unchanged"} else 2


def compare(synthesis: Synthesis, stacks: Sequence[str]) -> Iterator[StackDiff]:
    """Plan stacks in the order given; yields each diff when it is ready."""
    changing: dict[str, frozenset[str]] = {}
    for planned in plan(synthesis, stacks):
        if planned.plan is not None:
            changing[planned.stack] = changed_outputs(planned.plan)
        reads = synthesis.reads(planned.stack)
        stale = sorted(each for each in reads if reads[each] & changing.get(each, frozenset()))
        yield _stack_diff(planned, tuple(stale))


def _stack_diff(planned: StackPlan, stale: tuple[str, ...]) -> StackDiff:
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
