"""checkov has nothing to say of production that nobody answered."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts.deployment import checkov_scan as scan
from scripts.deployment.terraform import Synthesis


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if not scan.CHECKOV.exists():
        pytest.skip("checkov is not installed: run `make checkov`")
    return tmp_path


def test_production_is_clean() -> None:
    if not scan.CHECKOV.exists():
        pytest.skip("checkov is not installed: run `make checkov`")
    done = subprocess.run(["make", "checkov"], cwd=scan.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_findings_and_waivers_that_nothing_asks_for(folder: Path) -> None:
    open_bucket: dict[str, Any] = {"name": "b", "location": "EU"}
    waived = open_bucket | {"//": {"waived": {"CKV_GCP_62": "a reason", "CKV_GCP_83": "no topic"}}}
    stack = folder / "out" / "stacks" / "x-data"
    stack.mkdir(parents=True)
    resources = {"google_storage_bucket": {"open": open_bucket, "waived": waived}}
    (stack / "cdk.tf.json").write_text(json.dumps({"resource": resources}))
    work = folder / "work"
    work.mkdir()
    found = scan.scan(Synthesis("x", folder / "out", ("x-data",)), work)
    checks = {(each.resource, each.check) for each in found}
    assert ("open", "CKV_GCP_62") in checks
    assert ("waived", "CKV_GCP_62") not in checks
    assert ("waived", "CKV_GCP_29") in checks  # uniform access
    [unasked] = [each for each in found if each.problem.startswith("waived")]
    assert (unasked.resource, unasked.check) == ("waived", "CKV_GCP_83")
