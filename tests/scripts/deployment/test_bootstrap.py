"""What `scripts/bootstrap.sh` creates before the first deployment.

One test runs the real gcloud against a fake of Google's APIs; the others use a fake gcloud that keeps state.
"""

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from scripts.deployment import bootstrap
from scripts.deployment.terraform import Synthesis
from scripts.paths import ROOT

BUCKET = "sales-forecast-dev-tfstate"

# Answers in the form of `gcloud ... --format=json`, from a project that is a file. -IS: it starts faster.
_GCLOUD = """#!{python} -IS
import json, sys
from pathlib import Path
file = Path({state!r})
state = json.loads(file.read_text())
words = [word for word in sys.argv[1:] if not word.startswith("--")]
flags = dict(word.partition("=")[::2] for word in sys.argv[1:] if word.startswith("--"))
match words:
    case ["projects", "describe", project]:
        print(json.dumps({{"projectNumber": state["number"]}}))
    case ["services", "list"]:
        print(json.dumps([{{"config": {{"name": name}}}} for name in state["apis"]]))
    case ["services", "enable", *names]:
        state["apis"] += names
    case ["beta", "services", "identity", "create"]:
        state["agents"].append(flags["--service"])
    case ["iam", "workload-identity-pools", *providers, "list"]:
        print(json.dumps(state["providers"] if providers else state["pools"]))
    case ["iam", "workload-identity-pools", *providers, "undelete", name]:
        for each in state["providers"] if providers else state["pools"]:
            each["state"] = "ACTIVE"
    case ["beta", "quotas", "preferences", "list"]:
        print(json.dumps(state["caps"]))
    case ["logging", "buckets", "list"]:
        print(json.dumps(state["logs"]))
    case ["logging", "buckets", "undelete", name]:
        state["logs"][0]["lifecycleState"] = "ACTIVE"
    case ["kms", "keyrings", "list"]:
        print(json.dumps(state["rings"]))
    case ["kms", "keys", "list"]:
        print(json.dumps(state["keys"]))
    case ["kms", "keys", "versions", "create"]:
        state["keys"][0]["primary"] = {{"state": "ENABLED"}}
    case ["storage", "buckets", "list"]:
        print(json.dumps([state["bucket"]] if state["bucket"] else []))
    case ["storage", "buckets", "create", url]:
        state["bucket"] = {{"name": url[5:], "location": flags["--location"].upper()}}
    case ["storage", "buckets", "update", url]:
        bucket = state["bucket"]
        if "--uniform-bucket-level-access" in flags:
            bucket["uniform_bucket_level_access"] = True
        if "--public-access-prevention" in flags:
            bucket["public_access_prevention"] = "enforced"
        if "--versioning" in flags:
            bucket["versioning_enabled"] = True
        if seconds := flags.get("--soft-delete-duration"):
            bucket["soft_delete_policy"] = {{"retentionDurationSeconds": seconds.removesuffix("s")}}
        if rules := flags.get("--lifecycle-file"):
            bucket["lifecycle_config"] = json.loads(Path(rules).read_text())
    case _:
        sys.exit(f"unknown: {{words}}")
if not {{"list", "describe"}} & set(words):
    state["changes"] += 1
file.write_text(json.dumps(state))
"""


