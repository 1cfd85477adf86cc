"""What a team's repository has: owners, checks before a commit, GitLab's CI beside GitHub's."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
import yaml

from infra.environment import IMAGES
from scripts.deployment.plans import Change, StackPlan
from tests.conftest import REPOSITORY


def test_a_commit_is_checked_as_by_make_lint() -> None:
    config = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())
    [hooks] = [repository["hooks"] for repository in config["repos"]]
    entries = {hook["entry"] for hook in hooks}
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (REPOSITORY / "Makefile").read_text(), re.M)
    assert recipe
    lines = [line.removeprefix("\t@") for line in recipe[1].splitlines()]
    checked = {max((e for e in entries if line.startswith(e)), key=len, default=line) for line in lines}
    assert checked == entries


def test_owners_own_something() -> None:
    lines = (REPOSITORY / ".github" / "CODEOWNERS").read_text().splitlines()
    patterns = [line.split()[0] for line in lines if not line.startswith("#")]
    assert [each for each in patterns if not list(REPOSITORY.glob(each.strip("/")))] == []


def test_gitlab_runs_what_github_runs() -> None:
    gitlab = yaml.safe_load((REPOSITORY / ".gitlab-ci.yml").read_text())

    def commands(lines: Iterable[str]) -> set[str]:
        """Without what is done with their status and output."""
        own = (line for line in lines if re.match("make|npx --no-install|scripts/(?!debian_packages)", line))
        return {re.split(r" \|\| | 2>", line)[0].replace("$ENVIRONMENT", "$PLATFORM_ENV") for line in own}

    for name, job in (("tests", "tests"), ("plan-environment", ".diff"), ("deploy-environment", ".deploy")):
        workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / f"{name}.yml").read_text())
        steps = [step for each in workflow["jobs"].values() for step in each.get("steps", ())]
        github = commands(line for step in steps for line in step.get("run", "").splitlines())
        assert github
        assert github <= commands(gitlab[job]["script"])
    jobs = {name: job for name, job in gitlab.items() if "extends" in job and name[0] != "."}
    for name, job in jobs.items():
        verb, environment = name.split()
        account = {"diff": "PLAN", "deploy": "APPLY"}[verb]
        assert job["extends"] == f".{verb}"
        assert job["variables"] == {
            "PLATFORM_ENV": environment,
            "PROVIDER": f"${environment.upper()}_WORKLOAD_IDENTITY_PROVIDER",
            "ACCOUNT": f"${environment.upper()}_{account}_ACCOUNT",
        }


def test_gitlab_deploys_what_it_showed_one_environment_after_the_other() -> None:
    """A job may need only jobs of its own or an earlier stage."""
    gitlab = yaml.safe_load((REPOSITORY / ".gitlab-ci.yml").read_text())
    names = [name.removeprefix("deploy ") for name in gitlab if name.startswith("deploy ")]
    for before, name in zip([None, *names], names, strict=False):
        assert gitlab[f"deploy {name}"]["needs"] == ["tests", f"diff {name}"]
        needed = [{"job": f"deploy {before}", "optional": True}] if before else None
        assert gitlab[f"diff {name}"].get("needs") == needed
    assert gitlab[".diff"]["stage"] == gitlab[".deploy"]["stage"]


@pytest.mark.skipif(not shutil.which("jq"), reason="jq is not on PATH")
def test_ci_pushes_every_image_with_its_provenance(tmp_path: Path) -> None:
    jobs = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "images.yml").read_text())["jobs"]
    output = tmp_path / "output"
    script = jobs["names"]["steps"][-1]["run"]
    variables = {"PATH": os.environ["PATH"], "GITHUB_OUTPUT": str(output)}
    subprocess.run(["bash", "-ec", script], cwd=REPOSITORY, env=variables, check=True)
    assert json.loads(output.read_text().removeprefix("images=")) == [*IMAGES]
    push = jobs["push"]
    assert "id-token" in push["permissions"]
    assert push["permissions"]["attestations"] == "write"
    [checkout, *_, pushing, _, provenance, contents] = push["steps"]
    assert checkout["with"]["fetch-depth"] == 0, "push_image.sh refuses a shallow clone"
    assert 'scripts/push_image.sh "$IMAGE" "$ENVIRONMENT"' in pushing["run"]
    for each in (provenance, contents):
        assert each["uses"].startswith("actions/attest@")
        assert each["with"]["subject-digest"] == "${{ steps.push.outputs.digest }}"
        assert each["with"]["push-to-registry"] is True
    assert "sbom-path" in contents["with"]


@pytest.mark.parametrize("status", range(4))
@pytest.mark.parametrize("request_", [True, False])
def test_a_diff_with_a_loss_stops_a_request_and_waits_for_approval_after_it(
    tmp_path: Path, status: int, request_: bool
) -> None:
    """Status 3 is a loss."""
    (tmp_path / "scripts").mkdir()
    diff = tmp_path / "scripts" / "diff"
    diff.write_text(f"#!/bin/sh\necho lost >&2\nprintf 'diff\\nof dev\\n' >diff.md\nexit {status}\n")
    diff.chmod(0o755)
    github = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "plan-environment.yml").read_text())
    [job] = github["jobs"].values()
    [script] = [step["run"] for step in job["steps"] if "scripts/diff" in step.get("run", "")]
    gitlab = yaml.safe_load((REPOSITORY / ".gitlab-ci.yml").read_text())
    variables = {
        "PATH": os.environ["PATH"],
        "ENVIRONMENT": "dev",
        "COMMIT": "1234567",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "GITHUB_EVENT_NAME": "pull_request" if request_ else "push",
        "CI_PIPELINE_SOURCE": "merge_request_event" if request_ else "push",
    }
    for each in (script, "\n".join(gitlab[".diff"]["script"])):
        done = subprocess.run(["bash", "-ec", each], cwd=tmp_path, env=variables, check=False)
        assert (done.returncode == 0) == (status in (0, 2) or (status == 3 and not request_)), each
    summary = (tmp_path / "summary").read_text()
    assert summary == f"diff\nof dev{' FAILED' if status == 1 else ''} at 1234567\n"


@pytest.mark.parametrize(
    "file", sorted((REPOSITORY / ".github").glob("*/**/*.yml")), ids=lambda file: file.name
)
def test_actions_are_named_by_commit(file: Path) -> None:
    """A tag may move to other code, which would have the workflow's rights."""
    for action in re.findall(r"uses: (\S+)", file.read_text()):
        assert action.startswith("./") or re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action


