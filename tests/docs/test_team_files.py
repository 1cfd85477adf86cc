"""What a team's repository has: owners, checks before a commit."""

import re

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
