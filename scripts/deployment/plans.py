"""Plans of many stacks, and what they would change, lose and cost; `cdktf diff` plans a single one."""

import contextlib
import hashlib
import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from threading import Lock
from typing import Any, Final, Literal

import msgspec

from scripts.command import CommandError
from scripts.deployment import prices
from scripts.deployment.prices import Cost
from scripts.deployment.terraform import Synthesis, Terraform

_WORKERS: Final = 2  # stacks planned at once; Terraform itself refreshes ten resources at once in each
_REMOTE_STATE: Final = re.compile(
    r"data\.terraform_remote_state\.cross-stack-reference-input-([\w-]+)(?:\.outputs\.([\w-]+))?"
)

IRREPLACEABLE: Final = frozenset(
    f"google_{kind}"
    for kind in (
        *("artifact_registry_repository", "bigquery_dataset", "bigquery_table", "storage_bucket"),
        *("pubsub_subscription", "pubsub_topic", "gke_backup_backup_plan"),
        *("composer_environment", "container_cluster"),
        *("compute_address", "certificate_manager_dns_authorization"),  # somebody's DNS has them
        *("binary_authorization_attestor", "container_analysis_note"),  # who may sign, what was signed
        *("kms_crypto_key", "kms_key_ring", "secret_manager_secret"),
        "logging_project_bucket_config",
    )
)
"""Types of data, clusters, addresses, keys and logs, which are lost for good when they are destroyed.

A test has the others, each with the reason why nothing is lost.
"""


class Change(msgspec.Struct, frozen=True):
    """What happens to one resource.

    Attributes:
        action: `create`, `update`, `replace`, `destroy`, `read`, `forget`, or `move` of its address alone.
        fields: names of the arguments whose values change.
        loses: whether it destroys what is `IRREPLACEABLE`.
    """

    address: str
    action: str
    fields: tuple[str, ...]
    loses: bool = False


class StackPlan(msgspec.Struct, frozen=True):
    """What a deployment would do to one stack.

    Attributes:
        outputs: names of outputs that change.
        drift: what was changed outside of Terraform since the last apply, and would be changed back.
        stale: upstream stacks whose own plan changes outputs that this plan was made with.
        blocked_by: stacks whose outputs must exist before there can be a plan.
        text: the plan as Terraform shows it, with secrets masked; why it is blocked; or what failed.
        fingerprint: digest of every value that it changes; an equal plan made later has the same.
        cost: what the changes add to the monthly costs; None if there are none, or no prices for the region.
    """

    stack: str
    outcome: Literal["unchanged", "changed", "blocked", "failed"]
    changes: tuple[Change, ...] = ()
    outputs: tuple[str, ...] = ()
    drift: tuple[Change, ...] = ()
    stale: tuple[str, ...] = ()
    blocked_by: tuple[str, ...] = ()
    text: str = ""
    fingerprint: str = ""
    cost: Cost | None = None

    @property
    def destructive(self) -> tuple[Change, ...]:
        """Changes that applying the previous configuration again does not undo."""
        return tuple(change for change in self.changes if change.action in ("replace", "destroy"))

    @property
    def summary(self) -> str:
        """The outcome in one line."""
        match self.outcome:
            case "blocked":
                return f"blocked by {', '.join(self.blocked_by)}"
            case "failed":
                return "FAILED"
            case "unchanged":
                return "no changes"
            case "changed":
                counts = Counter(change.action for change in self.changes)
                parts = [f"{count} to {action}" for action, count in counts.items()]
                if self.outputs:
                    parts.append(f"outputs: {len(self.outputs)}")
                return ", ".join(parts)


def plan(synthesis: Synthesis, stacks: Iterable[str]) -> Iterator[StackPlan]:
    """Plan stacks, two at a time; yields each plan when it is ready, in the order given."""
    initializing = Lock()  # two processes may not use Terraform's provider cache at once
    changing: set[tuple[str, str]] = set()
    with ThreadPoolExecutor(_WORKERS) as pool:
        for planned in pool.map(_plan, repeat(synthesis), stacks, repeat(initializing)):
            changing.update((planned.stack, output) for output in planned.outputs)
            reads = _REMOTE_STATE.findall(json.dumps(synthesis.configuration(planned.stack)))
            stale = {upstream for upstream, output in reads if (upstream, output) in changing}
            yield msgspec.structs.replace(planned, stale=tuple(sorted(stale)))


def _plan(synthesis: Synthesis, stack: str, initializing: Lock) -> StackPlan:
    terraform, file = Terraform(synthesis, stack), synthesis.plan_file(stack)
    with initializing:
        done = terraform.run("init", "-upgrade", "-input=false", "-no-color")
    if done.returncode != 0:
        return StackPlan(stack, "failed", text=f"terraform init: {done.stderr.strip()}")
    # No lock: CI's plan identity may not write one, and a plan changes nothing.
    done = terraform.run("plan", "-json", "-input=false", "-lock=false", "-detailed-exitcode", f"-out={file}")
    if done.returncode not in (0, 2):
        return _refused(stack, done)
    if done.returncode == 0:
        return StackPlan(stack, "unchanged")
    shown = [terraform.run("show", option, str(file)) for option in ("-json", "-no-color")]
    if failed := [each.stderr.strip() for each in shown if each.returncode != 0]:
        return StackPlan(stack, "failed", text=f"terraform show: {failed[0]}")
    content = json.loads(shown[0].stdout)
    resources = content.get("resource_changes", ())
    outputs: Mapping[str, Any] = content.get("output_changes", {})
    region: str = prices.only(terraform.configuration["provider"].get("google", {})).get("region", "")
    cost = None
    with contextlib.suppress(CommandError):  # no prices of the region: `scripts/cost` says so
        cost = prices.difference(resources, region)
    return StackPlan(
        stack,
        "changed",
        changes=_changes(resources),
        outputs=tuple(sorted(name for name, each in outputs.items() if each["actions"] != ["no-op"])),
        drift=drift(content),
        text=shown[1].stdout.rpartition("perform the following actions:\n")[2].strip("\n"),
        fingerprint=_fingerprint(content),
        cost=cost,
    )


