"""Show what a deployment of an environment would change: `scripts/diff dev`, `scripts/diff prod messaging`.

Synthesizes once and plans every stack, or those named, in the order of deployment; applies and locks nothing.
A stack that reads outputs which do not exist yet is blocked; that is not a failure.

Exit status: 0 nothing would change, 2 something would change or is blocked, 1 an error (the other stacks are
planned all the same), 3 data, a cluster, an address or a key would be destroyed without `--allow-destroy`.
"""

import json
import sys
import tempfile
from pathlib import Path

import msgspec
from rich.console import Console

from infra.environment import Environment
from scripts.command import TARGET, CommandError, argument, command
from scripts.deployment import access, diff_report, terraform_plans
from scripts.deployment.terraform_plans import StackPlan
from scripts.laptop.install import TERRAFORM, tool_fault


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
    """Print the diff and write the files asked for; returns the exit status."""
    console = Console()
    access.check_access(target)
    if fault := tool_fault(TERRAFORM):
        raise CommandError(fault)
    with tempfile.TemporaryDirectory(prefix="diff-") as folder:
        synthesis = terraform_plans.synthesize(target.name, Path(folder) / "out")
        stacks = synthesis.select(names)
        with console.status("synthesized; planning") as progress:
            found: list[StackPlan] = []
            for each in terraform_plans.plan(synthesis, stacks):
                found.append(each)
                progress.update(f"planned {len(found)} of {len(stacks)} stacks")
    outcomes = {each.outcome for each in found}
    status = 1 if "failed" in outcomes else 0 if outcomes == {"unchanged"} else 2
    diff_report.show(found, console)
    changes = [change for each in found for change in each.changes]
    lost = [each.address for each in changes if each.loses and each.address not in allow_destroy]
    if lost and status == 2:
        status = 3
        print(*(f"diff: --allow-destroy {address}?" for address in lost), sep="\n", file=sys.stderr)
    if markdown:
        markdown.write_text(diff_report.markdown(target.name, found), encoding="utf-8")
    if file:
        content = {"environment": target.name, "status": status, "stacks": msgspec.to_builtins(found)}
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return status
