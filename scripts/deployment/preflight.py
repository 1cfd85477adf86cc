"""Check what a deployment needs before anything is made: `scripts/preflight dev`.

Logins, project and billing, examples that are left in the environment's file, secrets that must be given.
`scripts/preflight dev quotas ranges` compares the region's quotas with the environment at its largest, and
its addresses with those of other networks: Google tells them once bootstrap has enabled its APIs.
Exit status: 0 ready, 1 something is missing (with its remedy).
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Network
from typing import Any, Final

import google.auth
import google.auth.transport.requests
from google.auth.exceptions import GoogleAuthError
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from infra.environment import PLATFORM, Environment
from infra.environment.addresses import AddressPlan
from infra.environment.cluster import NODE_DISK_GB
from infra.environment.existing import ExistingNetwork
from infra.environment.value_types import cpu_quota, machine_cpus
from scripts.command import CommandError, command, command_parser, load_environment, login_remedy
from scripts.deployment import gcloud

_PAGERDUTY_KEY = "TF_VAR_pagerduty_service_key"
_NEED_APIS: Final = ("quotas", "ranges")
# Of Airflow's processes in Google's own network, which a network must not use.
# https://cloud.google.com/composer/docs/composer-3/configure-private-ip
_COMPOSER: Final = IPv4Network("100.64.128.0/20")
_EXAMPLES = re.compile(r"example\.com|your-organization|10000000000[1-4]\b|\b100000001\b|\b203\.0\.113\.")


def login(_: Environment) -> str:
    """Gcloud has an account, and programs have credentials."""
    accounts: list[dict[str, str]] = gcloud.ask("auth", "list", "--filter=status:ACTIVE")
    if not accounts:
        raise CommandError("gcloud has no account: run `gcloud auth login`")
    try:
        _log_in()
    except GoogleAuthError as error:
        raise CommandError(login_remedy(error)) from None
    return accounts[0]["account"]


def _log_in() -> None:
    credentials = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])[0]
    credentials.refresh(google.auth.transport.requests.Request())


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


def check_access(target: Environment) -> None:
    """Look once for what Terraform would miss in each stack.

    Raises:
        CommandError: a secret is not given.
        GoogleAuthError: programs are not logged in to the environment's cloud.
    """
    secrets(target)
    if not target.simulated:
        _log_in()


def quotas(target: Environment) -> str:
    """The region's quotas suffice for the environment at its largest, and the cluster's first, passing nodes.

    They are those of its project, which holds nothing else: what is in use is the environment's own.
    """
    needed: Counter[str] = Counter()
    if target.cluster:
        zones = len(target.zones)
        for pool in target.cluster.pools.values():
            needed[cpu_quota(pool.machine_type)] += pool.max_nodes * machine_cpus(pool.machine_type)
        needed["SSD_TOTAL_GB"] = (target.cluster.most_nodes(zones) + zones) * NODE_DISK_GB
    if "orchestration" in target.stacks and target.batch.runner == "DataflowRunner":
        needed[cpu_quota(target.batch.machine_type)] += target.batch.max_workers * machine_cpus(
            target.batch.machine_type
        )
    if target.gateway:  # machines have no address, and those of Cloud NAT do not count
        needed |= Counter(STATIC_ADDRESSES=1, IN_USE_ADDRESSES=1)
    region = gcloud.ask("compute", "regions", "describe", target.region, f"--project={target.project_id}")
    limits = {each["metric"]: each["limit"] for each in region["quotas"]}
    short = [
        f"{name}: have {limits[name]:.0f}, need {need}"
        for name, need in needed.items()
        if limits.get(name, need) < need
    ]
    if short:
        page = f"https://console.cloud.google.com/iam-admin/quotas?project={target.project_id}"
        raise CommandError(f"{'; '.join(short)}: ask for more at {page}, or lower max_nodes or max_workers")
    return ", ".join(
        f"{name} {need} of {limits[name]:.0f}" for name, need in needed.items() if name in limits
    )


def ranges(target: Environment) -> str:
    """No other network of the project has the environment's addresses; one that exists has what it takes."""
    given = target.existing.network
    project_id = given.project_id if given else target.project_id
    subnets = gcloud.ask("compute", "networks", "subnets", "list", f"--project={project_id}")
    if given:
        return _suffices(target, given, subnets)
    if any(each["network"].endswith(f"/{PLATFORM}") for each in subnets):
        return "the network exists"
    if target.network and (taken := _overlaps(subnets, target.network)):
        raise CommandError(
            f"network: need {target.network}, have {taken}: such networks can never be connected; "
            f"take another block in {target.name}.tfvars, or delete those"
        )
    return f"{target.network} is free"


