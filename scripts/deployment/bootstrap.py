"""Create what an environment needs before its first deployment: `scripts/bootstrap.sh dev`.

Checks the project, enables the APIs by which Terraform enables all others, and creates a bucket for
Terraform's states: versioned, private, with uniform access. With a key of its own (`encryption`), it also
creates Artifact Registry's service agent, which must exist before the key is granted to it. A second run
repairs what differs; nothing is ever deleted. Exit status: 0 done, 1 failed, 2 wrong arguments.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra import environment
from infra.environment import Environment
from scripts.command import CommandError, command, command_parser

# Terraform's google provider uses the first two to enable APIs, and the third for grants.
APIS: Final = (
    "cloudresourcemanager.googleapis.com",
    "serviceusage.googleapis.com",
    "iam.googleapis.com",
    "storage.googleapis.com",
)
_REGISTRY_API: Final = "artifactregistry.googleapis.com"
KEPT_STATES: Final = 50
"""Number of older versions of a state that are kept."""

_SOFT_DELETE: Final = "30d"
# Deletes noncurrent versions of an object beyond these, never the current one.
_LIFECYCLE: Final = {
    "rule": [
        {"action": {"type": "Delete"}, "condition": {"numNewerVersions": KEPT_STATES, "isLive": False}},
    ]
}


class Bootstrap:
    """The steps for one environment.

    Args:
        target: the environment.
        dry_run: report the changes without making them.
    """

    def __init__(self, target: Environment, *, dry_run: bool):
        self._target = target
        self._dry_run = dry_run
        self._project = f"--project={target.project_id}"

    def steps(self) -> Iterator[tuple[str, str]]:
        """Take each step; yields its subject and what was done.

        Raises:
            CommandError: a step failed; the steps before it are done.
        """
        yield "project", self._check_project()
        yield "APIs", self._enable_apis()
        if self._target.encryption:
            yield "agent of Artifact Registry", self._create_agent()
        yield f"gs://{self._target.state_bucket}", self._create_bucket()

    def _check_project(self) -> str:
        project = _ask("projects", "describe", self._target.project_id)
        if int(project["projectNumber"]) != self._target.project_number:
            raise CommandError(
                f"project {self._target.project_id} has the number {project['projectNumber']}, not "
                f"{self._target.project_number}: correct project_number of {self._target.name}.tfvars"
            )
        return f"{self._target.project_id}, number {project['projectNumber']}"

    def _enable_apis(self) -> str:
        enabled = {each["config"]["name"] for each in _ask("services", "list", "--enabled", self._project)}
        needed = (*APIS, _REGISTRY_API) if self._target.encryption else APIS
        missing = [api for api in needed if api not in enabled]
        if not missing:
            return "enabled already"
        return self._change("enabled", ", ".join(missing), "services", "enable", *missing, self._project)

    def _create_agent(self) -> str:
        # Its existence cannot be queried; creating it again returns the same one.
        service = f"--service={_REGISTRY_API}"
        return self._change(
            "created", "exists", "beta", "services", "identity", "create", service, self._project
        )

    def _create_bucket(self) -> str:
        url = f"gs://{self._target.state_bucket}"
        buckets = ("storage", "buckets")
        found = _ask(*buckets, "list", self._project, f"--filter=name={self._target.state_bucket}")
        done: list[str] = []
        if not found:
            region = self._target.region
            create = (*buckets, "create", url, self._project, f"--location={region}")
            done.append(self._change("created", f"in {region}", *create))
        elif found[0]["location"].lower() != self._target.region:
            raise CommandError(f"{url} is in {found[0]['location']}, not in {self._target.region}")
        current = found[0] if found else {}
        wanted = {
            "uniform access": (current.get("uniform_bucket_level_access"), "--uniform-bucket-level-access"),
            "no public access": (
                current.get("public_access_prevention") == "enforced",
                "--public-access-prevention",
            ),
            "versions": (current.get("versioning_enabled"), "--versioning"),
            f"deleted states stay for {_SOFT_DELETE}": (
                current.get("soft_delete_policy", {}).get("retentionDurationSeconds") == str(30 * 24 * 3600),
                f"--soft-delete-duration={_SOFT_DELETE}",
            ),
            f"{KEPT_STATES} old versions": (
                current.get("lifecycle_config") == _LIFECYCLE,
                "--lifecycle-file={lifecycle}",
            ),
        }
        missing = {what: flag for what, (present, flag) in wanted.items() if not present}
        if missing:
            done.append(self._update_bucket(url, missing))
        return "; ".join(done) or "up to date"

    def _update_bucket(self, url: str, missing: Mapping[str, str]) -> str:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as rules:
            json.dump(_LIFECYCLE, rules)
            rules.flush()
            flags = [flag.format(lifecycle=rules.name) for flag in missing.values()]
            return self._change("set", ", ".join(missing), "storage", "buckets", "update", url, *flags)

    def _change(self, done: str, what: str, *arguments: str) -> str:
        if self._dry_run:
            return f"to be {done}: {what}"
        _gcloud(*arguments)
        return f"{done}: {what}"


def _ask(*arguments: str) -> Any:
    return json.loads(_gcloud(*arguments, "--format=json"))


def _gcloud(*arguments: str) -> str:
    command = ["gcloud", *arguments, "--quiet"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CommandError("gcloud is not on PATH: https://cloud.google.com/sdk/docs/install") from None
    if done.returncode != 0:
        raise CommandError(f"`{' '.join(command)}`:\n    {done.stderr.strip()}")
    return done.stdout


@command("bootstrap")
def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments and run; returns the exit status."""
    parser = command_parser(__doc__, "bootstrap.sh")
    parser.add_argument("environment", metavar="ENVIRONMENT", help="dev, staging ...")
    parser.add_argument("--dry-run", action="store_true", help="report the changes without making them")
    given = parser.parse_args(arguments)
    table = Table("what", "state", title=f"{given.environment}: before the first deployment")
    target = environment.load(given.environment, directory=environment.directory())
    if target.simulated:
        raise CommandError(f"{target.name} is simulated and needs no bootstrap: run `make up`")
    try:
        for what, state in Bootstrap(target, dry_run=given.dry_run).steps():
            table.add_row(what, escape(state))
    finally:
        if table.row_count:
            Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
