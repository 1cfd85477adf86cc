"""What a team's repository has: owners, checks before a commit, GitLab's CI beside GitHub's."""

import re
from collections.abc import Iterable

import yaml

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

    for name, job in (("tests", "tests"), ("diff", ".diff"), ("deploy-environment", ".deploy")):
        workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / f"{name}.yml").read_text())
        steps = [step for each in workflow["jobs"].values() for step in each["steps"]]
        github = commands(line for step in steps for line in step.get("run", "").splitlines())
        assert github
        assert github <= commands(gitlab[job]["script"])
    jobs = {name: job for name, job in gitlab.items() if "extends" in job and name[0] != "."}
    for name, job in jobs.items():
        verb, environment = name.split()
        account = {"diff": "PLAN", "deploy": "APPLY"}[verb]
        assert job["extends"] == f".{verb}"
        assert {*job.get("needs", [])} <= jobs.keys()
        assert job["variables"] == {
            "PLATFORM_ENV": environment,
            "PROVIDER": f"${environment.upper()}_WORKLOAD_IDENTITY_PROVIDER",
            "ACCOUNT": f"${environment.upper()}_{account}_ACCOUNT",
        }