def _overlaps(subnets: Iterable[Mapping[str, Any]], block: IPv4Network) -> str:
    """The ranges of subnets that overlap a block."""
    ranges = (
        (each.get("ipCidrRange"), subnet["name"])  # a subnet may have IPv6 alone
        for subnet in subnets
        for each in (subnet, *subnet.get("secondaryIpRanges", ()))
    )
    return ", ".join(
        f"{found} of the subnet {name}"
        for found, name in ranges
        if found and block.overlaps(IPv4Network(found))
    )


def _suffices(target: Environment, given: ExistingNetwork, subnets: Iterable[Mapping[str, Any]]) -> str:
    """What the environment's file says of a network is there, and has room."""
    whole = [each for each in subnets if each["network"].endswith(f"/{given.name}")]
    region = [each for each in whole if each["region"].endswith(f"/{target.region}")]
    subnet: Mapping[str, Any] = next((each for each in region if each["name"] == given.subnet), {})
    found = {
        each["rangeName"]: IPv4Network(each["ipCidrRange"]) for each in subnet.get("secondaryIpRanges", ())
    }
    if not subnet or not {given.pods, given.services} <= found.keys():
        need = f"the subnet {given.subnet} with the ranges {given.pods} and {given.services}"
        have = [each["name"] for each in region] if not subnet else [*found]
        raise CommandError(
            f"{given.name} of {given.project_id}, {target.region}: need {need}, "
            f"have {', '.join(have) or 'none'}: ask its owners, or correct existing.network"
        )
    nodes = IPv4Network(subnet["ipCidrRange"])
    plan = AddressPlan(nodes, found[given.pods], found[given.services], given.proxy_only)
    need = target.cluster.most_nodes(len(target.zones)) if target.cluster else 0
    faults: list[str] = []
    if plan.most_nodes < need:
        faults.append(
            f"need room for {need} nodes, have {plan.most_nodes}: ask for larger ranges of {given.subnet}"
        )
    proxies = [each["ipCidrRange"] for each in region if each.get("purpose") == "REGIONAL_MANAGED_PROXY"]
    if target.gateway and str(given.proxy_only) not in proxies:
        have = ", ".join(proxies) or "none"
        faults.append(
            f"need the proxy-only subnet {given.proxy_only}, have {have}: correct proxy_only, or ask for it"
        )
    if "orchestration" in target.stacks and (taken := _overlaps(whole, _COMPOSER)):
        remedy = "set composer_internal_ipv4_cidr_block in infra/google/composer.py"
        faults.append(f"need {_COMPOSER} for Composer, have {taken}: {remedy}")
    if faults:
        raise CommandError("; ".join(faults))
    return f"{given.subnet} has room for {plan.most_nodes} nodes, need {need}"


_CHECKS: Mapping[str, Callable[[Environment], str]] = {
    each.__name__: each for each in (examples, secrets, login, project, billing, quotas, ranges)
}


@command("preflight")
def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table of checks; 1 if one failed."""
    parser = command_parser(__doc__)
    parser.add_argument("environment", metavar="ENVIRONMENT", help="dev, staging ...")
    parser.add_argument(
        "checks", metavar="CHECK", nargs="*", help=f"{', '.join(_CHECKS)}; all but the last two"
    )
    options = parser.parse_args(arguments)
    target = load_environment(options.environment)
    if target.simulated:
        raise CommandError(f"{target.name} is simulated and needs no preflight: run `make up`")
    table = Table("", "check", Column("what was found", overflow="fold"))
    status = 0
    for name in options.checks or [each for each in _CHECKS if each not in _NEED_APIS]:
        try:
            table.add_row("[green]✓[/]", name, escape(_CHECKS[name](target)))
        except CommandError as error:
            table.add_row("[red]✗[/]", name, escape(str(error)))
            status = 1
    Console().print(table)
    return status
