"""A new environment: one file of settings. Commands, tests and CI find it by its name."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import environment
from tests.changes.conftest import Checkout
from tests.checkout import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SETTINGS = "infra/environments/{}.tfvars"


def workflow(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())


@pytest.fixture(scope="module")
def qa(checkout: Checkout) -> Checkout:
    """A copy of `dev` with a project and addresses of its own."""
    text = (checkout.folder / SETTINGS.format("dev")).read_text()
    text = text.replace("sales-forecast-dev", "sales-forecast-qa").replace("100000000002", "100000000005")
    (checkout.folder / SETTINGS.format("qa")).write_text(text.replace("10.16.0.0/16", "10.19.0.0/16"))
    return checkout


@pytest.mark.slow
def test_it_has_the_stacks_of_its_file_and_they_are_applied(qa: Checkout) -> None:
    stacks = qa.synthesize("qa")
    assert set(stacks) == set(environment.load("dev").stacks)
    qa.apply("qa", "foundation", "data", "messaging")
    assert "No changes" in qa.terraform("qa-messaging", "plan")


@pytest.mark.slow
def test_no_other_file_needs_a_change(qa: Checkout) -> None:
    tests = (
        "tests/infra/environment/test_environment.py",
        "tests/stacks/test_app.py::test_every_stack_of_every_environment",
        "tests/stacks/test_cluster.py",
        "tests/stacks/test_every_resource.py",
        "tests/stacks/test_foundation.py",
    )
    qa.python("-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_no_workflow_names_an_environment(file: Path) -> None:
    names = "|".join(environment.names())
    assert re.findall(rf"\b({names})\b", file.read_text(), re.IGNORECASE) == []


def test_environments_are_deployed_one_after_the_other_in_the_order_of_the_list() -> None:
    """GitHub starts the jobs of a matrix in its order; a failed or rejected one ends those that wait."""
    deploy = workflow("deploy")["jobs"]["deploy"]
    matrix = {"environment": "${{ fromJSON(vars.CI_ENVIRONMENTS || '[]') }}"}
    assert deploy["strategy"] == {"max-parallel": 1, "fail-fast": True, "matrix": matrix}
    assert deploy["with"] == {"environment": "${{ matrix.environment }}"}
    assert deploy["needs"] == "tests"
    assert workflow("diff")["jobs"]["plan"]["strategy"]["matrix"] == matrix


def test_what_is_deployed_was_planned_before_the_approval() -> None:
    plan, deploy = (workflow("deploy-environment")["jobs"][name] for name in ("plan", "deploy"))
    assert plan["uses"] == "./.github/workflows/plan-environment.yml"
    assert deploy["needs"] == "plan"
    steps = workflow("plan-environment")["jobs"]["plan"]["steps"]
    [made] = [each["with"]["name"] for each in steps if "upload-artifact@" in each.get("uses", "")]
    [taken] = [each["with"]["name"] for each in deploy["steps"] if "download-" in each.get("uses", "")]
    assert taken == made
    assert [step["run"] for step in deploy["steps"] if "run" in step] == [
        'scripts/apply "$ENVIRONMENT" diff.json',
        'scripts/verify "$ENVIRONMENT"',
    ]


def test_each_deployment_asks_for_the_approval_of_its_github_environment() -> None:
    job = workflow("deploy-environment")["jobs"]["deploy"]
    assert job["environment"] == "${{ inputs.environment }}"
    identity = next(step["with"] for step in job["steps"] if "auth@" in step.get("uses", ""))
    for name, key in (
        ("WORKLOAD_IDENTITY_PROVIDER", "workload_identity_provider"),
        ("APPLY_ACCOUNT", "service_account"),
    ):
        assert identity[key] == f"${{{{ vars[format('{{0}}_{name}', inputs.environment)] }}}}"
