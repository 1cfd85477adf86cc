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
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra.environment import Environment
from infra.simulator import gcloud as simulated_gcloud
from infra.simulator import inventory
from scripts.command import TARGET, CommandError, argument, command
from scripts.deployment import access, gcloud
from scripts.deployment.terraform import Synthesis, Terraform, synthesize

# Service agents whose names do not have their API's.
_AGENTS: Final = {"container-engine-robot": "container", "cloudcomposer-accounts": "composer"}
_APIS_PER_CALL: Final = 20
_POOLS: Final = ("iam", "workload-identity-pools")

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
    """The steps for one environment; a dry run reports the changes without making them."""

    def __init__(self, target: Environment, synthesis: Synthesis, *, dry_run: bool):
        self._target = target
        self._synthesis = synthesis
        self._dry_run = dry_run
        self._project = f"--project={target.project_id}"
        self._complete = True

    def steps(self) -> Iterator[tuple[str, str]]:
        """Take each step; yields its subject and what was done."""
        if not self._target.simulated:
            yield "project", access.project(self._target)
            yield "APIs", self._enable_apis()
        for agent in self._agents():
            yield f"agent {agent}", self._create_agent(agent)
        if not self._target.simulated:
            yield f"gs://{self._target.state_bucket}", self._create_bucket()
        if self._complete:  # Google tells only where its APIs are enabled
            adopted = _adopt(self._target, self._synthesis, dry_run=self._dry_run)
            yield "left by a destroyed environment", adopted

    def _enable_apis(self) -> str:
        enabled = {
            each["config"]["name"] for each in gcloud.ask("services", "list", "--enabled", self._project)
        }
        foundation = self._synthesis.configuration(f"{self._target.name}-foundation")["resource"]
        needed = {each["service"] for each in foundation["google_project_service"].values()}
        missing = sorted({*needed, "serviceusage.googleapis.com"} - enabled)
        done = "enabled already"
        for begin in range(0, len(missing), _APIS_PER_CALL):
            some = missing[begin : begin + _APIS_PER_CALL]
            done = self._change("enabled", ", ".join(missing), "services", "enable", *some, self._project)
        self._complete = not (missing and self._dry_run)
        return done

    def _agents(self) -> list[str]:
        """Addresses of the service agents that stacks grant something to."""
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


def _adopt(target: Environment, synthesis: Synthesis, *, dry_run: bool) -> str:
    """Take over what a destroyed environment left behind, since Google gives its names to nobody for a while.

    A deleted identity pool keeps its name for 30 days, a log bucket for 7; key rings, keys and caps on quotas
    keep theirs for ever: a second deployment would end in an error. They are undeleted where needed; all but
    the log bucket are imported into the state of `foundation`.
    """
    google = simulated_gcloud if target.simulated else gcloud
    stack = f"{target.name}-foundation"
    foundation: dict[str, dict[str, Any]] = synthesis.configuration(stack)["resource"]
    project = f"--project={target.project_id}"
    repairs: list[tuple[str, ...]] = []
    logs: list[str] = []
    found: dict[str, str] = {}

    def existing(kind: str, key: str, question: tuple[str, ...], *place: str) -> list[dict[str, Any]]:
        """Those declared resources of a type that Google has, as gcloud describes them."""
        declared = {each[key]: f"{kind}.{name}" for name, each in foundation.get(kind, {}).items()}
        here: list[dict[str, Any]] = []
        every = ("--show-deleted",) if question[0] == "iam" else ()
        for each in google.ask(*question, "list", *place, project, *every) if declared else ():
            id_ = each["name"].rpartition("/")[2]
            if id_ in declared:
                # Google names projects by number. Terraform would replace what is imported so.
                in_project = each["name"].split("/", 2)[2]
                found[declared[id_]] = f"projects/{target.project_id}/{in_project}"
                if each.get("state") == "DELETED" or each.get("lifecycleState") == "DELETE_REQUESTED":
                    repairs.append((*question, "undelete", id_, *place, project))
                here.append({**each, "id": id_, "address": declared[id_]})
        return here

    place = "--location=global"
    for pool in existing("google_iam_workload_identity_pool", "workload_identity_pool_id", _POOLS, place):
        of_pool = (place, f"--workload-identity-pool={pool['id']}")
        kind, key = "google_iam_workload_identity_pool_provider", "workload_identity_pool_provider_id"
        existing(kind, key, (*_POOLS, "providers"), *of_pool)
    existing("google_cloud_quotas_quota_preference", "name", ("beta", "quotas", "preferences"))
    place = f"--location={target.region}"
    for each in existing("google_logging_project_bucket_config", "bucket_id", ("logging", "buckets"), place):
        # Terraform takes over a log bucket that exists, and would replace one that it imported.
        del found[each["address"]]
        if each["lifecycleState"] == "DELETE_REQUESTED":
            logs.append(each["address"])
    for ring in existing("google_kms_key_ring", "name", ("kms", "keyrings"), place):
        of_ring = (place, f"--keyring={ring['id']}")
        for each in existing("google_kms_crypto_key", "name", ("kms", "keys"), *of_ring):
            # Terraform destroys the versions of a key. One that signs has no primary one.
            of_key = (f"--key={each['id']}", *of_ring, project)
            versions = ("kms", "keys", "versions")
            if each.get("purpose") == "ASYMMETRIC_SIGN":
                if not google.ask(*versions, "list", *of_key, "--filter=state=ENABLED"):
                    repairs.append((*versions, "create", *of_key))
            elif each.get("primary", {}).get("state") != "ENABLED":
                repairs.append((*versions, "create", "--primary", *of_key))
    if not found and not repairs:
        return "nothing"
    if dry_run:
        return f"to be taken over, unless the state has them: {', '.join((*found, *logs))}"
    for words in repairs:
        google.run(*words)
    terraform = Terraform(synthesis, stack)
    terraform.must("init", "-input=false", "-no-color")
    known = terraform.run("state", "list").stdout.splitlines()  # fails while there is no state
    # A deployment that failed on a deleted log bucket has it as tainted: the next would delete it again.
    for address in logs:
        if address in known:
            terraform.must("untaint", address)
    missing = [address for address in found if address not in known]
    for address in missing:
        terraform.must("import", "-input=false", "-no-color", address, found[address])
    return f"taken over: {', '.join((*missing, *logs))}" if missing or logs else "in the state already"


@command(
    "bootstrap",
    TARGET,
    argument("--dry-run", action="store_true", help="report the changes without making them"),
)
def main(target: Environment, *, dry_run: bool) -> int:
    """Take all steps."""
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
