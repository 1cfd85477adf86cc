"""Stacks planned by real Terraform: what changes, what is secret, what blocks what."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.command import CommandError
from scripts.deployment import diff, plans, terraform
from scripts.deployment.plans import StackPlan
from scripts.deployment.terraform import Synthesis
from tests.simulated.conftest import Stack
from tests.stacks.synthesized import committed

SECRET = {"google_secret_manager_secret_version": {"key": {"secret": "projects/p-1/secrets/key"}}}


@pytest.fixture(autouse=True)
def cloud(simulator: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """This process's Terraform works in the tests' cloud."""
    for name, value in simulator.items():
        monkeypatch.setenv(name, value)


def diffs(stack: Stack, *stacks: str) -> list[StackPlan]:
    names = stacks or (stack.name,)
    return list(plans.plan(Synthesis("x", stack.outdir, names), names))


def account(display_name: str, account_id: str = "runner") -> dict[str, Any]:
    return {"google_service_account": {"account": {"account_id": account_id, "display_name": display_name}}}


def test_nothing_then_update_then_replacement_then_destruction(stack: Stack) -> None:
    stack.write(account("before"))
    [new] = diffs(stack)
    assert new.outcome == "changed"
    assert new.summary == "1 to create"
    stack.apply()
    assert diffs(stack) == [StackPlan("stack", "unchanged")]

    stack.write(account("after"))
    [updated] = diffs(stack)
    [change] = updated.changes
    assert (change.action, change.fields) == ("update", ("display_name",))
    assert re.search(r'~ display_name += "before" -> "after"', updated.text)

    stack.write(account("before", account_id="walker"))
    [replaced] = diffs(stack)
    [change] = replaced.destructive
    assert change.action == "replace"
    assert {"account_id", "email"} <= {*change.fields}
    assert re.search(r'~ account_id += "runner" -> "walker" # forces replacement', replaced.text)
    assert re.search(r"~ email .*-> \(known after apply\)", replaced.text)

    stack.write({"google_service_account": {"other": {"account_id": "other"}}})
    [gone] = diffs(stack)
    assert gone.summary == "1 to destroy, 1 to create"
    assert [change.address for change in gone.destructive] == ["google_service_account.account"]


def pool(most: int) -> dict[str, Any]:
    values = {
        "name": "pool",
        "cluster": "${google_container_cluster.c.id}",
        "autoscaling": [{"min_node_count": 1, "max_node_count": most}],
    }
    cluster = {"name": "c", "location": "europe-west1", "initial_node_count": 1}
    return {"google_container_cluster": {"c": cluster}, "google_container_node_pool": {"pool": values}}


def by_hand(stack: Stack, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change node pools in the state of a stack."""
    file = stack.folder / "terraform.tfstate"
    state = json.loads(file.read_text())
    for each in state["resources"]:
        if each["type"] == "google_container_node_pool":
            edit(each["instances"][0]["attributes"])
    file.write_text(json.dumps(state))


