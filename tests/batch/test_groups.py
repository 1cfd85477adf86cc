"""Training by groups of stores: a job of Beam gives the bytes of a process that takes one after the other."""

import subprocess
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from services.batch import extract, ingest, job, publish_model, stage_groups, train
from services.contracts.model import Manifest
from services.forecasting import learning, training
from services.forecasting.panel import Panel
from tests.batch.conftest import Run, Warehouse
from tests.conftest import free_port, listening, wait_for
from tests.forecasting.conftest import make_sales
from tests.images import beam_programs


def starts(sales: pl.DataFrame, most: int | None) -> list[str]:
    """First store of each group."""
    panel = Panel.from_frame(sales)
    groups = learning.store_groups(panel, most)
    assert [group.start for group in groups[1:]] == [group.stop for group in groups[:-1]]
    assert (groups[0].start, groups[-1].stop) == (0, len(panel.family))
    return [panel.store_nbr[group.start] for group in groups]


def test_groups_are_whole_stores() -> None:
    sales = make_sales(stores=5, families=2)
    assert starts(sales, None) == ["1"]
    assert starts(sales, 10) == ["1"]
    assert starts(sales, 5) == ["1", "3", "5"]
    assert starts(sales, 1) == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize(("new", "groups"), [("1", ["1", "3"]), ("2", ["1", "2"]), ("3", ["1", "2"])])
def test_stores_too_new_to_learn_from_join_others(new: str, groups: list[str]) -> None:
    sales = make_sales(stores=3, families=2)
    opened = sales["date"].max() - pl.duration(days=50)
    assert starts(sales.filter((pl.col("store_nbr") != new) | (pl.col("date") > opened)), 2) == groups


@pytest.fixture
def snapshot(run: Run, tmp_path: Path) -> str:
    """The option that names the sales of a run: three stores of two families."""
    make_sales(stores=3).write_csv(tmp_path / "sales.csv")
    run(ingest.main, "--file", tmp_path / "sales.csv")
    return "--snapshot=" + run(extract.main, "--run-date=2022-07-12")["snapshot"]


def test_a_job_that_fails_is_worth_another_try(
    run: Run, snapshot: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUP_SERIES", "3")
    groups = f"--groups={run(stage_groups.main, snapshot)['groups']}"

    def lost(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(learning, "learn", lost)
    runner = ("--runner=FlinkRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK")
    failed = run(job.main, groups, "--project=test", *runner, fails=75)["error"]
    assert "learn_groups: the job of Beam failed: " in failed


def test_what_was_learned_arrives_as_it_is() -> None:
    panel = Panel.from_frame(make_sales())
    candidates = {"theta": training.CANDIDATES["theta"]}
    learned = learning.learn(panel, candidates, [120, 134])
    arrived = learning.Learned.decode(learned.encode())
    assert [window.origin for window in arrived.windows["theta"]] == [120, 134, panel.days]
    for sent, found in zip(learned.windows["theta"], arrived.windows["theta"], strict=True):
        np.testing.assert_array_equal(sent.sales, found.sales)
    assert learned.files == arrived.files


def test_a_job_gives_the_bytes_of_a_process(
    warehouse: Warehouse, run: Run, snapshot: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(train.main, snapshot)["version"]
    assert run(stage_groups.main, snapshot) == {"version": whole, "groups": ""}
    monkeypatch.setenv("GROUP_SERIES", "3")

    version = run(train.main)["version"]
    assert version != whole
    here = _forget(warehouse, version)
    folder = f"gs://{warehouse.models.bucket_name}/training/{version}"
    assert run(stage_groups.main, snapshot) == {"version": version, "groups": folder}
    missing = run(train.main, snapshot, f"--groups={folder}", fails=1)["error"]
    assert f"{folder}/1-learned.npz is absent" in missing
    assert run(job.main, "--runner=DirectRunner", "--project=test", f"--groups={folder}") == {"groups": 3}
    assert run(train.main, snapshot, f"--groups={folder}")["trained"] is True
    found = warehouse.registry.manifest(version)

    assert msgspec.structs.replace(found, created_at=here.created_at) == here
    assert {"group_1_model_1.txt", "group_2_model_1.txt", "group_3_model_1.txt"} < found.files.keys()
    assert found.files["group_1_model_1.txt"] != found.files["group_2_model_1.txt"]
    assert run(stage_groups.main, snapshot) == {"version": version, "groups": ""}
    assert run(publish_model.main) == {"version": version, "changed": True, "previous": None}


@pytest.mark.slow
def test_a_real_job_server_gives_the_bytes_of_a_process(
    warehouse: Warehouse, run: Run, snapshot: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prism = beam_programs.program("prism")
    if prism is None:
        pytest.skip("Prism is absent: `make test-images` builds it")
    monkeypatch.setenv("GROUP_SERIES", "3")
    here = _forget(warehouse, run(train.main, snapshot)["version"])
    groups = f"--groups={run(stage_groups.main, snapshot)['groups']}"
    port = free_port()
    with (tmp_path / "prism.log").open("wb") as log:
        server = subprocess.Popen([prism, f"--job_port={port}", "--serve_http=false"], stdout=log, stderr=log)
    try:
        wait_for("Prism listens", lambda: listening(port))
        runner = (
            "--runner=PortableRunner",
            f"--job_endpoint=127.0.0.1:{port}",
            "--environment_type=LOOPBACK",
        )
        assert run(job.main, groups, "--project=test", *runner) == {"groups": 3}
    finally:
        server.kill()
        server.wait()
    assert run(train.main, snapshot, groups)["trained"] is True
    found = warehouse.registry.manifest(here.version)
    assert msgspec.structs.replace(found, created_at=here.created_at) == here


def _forget(warehouse: Warehouse, version: str) -> Manifest:
    """Delete a version; its manifest."""
    manifest = warehouse.registry.manifest(version)
    for blob in warehouse.models.bucket.list_blobs(prefix=f"sales/{version}/"):
        blob.delete()
    return manifest


def test_options_that_no_one_knows_are_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(train.main, "--runner=DirectRunner")
    assert "unrecognized arguments: --runner=DirectRunner" in capsys.readouterr().err