class Project:
    """A Google Cloud project that is a file."""

    def __init__(self, folder: Path, output: pytest.CaptureFixture[str]) -> None:
        self._file = folder / "project.json"
        self._output = output
        program = folder / "gcloud"
        program.write_text(_GCLOUD.format(python=sys.executable, state=str(self._file)))
        program.chmod(0o755)
        nothing: dict[str, Any] = {
            name: [] for name in ("apis", "agents", "pools", "providers", "caps", "logs", "rings", "keys")
        }
        self.write({"number": "100000000002", **nothing, "bucket": None, "changes": 0})

    def read(self) -> dict[str, Any]:
        return json.loads(self._file.read_text())

    def write(self, state: dict[str, Any]) -> None:
        self._file.write_text(json.dumps(state))

    def bootstrap(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            status = bootstrap.main(arguments)
        except SystemExit as error:
            status = int(error.code or 0)
        printed = self._output.readouterr()
        return subprocess.CompletedProcess(arguments, status, printed.out, printed.err)


class Google:
    """The requests of gcloud to three of Google's APIs: the changes so far, and the state."""

    def __init__(self) -> None:
        self.changes: list[str] = []
        self.apis: list[str] = []
        self.bucket: dict[str, Any] = {}
        google = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = f"{self.command} {urlsplit(self.path).path}"
                if self.command != "GET":
                    google.changes.append(request)
                answer = json.dumps(google.answer(request, json.loads(body or "{}"))).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PATCH = _answer  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request: str, body: dict[str, Any]) -> dict[str, Any]:
        match request:
            case "GET /v1/projects/sales-forecast-dev":
                return {"projectNumber": "100000000002"}
            case "GET /v1/projects/sales-forecast-dev/services":
                return {"services": [{"config": {"name": name}} for name in self.apis]}
            case "POST /v1/projects/sales-forecast-dev/services:batchEnable":
                self.apis += body["serviceIds"]
                return {"name": "operations/enable", "done": True, "response": {}}
            case _ if request.endswith("/services/pubsub.googleapis.com:generateServiceIdentity"):
                return {
                    "name": "operations/agent",
                    "done": True,
                    "response": {"email": "agent", "uniqueId": "1"},
                }
            case (
                "GET /v1/projects/sales-forecast-dev/locations/global/workloadIdentityPools"
                | "GET /v2/projects/sales-forecast-dev/locations/europe-west1/buckets"
            ):
                return {}
            case "GET /storage/v1/b":
                return {"items": [self.bucket] if self.bucket else []}
            case "POST /storage/v1/b":
                self.bucket = {**body, "location": body["location"].upper()}
            case _:
                assert request.endswith(f" /storage/v1/b/{BUCKET}"), request
                self.bucket.update(body)
        return self.bucket


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Google]:
    """A fake of the APIs, for the real gcloud."""
    if not shutil.which("gcloud"):
        pytest.skip("gcloud is not on PATH")
    fake = Google()
    address = f"http://127.0.0.1:{fake.server.server_port}/"
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "true")
    for service in ("CLOUDRESOURCEMANAGER", "IAM", "LOGGING", "SERVICEUSAGE", "STORAGE"):
        path = "storage/v1/" if service == "STORAGE" else ""
        monkeypatch.setenv(f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{service}", address + path)
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


@pytest.fixture(autouse=True)
def synthesized_once(monkeypatch: pytest.MonkeyPatch, synthesize: Callable[[str, Path], Synthesis]) -> None:
    """Stacks are synthesized once for all tests, not by each."""
    monkeypatch.setattr(bootstrap, "synthesize", synthesize)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Project:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("COLUMNS", "200")
    return Project(tmp_path, capsys)


def run_script() -> subprocess.CompletedProcess[str]:
    command = ["scripts/bootstrap.sh", "dev"]
    variables = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)


def test_empty_project_gets_apis_and_a_locked_down_bucket(project: Project) -> None:
    done = project.bootstrap("dev")
    assert done.returncode == 0, done.stderr
    state = project.read()
    assert {f"{name}.googleapis.com" for name in ("container", "iam", "pubsub", "storage")} <= {
        *state["apis"]
    }
    assert state["agents"] == ["pubsub.googleapis.com"]
    bucket = state["bucket"]
    assert bucket["name"] == BUCKET
    assert bucket["location"] == "EUROPE-WEST1"
    assert bucket["uniform_bucket_level_access"]
    assert bucket["versioning_enabled"]
    assert bucket["public_access_prevention"] == "enforced"
    [rule] = bucket["lifecycle_config"]["rule"]
    assert rule["condition"]["isLive"] is False, "the current state is never deleted"


def test_the_real_gcloud_sends_exactly_these_changes(google: Google) -> None:
    first = run_script()
    assert first.returncode == 0, first.stderr
    assert {"container.googleapis.com", "pubsub.googleapis.com"} <= {*google.apis}
    assert google.bucket == {
        "name": BUCKET,
        "location": "EUROPE-WEST1",
        "iamConfiguration": {
            "publicAccessPrevention": "enforced",
            "uniformBucketLevelAccess": {"enabled": True},
        },
        "versioning": {"enabled": True},
        "softDeletePolicy": {"retentionDurationSeconds": str(30 * 24 * 3600)},
        "lifecycle": {
            "rule": [{"action": {"type": "Delete"}, "condition": {"isLive": False, "numNewerVersions": 50}}]
        },
    }
    changes = [*google.changes]
    second = run_script()
    assert "up to date" in second.stdout
    [again] = google.changes[len(changes) :]  # whether an agent exists cannot be asked
    assert again in changes
    assert again.endswith("generateServiceIdentity")


def test_service_agents_are_those_that_stacks_grant_to(project: Project) -> None:
    project.write({**project.read(), "number": "100000000004"})
    assert project.bootstrap("prod").returncode == 0
    agents = ("artifactregistry", "container", "gkebackup", "pubsub")
    assert sorted(project.read()["agents"]) == [f"{name}.googleapis.com" for name in agents]


_LOGS = "google_logging_project_bucket_config.project_audit-bucket_216A82E4"
_TERRAFORM = """#!{python} -IS
import json, sys
with open({log!r}, "a") as log:
    log.write(json.dumps([word for word in sys.argv[1:] if not word.startswith("-")]) + "\\n")
if sys.argv[1:] == ["state", "list"]:
    print({logs!r})
"""