def test_limits_on_cpu_are_switched_on_in_place(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Pools that provider 6.50 made have `cpu_cfs_quota = false`, which it sent where nothing was set."""
    own = {"cluster": "${google_container_cluster.c.id}", "depends_on": []}
    pools = committed(tmp_path_factory).stack("prod-cluster").all("google_container_node_pool")
    cluster = {"name": "c", "location": "europe-west1", "initial_node_count": 1}
    stack.write(
        {
            "google_container_cluster": {"c": cluster},
            "google_container_node_pool": {name: pool | own for name, pool in pools.items()},
        }
    )
    stack.apply()
    assert diffs(stack) == [StackPlan("stack", "unchanged")]
    by_hand(stack, lambda pool: pool["node_config"][0]["kubelet_config"][0].update(cpu_cfs_quota=False))
    [changed] = diffs(stack)
    assert [change.action for change in changed.changes] == ["update"] * len(pools)
    assert changed.destructive == ()
    assert changed.text.count("cpu_cfs_quota") == len(pools)


def test_the_fingerprint_is_of_what_changes(stack: Stack) -> None:
    """An autoscaler may act between diff and apply: the plan stays the approved one, with the new number."""
    stack.write(pool(3))
    stack.apply()
    stack.write(pool(4))
    [shown] = diffs(stack)
    by_hand(stack, lambda attributes: attributes.update(node_count=2))
    [now] = diffs(stack)
    assert now.fingerprint == shown.fingerprint != ""
    synthesis = Synthesis("x", stack.outdir, (stack.name,))
    show = stack.terraform("show", "-json", str(synthesis.plan_file(stack.name)))
    after = [each["change"]["after"] for each in json.loads(show.stdout)["resource_changes"]]
    assert [each["node_count"] for each in after if "node_count" in each] == [2]

    stack.write(pool(5))
    assert diffs(stack)[0].fingerprint != shown.fingerprint, "another value"
    stack.write(pool(4))
    by_hand(stack, lambda attributes: attributes["autoscaling"][0].update(max_node_count=2))
    assert diffs(stack)[0].fingerprint != shown.fingerprint, "from another value"


def test_secrets_are_not_shown(stack: Stack, tmp_path: Path) -> None:
    def secret(data: str) -> dict[str, Any]:
        of_pod = {"metadata": {"name": "key"}, "data": {"token": data}}
        arguments = SECRET["google_secret_manager_secret_version"]["key"] | {"secret_data": data}
        return {
            "google_secret_manager_secret_version": {"key": arguments},
            "kubernetes_secret_v1": {"key": of_pod},
        }

    stack.write(secret("hunter2"), providers=("google", "kubernetes"))
    shown = repr(diffs(stack))
    stack.apply()
    stack.write(secret("correct horse"), providers=("google", "kubernetes"))
    [changed] = diffs(stack)
    assert {change.address for change in changed.changes} == {
        "google_secret_manager_secret_version.key",
        "kubernetes_secret_v1.key",
    }
    assert changed.text.count("(sensitive value)") == 2
    shown += repr(changed) + diff.comment("x", [changed])
    assert "hunter2" not in shown
    assert "correct horse" not in shown


def downstream(upstream: Stack, stack: Stack, output: str) -> None:
    """Configure a stack that reads an output of another as cdktf writes it."""
    name = f"cross-stack-reference-input-{upstream.name}"
    stack.write(account(f"${{data.terraform_remote_state.{name}.outputs.{output}}}"))
    file = stack.folder / "cdk.tf.json"
    content = json.loads(file.read_text())
    state = str(upstream.folder / "terraform.tfstate")
    content["data"] = {"terraform_remote_state": {name: {"backend": "local", "config": {"path": state}}}}
    file.write_text(json.dumps(content, indent=1))


def with_output(stack: Stack, value: str) -> None:
    stack.write(account(value, account_id="upstream"))
    file = stack.folder / "cdk.tf.json"
    content = json.loads(file.read_text())
    content["output"] = {"title": {"value": "${google_service_account.account.display_name}"}}
    file.write_text(json.dumps(content, indent=1))


def test_blocked_until_upstream_has_what_is_read(make_stack: Callable[[str], Stack]) -> None:
    upstream, stack = make_stack("x-upstream"), make_stack("x-downstream")
    upstream.write(account("one", account_id="upstream"))
    downstream(upstream, stack, "title")
    [above, below] = diffs(stack, upstream.name, stack.name)
    assert above.outcome == "changed"
    assert (below.outcome, below.blocked_by) == ("blocked", ("x-upstream",))
    assert "Unable to find remote state" in below.text

    upstream.apply()  # without the output
    [below] = diffs(stack)
    assert (below.outcome, below.blocked_by) == ("blocked", ("x-upstream",))
    assert "Unsupported attribute" in below.text

    with_output(upstream, "one")
    upstream.apply()
    [below] = diffs(stack)
    assert (below.outcome, below.stale) == ("changed", ())

    with_output(upstream, "two")
    [above, below] = diffs(stack, upstream.name, stack.name)
    assert above.outputs == ("title",)
    assert below.stale == ("x-upstream",)


def test_nobody_is_asked_for_the_value_of_a_variable(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.write(account("${var.title}"))
    file = stack.folder / "cdk.tf.json"
    content = json.loads(file.read_text())
    content["variable"] = {"title": {"type": "string", "description": "`make title` makes one."}}
    file.write_text(json.dumps(content))
    [failed] = diffs(stack)
    assert failed.outcome == "failed"
    assert "No value for required variable" in failed.text
    monkeypatch.setenv("TF_VAR_title", "one")
    assert [each.outcome for each in diffs(stack)] == ["changed"]


def test_an_image_that_is_not_pushed(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> None:
    services = committed(tmp_path_factory).stack("dev-services").content
    stack.write(account("one"))
    file = stack.folder / "cdk.tf.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "variable": services["variable"]}))
    [failed] = diffs(stack)
    assert failed.outcome == "failed"
    for service in ("prediction", "streaming"):
        remedy = f"dev has no image of {service} yet: run scripts/push_image.sh {service} dev."
        assert remedy in failed.text


def test_a_failure_is_reported_and_stops_no_other_stack(make_stack: Callable[[str], Stack]) -> None:
    broken, lost, sound = make_stack("x-broken"), make_stack("x-lost"), make_stack("x-sound")
    broken.write({"google_service_account": {"account": {}}})
    lost.write(account("lost"))
    sound.write(account("sound"))
    content = json.loads((lost.folder / "cdk.tf.json").read_text())
    content["terraform"]["required_providers"]["google"]["version"] = "9.9.9"
    (lost.folder / "cdk.tf.json").write_text(json.dumps(content))
    one, two, three = diffs(sound, broken.name, lost.name, sound.name)
    assert one.outcome == "failed"
    assert "terraform plan: Missing required argument" in one.text
    assert two.outcome == "failed"
    assert "terraform init" in two.text
    assert three.outcome == "changed"


def test_stacks_by_name(tmp_path: Path) -> None:
    synthesis = Synthesis("dev", tmp_path, ("dev-foundation", "dev-data", "dev-messaging"))
    assert synthesis.select([]) == synthesis.stacks
    assert synthesis.select(["messaging", "dev-data"]) == ("dev-data", "dev-messaging")
    with pytest.raises(terraform.CommandError, match=r"dev has no stack mesaging; did you mean messaging\?"):
        synthesis.select(["mesaging"])
    with pytest.raises(CommandError, match="there are foundation, data, messaging"):
        synthesis.select(["xyz"])
