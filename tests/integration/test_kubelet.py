"""Deployments as processes: start, readiness, restart, stop, and refusals with a reason."""

import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from infra.simulator import processes
from infra.simulator.resources import ResourceError, Values, handler
from tests.conftest import REPOSITORY, free_port, listening, wait_for
from tests.integration.conftest import Cloud, Terraform

NAME = "container.shop.web.web"
ADDRESS = "kubernetes_deployment_v1.web"
IMAGE = f"registry.example/images/simulator@sha256:{'a' * 64}"


def deployment(port: int, environment: dict[str, str] | None = None, **container: Any) -> dict[str, Any]:
    """The one Deployment of a stack, in its namespace; keyword arguments replace those of its container."""
    variables = {"PORT": str(port), **(environment or {})}
    defaults = {
        "name": "web",
        "image": IMAGE,
        "command": ["python", "tests/integration/program.py"],
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "port": [{"name": "http", "container_port": port}],
        "readiness_probe": [{"http_get": [{"path": "/ready", "port": "http"}], "period_seconds": 1}],
    }
    template = {
        "metadata": [{"labels": {"app": "web"}}],
        "spec": [{"termination_grace_period_seconds": 1, "container": [defaults | container]}],
    }
    return {
        "kubernetes_namespace_v1": {"shop": {"metadata": [{"name": "shop"}]}},
        "kubernetes_deployment_v1": {
            "web": {
                "depends_on": ["kubernetes_namespace_v1.shop"],
                "metadata": [{"name": "web", "namespace": "shop"}],
                "spec": [{"selector": [{"match_labels": {"app": "web"}}], "template": [template]}],
                "wait_for_rollout": False,
            }
        },
    }


def values(resources: dict[str, Any]) -> Values:
    """The same as a provider sees it."""
    return resources["kubernetes_deployment_v1"]["web"]


def pod(resources: dict[str, Any]) -> dict[str, Any]:
    """The spec of its pod, to be changed."""
    return values(resources)["spec"][0]["template"][0]["spec"][0]


def told(port: int) -> dict[str, Any]:
    return httpx.get(f"http://127.0.0.1:{port}/environment").json()


def handle() -> Any:
    found = handler("kubernetes_deployment_v1")
    assert found is not None
    return found


@pytest.fixture
def port(cloud: Cloud) -> Any:
    """A free port, on which nothing is left when the test ends."""
    port = free_port()
    yield port
    processes.stop([NAME])
    assert not listening(port)


class TestWithTerraform:
    def test_life_of_a_deployment(self, cloud: Cloud, terraform: Terraform, port: int) -> None:
        terraform.apply(deployment(port, {"GREETING": "hello"}))
        first = psutil.Process(cloud.record(NAME)["pid"])
        assert told(port)["environment"]["GREETING"] == "hello"
        assert terraform.plan() == {}

        terraform.apply(deployment(port, {"GREETING": "good evening"}))
        second = cloud.record(NAME)["pid"]
        assert told(port)["environment"]["GREETING"] == "good evening"
        assert second != first.pid
        wait_for("the former is gone", lambda: not processes.runs(first))

        cloud.kill(NAME)
        assert terraform.plan() == {ADDRESS: "create"}
        terraform.apply()
        assert told(port)["environment"]["GREETING"] == "good evening"
        assert terraform.plan() == {}

        terraform.destroy()
        assert not listening(port)
        assert not (cloud.home / "processes" / f"{NAME}.json").exists()

    def test_a_failed_rollout_names_the_cause_and_leaves_nothing(
        self, cloud: Cloud, terraform: Terraform, port: int
    ) -> None:
        message = terraform.refused(deployment(port, {"FAIL": "yes"}))
        assert "Deployment shop/web does not run" in message
        assert "no such model" in message
        assert str(cloud.home / "logs" / "shop.web.web.log").replace("/", "") in message.replace("/", "")
        assert not (cloud.home / "processes" / f"{NAME}.json").exists()
        terraform.apply(deployment(port))
        assert told(port)["environment"]["PORT"] == str(port)

    def test_moved_emulators_reach_the_service_by_the_next_apply(
        self, cloud: Cloud, terraform: Terraform, port: int
    ) -> None:
        terraform.apply(deployment(port))
        former = cloud.endpoints.environment
        taken = int(cloud.record("emulator.storage")["labels"]["port"])
        cloud.kill("emulator.storage")
        with socket.create_server(("127.0.0.1", taken)):
            assert "Emulators were started" in terraform.apply()
        environment = told(port)["environment"]
        assert environment["STORAGE_EMULATOR_HOST"] == cloud.endpoints.environment["STORAGE_EMULATOR_HOST"]
        assert environment["STORAGE_EMULATOR_HOST"] != former["STORAGE_EMULATOR_HOST"]