GH = """#!/bin/bash
echo "$*" >>calls
[[ "$1 $2" != "issue list" ]] || echo "$OPEN_ISSUE"
"""


@pytest.mark.skipif(not shutil.which("jq"), reason="jq is not on PATH")
@pytest.mark.parametrize(
    ("drifted", "issue", "planned", "done"),
    [
        (True, "", "success", "create"),
        (True, "7", "success", "edit 7"),
        (True, "7", "failure", "edit 7"),
        (False, "7", "success", "close 7"),
        (False, "7", "failure", ""),  # of an environment that was not planned nothing is known
        (False, "", "success", ""),
    ],
)
def test_drift_is_one_issue(tmp_path: Path, drifted: bool, issue: str, planned: str, done: str) -> None:
    drift = (Change("google_pubsub_topic.x", "update", ("labels", "name")),)
    plan = StackPlan("dev-messaging", "unchanged", drift=drift if drifted else ())
    (tmp_path / "diff-dev").mkdir()
    content = {"environment": "dev", "status": 0, "stacks": [plan, StackPlan("dev-data", "changed")]}
    (tmp_path / "diff-dev" / "diff.json").write_bytes(msgspec.json.encode(content))
    (tmp_path / "gh").write_text(GH)
    (tmp_path / "gh").chmod(0o755)
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "diff.yml").read_text())
    script = workflow["jobs"]["drift"]["steps"][-1]["run"]
    path = f"{tmp_path}:{os.environ['PATH']}"
    variables = {"PATH": path, "PLANNED": planned, "OPEN_ISSUE": issue}
    subprocess.run(["bash", "-ec", script], cwd=tmp_path, env=variables, check=True)
    calls = (tmp_path / "calls").read_text().splitlines()
    changes = [call for call in calls if call.startswith("issue") and not call.startswith("issue list")]
    assert [call.startswith(f"issue {done}") for call in changes] == [True] * bool(done)
    row = "| dev | dev-messaging | `google_pubsub_topic.x` | labels, name |"
    assert (row in (tmp_path / "issue.md").read_text().splitlines()) == drifted
