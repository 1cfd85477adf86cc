"""Commands of the operator: replay of dead letters, watch, requests from a file, drain time."""

import contextlib
import datetime
import itertools
import json
import math
import os
import re
import threading
import urllib.parse
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pytest
from google import pubsub_v1
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials

from infra import environment
from scripts.messages import publish, replay, watch
from scripts.messages.drain_time import drain
from services.contracts.messages import SaleRangeRequest
from tests.conftest import wait_for
from tests.streaming.conftest import Surroundings


def test_dead_letters_are_moved_back(surroundings: Surroundings) -> None:
    letters = {b"a": "unknown store_nbr '9'", b"b": "unknown family 'X'", b"c": ""}
    for data, reason in letters.items():
        attributes = {"reason": reason, "delivery_attempt": "5"} if reason else {"source": "test"}
        surroundings.publisher.publish(
            topic=surroundings.dead_letter_topic,
            messages=[pubsub_v1.PubsubMessage(data=data, attributes=attributes)],
        )
    with mock.patch.dict(os.environ, {"PUBSUB_EMULATOR_HOST": f"127.0.0.1:{surroundings.pubsub.port}"}):

        def run(text: str, *, dry_run: bool) -> tuple[int, int]:
            moved, left = replay.replay(
                surroundings.dead_letters, surroundings.topic, lambda reason: text in reason, dry_run=dry_run
            )
            return moved.total(), left.total()

        assert run("", dry_run=True) == (3, 0)
        assert run("store_nbr", dry_run=False) == (1, 2)
        (message,) = surroundings.receive(surroundings.subscription, 1)
        assert (message.data, dict(message.attributes)) == (b"a", {})
        assert run("", dry_run=False) == (2, 0)
        messages = {
            each.data: dict(each.attributes) for each in surroundings.receive(surroundings.subscription, 2)
        }
        assert messages == {b"b": {}, b"c": {"source": "test"}}
        assert run("", dry_run=True) == (0, 0)


def test_many_dead_letters_are_moved_in_few_calls(surroundings: Surroundings) -> None:
    """Messages keep their ordering keys; those that cannot be published stay."""
    for key in ("", "k"):
        for begin in range(0, 1200, 600):
            messages = [
                pubsub_v1.PubsubMessage(data=str(number).encode(), ordering_key=key)
                for number in range(begin, begin + 600)
            ]
            surroundings.publisher.publish(topic=surroundings.dead_letter_topic, messages=messages)
    original_publish = pubsub_v1.PublisherClient.publish
    calls: list[int] = []

    def publish_counted(*arguments: Any, **more: Any) -> Any:
        calls.append(len(more["messages"]))
        return original_publish(*arguments, **more)

    with (
        mock.patch.dict(os.environ, {"PUBSUB_EMULATOR_HOST": f"127.0.0.1:{surroundings.pubsub.port}"}),
        mock.patch.object(pubsub_v1.PublisherClient, "publish", publish_counted),
    ):
        with pytest.raises(exceptions.NotFound):
            replay.replay(
                surroundings.dead_letters, f"{surroundings.topic}-absent", lambda _: True, dry_run=False
            )
        calls.clear()
        moved, left = replay.replay(
            surroundings.dead_letters, surroundings.topic, lambda _: True, dry_run=False
        )

    assert (moved.total(), left.total()) == (2400, 0)
    assert sum(calls) == 2400
    assert len(calls) < 60
    messages = surroundings.receive(surroundings.subscription, 2400)
    for key in ("", "k"):
        assert sorted(int(each.data) for each in messages if each.ordering_key == key) == [*range(1200)]
    assert surroundings.receive(surroundings.dead_letters, 0) == []


def test_messages_that_fail_again_are_moved_once(running: Surroundings) -> None:
    running.publish(b"seven")
    wait_for("dead letter", lambda: 'kind="invalid",outcome="ack' in running.service.get("/metrics").text)

    with mock.patch.dict(os.environ, {"PUBSUB_EMULATOR_HOST": f"127.0.0.1:{running.pubsub.port}"}):
        moved, _ = replay.replay(running.dead_letters, running.topic, lambda _: True, dry_run=False)

    assert moved.total() == 1
    assert [letter.data for letter in running.receive(running.dead_letters, 1)] == [b"seven"]


