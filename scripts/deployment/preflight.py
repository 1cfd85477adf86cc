"""Check what a deployment needs before anything is made: `scripts/preflight dev`.

Logins, project and billing, examples that are left in the environment's file, secrets that must be given.
`scripts/preflight dev quotas ranges` compares the region's quotas with the environment at its largest, and
its addresses with those of other networks: Google tells them once bootstrap has enabled its APIs.
Exit status: 0 ready, 1 something is missing (with its remedy).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from google.api_core.exceptions import Forbidden, GoogleAPIError, RetryError
from google.auth.exceptions import GoogleAuthError
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from infra.environment import Environment
from scripts.command import TARGET, CommandError, argument, command, login_remedy
from scripts.deployment import gcloud
from scripts.deployment.access import check_login, project, secrets
from scripts.deployment.capacity import is_disabled, quotas, ranges

_NEED_APIS: Final = ("quotas", "ranges")
_NEED_GOOGLE: Final = ("login", "project", "billing", *_NEED_APIS)
_EXAMPLES = re.compile(r"example\.com|your-organization|10000000000[1-4]\b|\b100000001\b|\b203\.0\.113\.")


def login(_: Environment) -> str:
    """Gcloud has an account, and programs have credentials."""
    accounts: list[dict[str, str]] = gcloud.ask("auth", "list", "--filter=status:ACTIVE")
    if not accounts:
        raise CommandError("gcloud has no account: run `gcloud auth login`")
    check_login()
    return accounts[0]["account"]


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


_CHECKS: Mapping[str, Callable[[Environment], str]] = {
    each.__name__: each for each in (examples, secrets, login, project, billing, quotas, ranges)
}


def _remedy(target: Environment, error: Exception) -> str:
    """What is wrong and what to do, in one line."""
    if isinstance(error, GoogleAuthError):
        return login_remedy(error)
    cause = error.cause if isinstance(error, RetryError) else error
    said = getattr(cause, "message", str(cause))  # without its details, which repeat it
    if is_disabled(cause):
        return f"{said}: run `scripts/bootstrap.sh {target.name}`"
    if isinstance(cause, Forbidden):
        project_id = target.existing.network.project_id if target.existing.network else target.project_id
        own = "roles/container.clusterViewer and roles/serviceusage.serviceUsageConsumer"
        network = f"roles/compute.networkViewer on {project_id}"
        return f"{said}: you need {network}, {own} on {target.project_id}"
    return said


@command(
    "preflight",
    TARGET,
    argument(
        "checks", nargs="*", metavar="CHECK", help=f"{', '.join(_CHECKS)}; default: all but the last two"
    ),
)
def main(target: Environment, checks: list[str]) -> int:
    """Print a table of checks; 1 if one failed."""
    if unknown := sorted(set(checks) - _CHECKS.keys()):
        raise CommandError(f"no such check: {', '.join(unknown)}; there are {', '.join(_CHECKS)}")
    checks = checks or [each for each in _CHECKS if each not in _NEED_APIS]
    if target.simulated and not {*checks}.isdisjoint(_NEED_GOOGLE):
        raise CommandError(f"{target.name} is simulated and needs no preflight: run `make up`")
    if not {*checks}.isdisjoint(_NEED_APIS):
        check_login()
    table = Table("", "check", Column("what was found", overflow="fold"))
    status = 0
    for name in checks:
        try:
            table.add_row("[green]✓[/]", name, escape(_CHECKS[name](target)))
        except (CommandError, GoogleAPIError, GoogleAuthError) as error:
            table.add_row("[red]✗[/]", name, escape(_remedy(target, error)))
            status = 1
    Console().print(table)
    return status
