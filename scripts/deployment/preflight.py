"""Check what a deployment needs before anything is made: `scripts/preflight dev`.

Logins, project and billing, examples that are left in the environment's file, secrets that must be given.
`scripts/preflight dev quotas` compares the region's quotas with the environment at its largest: Google tells
them once bootstrap has enabled its APIs. Exit status: 0 ready, 1 something is missing (with its remedy).
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import google.auth
import google.auth.transport.requests
from google.auth.exceptions import GoogleAuthError
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from infra.environment import Environment
from infra.environment.cluster import NODE_DISK_GB
from infra.environment.value_types import machine_cpus
from scripts.command import CommandError, command, command_parser, load_environment, login_remedy
from scripts.deployment import gcloud

_PAGERDUTY_KEY = "TF_VAR_pagerduty_service_key"
_EXAMPLES = re.compile(r"example\.com|your-organization|10000000000[1-4]\b|\b100000001\b|\b203\.0\.113\.")


def login(_: Environment) -> str:
    """Gcloud has an account, and programs have credentials."""
    accounts: list[dict[str, str]] = gcloud.ask("auth", "list", "--filter=status:ACTIVE")
    if not accounts:
        raise CommandError("gcloud has no account: run `gcloud auth login`")
    try:
        credentials = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])[0]
        credentials.refresh(google.auth.transport.requests.Request())
    except GoogleAuthError as error:
        raise CommandError(login_remedy(error)) from None
    return accounts[0]["account"]


def project(target: Environment) -> str:
    """The project is the one that the file names."""
    found = gcloud.ask("projects", "describe", target.project_id)
    if int(found["projectNumber"]) != target.project_number:
        raise CommandError(
            f"project {target.project_id} has the number {found['projectNumber']}, not "
            f"{target.project_number}: correct project_number of {target.name}.tfvars"
        )
    return f"{target.project_id}, number {target.project_number}"


def billing(target: Environment) -> str:
    """Somebody pays."""
    found = gcloud.ask("billing", "projects", "describe", target.project_id)
    if not found.get("billingEnabled"):
        link = f"gcloud billing projects link {target.project_id} --billing-account=ACCOUNT"
        raise CommandError(f"{target.project_id} has no billing account: `{link}`")
    return found["billingAccountName"]


def examples(target: Environment) -> str:
    """The file has no value that only stands for one."""
    left = [path for path, value in _values(target.model_dump(mode="json")) if _EXAMPLES.search(value)]
    if left:
        raise CommandError(f"replace the examples of {target.name}.tfvars: {', '.join(left)}")
    return "none are left"


def _values(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _values(each, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for each in value:
            yield from _values(each, path)
    else:
        yield path, str(value)


def secrets(target: Environment) -> str:
    """Values that no file has are given; without, Terraform waits for somebody who types them."""
    if target.alerting.pagerduty and not os.environ.get(_PAGERDUTY_KEY):
        raise CommandError(f"set {_PAGERDUTY_KEY}: a key of PagerDuty's Events API v2")
    return "all are given"


def quotas(target: Environment) -> str:
    """The region has room for the environment at its largest, and for the cluster's first, passing nodes."""
    if target.cluster is None:
        return "the cluster exists"
    pools = target.cluster.pools.values()
    zones = len(target.zones)
    nodes = target.cluster.most_nodes(zones) + zones
    cpus = sum(pool.max_nodes * machine_cpus(pool.machine_type) for pool in pools)
    needed = {"CPUS": cpus, "SSD_TOTAL_GB": nodes * NODE_DISK_GB, "STATIC_ADDRESSES": 1}
    region = gcloud.ask("compute", "regions", "describe", target.region, f"--project={target.project_id}")
    free = {each["metric"]: each["limit"] - each["usage"] for each in region["quotas"]}
    short = [
        f"{name}: have {free[name]:.0f} free, need {need}"
        for name, need in needed.items()
        if free.get(name, need) < need
    ]
    if short:
        page = f"https://console.cloud.google.com/iam-admin/quotas?project={target.project_id}"
        raise CommandError(f"{'; '.join(short)}: ask for more at {page}, or lower max_nodes")
    return ", ".join(f"{name} {need} of {free[name]:.0f}" for name, need in needed.items() if name in free)


_CHECKS: Mapping[str, Callable[[Environment], str]] = {
    each.__name__: each for each in (examples, secrets, login, project, billing, quotas)
}


@command("preflight")
def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table of checks; 1 if one failed."""
    parser = command_parser(__doc__)
    parser.add_argument("environment", metavar="ENVIRONMENT", help="dev, staging ...")
    parser.add_argument("checks", metavar="CHECK", nargs="*", help=f"{', '.join(_CHECKS)}; all but the last")
    options = parser.parse_args(arguments)
    target = load_environment(options.environment)
    if target.simulated:
        raise CommandError(f"{target.name} is simulated and needs no preflight: run `make up`")
    table = Table("", "check", Column("what was found", overflow="fold"))
    status = 0
    for name in options.checks or [each for each in _CHECKS if each != "quotas"]:
        try:
            table.add_row("[green]✓[/]", name, escape(_CHECKS[name](target)))
        except CommandError as error:
            table.add_row("[red]✗[/]", name, escape(str(error)))
            status = 1
    Console().print(table)
    return status