class Monitoring(BaseHTTPRequestHandler):
    """timeSeries.list of Cloud Monitoring, as `watch` uses it."""

    # https://cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-pubsub
    gauges: ClassVar = {
        ("num_undelivered_messages", "predict-range"): 42,
        ("oldest_unacked_message_age", "predict-range"): 7,
        ("num_undelivered_messages", "sale-range-dead-letter"): 3,
    }
    # Acknowledged messages by the end of the minute, for two ways of delivery.
    counts: ClassVar[list[dict[str, int]]] = [{}, {}]

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        found = re.fullmatch(
            'metric.type="pubsub.googleapis.com/subscription/([a-z_]+)"'
            ' AND resource.labels.subscription_id="([a-z-]+)"',
            query["filter"],
        )
        times = [query[f"interval.{name}Time"] for name in ("start", "end")]
        start, end = map(datetime.datetime.fromisoformat, times)
        if url.path != "/v3/projects/sales-forecast-prod/timeSeries" or not found or start >= end:
            self.send_error(400)
            return
        if found.groups() == ("ack_message_count", "predict-range"):
            series = self.counts
        else:
            series = [{"2026-01-01T00:02:00Z": self.gauges[found[1], found[2]], "2026-01-01T00:01:00Z": 99}]
        body = {
            "timeSeries": [
                {
                    "points": [
                        {"interval": {"endTime": time}, "value": {"int64Value": str(value)}}
                        for time, value in sorted(points.items(), reverse=True)
                    ]
                }
                for points in series
                if points
            ]
        }
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())


def test_a_service_that_restarts_leaves_no_backlog(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its counters begin at zero, and what it settled before is not waiting."""
    published = iter((0, 0, 40, 0, 50, 0))
    settled = iter((1000.0, 1000.0, 1040.0, 10.0))

    @contextlib.contextmanager
    def counted(project: str, *topics: str) -> Generator[Callable[[str], int]]:
        yield lambda topic: next(published)

    def settled_and_oldest(url: str) -> tuple[float, float]:
        return next(settled), 0.0

    monkeypatch.setattr(watch, "counted", counted)
    monkeypatch.setattr(watch, "settled_and_oldest", settled_and_oldest)
    snapshots = itertools.islice(watch.local(environment.load("local")), 3)
    assert [(each.backlog, each.settled) for each in snapshots] == [(0, 0), (0, 40), (0, 50)]


def test_watch_reads_cloud_monitoring() -> None:
    Monitoring.counts = [{"2026-01-01T00:01:00Z": 1000}, {}]
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Monitoring) as server,
        mock.patch.object(
            watch, "MONITORING", f"http://127.0.0.1:{server.server_port}/v3/projects/{{}}/timeSeries"
        ),
        mock.patch.object(watch, "check_login", return_value=AnonymousCredentials()),
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        snapshots = watch.cloud(environment.load("prod"))
        assert next(snapshots) == watch.Snapshot(backlog=42, settled=0, dead=3, oldest_seconds=7)
        assert next(snapshots).settled == 0
        Monitoring.counts[0]["2026-01-01T00:02:00Z"] = 60
        Monitoring.counts[1]["2026-01-01T00:02:00Z"] = 5
        assert next(snapshots).settled == 65
        assert next(snapshots).settled == 65
        with pytest.raises(watch.CommandError, match="400"):
            next(watch.cloud(environment.load("prod").model_copy(update={"project_id": "other"})))
        server.shutdown()


def test_requests_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "requests.csv"
    file.write_text("request_id,range,store_nbr,mode\na,7,,active\nb,14,France,\n")
    assert list(publish.from_csv(file)) == [
        SaleRangeRequest("a", 7, mode="active"),
        SaleRangeRequest("b", 14, "France"),
    ]
    file.write_text("range\nseven\n")
    with pytest.raises(publish.CommandError, match="range"):
        list(publish.from_csv(file))


def test_drain_time_equals_that_of_a_simulated_queue() -> None:
    waiting, clock = 1000.0, 0.0
    while waiting > 0:
        waiting += 0.01 * (20 - 50)
        clock += 0.01
    assert drain(1000, 20, 50) == (pytest.approx(clock, abs=0.1), 1000 / 50)
    assert drain(0, 60, 50) == (math.inf, math.inf)
    assert drain(0, 50, 50) == (0, 0)  # what arrives is served at once