def test_what_a_destroyed_environment_left_is_taken_over(project: Project, tmp_path: Path) -> None:
    log = tmp_path / "terraform.log"
    program = tmp_path / "terraform"
    program.write_text(_TERRAFORM.format(python=sys.executable, log=str(log), logs=_LOGS))
    program.chmod(0o755)
    pool = "projects/100000000004/locations/global/workloadIdentityPools/github"
    cap = "locations/global/quotaPreferences/bigquery-queries-per-user"
    logs = "projects/sales-forecast-prod/locations/europe-west1/buckets/audit"
    ring = "projects/sales-forecast-prod/locations/europe-west1/keyRings/sales-forecast"
    left = {
        "number": "100000000004",
        "pools": [{"name": pool, "state": "DELETED"}, {"name": f"{pool}-other", "state": "DELETED"}],
        "providers": [{"name": f"{pool}/providers/github", "state": "DELETED"}],
        "caps": [{"name": f"projects/100000000004/{cap}"}],
        "logs": [{"name": logs, "lifecycleState": "DELETE_REQUESTED"}],
        "rings": [{"name": ring}],
        "keys": [{"name": f"{ring}/cryptoKeys/sales-forecast"}],
    }
    project.write({**project.read(), **left})
    done = project.bootstrap("prod")
    assert done.returncode == 0, done.stderr
    state = project.read()
    assert [each["state"] for each in (*state["pools"][:1], *state["providers"])] == ["ACTIVE", "ACTIVE"]
    assert state["logs"][0]["lifecycleState"] == "ACTIVE"
    assert state["keys"][0]["primary"] == {"state": "ENABLED"}
    # By number, Terraform would replace them.
    named = pool.replace("100000000004", "sales-forecast-prod")
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    assert calls[:2] == [["init"], ["state", "list"]]
    # It was made before, by a deployment that failed; imported, Terraform would replace it.
    assert calls[2] == ["untaint", _LOGS]
    assert {address.partition(".")[0]: name for _, address, name in calls[3:]} == {
        "google_cloud_quotas_quota_preference": f"projects/sales-forecast-prod/{cap}",
        "google_iam_workload_identity_pool": named,
        "google_iam_workload_identity_pool_provider": f"{named}/providers/github",
        "google_kms_key_ring": ring,
        "google_kms_crypto_key": f"{ring}/cryptoKeys/sales-forecast",
    }


def test_a_second_run_changes_nothing(project: Project) -> None:
    assert project.bootstrap("dev").returncode == 0
    before = project.read()
    again = project.bootstrap("dev")
    assert again.returncode == 0
    # An agent's existence cannot be queried: it is made again, which returns the same one.
    assert project.read() == before | {"agents": [*before["agents"]] * 2, "changes": before["changes"] + 1}
    assert "up to date" in again.stdout


def test_a_public_bucket_is_made_private_again(project: Project) -> None:
    assert project.bootstrap("dev").returncode == 0
    state = project.read()
    state["bucket"]["public_access_prevention"] = "inherited"
    project.write(state)
    repaired = project.bootstrap("dev")
    assert "set: public_access_prevention" in repaired.stdout
    assert project.read()["bucket"]["public_access_prevention"] == "enforced"


def test_dry_run_changes_nothing(project: Project) -> None:
    before = project.read()
    planned = project.bootstrap("dev", "--dry-run")
    assert planned.returncode == 0
    assert "to be created: in europe-west1" in planned.stdout
    assert project.read() == before


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"number": "7"}, "has the number 7, not 100000000002: correct project_number of dev.tfvars"),
        ({"bucket": {"name": BUCKET, "location": "US"}}, f"gs://{BUCKET} is in US, not in europe-west1"),
    ],
)
def test_a_project_that_differs_from_its_environment_is_refused(
    project: Project, change: dict[str, Any], error: str
) -> None:
    project.write({**project.read(), **change})
    refused = project.bootstrap("dev")
    assert refused.returncode == 1
    assert error in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        (["nowhere"], 1, "nowhere.tfvars:1: No such file"),
        ([], 2, "required: ENVIRONMENT"),
    ],
)
def test_wrong_arguments(project: Project, arguments: list[str], status: int, error: str) -> None:
    refused = project.bootstrap(*arguments)
    assert refused.returncode == status
    assert error in refused.stderr


def test_an_error_of_gcloud_is_shown(project: Project) -> None:
    state = project.read()
    del state["bucket"]
    project.write(state)
    refused = project.bootstrap("dev")
    assert refused.returncode == 1
    assert "gcloud storage buckets list" in refused.stderr