class TestContainer:
    def test_sees_its_manifest_and_the_emulators_and_nothing_of_the_caller(
        self, cloud: Cloud, port: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        leaks = ("TF_LOG", "TF_VAR_x", "CDKTF_OUTDIR", "NODE_OPTIONS", "PYTHONPATH", "HTTP_PROXY", "SECRET")
        with monkeypatch.context() as patch:
            for name in leaks:
                patch.setenv(name, "leaked")
            handle().create(values(deployment(port, {"GREETING": "hello"})))
        seen = told(port)
        assert Path(seen["cwd"]) == REPOSITORY
        environment = seen["environment"]
        assert not set(leaks) & environment.keys()
        assert environment["GREETING"] == "hello"
        assert environment.items() >= cloud.endpoints.environment.items()
        assert environment["PATH"].startswith(f"{REPOSITORY}/build/venvs/simulator/bin:")

    def test_create_waits_until_it_is_ready(self, port: int) -> None:
        started = time.monotonic()
        handle().create(values(deployment(port, {"READY_AFTER": "1.5"})))
        assert time.monotonic() - started >= 1.5
        assert httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 200

    def test_startup_probe_comes_before_readiness(self, port: int) -> None:
        never = [{"http_get": [{"path": "/never", "port": "http"}], "period_seconds": 1}]
        resources = deployment(port, {"FAIL": "yes"}, startup_probe=never)
        with pytest.raises(ResourceError, match="ended before it was ready"):
            handle().create(values(resources))

    def test_sigterm_first_then_sigkill_with_all_descendants(self, cloud: Cloud, port: int) -> None:
        state = handle().create(values(deployment(port, {"STUBBORN": "yes"})))
        record = cloud.record(NAME)
        tree = [psutil.Process(record["pid"]), *psutil.Process(record["pid"]).children(recursive=True)]
        assert len(tree) == 2
        started = time.monotonic()
        handle().delete(state)
        assert time.monotonic() - started >= 1  # its grace period
        wait_for("all are gone", lambda: not any(map(processes.runs, tree)))
        assert "told to stop" in Path(record["log"]).read_text()
        assert handle().read(state) is None
        handle().delete(state)

    def test_descendants_do_not_outlive_a_crash(self, cloud: Cloud, port: int) -> None:
        state = handle().create(values(deployment(port)))
        process = psutil.Process(cloud.record(NAME)["pid"])
        (child,) = process.children()
        process.send_signal(signal.SIGKILL)
        wait_for("the crash shows", lambda: handle().read(state) is None)
        assert child.is_running()
        handle().create(state)
        wait_for("the child is gone", lambda: not processes.runs(child))
        assert handle().read(state) == state

    def test_the_log_of_the_process_before_is_kept(self, cloud: Cloud, port: int) -> None:
        state = handle().create(values(deployment(port)))
        handle().delete(state)
        handle().create(state)
        log = cloud.home / "logs" / "shop.web.web.log"
        assert "told to stop" in log.with_suffix(".log.1").read_text()
        assert "told to stop" not in log.read_text()

    def test_update_restarts_for_a_new_template_only(self, cloud: Cloud, port: int) -> None:
        state = handle().create(values(deployment(port)))
        pid = cloud.record(NAME)["pid"]
        relabelled = {**state, "metadata": [{**state["metadata"][0], "labels": {"team": "sales"}}]}
        handle().update(state, relabelled)
        assert cloud.record(NAME)["pid"] == pid
        handle().update(relabelled, values(deployment(port, image=IMAGE.replace("aa", "bb"))) | {"id": "x"})
        assert cloud.record(NAME)["pid"] != pid


class TestRefusals:
    def test_a_taken_port_names_its_holder_and_the_remedy(self, port: int) -> None:
        with socket.create_server(("127.0.0.1", port)), pytest.raises(ResourceError) as refusal:
            handle().create(values(deployment(port)))
        assert f"port {port} is taken by process {os.getpid()}" in refusal.value.detail
        assert "infra/environments/local.tfvars" in refusal.value.detail

    def test_a_running_deployment_is_not_created_again(self, port: int) -> None:
        handle().create(values(deployment(port)))
        with pytest.raises(ResourceError, match="already exists"):
            handle().create(values(deployment(port)))
        assert listening(port)

    def test_an_unknown_image(self, port: int) -> None:
        with pytest.raises(ResourceError, match=r"no environment .*nothere.*run `make install`"):
            handle().create(values(deployment(port, image="registry/nothere:1")))

    @pytest.mark.parametrize(
        ("container", "reason"),
        [
            ({"command": None}, "set command"),
            ({"image": "UPPER CASE"}, "no image reference"),
            ({"env_from": [{"secret_ref": [{"name": "s"}]}]}, "env_from has no counterpart"),
            ({"working_dir": "/srv"}, "working_dir has no counterpart"),
            (
                {"lifecycle": [{"post_start": [{"exec": [{"command": ["true"]}]}]}]},
                "lifecycle has no counter",
            ),
            (
                {"env": [{"name": "A", "value_from": [{"field_ref": [{"field_path": "metadata.name"}]}]}]},
                "variable A: value_from has no counterpart",
            ),
            ({"env": [{"name": "A", "value": "$(B)"}]}, r"variable A: \$\(NAME\) in value is not expanded"),
            ({"args": ["--port", "80"]}, "container web: args has no counterpart"),
            ({"volume_mount": [{"name": "tmp", "mount_path": "/cache"}]}, "not /cache"),
            (
                {"readiness_probe": [{"exec": [{"command": ["true"]}]}]},
                "only http_get",
            ),
            ({"readiness_probe": [{"http_get": [{"port": "admin"}]}]}, "no port named 'admin'"),
            ({"readiness_probe": [{"http_get": [{"port": "http", "scheme": "HTTPS"}]}]}, "scheme HTTPS"),
        ],
    )
    def test_arguments_without_a_counterpart_are_refused(
        self, port: int, container: dict[str, Any], reason: str
    ) -> None:
        resources = deployment(port, **container)
        pod(resources)["volume"] = [{"name": "tmp", "empty_dir": [{}]}]
        with pytest.raises(ResourceError, match=reason):
            handle().create(values(resources))

    def test_volumes_and_init_containers(self, port: int) -> None:
        resources = deployment(port)
        pod(resources)["volume"] = [{"name": "config", "config_map": [{"name": "c"}], "empty_dir": []}]
        with pytest.raises(ResourceError, match="volume config: a laptop has only empty_dir"):
            handle().create(values(resources))
        resources = deployment(port)
        pod(resources)["init_container"] = [{"name": "migrate"}]
        with pytest.raises(ResourceError, match="init_container has no counterpart"):
            handle().create(values(resources))
        resources = deployment(port)
        pod(resources)["container"] *= 2
        with pytest.raises(ResourceError, match="a pod with several containers"):
            handle().create(values(resources))


class TestJobs:
    def job(self, script: str, **arguments: Any) -> dict[str, Any]:
        pod = {
            "restart_policy": "Never",
            "container": [{"name": "job", "image": IMAGE, "command": ["sh", "-c", script]}],
        }
        spec = {"backoff_limit": 1, "template": [{"metadata": [{}], "spec": [pod]}]}
        spec |= arguments.pop("spec", {})
        return {
            "kubernetes_job_v1": {
                "job": {
                    "metadata": [{"name": "job"}],
                    "spec": [spec],
                    **arguments,
                }
            }
        }

    def test_it_runs_to_its_end_once(self, cloud: Cloud, terraform: Terraform, tmp_path: Path) -> None:
        ran = tmp_path / "ran"
        terraform.apply(self.job(f"echo run >> {ran}"))
        assert ran.read_text() == "run\n"
        assert terraform.plan() == {}
        assert not (cloud.home / "processes" / "container.default.job.job.json").exists()
        terraform.apply(self.job(f"echo again >> {ran}"))
        assert ran.read_text() == "run\nagain\n", "another template replaces it"
        terraform.destroy()

    def test_a_failure_is_tried_again_and_runs_anew_at_the_next_apply(
        self, cloud: Cloud, terraform: Terraform, tmp_path: Path
    ) -> None:
        ran = tmp_path / "ran"
        script = f"echo run >> {ran}; echo no such sales; test $(wc -l < {ran}) -gt 2"
        message = terraform.refused(self.job(script))
        assert "job: default/job is in failed state" in message
        assert "no such sales" in message
        assert ran.read_text() == "run\n" * 2
        assert terraform.plan() == {"kubernetes_job_v1.job": "replace"}
        terraform.apply()
        assert ran.read_text() == "run\n" * 3

    def test_its_deadline_ends_it(self, cloud: Cloud, terraform: Terraform) -> None:
        message = terraform.refused(self.job("sleep 600", spec={"active_deadline_seconds": 1}))
        assert "job: default/job is in failed state" in message
        assert not (cloud.home / "processes" / "container.default.job.job.json").exists()

    def test_nobody_waits_if_told_so(self, cloud: Cloud, terraform: Terraform, tmp_path: Path) -> None:
        go, done = tmp_path / "go", tmp_path / "done"
        script = f"while ! test -e {go}; do sleep 0.1; done; touch {done}"
        terraform.apply(self.job(script, wait_for_completion=False))
        assert not done.exists()
        go.touch()
        wait_for("the end of the Job", done.exists)
        terraform.destroy()
