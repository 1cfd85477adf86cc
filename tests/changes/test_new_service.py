"""A new HTTP service: its folder, a block of the stack `services`, a section of an environment file."""

import os
import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.changes.conftest import Checkout
from tests.conftest import REPOSITORY, free_port
from tests.docs.markdown import blocks

pytestmark = pytest.mark.slow

PORT = free_port()
HOW_TO = REPOSITORY / "docs" / "how-to.md"
[SECTION] = [each.replace("8782", str(PORT)) for each in blocks(HOW_TO, "hcl") if "echo" in each]
[BLOCK] = [each for each in blocks(HOW_TO, "python") if "echo" in each]
OTHERS = "        others = {name: self._http(name) for name in environment.services}\n"
LOCAL = "infra/environments/local.tfvars"
DEPLOYED = ("prediction", "streaming", "echo")
# Stands in for podman: runs the service in the Python environment of this machine.
PODMAN = """#!/bin/bash
here=$(dirname "$0")
echo "$*" >>"$here/calls"
for option; do
  [[ $option != --file=* ]] || tail -n 2 "${option#--file=}" >>"$here/calls"
done
case $1 in
  run)
    for option; do [[ $option != --env=* ]] || export "${option#--env=}"; done
    echo $$ >"$here/pid"
    exec build/venvs/echo/bin/python "${@: -2}"
    ;;
  kill) kill -s "${2#--signal=}" "$(<"$here/pid")" ;;
  image) echo 1000 ;;
esac
"""
GCLOUD = '#!/bin/bash\n[[ $1 == auth ]] || exec {gcloud} "$@"\n'
SKOPEO = '#!/bin/bash\necho "manifest unknown" >&2\nexit 1\n'


@pytest.fixture(scope="module", autouse=True)
def changed(checkout: Checkout) -> None:
    """The change of docs/how-to.md. `make lock` needs the network: the lock is a part of another one."""
    folder = checkout.folder / "services" / "echo"
    shutil.copytree(REPOSITORY / "tests" / "changes" / "echo", folder)
    lock = (checkout.folder / "services" / "prediction" / "requirements.lock").read_text()
    packages = re.findall(r"(?m)^(?:httptools|msgspec|prometheus-client)==.*(?:\n .*)*", lock)
    (folder / "requirements.lock").write_text("\n".join([*packages, ""]))
    file = checkout.folder / LOCAL
    file.write_text(file.read_text() + SECTION)
    checkout.edit("stacks/services.py", OTHERS, OTHERS + textwrap.indent(BLOCK, 8 * " "))
    status, printed = checkout.run("python3", "-m", "scripts", "install", UV_OFFLINE="1")
    assert status == 0, printed


def test_it_is_deployed_watched_and_answers(checkout: Checkout) -> None:
    stacks = checkout.synthesize("local")
    deployments = stacks["services"]["resource"]["kubernetes_deployment_v1"].values()
    assert [each["metadata"]["name"] for each in deployments] == sorted(DEPLOYED)
    readers = stacks["services"]["resource"]["google_storage_bucket_iam_member"].values()
    assert any(each["member"].endswith("/subject/ns/sales-forecast/sa/echo") for each in readers)
    watched = stacks["observability"]["resource"]
    [alert] = [
        each["conditions"][0]["condition_prometheus_query_language"]["query"]
        for each in watched["google_monitoring_alert_policy"].values()
        if each["display_name"].endswith("A service has no ready pod")
    ]
    [dashboard] = watched["google_monitoring_dashboard"].values()
    names = "|".join(DEPLOYED)
    assert f'deployment=~"{names}"' in alert
    for label in ("deployment", "horizontalpodautoscaler"):
        assert f'{label}=~\\"{names}\\"' in dashboard["dashboard_json"]

    checkout.apply("local", "foundation", "registry", "cluster", "data", "messaging")
    checkout.publish_a_model("sales-forecast-local")
    checkout.apply("local", "services", "observability")
    url = f"http://127.0.0.1:{PORT}"
    assert httpx.get(f"{url}/readyz").status_code == 200
    assert httpx.get(f"{url}/echo?a=1").json() == {"query": "a=1"}

    status, printed = checkout.run("scripts/verify", "local")
    assert status == 0, printed
    assert "echo over HTTP" in printed


