"""checkov over production's stacks: `make checkov`. A finding is fixed, or waived beside its resource.

Only production is scanned: the other environments use the same constructs with less protection. checkov works
offline, and gets the resources only, since it cannot parse other blocks.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from scripts.command import CommandError, captured, command
from scripts.deployment import terraform
from scripts.deployment.terraform import Synthesis
from scripts.paths import ROOT

CHECKOV: Final = ROOT / "build" / "venvs" / "checkov" / "bin" / "checkov"


class Finding(NamedTuple):
    """A check that a resource fails, or a waiver without a failed check."""

    stack: str
    resource: str  # its name: checkov does not always report the type
    check: str
    problem: str


def scan(synthesis: Synthesis, folder: Path) -> list[Finding]:
    """Findings without a waiver, and waivers without a finding. The folder is an empty one to work in."""
    waived: dict[tuple[str, str, str], str] = {}
    for stack in synthesis.stacks:
        resources = synthesis.configuration(stack).get("resource", {})
        waived |= {
            (stack, name, check): reason
            for named in resources.values()
            for name, resource in named.items()
            for check, reason in resource.get("//", {}).get("waived", {}).items()
        }
        (folder / f"{stack}.tf.json").write_text(json.dumps({"resource": resources}), encoding="utf-8")
    failed = list(_failed(folder))
    asked = {each[:3] for each in failed}
    found = [each for each in failed if each[:3] not in waived]
    found += [Finding(*key, f"waived, but not asked for: {waived[key]}") for key in waived.keys() - asked]
    return sorted(found)


def _failed(folder: Path) -> Iterator[Finding]:
    done = captured(
        *(CHECKOV, "--directory", folder, "--framework", "terraform_json"),
        *("--skip-download", "--quiet", "--compact", "--output", "json"),
        variables={"LOG_LEVEL": "ERROR"},
    )
    try:
        report = json.loads(done.stdout)
        summary, checks = report["summary"], report["results"]["failed_checks"]
    except (ValueError, TypeError, KeyError):
        raise CommandError(f"checkov: {done.stderr.strip() or done.stdout.strip()}") from None
    if summary["parsing_errors"] or not (summary["passed"] or summary["failed"]):
        raise CommandError(f"checkov could not read the stacks: {summary}")
    for each in checks:
        stack = Path(each["file_path"]).name.removesuffix(".tf.json")
        yield Finding(stack, each["resource"].rpartition(".")[2], each["check_id"], each["check_name"])


@command("checkov")
def main() -> int:
    """Print the findings; 1 if there are any."""
    with tempfile.TemporaryDirectory(prefix="checkov-") as folder:
        stacks = Path(folder) / "stacks"
        stacks.mkdir()
        found = scan(terraform.synthesize("prod", Path(folder) / "out"), stacks)
    if not found:
        return 0
    for each in found:
        print(f"{each.stack}: {each.resource}: {each.check}: {each.problem}")
    print(f"checkov: {len(found)} findings; fix or waive them beside the resource (infra/cdk/waivers.py)")
    return 1
