"""From start to SIGTERM: readiness, model changes, drain."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.conftest import REPOSITORY, Models, Service, listening, service, storage_server, wait_for


def test_not_ready_before_a_model_is_published(own: Service, models: Models) -> None:
    own.start()

    wait_for("the follower has looked", lambda: "no model" in own.get("/readyz").text)
    assert own.get("/readyz").json() == {
        "ready": False,
        "model": None,
        "fault": "no model is published yet",
    }
    assert own.get("/readyz").status_code == 503
    assert own.get("/healthz").status_code == 200
    refused = own.get("/predict?range=7")
    assert refused.status_code == 503
    assert refused.json()["success"] is False
    assert "no model is published yet" in refused.json()["detail"]

    models.publish("v1")
    own.wait_ready()
    assert own.get("/predict?range=7").json()["model"]["version"] == "v1"


def test_not_ready_while_the_bucket_is_absent(own: Service) -> None:
    own.environment = {**own.environment, "MODEL_BUCKET": "absent"}
    own.start()

    wait_for("the follower has looked", lambda: "loaded" not in own.get("/readyz").json()["fault"])
    assert own.get("/readyz").status_code == 503


def test_model_changes_under_load_without_a_wrong_answer(own: Service, models: Models) -> None:
    expected = {}
    for version in ("v1", "v2"):
        forecast = models.publish(version)
        expected[version] = [row.sales for row in forecast.rows(30, forecast.select())]
    models.registry.publish("v1")
    own.start()
    own.wait_ready()
    old_tag = own.get("/predict?range=30").headers["etag"]
    stop = threading.Event()
    seen: list[str] = []
    faults: list[object] = []

    def ask() -> None:
        with httpx.Client(base_url=own.url) as client:
            while not stop.is_set():
                answer = client.get("/predict?range=30")
                body = answer.json()
                version = body["model"]["version"]
                seen.append(version)
                if [row["sales"] for row in body["prediction"]] != expected[version]:
                    faults.append(body)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for version in ("v2", "v1", "v2"):  # forward, rolled back, forward
            models.registry.publish(version)
            own.wait_model(version)
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert faults == []
    assert {"v1", "v2"} == set(seen)
    assert own.get("/predict?range=30", headers={"if-none-match": old_tag}).status_code == 200


def corrupt_file(models: Models) -> None:
    models.bucket.blob("sales/v2/forecast.npz").upload_from_string(b"not what was trained")


def missing_file(models: Models) -> None:
    models.bucket.blob("sales/v2/forecast.npz").delete()


def missing_manifest(models: Models) -> None:
    models.bucket.blob("sales/v2/manifest.json").delete()


def numbers_for_stores(models: Models) -> None:
    models.rewrite("v2", store_nbr=np.array([int(store) for store, _ in models.SERIES]))


def control_characters(models: Models) -> None:
    models.rewrite("v2", family=np.array([f"{family}\t" for _, family in models.SERIES]))


def nonsense_pointer(models: Models) -> None:
    models.bucket.blob("sales/current.json").upload_from_string(b"{}")


def missing_pointer(models: Models) -> None:
    models.bucket.blob("sales/current.json").delete()


DAMAGES = (corrupt_file, missing_file, missing_manifest, numbers_for_stores, control_characters)
POINTERS = (nonsense_pointer, missing_pointer)


@pytest.mark.parametrize("damage", [*DAMAGES, *POINTERS])
def test_a_damaged_new_version_leaves_the_old_one_serving(
    own: Service, models: Models, damage: Callable[[Models], None]
) -> None:
    models.publish("v1")
    own.start()
    own.wait_ready()

    models.upload("v2")
    before = models.bucket.blob("sales/v2/forecast.npz").download_as_bytes()
    damage(models)
    if damage not in POINTERS:
        models.bucket.blob("sales/current.json").upload_from_string(
            json.dumps({"version": "v2", "published_at": "2024-01-01T00:00:00Z"})
        )

    wait_for("the fault", lambda: own.get("/readyz").json()["fault"])
    state = own.get("/readyz")
    assert state.status_code == 200
    assert state.json()["model"] == "v1"
    assert own.get("/predict?range=7").json()["model"]["version"] == "v1"
    metrics = own.get("/metrics").text
    assert 'model_info{version="v1"} 1.0' in metrics
    assert 'model_reloads_total{outcome="failed"} 0.0' not in metrics
    if damage is corrupt_file:
        assert "sales/v2" in state.json()["fault"] or "v2/forecast.npz" in state.json()["fault"]
        assert "SHA-256" in state.json()["fault"]
        # After a repair the next poll loads it.
        models.bucket.blob("sales/v2/forecast.npz").upload_from_string(before)
        own.wait_model("v2")
        assert own.get("/readyz").json()["fault"] is None


def test_keeps_serving_while_the_bucket_is_unreachable(tmp_path: Path) -> None:
    bucket_server = storage_server(tmp_path)
    bucket_server.start()
    models = Models(bucket_server.url, tmp_path / "models")
    models.publish("v1")
    own = service("services.prediction", {**models.environment, "DRAIN_SECONDS": "0"}, tmp_path / "own.log")
    try:
        own.start()
        own.wait_ready()

        bucket_server.kill()
        time.sleep(1)  # several polls
        assert own.get("/predict?range=7").status_code == 200
        assert own.get("/readyz").status_code == 200

        bucket_server.start()
        models.publish("v2")
        own.wait_model("v2")
    finally:
        own.kill()
        bucket_server.kill()


def test_sigterm_drains_without_a_failed_request(own: Service, models: Models) -> None:
    """Clients that heed readiness see no failure, on persistent and new connections."""
    # Long enough for a watcher that a busy machine delays.
    own.environment = {**own.environment, "DRAIN_SECONDS": "6"}
    models.publish("v1")
    own.start()
    own.wait_ready()
    leave = threading.Event()
    answered = [0] * 4
    failures: list[str] = []

    def ask(number: int, keep_alive: bool) -> None:
        with httpx.Client(base_url=own.url) as client:
            while not leave.is_set():
                try:
                    answer = client.get(
                        "/predict?range=7", headers={} if keep_alive else {"connection": "close"}
                    )
                    assert answer.status_code == 200, answer.status_code
                    answered[number] += 1
                except Exception as error:
                    failures.append(repr(error))

    def watch() -> None:
        """Like a load balancer: poll readiness, and stop sending at the first 503."""
        while own.get("/readyz").status_code == 200:
            time.sleep(0.05)
        time.sleep(0.3)  # load balancers go on sending for a while
        leave.set()

    threads = [threading.Thread(target=ask, args=(number, number % 2 == 0)) for number in range(4)]
    watcher = threading.Thread(target=watch)
    for thread in [*threads, watcher]:
        thread.start()
    wait_for("load", lambda: sum(answered) > 100)

    begun = time.monotonic()
    code = own.stop()
    took = time.monotonic() - begun
    for thread in [*threads, watcher]:
        thread.join()

    assert failures == []
    assert code == 0
    assert took >= 6.0
    assert "stopped" in own.log.read_text()


def test_a_request_in_flight_when_the_listener_closes_is_answered(own: Service, models: Models) -> None:
    models.publish("v1")
    own.start()
    own.wait_ready()
    body = b'{"range": 7}'
    with socket.create_connection(("127.0.0.1", own.port)) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert own.process is not None
        own.process.terminate()
        wait_for("the listener is closed", lambda: not listening(own.port))
        connection.sendall(body)
        answer = connection.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"success":true' in answer
    assert own.process.wait(180) == 0


def test_idle_connections_do_not_delay_the_stop(own: Service, models: Models) -> None:
    models.publish("v1")
    own.start()
    own.wait_ready()
    with httpx.Client(base_url=own.url) as client, socket.create_connection(("127.0.0.1", own.port)):
        client.get("/predict?range=7")
        begun = time.monotonic()
        assert own.stop() == 0
    assert time.monotonic() - begun < 15  # after which requests in flight are aborted


def test_a_used_port_is_reported_in_one_line(own: Service) -> None:
    with socket.create_server(("127.0.0.1", own.port)):
        assert own.spawn().wait(180) == 1

    lines = own.log.read_text().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"error: cannot listen on 127.0.0.1:{own.port}: Address already in use")


def test_a_low_limit_of_open_files_is_told_at_start_and_kept(own: Service, models: Models) -> None:
    models.publish("v1")
    own.command = ["sh", "-c", 'ulimit -n 400 && exec "$@"', "sh", *own.command]
    own.start()
    own.wait_ready()
    with contextlib.ExitStack() as connections:
        for _ in range(600):
            connections.enter_context(socket.create_connection(("127.0.0.1", own.port)))
        assert own.get("/healthz").status_code == 200
    assert own.stop() == 0  # which writes the last lines
    log = own.log.read_text()
    assert "Traceback" not in log
    assert log.count("ulimit -n is 400") == 1


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "MODEL_BUCKET"),
        ({"MODEL_BUCKET": "m", "PORT": "http"}, "PORT"),
        ({"MODEL_BUCKET": "m", "MAX_RANGE": "0"}, "MAX_RANGE"),
        ({"MODEL_BUCKET": "m", "DRAIN_SECONDS": "-1"}, "DRAIN_SECONDS"),
    ],
)
def test_invalid_settings_are_reported_in_one_line(
    tmp_path: Path, environment: dict[str, str], message: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "services.prediction"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