def test_its_image_is_built_and_tested(checkout: Checkout, tmp_path: Path) -> None:
    for name, text in (
        ("podman", PODMAN),
        ("gcloud", GCLOUD.format(gcloud=shutil.which("gcloud"))),
        ("skopeo", SKOPEO),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    for arguments in (["init"], ["add", "."], ["commit", "--message=first"]):
        identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
        status, printed = checkout.run("git", *identity, *arguments)
        assert status == 0, printed
    path = f"{tmp_path}:{os.environ['PATH']}"
    status, printed = checkout.run(
        "scripts/push_image.sh", "echo", "dev", "--dry-run", PATH=path, CONTAINER_ENGINE="podman"
    )
    assert status == 0, printed
    calls = (tmp_path / "calls").read_text()
    assert "--build-arg=SERVICE=echo" in calls.split()
    assert "\nFROM service\n" in calls
    assert 'image.title="echo"' in calls
    assert "answers /smoke" in printed
    assert "not done: --dry-run" in printed


def test_it_is_removed_with_its_section(checkout: Checkout) -> None:
    checkout.edit(LOCAL, SECTION, "")
    checkout.synthesize("local")
    checkout.apply("local", "services", "observability")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{PORT}/readyz")


def test_clients_reach_it_through_the_gateway(checkout: Checkout) -> None:
    file = checkout.folder / "infra/environments/prod.tfvars"
    file.write_text(file.read_text() + SECTION)
    stack = checkout.synthesize("prod")["services"]["resource"]
    manifests = [each["manifest"] for each in stack["kubernetes_manifest"].values()]

    def spec(kind: str, name: str) -> dict[str, Any]:
        [found] = [each for each in manifests if (each["kind"], each["metadata"]["name"]) == (kind, name)]
        return found["spec"]

    routes = {
        rule["backendRefs"][0]["name"]: rule["matches"][0]["path"]
        for rule in spec("HTTPRoute", "services")["rules"]
    }
    assert routes == {
        "echo": {"type": "PathPrefix", "value": "/echo"},
        "prediction": {"type": "PathPrefix", "value": "/"},
    }
    assert spec("HealthCheckPolicy", "echo")["default"]["config"]["httpHealthCheck"]["port"] == PORT
    policies = [spec("GCPBackendPolicy", name)["default"]["securityPolicy"] for name in routes]
    assert policies == ["sales-forecast-gateway"] * 2
    # It was granted the models, so it reaches Google's APIs.
    policy = stack["kubernetes_network_policy_v1"]["echo-google-apis"]["spec"]
    assert policy["pod_selector"]["match_labels"] == {"app.kubernetes.io/name": "echo"}


def services(**sections: str) -> str:
    """The section `services` of an environment file."""
    lines = [f"  {name} = {{ {keys} }}" for name, keys in sections.items()]
    return "\n".join(["services = {", *lines, "}", ""])


SMALL = 'cpu = "100m", memory = "64Mi"'


@pytest.mark.parametrize(
    ("section", "faults"),
    [
        (
            services(echo=f'port = 9001, route = "echo", {SMALL}, cpus = "1"'),
            [
                "+1: services.echo.route: expected a path, such as /echo",
                "+1: services.echo.cpus: unknown key; did you mean cpu?",
            ],
        ),
        (
            services(
                echo=f'port = 9001, route = "/echo", {SMALL}, autoscaling = {{ by = "traffic" }}',
                ecko=f'port = 9001, route = "/echo", {SMALL}',
                prediction=f'port = 9002, route = "/predict", {SMALL}',
            ),
            [
                "+1: services.echo.autoscaling.by: traffic is counted at the Gateway",
                "+2: services.ecko: there is no folder services/ecko with a __main__.py",
                "+2: services.ecko.port: 9001 is the port of echo; simulated services share a machine",
                "+2: services.ecko.route: /echo is the route of echo",
                "+3: services.prediction: prediction has a section of its own",
            ],
        ),
    ],
)
def test_faults_name_their_line_and_key(checkout: Checkout, section: str, faults: list[str]) -> None:
    text = (REPOSITORY / LOCAL).read_text()
    file = checkout.folder / "infra" / "environments" / "faulty.tfvars"
    file.write_text(text + section)
    refusal = checkout.refusal("faulty")
    file.unlink()
    for fault in faults:
        offset, _, message = fault.partition(": ")
        assert f"faulty.tfvars:{len(text.splitlines()) + 1 + int(offset)}: {message}" in refusal
