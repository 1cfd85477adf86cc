"""Apply what `scripts/diff` showed and somebody approved: `scripts/apply dev diff.json`.

    scripts/diff dev --json diff.json
    scripts/apply dev diff.json

Plans each stack of the diff again when its turn comes, and applies that plan at once if it changes exactly
what the diff has, value by value. Another plan is refused: run the diff again. A stack without changes is
skipped, so that a second run goes on after a failure. Exit status: 0 all is applied, 1 refused or failed.
"""

import json
from pathlib import Path

import msgspec
from rich.console import Console

from infra.environment import Environment
from scripts.command import TARGET, CommandError, argument, command
from scripts.deployment import access, plans, terraform
from scripts.deployment.plans import StackPlan
from scripts.deployment.steps import Step, StepRunner, log_folder
from scripts.deployment.terraform import Terraform
from scripts.laptop.install import TERRAFORM


@command(
    "apply", TARGET, argument("diff", type=Path, metavar="FILE", help="what `scripts/diff --json FILE` wrote")
)
def main(target: Environment, diff: Path) -> int:
    """Apply stack after stack."""
    access.check_access(target)
    content = json.loads(diff.read_bytes())
    name = target.name
    if content["environment"] != name:
        raise CommandError(f"{diff} is a diff of {content['environment']}, not of {name}")
    stacks = msgspec.convert(content["stacks"], list[StackPlan])
    runner = StepRunner(Console(), log_folder("apply", target), f"scripts/diff {name}")
    synthesis = terraform.synthesize(name, terraform.OUT)
    for approved in stacks:
        stack, file = approved.stack, synthesis.plan_file(approved.stack)
        try:
            [now] = plans.plan(synthesis, [stack])
            if now.outcome == "unchanged":
                runner.progress.note(stack, "no changes")
                continue
            if now.outcome != "changed" or now.fingerprint != approved.fingerprint:
                raise CommandError(
                    f"{stack}: approved was: {approved.summary}; now it is another plan: {now.summary}. "
                    f"Run `scripts/diff {name}` again, and have that approved\n{now.text}"
                )
            of_stack = Terraform(synthesis, stack)
            words = (TERRAFORM.command[0], "apply", "-input=false", "-no-color", str(file))
            again = ("scripts/apply", name, str(diff))
            runner.run(Step(f"apply {stack}", words, of_stack.folder, again), of_stack.variables)
        finally:
            file.unlink(missing_ok=True)  # it has secrets
    return 0
