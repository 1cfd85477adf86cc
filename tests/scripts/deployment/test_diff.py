"""The diff of an environment as text and as a comment on a pull request; faults of the command."""

import io
import os
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from scripts.deployment import diff
from scripts.deployment.diff import COMMENT_LIMIT
from scripts.deployment.plans import Change, StackPlan, drift
from scripts.deployment.prices import Cost
from scripts.paths import ROOT


def change(address: str, action: str, *fields: str) -> Change:
    return Change(address, action, fields)


UNCHANGED = StackPlan("dev-foundation", "unchanged")
CREATED = StackPlan(
    "dev-data",
    "changed",
    (change("google_a.new", "create"),),
    text="""\
  # google_a.new will be created
  + resource "google_a" "new" {
      + name = "x"
    }""",
)
DESTROYED = StackPlan(
    "dev-messaging",
    "changed",
    (change("google_a.gone", "destroy"), change("google_a.other", "replace"), change("google_a.y", "update")),
    text="""\
  # google_a.other must be replaced
-/+ resource "google_a" "other" {
      ~ zone = "a" -> "b" # forces replacement
    }""",
)
BLOCKED = StackPlan("dev-services", "blocked", blocked_by=("dev-cluster",), text="- No stored state")
FAILED = StackPlan("dev-cluster", "failed", text="terraform init: no credentials")
DRIFTED = StackPlan("dev-registry", "unchanged", drift=(change("google_a.d", "update", "size"),))


def shown(*stacks: StackPlan) -> str:
    console = Console(file=io.StringIO(), width=100)
    diff.show(stacks, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


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
        '  -/+ resource "google_a" "other" {',
        '        ~ zone = "a" -> "b" # forces replacement',
        "  - No stored state",
        "  terraform init: no credentials",
        "  changed outside of Terraform: google_a.d: size",
    ):
        assert line in text.splitlines()
    assert "\ndev-foundation\n" not in text


def test_comment() -> None:
    text = diff.comment("dev", [UNCHANGED, CREATED, DESTROYED, BLOCKED])
    lines = text.splitlines()
    assert lines[0] == "<!-- diff of dev -->"
    caution = lines.index("> [!CAUTION]")
    assert lines[caution + 2 : caution + 4] == [
        "> - dev-messaging: destroy `google_a.gone`",
        "> - dev-messaging: replace `google_a.other`",
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
        "#   # google_a.new will be created",
        '+       + name = "x"',
        '- -/+ resource "google_a" "other" {',
        '!       ~ zone = "a" -> "b" # forces replacement',
        "  - No stored state",
    ):
        assert line in lines
    assert text.count("```diff") == text.count("```\n\n</details>") == 3
    assert "CAUTION" not in diff.comment("dev", [CREATED, BLOCKED])


def test_what_changes_cost() -> None:
    dearer = msgspec.structs.replace(CREATED, cost=Cost("difference", 3.65, 1096.02))
    cheaper = msgspec.structs.replace(DESTROYED, cost=Cost("difference", -73, -73))
    expected = "Costs by list price: -69.35 US dollars a month without load, +1,023.02 at the limits"
    for text in (shown(dearer, cheaper), diff.comment("dev", [dearer, cheaper])):
        assert expected in text
    assert "Costs" not in diff.comment("dev", [CREATED])


def test_a_value_cannot_end_the_block_it_is_in() -> None:
    stack = StackPlan("dev-data", "changed", text='      ~ a = "````" -> "```"')
    assert "\n`````diff\n" in diff.comment("dev", [stack])


def test_a_long_line_is_cut() -> None:
    stack = StackPlan("dev-data", "changed", text=f"      ~ a = {'9' * 5000}")
    assert max(map(len, shown(stack).splitlines())) < 310


@pytest.mark.parametrize("sizes", [(5000,), (3, 5000, 3), (2000, 2000, 2000, 2000, 2000, 2000, 2000, 2000)])
def test_a_comment_fits(sizes: tuple[int, ...]) -> None:
    stacks = [
        StackPlan(
            f"dev-{number}",
            "changed",
            tuple(change(f"google_a.ünïcode-{each}", "destroy") for each in range(size)),
            text="\n".join(f"  - google_a.ünïcode-{each}" for each in range(size)),
        )
        for number, size in enumerate(sizes)
    ]
    text = diff.comment("dev", stacks)
    assert 0.9 * COMMENT_LIMIT < len(text.encode()) <= COMMENT_LIMIT
    assert text.count("```diff\n") == text.count("```\n\n</details>\n") == len(sizes)
    for number, size in enumerate(sizes):
        part = text.split(f"<summary>dev-{number}:")[1].split("</details>")[0]
        listed = part.count("\n-   - ")
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
    missing = run("dev", PATH=str(tmp_path), PLATFORM_CLOUD="simulated")
    assert missing.returncode == 1
    assert "`terraform` is not on PATH" in missing.stderr


def test_what_google_computes_is_no_drift() -> None:
    def resource(name: str, *actions: str, before: object, after: object) -> dict[str, object]:
        change = {"actions": actions, "before": before, "after": after}
        return {"address": f"google_bigquery_table.{name}", "type": "google_bigquery_table", "change": change}

    rows, more = {"num_rows": 1, "labels": {}}, {"num_rows": 2, "labels": {}}
    by_hand = {"num_rows": 2, "labels": {"by": "hand"}}
    content = {
        "resource_drift": [
            resource("grows", "update", before=rows, after=more),
            resource("changed", "update", before=rows, after=by_hand),
            resource("gone", "delete", before=rows, after=None),
        ],
        "resource_changes": [
            resource("grows", "no-op", before=more, after=more),
            resource("changed", "update", before=by_hand, after={"num_rows": 2, "labels": {}}),
            resource("gone", "create", before=None, after=rows),
        ],
    }
    assert drift(content) == (
        Change("google_bigquery_table.changed", "update", ("labels",)),
        Change("google_bigquery_table.gone", "destroy", (), loses=True),
    )
