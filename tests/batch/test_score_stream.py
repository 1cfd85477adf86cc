"""Scoring as a stream, on the emulators: requests off a subscription, rows into the table of predictions."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY, Models, Process
from tests.streaming.conftest import Surroundings


@pytest.fixture
def surroundings(
    models: Models, pubsub_emulator: Process, bigquery_emulator: Process, tmp_path: Path
) -> Surroundings:
    models.publish("v1")
    return Surroundings(models, pubsub_emulator, bigquery_emulator, tmp_path)


@pytest.fixture
def pipeline(surroundings: Surroundings, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The pipeline as a process, which runs until it is stopped."""
    command = [sys.executable, "-m", "services.batch.score", "--runner=DirectRunner", "--no_auth"]
    command += [
        f"--subscription={surroundings.subscription}",
        f"--model_bucket={surroundings.models.bucket_name}",
        "--model_project=test",
        f"--predictions_table={surroundings.table}",
        f"--dead_letter_topic={surroundings.dead_letter_topic}",
        f"--reply_topic={surroundings.reply_topic}",
    ]
    servers = {
        "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{surroundings.pubsub.port}",
        "BIGQUERY_EMULATOR_HOST": surroundings.bigquery_server.url,
        "STORAGE_EMULATOR_HOST": surroundings.models.url,
    }
    with (tmp_path / "pipeline.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env={**os.environ, **servers}, stdout=log, stderr=subprocess.STDOUT
        )
    yield process
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_requests_become_rows_and_dead_letters(
    surroundings: Surroundings, pipeline: subprocess.Popen[bytes]
) -> None:
    """The rows of the streaming service, and the reasons it gives."""
    (seven,) = surroundings.publish(b"7")
    surroundings.publish(
        b'{"request_id": "r", "range": 2, "store_nbr": "2", "family": "TEA & CO"}',
        b'{"request_id": "x", "range": 99}',
        b"nonsense",
    )
    rows = surroundings.wait_rows(4 * 7 + 2, 120)
    assert pipeline.poll() is None
    forecast = surroundings.models.forecast("v1")
    found = {(row["request_id"], row["store_nbr"], row["family"], row["date"]): row for row in rows}
    assert len(found) == len(rows) == 30
    for index, (store, family) in enumerate(Models.SERIES):
        for day in range(7):
            row = found[(seven, store, family, forecast.dates[day])]
            assert (row["model_version"], row["sales"]) == ("v1", forecast.sales[index, day])
            assert row["published_at"] <= row["processed_at"]
    assert [row["sales"] for row in rows if row["request_id"] == "r"] == forecast.sales[3, :2].tolist()
    dead = surroundings.receive(surroundings.dead_letters, 2, 60)
    reasons = {bytes(message.data): message.attributes["reason"] for message in dead}
    assert reasons.pop(b"nonsense").startswith("neither a whole number nor JSON: ")
    assert reasons == {
        b'{"request_id": "x", "range": 99}': "range must be a whole number of days from 1 to 30"
    }


def test_the_pipeline_answers_as_the_service_does(
    surroundings: Surroundings, pipeline: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """The same messages to both: equal rows, replies, refusals and dead letters."""
    (tmp_path / "served").mkdir()
    served = Surroundings(
        surroundings.models, surroundings.pubsub, surroundings.bigquery_server, tmp_path / "served"
    )
    requests: list[dict[str, Any]] = [
        {"request_id": "passive", "range": 3, "store_nbr": "1"},
        {"request_id": "active", "range": 2, "mode": "active"},
        {"request_id": "bread", "range": 5, "family": "BREAD", "mode": "active"},
        {"request_id": "unknown", "range": 1, "store_nbr": "9", "mode": "active"},
        {"request_id": "far", "range": 99, "mode": "active"},
        {"request_id": "number", "range": 1, "store_nbr": 1, "mode": "active"},
        {"request_id": "elsewhere", "range": 1, "mode": "active", "reply_to": "nowhere"},
        {"request_id": "silent", "range": 1, "colour": "red"},
    ]
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    bodies = [json.dumps(each).encode() for each in requests]

    served.service.start()
    try:
        found = []
        for each in (surroundings, served):
            each.publish(*bodies, b"nonsense", googclient_traceparent=trace)
            replies = {
                reply.attributes["request_id"]: (
                    reply.data.decode(),
                    {name: value for name, value in reply.attributes.items() if "schema" not in name},
                )
                for reply in each.receive(each.replies, 6, 120)
            }
            letters = {
                letter.data.decode(): letter.attributes["reason"]
                for letter in each.receive(each.dead_letters, 6, 60)
            }
            times = ("published_at", "processed_at")
            rows = [
                {name: value for name, value in row.items() if name not in times}
                for row in each.wait_rows(3 * 2, 60)
            ]
            own_name = each.reply_topic.rpartition("/")[2]
            found.append(json.loads(json.dumps([replies, letters, rows], default=str).replace(own_name, "T")))
    finally:
        served.service.kill()
    by_pipeline, by_service = found
    assert by_pipeline == by_service
    replies, letters, _ = by_pipeline
    assert {name: attributes["status"] for name, (_, attributes) in replies.items()} == {
        "active": "ok",
        "bread": "ok",
        **dict.fromkeys(["unknown", "far", "number", "elsewhere"], "refused"),
    }
    assert all(attributes["googclient_traceparent"] == trace for _, attributes in replies.values())
    assert letters.keys() == {*(body.decode() for body in bodies[3:]), "nonsense"}
