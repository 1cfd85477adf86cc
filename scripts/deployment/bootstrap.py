"""Create what an environment needs before its first deployment: `scripts/bootstrap.sh dev`.

Checks the project, enables all APIs at once, creates a bucket for Terraform's states (versioned, private,
with uniform access) and the service agents that stacks grant something to: an agent that was never used does
not exist, and Google refuses the grant. Takes over what a destroyed environment left behind. The simulated
cloud needs the last two only. A second run repairs what differs; nothing is ever deleted.
Exit status: 0 done, 1 failed, 2 wrong arguments.
"""

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra.environment import Environment
from infra.simulator import inventory
from scripts.command import TARGET, CommandError, argument, command
from scripts.deployment import access, gcloud
from scripts.deployment.adopt import adopt
from scripts.deployment.terraform_plans import Synthesis, synthesize

_AGENTS: Final = {"container-engine-robot": "container", "cloudcomposer-accounts": "composer"}
"""Service agents whose names do not have their API's."""

_APIS_PER_CALL: Final = 20

_STATE_BUCKET: Final = {
    "uniform_bucket_level_access": True,
    "public_access_prevention": "enforced",
    "versioning_enabled": True,
    "soft_delete_seconds": str(30 * 24 * 3600),
    # Deletes older versions of a state, never the current one.
    "lifecycle_config": {
        "rule": [{"action": {"type": "Delete"}, "condition": {"numNewerVersions": 50, "isLive": False}}]
    },
}
"""The bucket of states, as gcloud describes it."""


class Bootstrap:
    """The steps for one environment.

    Args:
        target: the environment.
        synthesis: its stacks.
        dry_run: report the changes without making them.
    """

    def __init__(self, target: Environment, synthesis: Synthesis, *, dry_run: bool):
        self._target = target
        self._synthesis = synthesis
        self._dry_run = dry_run
        self._project = f"--project={target.project_id}"
        foundation = synthesis.configuration(f"{target.name}-foundation")
        self._apis: list[str] = [
            each["service"] for each in foundation["resource"]["google_project_service"].values()
        ]
        self._complete = True

    def steps(self) -> Iterator[tuple[str, str]]:
        """Take each step; yields its subject and what was done.

        Raises:
            CommandError: a step failed; the steps before it are done.
        """
        if not self._target.simulated:
            yield "project", access.project(self._target)
            yield "APIs", self._enable_apis()
        for agent in self._agents():
            yield f"agent {agent}", self._create_agent(agent)
        if not self._target.simulated:
            yield f"gs://{self._target.state_bucket}", self._create_bucket()
        if self._complete:  # Google tells only where its APIs are enabled
            adopted = adopt(self._target, self._synthesis, dry_run=self._dry_run)
            yield "left by a destroyed environment", adopted

    def _enable_apis(self) -> str:
        enabled = {
            each["config"]["name"] for each in gcloud.ask("services", "list", "--enabled", self._project)
        }
        missing = sorted({*self._apis, "serviceusage.googleapis.com"} - enabled)
        done = "enabled already"
        for begin in range(0, len(missing), _APIS_PER_CALL):
            some = missing[begin : begin + _APIS_PER_CALL]
            done = self._change("enabled", ", ".join(missing), "services", "enable", *some, self._project)
        self._complete = not (missing and self._dry_run)
        return done

    def _agents(self) -> list[str]:
        """The addresses of service agents that stacks grant something to."""
        text = "".join(json.dumps(self._synthesis.configuration(stack)) for stack in self._synthesis.stacks)
        return sorted(set(re.findall(r"service-\d+@[a-z-]+\.iam\.gserviceaccount\.com", text)))

    def _create_agent(self, agent: str) -> str:
        if self._target.simulated and not self._dry_run:
            inventory.record("service_agent", {"id": agent})
            return "created"
        name = re.split("[@.]", agent)[1]
        service = f"{_AGENTS.get(name, name.removeprefix('gcp-sa-'))}.googleapis.com"
        # Its existence cannot be queried; creating it again returns the same one.
        create = ("beta", "services", "identity", "create", f"--service={service}", self._project)
        return self._change("created", "exists", *create)

    def _create_bucket(self) -> str:
        url = f"gs://{self._target.state_bucket}"
        buckets = ("storage", "buckets")
        found = gcloud.ask(*buckets, "list", self._project, f"--filter=name={self._target.state_bucket}")
        done: list[str] = []
        if not found:
            region = self._target.region
            create = (*buckets, "create", url, self._project, f"--location={region}")
            done.append(self._change("created", f"in {region}", *create))
        elif found[0]["location"].lower() != self._target.region:
            raise CommandError(f"{url} is in {found[0]['location']}, not in {self._target.region}")
        current = dict(found[0]) if found else {}
        kept = current.get("soft_delete_policy", {})
        current["soft_delete_seconds"] = kept.get("retentionDurationSeconds")
        wrong = [name for name, value in _STATE_BUCKET.items() if current.get(name) != value]
        if wrong:
            with tempfile.NamedTemporaryFile("w", suffix=".json") as rules:
                json.dump(_STATE_BUCKET["lifecycle_config"], rules)
                rules.flush()
                flags = (
                    *("--uniform-bucket-level-access", "--public-access-prevention", "--versioning"),
                    f"--soft-delete-duration={_STATE_BUCKET['soft_delete_seconds']}s",
                    f"--lifecycle-file={rules.name}",
                )
                done.append(self._change("set", ", ".join(wrong), *buckets, "update", url, *flags))
        return "; ".join(done) or "up to date"

    def _change(self, done: str, what: str, *arguments: str) -> str:
        if self._dry_run:
            return f"to be {done}: {what}"
        gcloud.run(*arguments)
        return f"{done}: {what}"


@command(
    "bootstrap",
    TARGET,
    argument("--dry-run", action="store_true", help="report the changes without making them"),
)
def main(target: Environment, *, dry_run: bool) -> int:
    """Take all steps; returns the exit status."""
    table = Table("what", "state", title=f"{target.name}: before the first deployment")
    with tempfile.TemporaryDirectory(prefix="bootstrap-") as folder:
        synthesis = synthesize(target.name, Path(folder) / "out")
        try:
            for what, state in Bootstrap(target, synthesis, dry_run=dry_run).steps():
                table.add_row(what, escape(state))
        finally:
            if table.row_count:
                Console().print(table)
    return 0
