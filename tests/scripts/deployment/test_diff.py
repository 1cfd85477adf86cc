"""The diff of an environment as text and as a comment on a pull request; faults of the command."""

import io
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from scripts.deployment import diff_report
from scripts.deployment.diff_report import COMMENT_LIMIT
from scripts.deployment.plan_changes import Action, Change, Difference
from scripts.deployment.stack_diff import EnvironmentDiff, StackDiff
from scripts.paths import ROOT


def change(address: str, action: Action, *values: tuple[str, str, str], reason: str = "") -> Change:
    differences = tuple(Difference(path, before, after, False, False) for path, before, after in values)
    return Change(address, action, reason, None, differences)


UNCHANGED = StackDiff("dev-foundation", "unchanged")
CREATED = StackDiff("dev-data", "changed", (change("google_a.new", "create", ("name", "null", '"x"')),))
DESTROYED = StackDiff(
    "dev-messaging",
    "changed",
    (
        change("google_a.gone", "destroy", reason="delete because no resource config"),
        change("google_a.other", "replace", ("zone", '"a"', '"b"')),
        change("google_a.y", "update", ("size", "1", "2")),
    ),
)
BLOCKED = StackDiff("dev-services", "blocked", blocked_by=("dev-cluster",), message="No stored state")
FAILED = StackDiff("dev-cluster", "failed", message="terraform init: no credentials")
DRIFTED = StackDiff("dev-registry", "unchanged", drift=(change("google_a.d", "update", ("size", "1", "3")),))


def shown(*stacks: StackDiff) -> str:
    console = Console(file=io.StringIO(), width=100)
    diff_report.show(EnvironmentDiff("dev", stacks), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("stacks", "status"),
    [
        ((UNCHANGED,), 0),
        ((UNCHANGED, DRIFTED), 0),
        ((UNCHANGED, CREATED), 2),
        ((BLOCKED,), 2),
        ((CREATED, FAILED), 1),
    ],
)
def test_status(stacks: tuple[StackDiff, ...], status: int) -> None:
    assert EnvironmentDiff("dev", stacks).status == status


def test_text() -> None:
    text = shown(UNCHANGED, CREATED, DESTROYED, BLOCKED, FAILED, DRIFTED)
    for line in (
        "dev-foundation +no changes",
        "dev-data +1 to create",
        "dev-messaging +1 to destroy, 1 to replace, 1 to update",
        "dev-services +blocked by dev-cluster",
        "dev-cluster +FAILED",
    ):
        assert re.search(line.replace(" +", "[ │]+"), text), f"{line}:\n{text}"
    for line in (
        "  create google_a.new",
        "  DESTROY google_a.gone (delete because no resource config)",
        "  REPLACE google_a.other",
        '      zone: "a" -> "b"',
        "  update google_a.y",
        "      size: 1 -> 2",
        "  No stored state",
        "  terraform init: no credentials",
        "  changed outside of Terraform: update google_a.d",
        "      size: 1 -> 3",
    ):
        assert line in text.splitlines()
    assert "\ndev-foundation\n" not in text


def test_comment() -> None:
    text = diff_report.markdown(EnvironmentDiff("dev", (UNCHANGED, CREATED, DESTROYED, BLOCKED)))
    lines = text.splitlines()
    assert lines[0] == "<!-- diff of dev -->"
    caution = lines.index("> [!CAUTION]")
    assert lines[caution + 2 : caution + 4] == [
        "> - dev-messaging: `DESTROY google_a.gone (delete because no resource config)`",
        "> - dev-messaging: `REPLACE google_a.other`",
    ]
    assert "| dev-foundation | no changes |" in lines
    assert "| dev-messaging | **1 to destroy, 1 to replace, 1 to update** |" in lines
    folded = [line for line in lines if line.startswith("<details>")]
    assert [re.sub("<.*?>", "", line).partition(":")[0] for line in folded] == [
        "dev-data",
        "dev-messaging",
        "dev-services",
    ]
    for line in (
        "+ create google_a.new",
        '      name: "x"',
        "- REPLACE google_a.other",
        "! update google_a.y",
    ):
        assert line in lines
    assert text.count("```diff") == text.count("```\n\n</details>") == 3
    assert "CAUTION" not in diff_report.markdown(EnvironmentDiff("dev", (CREATED, BLOCKED)))


def test_a_value_cannot_end_the_block_it_is_in() -> None:
    stack = StackDiff("dev-data", "changed", (change("google_a.x", "update", ("a", '"````"', '"```"')),))
    assert "\n`````diff\n" in diff_report.markdown(EnvironmentDiff("dev", (stack,)))


def test_a_long_value_is_cut() -> None:
    stack = StackDiff("dev-data", "changed", (change("google_a.x", "update", ("a", "1", "9" * 5000)),))
    assert max(map(len, shown(stack).splitlines())) < 300


@pytest.mark.parametrize("sizes", [(5000,), (3, 5000, 3), (2000, 2000, 2000, 2000, 2000, 2000, 2000, 2000)])
def test_a_comment_fits(sizes: tuple[int, ...]) -> None:
    stacks = tuple(
        StackDiff(
            f"dev-{number}",
            "changed",
            tuple(change(f"google_a.ünïcode-{each}", "destroy") for each in range(size)),
        )
        for number, size in enumerate(sizes)
    )
    text = diff_report.markdown(EnvironmentDiff("dev", stacks))
    assert 0.9 * COMMENT_LIMIT < len(text.encode()) <= COMMENT_LIMIT
    assert text.count("```diff\n") == text.count("```\n\n</details>\n") == len(sizes)
    for number, size in enumerate(sizes):
        part = text.split(f"<summary>dev-{number}:")[1].split("</details>")[0]
        listed = part.count("- DESTROY")
        left = re.search(r"# and (\d+) more lines", part)
        assert listed + (int(left[1]) if left else 0) == size
    assert f"and {sum(sizes) - 50} more" in text


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / "diff", *arguments],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_faults_end_with_1_and_a_message(tmp_path: Path) -> None:
    unknown = run("prd")
    assert unknown.returncode == 1
    assert "did you mean prod?" in unknown.stderr
    wrong = tmp_path / "dev.tfvars"
    wrong.write_text(
        (ROOT / "infra" / "environments" / "dev.tfvars").read_text().replace("region ", "regoin ")
    )
    refused = run("dev", PLATFORM_ENVIRONMENTS=str(tmp_path))
    assert refused.returncode == 1
    assert f"{wrong}:5: regoin: unknown key; did you mean region?" in refused.stderr
    assert run("dev", "--jsn", "x").returncode == 1


def test_terraform_must_be_installed(tmp_path: Path) -> None:
    for program in ("basename", "bash", "dirname"):
        found = shutil.which(program)
        assert found is not None
        (tmp_path / program).symlink_to(found)
    missing = run("dev", PATH=str(tmp_path))
    assert missing.returncode == 1
    assert "`terraform` is not on PATH" in missing.stderr
