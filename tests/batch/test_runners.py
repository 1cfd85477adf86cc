"""Pipelines as jobs of other runners: the requests are made in full, and a job server runs them.

The job servers of Flink and Spark are downloads, Dataflow is a service: what they do with it is not tried.
"""

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
import requests
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.dataflow.dataflow_runner import DataflowPipelineResult
from google.api_core.exceptions import ServiceUnavailable

from services.batch import job, score, staging
from services.batch.groups import StagedGroups
from services.batch.scoring import ModelSource
from tests.batch.conftest import Run, Warehouse
from tests.conftest import Models, free_port

QUESTIONS = "\n".join(json.dumps({"store_nbr": store, "family": family}) for store, family in Models.SERIES)


def arguments(warehouse: Warehouse, folder: Path) -> list[str]:
    (folder / "questions.json").write_text(QUESTIONS)
    return [
        f"--input={folder}/questions.json",
        f"--model_bucket={warehouse.models.bucket_name}",
        "--model_project=test",
        f"--run_date={Models.FIRST}",
        "--horizon=7",
        f"--output={folder}/out",
    ]


@pytest.mark.parametrize("runner", ["FlinkRunner", "SparkRunner"])
def test_a_job_server_runs_the_job(warehouse: Warehouse, run: Run, tmp_path: Path, runner: str) -> None:
    """Beam's own in the place of Flink's or Spark's: the same protocol, workers that unpack what they get."""
    forecast = warehouse.models.publish("v1")
    job = (f"--runner={runner}", "--job_endpoint=embed", "--environment_type=LOOPBACK", "--no_auth")
    counted = run(score.main, *arguments(warehouse, tmp_path), *job)
    assert counted == {"questions": 4, "rows": 28, "dead_letters": 0}
    lines = [line for file in (tmp_path / "out").iterdir() for line in file.read_text().splitlines()]
    assert sorted(json.loads(line)["sales"] for line in lines) == sorted(
        forecast.sales[:, :7].ravel().tolist()
    )


PORTABLE = ("--runner=FlinkRunner", "--environment_type=LOOPBACK", "--no_auth")


@pytest.mark.parametrize(
    "runner",
    [("--runner=DirectRunner", "--no_auth"), (*PORTABLE, "--job_endpoint=embed")],
    ids=["here", "job server"],
)
@pytest.mark.parametrize("error", [requests.ConnectionError("away"), ServiceUnavailable("busy")], ids=repr)
def test_a_model_that_workers_cannot_load_now_is_worth_another_try(
    warehouse: Warehouse,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    runner: tuple[str, ...],
    error: Exception,
) -> None:
    warehouse.models.publish("v1")

    def load(source: ModelSource, version: str) -> None:
        raise error

    monkeypatch.setattr(ModelSource, "load", load)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", warehouse.models.url)
    assert score.main([*arguments(warehouse, tmp_path), *runner]) == 75
    assert "score: " in capsys.readouterr().err


def test_a_job_server_that_is_away_is_worth_another_try(
    warehouse: Warehouse, run: Run, tmp_path: Path
) -> None:
    warehouse.models.publish("v1")
    portable = (*PORTABLE, f"--job_endpoint=127.0.0.1:{free_port()}", "--job_server_timeout=1")
    run(score.main, *arguments(warehouse, tmp_path), *portable, fails=75)


@pytest.mark.parametrize("kind", ["batch", "streaming", "groups"])
def test_a_job_of_dataflow(
    warehouse: Warehouse, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """What would be sent to the service is written to a file instead."""
    warehouse.models.publish("v1")
    bucket = warehouse.models.bucket_name
    image = "europe-west1-docker.pkg.dev/p/images/batch@sha256:" + "0" * 64
    account = "workers@test.iam.gserviceaccount.com"
    subnet = "regions/europe-west1/subnetworks/sales-forecast"
    asked = arguments(warehouse, tmp_path)
    streaming = kind == "streaming"
    if kind == "groups":
        groups = StagedGroups([f"gs://{bucket}/training/v2/{number}.npz" for number in (1, 2)], "best", [120])
        staging.upload("test", f"gs://{bucket}/training/v2/groups.json", msgspec.json.encode(groups))
        asked = [f"--groups=gs://{bucket}/training/v2"]
    if streaming:
        asked += ["--streaming", "--subscription=projects/test-project/subscriptions/predict-range"]
        asked += [
            "--predictions_table=test.p.predictions",
            "--dead_letter_topic=projects/test-project/topics/dead",
            "--reply_topic=projects/test-project/topics/replies",
        ]
    launched = [
        *asked,
        "--runner=DataflowRunner",
        "--no_auth",
        "--project=test",
        "--region=europe-west1",
        "--job_name=job",
        f"--temp_location=gs://{bucket}/dataflow/temp",
        f"--staging_location=gs://{bucket}/dataflow/staging",
        f"--template_location={tmp_path}/job.json",
        f"--service_account_email={account}",
        f"--subnetwork={subnet}",
        "--no_use_public_ips",
        "--machine_type=e2-standard-2",
        "--max_num_workers=3",
        f"--sdk_container_image={image}",
        "--sdk_location=container",
    ]
    monkeypatch.setattr(DataflowPipelineResult, "job_id", Mock(return_value="job-7"))  # the service says it
    assert run(job.main, *launched) == {"job": "job-7"}  # and nobody waits for it
    sent: dict[str, Any] = json.loads((tmp_path / "job.json").read_text())
    assert sent["type"] == ("JOB_TYPE_STREAMING" if streaming else "JOB_TYPE_BATCH")
    assert sent["environment"]["serviceAccountEmail"] == account
    if kind == "groups":  # one takes all processors of a worker
        options = sent["environment"]["sdkPipelineOptions"]["options"]
        assert options["number_of_worker_harness_threads"] == 1
        assert "no_use_multiple_sdk_containers" in sent["environment"]["experiments"]
    (pool,) = sent["environment"]["workerPools"]
    assert (pool["machineType"], pool["autoscalingSettings"]["maxNumWorkers"]) == ("e2-standard-2", 3)
    assert (pool["subnetwork"], pool["ipConfiguration"]) == (subnet, "WORKER_IP_PRIVATE")
    assert [each["containerImage"] for each in pool["sdkHarnessContainerImages"]] == [image]
    # The job names no step: the service reads them in the pipeline that was staged for it.
    (staged,) = [each for each in warehouse.models.bucket.list_blobs() if each.name.endswith("/pipeline.pb")]
    steps = beam_runner_api_pb2.Pipeline.FromString(staged.download_as_bytes()).components.transforms.values()
    names = {step.unique_name.split("/")[0] for step in steps}
    if kind == "groups":
        assert {"groups", "spread", "learn"} < names
        return
    assert {"batch", "forecast"} < names
    of_stream = {"read messages", "save", "publish to replies", "publish to dead"}
    of_batch = {"read files", "write rows"}
    assert names & (of_stream | of_batch) == (of_stream if streaming else of_batch)