def _fingerprint(content: Mapping[str, Any]) -> str:
    """Digest of what a plan changes, and from which values.

    Values that it leaves alone do not count, so that an autoscaler may change the number of pods meanwhile.
    """
    changed = [
        ([each["address"], each.get("deposed"), each.get("previous_address")], each["change"])
        for each in content.get("resource_changes", ())
    ]
    changed += [(["output", name], each) for name, each in content.get("output_changes", {}).items()]
    lines = [
        json.dumps([subject, change["actions"], _differences(change)])
        for subject, change in changed
        if change["actions"] != ["no-op"] or subject[-1]
    ]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _differences(change: Mapping[str, Any]) -> list[Any]:
    """Path, former and new value of each leaf that changes; none of a resource that goes."""
    if change["actions"] == ["delete"]:
        return []
    unknown = {path for path, each in _leaves(change.get("after_unknown")).items() if each}
    before, after = _leaves(change["before"]), _leaves(change["after"]) | dict.fromkeys(unknown, "unknown")
    return [
        (path, None if path in unknown else before.get(path), after.get(path))
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """The values in a value, by path, without the absent ones."""
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        return {name: leaf for key, part in parts for name, leaf in _leaves(part, f"{path}.{key}").items()}
    return {} if value is None else {path: value}


def _changes(resources: Iterable[Mapping[str, Any]]) -> tuple[Change, ...]:
    """The changes in a part of a plan, sorted by address."""
    # https://developer.hashicorp.com/terraform/internals/json-format#plan-representation
    found: list[Change] = []
    for resource in resources:
        change = resource["change"]
        actions: list[str] = change["actions"]
        action = "replace" if len(actions) == 2 else {"delete": "destroy"}.get(actions[0], actions[0])
        if action == "no-op":
            if not resource.get("previous_address"):
                continue
            action = "move"
        before, after = change["before"] or {}, change["after"] or {}
        names = {*before, *after, *(change.get("after_unknown") or {})} if after else ()
        fields = (name for name in sorted(names) if before.get(name) != after.get(name, ...))
        loses = action in ("replace", "destroy") and resource["type"] in IRREPLACEABLE
        deposed = f" (deposed {resource['deposed']})" if "deposed" in resource else ""
        found.append(Change(f"{resource['address']}{deposed}", action, tuple(fields), loses))
    return tuple(sorted(found, key=lambda change: change.address))


def drift(content: Mapping[str, Any]) -> tuple[Change, ...]:
    """What a plan, as `terraform show -json` prints it, changes back.

    It has as drift all that is not as it was, also what Google computes, as the number of a table's rows.
    """
    planned = {change.address: change.fields for change in _changes(content.get("resource_changes", ()))}
    found: list[Change] = []
    for change in _changes(content.get("resource_drift", ())):
        fields = tuple(name for name in change.fields if name in planned.get(change.address, ()))
        if fields or (change.action == "destroy" and change.address in planned):
            found.append(msgspec.structs.replace(change, fields=fields))
    return tuple(found)


def _refused(stack: str, done: subprocess.CompletedProcess[str]) -> StackPlan:
    """A failed plan: blocked if every error is a state or an output that does not exist yet."""
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    found = [message["diagnostic"] for message in messages if message["type"] == "diagnostic"]
    errors = [diagnostic for diagnostic in found if diagnostic["severity"] == "error"]
    texts: list[str] = []
    for each in errors:
        where = f" ({each['address']})" if each.get("address") else ""
        texts.append(": ".join(filter(None, (f"{each['summary']}{where}", each.get("detail")))))
    text = "\n".join(texts)
    upstream = [_upstream(diagnostic) for diagnostic in errors]
    if upstream and all(upstream):
        blocked_by = tuple(sorted(filter(None, set(upstream))))
        return StackPlan(stack, "blocked", blocked_by=blocked_by, text=text)
    return StackPlan(stack, "failed", text=f"terraform plan: {text or done.stderr.strip()}")


def _upstream(diagnostic: Mapping[str, Any]) -> str | None:
    """The upstream stack without a state, or without the output that an expression reads."""
    address: str = diagnostic.get("address", "")
    places = {
        "Unable to find remote state": address,
        "Error loading state error": address,
        "Unsupported attribute": (diagnostic.get("snippet") or {}).get("code", ""),
    }
    found = _REMOTE_STATE.search(places.get(diagnostic["summary"], ""))
    return found[1] if found else None
