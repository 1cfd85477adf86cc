"""Start, crash, status and stop of the emulators."""

import concurrent.futures
import os
import socket
import subprocess
import time
import uuid
from unittest import mock

import grpc
import httpx
import psutil
import pytest
from google.pubsub_v1 import PublisherClient, PubsubMessage, PullRequest, SubscriberClient

from infra.simulator import SimulatorError, emulators, issuer
from scripts.messages import subscriptions
from tests.conftest import wait_for
from tests.integration.conftest import Cloud

ALL = ["bigquery", "pubsub", "storage"]


def pids(cloud: Cloud) -> dict[str, int]:
    return {name: cloud.record(f"emulator.{name}")["pid"] for name in ALL}


def port(cloud: Cloud, name: str) -> int:
    return int(cloud.record(f"emulator.{name}")["labels"]["port"])


def belonging(cloud: Cloud) -> list[int]:
    """Processes of this machine that belong to the cloud, with or without a record."""
    found: list[int] = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("SIMULATOR_PROCESS", "").startswith(f"{cloud.home}:"):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_pubsub_hands_no_message_to_pulls_of_a_client_that_has_gone(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", cloud.endpoints.pubsub)
    publisher, subscriber = PublisherClient(), SubscriberClient()

    def all_arrive() -> bool:
        name = f"projects/gone-clients/{{}}/t-{uuid.uuid4().hex}"
        topic, subscription = name.format("topics"), name.format("subscriptions")
        publisher.create_topic(name=topic)
        subscriber.create_subscription(name=subscription, topic=topic, ack_deadline_seconds=600)
        with grpc.insecure_channel(cloud.endpoints.pubsub) as channel:
            pull = channel.unary_unary(
                "/google.pubsub.v1.Subscriber/Pull", request_serializer=PullRequest.serialize
            )
            request = PullRequest(subscription=subscription, max_messages=1)
            pulls = [pull.future(request, timeout=60) for _ in range(4)]
            time.sleep(0.5)  # until they wait
        wait_for("the pulls have ended", lambda: all(each.done() for each in pulls))
        time.sleep(0.5)  # the emulator looks every 50 ms
        publisher.publish(topic=topic, messages=[PubsubMessage(data=b"x")])
        time.sleep(0.5)  # for the pulls to take it, if they do
        return bool(subscriptions.take(subscriber, subscription))

    # More than once: it may be slow to notice. Before it was mended, the message was lost every time.
    wait_for("a message", all_arrive)


class TestUp:
    def test_starts_once_and_tells_where(self, cloud: Cloud) -> None:
        running = pids(cloud)
        assert cloud.up() == []
        assert pids(cloud) == running
        for name, path in {"pubsub": "/", "bigquery": "/readyz", "storage": "/storage/v1/b"}.items():
            assert httpx.get(f"http://127.0.0.1:{port(cloud, name)}{path}").status_code == 200
        sourced = subprocess.run(
            ["bash", "-ec", 'source "$1"; exec env -0', "bash", cloud.home / "env"],
            env={"PATH": os.environ["PATH"], "NO_PROXY": "own.test"},
            capture_output=True,
            text=True,
            check=True,
        )
        variables = dict(each.split("=", 1) for each in sourced.stdout.split("\0") if each)
        assert cloud.endpoints.environment.items() < variables.items()
        # Clients reach loopback past any proxy.
        assert variables["NO_PROXY"] == "127.0.0.1,localhost,own.test"
        assert variables["no_proxy"] == "127.0.0.1,localhost"

    def test_nothing_listens_beyond_loopback(self, cloud: Cloud) -> None:
        addresses = {
            connection.laddr.ip.removeprefix("::ffff:")
            for pid in pids(cloud).values()
            for connection in psutil.Process(pid).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        assert addresses == {"127.0.0.1"}

    @pytest.mark.parametrize("emulator", emulators.EMULATORS[1:], ids=lambda each: each.name)
    def test_a_port_that_another_program_took_meanwhile_is_replaced(
        self, own_cloud: Cloud, monkeypatch: pytest.MonkeyPatch, emulator: emulators.Emulator
    ) -> None:
        find = emulators.free_ports
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = find(emulator.ports) | {emulator.ports[-1]: other.getsockname()[1]}
            monkeypatch.setattr(emulators, "free_ports", mock.Mock(side_effect=[taken, find(emulator.ports)]))
            assert emulators.ensure_one(emulator) == emulator.name
        labels = own_cloud.record(f"emulator.{emulator.name}")["labels"]
        assert labels[emulator.ports[-1]] != str(taken[emulator.ports[-1]])


class TestAfterACrash:
    def test_the_address_stays(self, cloud: Cloud) -> None:
        before = {name: port(cloud, name) for name in ALL}
        for name in ALL:
            cloud.kill(f"emulator.{name}")
        with pytest.raises(SimulatorError, match="bigquery, pubsub, storage emulator; run `make up`"):
            emulators.endpoints()
        assert sorted(cloud.up()) == ALL
        assert {name: port(cloud, name) for name in ALL} == before

    def test_data_of_bigquery_and_storage_stay(self, cloud: Cloud) -> None:
        cloud.bigquery("POST", "datasets", {"datasetReference": {"datasetId": "kept"}})
        table = {
            "tableReference": {"tableId": "rows"},
            "schema": {"fields": [{"name": "n", "type": "INTEGER"}]},
        }
        cloud.bigquery("POST", "datasets/kept/tables", table)
        rows = [{"json": {"n": n}} for n in range(3)]
        cloud.bigquery("POST", "datasets/kept/tables/rows/insertAll", {"rows": rows})
        cloud.storage("POST", "b", {"name": "kept-bucket"})
        for name in ("bigquery", "storage"):
            cloud.kill(f"emulator.{name}")
        cloud.up()
        assert cloud.query("SELECT n FROM kept.rows ORDER BY n") == [["0"], ["1"], ["2"]]
        assert [bucket["name"] for bucket in cloud.storage("GET", "b")["items"]] == ["kept-bucket"]

    def test_a_taken_port_is_left_to_its_holder(self, cloud: Cloud) -> None:
        taken = port(cloud, "storage")
        cloud.kill("emulator.storage")
        with socket.create_server(("127.0.0.1", taken)):
            (told,) = cloud.up()
        moved = port(cloud, "storage")
        assert moved != taken
        assert told == f"storage (now on port {moved}: {taken} is taken)"
        assert httpx.get(f"http://{cloud.endpoints.storage}/storage/v1/b").status_code == 200


class TestStatusAndDown:
    def test_status_fails_while_something_is_dead(self, cloud: Cloud) -> None:
        cloud.up()
        assert cloud.command("status").returncode == 0
        cloud.kill("emulator.pubsub")
        done = cloud.command("status")
        assert done.returncode == 1
        states = {row.split()[0]: row.split()[1] for row in done.stdout.splitlines()[1:]}
        assert states == {
            "emulator.bigquery": "running",
            "emulator.pubsub": "DEAD",
            "emulator.storage": "running",
        }

    def test_down_leaves_no_process_and_no_endpoint(self, cloud: Cloud) -> None:
        cloud.up()
        issuer.ensure()
        assert cloud.command("down").returncode == 0
        assert belonging(cloud) == []
        with pytest.raises(SimulatorError):
            emulators.endpoints()
        assert not (cloud.home / "env").exists()
        status = cloud.command("status")
        assert status.returncode == 0
        assert "nothing runs" in status.stdout


class TestUpAfterDown:
    def test_callers_side_by_side_start_one_each(self, cloud: Cloud) -> None:
        cloud.command("down")
        with concurrent.futures.ThreadPoolExecutor() as pool:
            calls = [pool.submit(cloud.up) for _ in range(3)]
        started = [name for call in calls for name in call.result()]
        assert sorted(started) == ALL
        assert sorted(belonging(cloud)) == sorted(pids(cloud).values())

    def test_down_finds_what_an_interrupted_start_did_not_record(self, cloud: Cloud) -> None:
        cloud.up()
        for record in (cloud.home / "processes").iterdir():
            record.unlink()
        assert cloud.command("status").returncode == 1
        assert cloud.command("down").returncode == 0
        wait_for("all are gone", lambda: not belonging(cloud))

    def test_one_that_is_missing_does_not_hold_up_the_others(
        self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cloud.command("down")
        with monkeypatch.context() as patch:
            patch.setenv("CLOUDSDK_ROOT_DIR", str(cloud.home))
            done = cloud.command("up")
        assert done.returncode == 1
        assert "gcloud components install pubsub-emulator" in done.stderr
        assert cloud.up() == ["pubsub"]
