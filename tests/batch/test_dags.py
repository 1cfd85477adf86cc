"""The DAGs under a real Airflow, with real steps against the emulators."""

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.airflow import PROGRAM, Airflow, settings
from services.batch.warehouse import SalesTable
from services.contracts.settings import BatchSettings, from_environment, to_environment
from tests.batch.conftest import Warehouse
from tests.batch.sales import small_sales

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="Airflow is absent: `make install-airflow`")


@pytest.fixture
def airflow(tmp_path: Path, warehouse: Warehouse, monkeypatch) -> Airflow:
    for name, value in warehouse.environment.items():
        monkeypatch.setenv(name, value)
    batch = from_environment(BatchSettings, warehouse.environment)
    a = Airflow(tmp_path / "airflow", {**warehouse.environment, **to_environment(settings(batch))})
    a.prepare()
    return a


def test_full(airflow, warehouse):
    import time

    t = time.time()
    SalesTable(warehouse.table).replace(small_sales(datetime.date(2024, 6, 30), 200))
    print("loaded", time.time() - t)
    t = time.time()
    run = airflow.try_run(datetime.date(2024, 7, 1))
    print(time.time() - t)
    for k, v in airflow.tasks(run).items():
        print(k, v)
    print((airflow.folder / "run-2024-07-01.log").read_text()[-6000:])
    assert 0
