"""Write docs/iam.md, who may do what and why: `make docs`.

`tests/stacks/iam_closure.py` compares the needs in it with the grants of every environment.
"""

import argparse
import re
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Final

from infra import environment
from scripts.deployment import terraform
from scripts.paths import ROOT
from tests.stacks.iam_graph import Graph
from tests.stacks.iam_needs import needs
from tests.stacks.iam_reach import DECLARED, reach

DOCUMENT: Final = ROOT / "docs" / "iam.md"

DOCUMENTED: Final = "prod"
"""The environment that the document shows: it has every stack."""

_INTRODUCTION: Final = """\
# Who may do what

Every grant of `prod`, and the need behind it. `make docs` writes this table from the stacks; tests compare
the grants of every environment with what its resources need: none is missing, none is unused.

- A grant is on the resource itself where that has a policy of its own. Grants on the project are for what
  belongs to the project alone; `tests/stacks/test_every_resource.py` has their reasons.
- There are no account keys. Pods are Workload Identity principals, CI is federated, Google's services act as
  their own service agents (`service-NUMBER`).
- `roles/composer.worker`, the role that Google documents for an environment's account, includes 619
  permissions: among them exec into pods, Secrets of the cluster, pushing images, every subscription and the
  objects of all buckets. With `composer.deny_policy` an IAM deny policy takes these away, except for buckets
  with the tag `used-by = airflow`. Airflow starts pods as `sales-forecast-starter`, which may do that and
  nothing else. The grants on single buckets say what Airflow uses, and suffice should Google narrow the role.
- `roles/dataflow.worker` includes reading and adding objects of all buckets. A condition of the grant leaves
  buckets out; grants on single buckets name those that Dataflow uses.
- With `data.second_region`, BigQuery Data Transfer Service copies tables as the account
  `sales-forecast-copies`: its service agent, which comes with the API, takes tokens of that account. Instead
  of `roles/bigquery.admin` on the project, two custom roles have what Google
  [lists](https://cloud.google.com/bigquery/docs/managing-datasets#required-roles), and rights on the tables
  of the copy; neither may set a policy. Not verified with Google: that a copy needs no more, and that a
  dataset takes such a role.
- A deny policy needs a project in an organization. The organization's administrator lets a person change the
  policy (`roles/iam.denyAdmin`) and CI's accounts see it (`roles/iam.denyReviewer`). Without a deny policy,
  as in `dev`, a DAG file can do all that the role includes.
- To switch `composer.deny_policy` in an environment that runs, pause the DAGs and keep this order. On:
  `foundation`, then `orchestration`, which tags the buckets that Airflow needs. Off: `orchestration` first
  (`npx cdktf deploy ENV-orchestration --ignore-missing-stack-dependencies`), then the rest, since Google does
  not delete a tag value that buckets still have.
- Not verified with Google: that Composer and Dataflow work with the deny policy and the condition, and that
  deny rules accept each of these permissions (otherwise Google refuses the whole policy at apply):
  `clusters.*` of GKE, which has to cover `clusters.connect`, `subscriptions.*` and `topics.*` of Pub/Sub,
  `objects.*` of Cloud Storage, `versions.access` of Secret Manager, and those on repositories. The [list of
  permissions](https://cloud.google.com/iam/docs/deny-permissions-support) has groups of this form.
- Only a person, who applies `foundation`, can change who CI is and what it may do, the accounts of workloads,
  their roles on the project and who may act as them, custom roles, and the deny policy. CI can grant a single
  role on the project, to run queries, to anybody (conditions cannot say to whom); it shows nobody any data.
- CI's apply identity can change, hence read, what the stacks own: tables, buckets, what is in the cluster. A
  person adds the values of secrets. CI's role cannot read them, and with a deny policy it cannot allow itself
  to.
- With `streaming.delivery = "push"` the pods of `streaming` have no grant on the subscription. Instead,
  Pub/Sub's service agent may sign tokens as `sales-forecast-push`, an account without permissions.
"""

_REACH: Final = """
## What each account can change or read

The permissions of these roles that change something of the platform or read its content, after the deny
policy. On the project they reach every resource of their type.
"""

_EXCESS: Final = """
What the accounts of workloads can do in the whole project, and why it may stay:

| who | may | because |
|---|---|---|"""


def document(graph: Graph) -> str:
    """The content of `docs/iam.md`; it has neither the project's id nor its number."""
    lines = ["| who | may | on | because it |", "|---|---|---|---|"]
    for permission, reasons in sorted(needs(graph).items()):
        member, on = _short(permission.member), f"{permission.kind} `{permission.name}`"
        lines.append(f"| {member} | `{permission.role}` | {on} | {'; '.join(reasons)} |")
    target = graph.environment
    text = f"{_INTRODUCTION}\n" + "\n".join(lines) + f"\n{_reach(graph)}"
    return text.replace(target.project_id, "PROJECT").replace(str(target.project_number), "NUMBER")


def _reach(graph: Graph) -> str:
    """What each account can change or read, by account."""
    able: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for each in reach(graph):
        on = "the project" if each.kind == "project" else f"{each.kind} `{each.name}`"
        able[_short(each.member)][on].add(each.permission)
    lines = ["| who | on | permissions |", "|---|---|---|"]
    for who, where in sorted(able.items()):
        for on, permissions in sorted(where.items()):
            lines.append(f"| {who} | {on} | {', '.join(f'`{each}`' for each in sorted(permissions))} |")
    reasons = [f"| `{who}` | `{permission}` | {reason} |" for (who, permission), reason in DECLARED.items()]
    return "\n".join([_REACH, *lines, _EXCESS, *reasons, ""])


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
        synthesis = terraform.synthesize(DOCUMENTED, Path(folder) / "out")
        graph = Graph.read(environment.load(DOCUMENTED), synthesis.folder)
    DOCUMENT.write_text(document(graph), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
