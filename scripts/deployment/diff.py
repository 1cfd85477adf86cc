"""Show what a deployment of an environment would change: `scripts/diff dev`, `scripts/diff prod messaging`.

Synthesizes once and plans every stack, or those named, in the order of deployment; applies and locks nothing.
A stack that reads outputs which do not exist yet is blocked; that is not a failure.

Exit status: 0 nothing would change, 2 something would change or is blocked, 1 an error (the other stacks are
planned all the same), 3 data, a cluster, an address or a key would be destroyed without `--allow-destroy`.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import msgspec
from rich.console import Console

from scripts.command import CommandError, command, load_environment
from scripts.deployment import access, diff_report, terraform_plans
from scripts.deployment.terraform_plans import StackPlan
from scripts.laptop.install import TERRAFORM, tool_fault


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with 1 instead of 2, which means changes."""
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


@command("diff")
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the diff and write the files asked for; returns the exit status."""
    parser = _Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environment", help="such as dev: a file of infra/environments")
    parser.add_argument("stacks", nargs="*", metavar="stack", help="such as messaging; default: all")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write a comment for a pull request")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole diff as JSON")
    parser.add_argument(
        "--allow-destroy", action="append", default=[], metavar="ADDRESS", help="accept this loss; repeatable"
    )
    options = parser.parse_args(arguments)
    console = Console()
    access.check_access(load_environment(options.environment))
    if fault := tool_fault(TERRAFORM):
        raise CommandError(fault)
    with tempfile.TemporaryDirectory(prefix="diff-") as folder:
        synthesis = terraform_plans.synthesize(options.environment, Path(folder) / "out")
        stacks = synthesis.select(options.stacks)
        with console.status("synthesized; planning") as progress:
            found: list[StackPlan] = []
            for each in terraform_plans.plan(synthesis, stacks):
                found.append(each)
                progress.update(f"planned {len(found)} of {len(stacks)} stacks")
    outcomes = {each.outcome for each in found}
    status = 1 if "failed" in outcomes else 0 if outcomes == {"unchanged"} else 2
    diff_report.show(found, console)
    changes = [change for each in found for change in each.changes]
    lost = [each.address for each in changes if each.loses and each.address not in options.allow_destroy]
    if lost and status == 2:
        status = 3
        print(*(f"diff: --allow-destroy {address}?" for address in lost), sep="\n", file=sys.stderr)
    if options.markdown:
        options.markdown.write_text(diff_report.markdown(options.environment, found), encoding="utf-8")
    if options.json:
        content = {"environment": options.environment, "status": status, "stacks": msgspec.to_builtins(found)}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return status
