"""Write docs/iam.md, who may do what and why: `make docs`.

`tests/stacks/iam_closure.py` compares the needs in it with the grants of every environment.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path
from typing import Final

from infra import environment
from scripts.deployment import terraform_plans
from scripts.paths import ROOT
from tests.stacks.iam_graph import Graph
from tests.stacks.iam_needs import needs

DOCUMENT: Final = ROOT / "docs" / "iam.md"

DOCUMENTED: Final = "prod"
"""The environment that the document shows: it has every stack."""

_INTRODUCTION: Final = """\
# Who may do what

Every grant of `prod`, and the need behind it. `make docs` writes this table from the stacks; tests compare
the grants of every environment with what its resources need: none is missing, none is unused.

- A grant is on the resource itself where that has a policy of its own, never on the project. Those on the
  project are for what belongs to it alone; `tests/stacks/test_every_resource.py` has their reasons.
- There are no account keys. Pods are Workload Identity principals, CI is federated, Google's services act as
  their own service agents (`service-NUMBER`).
- `roles/composer.worker`, which Composer requires, includes the objects of all buckets of the project. The
  grants on single buckets say what Airflow uses, and stay when Google narrows the role.
- With `streaming.delivery = "push"` the pods of `streaming` lose the subscription. Pub/Sub's service agent
  may then sign tokens as `sales-forecast-push` only; that account has no permissions.
"""


def document(graph: Graph) -> str:
    """The content of `docs/iam.md`; it has neither the project's id nor its number."""
    lines = ["| who | may | on | because it |", "|---|---|---|---|"]
    for permission, reasons in sorted(needs(graph).items()):
        member, on = _short(permission.member), f"{permission.kind} `{permission.name}`"
        lines.append(f"| {member} | `{permission.role}` | {on} | {'; '.join(reasons)} |")
    target = graph.environment
    table = (
        "\n".join(lines).replace(target.project_id, "PROJECT").replace(str(target.project_number), "NUMBER")
    )
    return f"{_INTRODUCTION}\n{table}\n"


def _short(member: str) -> str:
    if found := re.search(r"/subject/ns/([^/]+)/sa/([^/]+)$", member):
        return f"pods of `{found[2]}`"
    if found := re.search(r"/attribute\.access/([a-z]+)$", member):
        return f"GitHub workflows, `{found[1]}`"
    if found := re.search(r":service-\d+@(gcp-sa-)?([a-z-]+)\.", member):
        return f"service agent of `{found[2]}`"
    return f"`{member.partition(':')[2].partition('@')[0]}`"


def main() -> int:
    """Write the document; returns the exit status."""
    argparse.ArgumentParser(prog="make docs", description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        synthesis = terraform_plans.synthesize(DOCUMENTED, Path(folder) / "out")
        graph = Graph.read(environment.load(DOCUMENTED), synthesis.folder)
    DOCUMENT.write_text(document(graph), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
