"""Scoring as a stream, on the emulators: requests off a subscription, rows into the table of predictions."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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
