"""Formats, layouts, compression and past sales: the same numbers in every format."""

import csv
import gzip
import io
import json
import math
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from services.contracts.messages import HistoryResponse, ModelsResponse, PredictionColumns, PredictionResponse
from tests.conftest import Models, Service, wait_for

FILTERS = [{}, {"store_nbr": ["1", "2"], "family": ["BREAD"]}, {"family": ["TEA & CO"]}]


def rows(answer: httpx.Response) -> list[dict[str, Any]]:
    """A response in any format as rows of JSON."""
    assert answer.status_code == 200, answer.text
    if answer.headers["content-type"] == "text/csv; charset=utf-8":
        numbers = {"sales", "lower", "upper"}
        return [
            {name: float(value) if name in numbers else value for name, value in row.items()}
            for row in csv.DictReader(io.StringIO(answer.text, newline=""))
        ]
    content = answer.json().get("prediction") or answer.json()["history"]
    if isinstance(content, list):
        return content
    return [dict(zip(content, row, strict=True)) for row in zip(*content.values(), strict=True)]


@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize("path", ["/predict", "/history"])
def test_every_format_has_the_same_rows(predicting: Service, path: str, filters: dict[str, Any]) -> None:
    def ask(**more: str) -> httpx.Response:
        return predicting.get(path, params={"range": 28, **filters, **more})

    expected = rows(ask())

    assert expected
    assert rows(ask(layout="rows", format="json")) == expected
    assert rows(ask(layout="columns")) == expected
    assert rows(ask(format="csv")) == expected
    assert list(rows(ask(format="csv"))[0]) == list(expected[0])


def test_columns_match_their_schema(predicting: Service) -> None:
    answer = predicting.get("/predict?range=2&layout=columns")

    columns = msgspec.convert(answer.json()["prediction"], PredictionColumns)
    assert columns.store_nbr == ["1", "1", "1", "1", "2", "2", "2", "2"]


@pytest.mark.parametrize(
    ("filters", "series", "level", "row"),
    [
        ({}, [0, 1, 2, 3], "total", 0),
        ({"store_nbr": "2"}, [2, 3], "store_nbr", 1),
        ({"family": "BREAD"}, [0, 2], "family", 0),
        ({"store_nbr": "1", "family": "MILK"}, [1], None, None),
        ({"store_nbr": ["1", "2"], "family": ["BREAD", "MILK"]}, [0, 1, 2], None, None),
    ],
    ids=str,
)
def test_a_sum_has_the_interval_of_the_sum(
    predicting: Service,
    shared_models: Models,
    filters: dict[str, Any],
    series: list[int],
    level: str | None,
    row: int | None,
) -> None:
    forecast, history = shared_models.forecast("v1"), shared_models.history("v1")
    query = {"range": 28, "layout": "sum", **filters}

    future = rows(predicting.get("/predict", params=query))
    assert future == rows(httpx.post(predicting.url + "/predict", json=query))
    assert [each["sales"] for each in future] == pytest.approx(forecast.sales[series, :28].sum(axis=0))
    ends: Any = (forecast.lower[1], forecast.upper[1]) if len(series) == 1 else ([None] * 28, [None] * 28)
    if level is not None:
        ends = (ends_of_sum[row] for ends_of_sum in forecast.sums[level])
    for name, end in zip(("lower", "upper"), ends, strict=True):
        assert [each[name] for each in future] == list(end[:28])

    past = rows(predicting.get("/history", params={**query, "range": 90}))
    assert [each["sales"] for each in past] == pytest.approx(np.nansum(history.sales[series], axis=0))
    assert [each["date"] for each in past] == [date.isoformat() for date in history.dates]


def test_a_sum_in_csv(predicting: Service) -> None:
    for path in ("/predict", "/history"):
        query = f"{path}?range=3&layout=sum"
        assert rows(predicting.get(f"{query}&format=csv")) == rows(predicting.get(query))


def test_a_sum_begins_with_its_first_series(predicting: Service) -> None:
    past = rows(predicting.get("/history?layout=sum&store_nbr=2&family=TEA+%26+CO"))

    assert len(past) == 30


def test_history_has_the_sales_of_the_model(predicting: Service, shared_models: Models) -> None:
    history = shared_models.history("v1")

    answer = msgspec.json.decode(predicting.get("/history").content, type=HistoryResponse)

    got = {(row.store_nbr, row.family, row.date): row.sales for row in answer.history}
    expected = {
        (*key, date): sales
        for key, of_series in zip(shared_models.SERIES, np.round(history.sales.astype(float), 3), strict=True)
        for date, sales in zip(history.dates, of_series.tolist(), strict=True)
        if not math.isnan(sales)
    }
    assert got == expected
    assert list(got) == sorted(got)


def test_history_ends_the_day_before_the_forecast(predicting: Service) -> None:
    past = rows(predicting.get("/history?range=3&store_nbr=1&family=BREAD"))
    future = rows(predicting.get("/predict?range=1&store_nbr=1&family=BREAD"))

    assert [row["date"] for row in past] == ["2024-02-24", "2024-02-25", "2024-02-26"]
    assert future[0]["date"] == "2024-02-27"


@pytest.mark.parametrize(
    ("query", "parameter", "allowed"),
    [
        ("range=181", "range", {"minimum": 1, "maximum": 180}),
        ("range=0", "range", {"minimum": 1, "maximum": 180}),
        ("format=xml", "format", ["json", "csv"]),
        ("layout=wide", "layout", ["rows", "columns", "sum"]),
        ("format=csv&layout=columns", "layout", ["rows", "sum"]),
        ("format=csv&format=json", "format", None),
        ("store_nbr=9", "store_nbr", ["1", "2"]),
        ("days=9", "days", ["range", "store_nbr", "family", "format", "layout"]),
    ],
)
def test_error_of_an_invalid_history_query_says_what_is_allowed(
    predicting: Service, query: str, parameter: str, allowed: object
) -> None:
    answer = predicting.get(f"/history?{query}")

    assert answer.status_code == 400
    assert answer.json()["parameter"] == parameter
    assert answer.json().get("allowed") == allowed


def test_post_accepts_format_and_layout(predicting: Service) -> None:
    def post(**more: str) -> httpx.Response:
        return httpx.post(predicting.url + "/predict", json={"range": 3, **more})

    assert rows(post(format="csv")) == rows(post(layout="columns")) == rows(post())
    assert post(format="xml").json()["allowed"] == ["json", "csv"]
    assert post(format="csv", layout="columns").status_code == 400


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("text/csv", "text/csv; charset=utf-8"),
        ("text/csv, application/json;q=0.5", "text/csv; charset=utf-8"),
        ("text/csv;q=0.5, application/json", "application/json"),
        ("text/csv;q=nonsense", "application/json"),
        ("text/html, */*;q=0.8", "application/json"),
        ("*/*", "application/json"),
        ("application/json;q=0.5, */*;q=0.8", "text/csv; charset=utf-8"),
        ("text/csv;q=0.5, */*;q=0.1", "text/csv; charset=utf-8"),
        ("text/csv;q=0, */*", "application/json"),
        ("text/csv, */*", "text/csv; charset=utf-8"),
        ("text/*;q=0.9, application/*;q=0.1", "text/csv; charset=utf-8"),
        ("text/csv;q=7, */*;q=0.1", "application/json"),
    ],
)
def test_accept_header_is_a_default_of_the_format(predicting: Service, accept: str, media_type: str) -> None:
    answer = predicting.get("/predict?range=3", headers={"accept": accept})

    assert answer.headers["content-type"] == media_type
    assert answer.headers["vary"] == "accept, accept-encoding"
    named = predicting.get("/predict?range=3&format=json", headers={"accept": accept})
    assert named.headers["content-type"] == "application/json"


def test_csv_is_a_file_download(predicting: Service) -> None:
    answer = predicting.get("/predict?range=3&format=csv")

    assert answer.headers["content-disposition"] == 'attachment; filename="prediction.csv"'
    assert answer.headers["model-version"] == "v1"


@pytest.mark.parametrize(
    ("accepts", "compressed"),
    [
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("*", True),
        ("GZIP", True),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("br", False),
        ("", False),
    ],
)
def test_compressed_for_clients_that_accept_it(predicting: Service, accepts: str, compressed: bool) -> None:
    plain = predicting.get("/predict?range=28", headers={"accept-encoding": "identity"})

    with httpx.stream(
        "GET", predicting.url + "/predict?range=28", headers={"accept-encoding": accepts}
    ) as answer:
        body = b"".join(answer.iter_raw())

    assert answer.headers.get("content-encoding") == ("gzip" if compressed else None)
    assert (gzip.decompress(body) if compressed else body) == plain.content
    # A strong entity tag identifies the bytes.
    assert (answer.headers["etag"] != plain.headers["etag"]) == compressed
    headers = {"accept-encoding": accepts, "if-none-match": answer.headers["etag"]}
    assert predicting.get("/predict?range=28", headers=headers).status_code == 304


def test_short_bodies_are_not_compressed(predicting: Service) -> None:
    answer = predicting.get("/predict?range=1&store_nbr=1", headers={"accept-encoding": "gzip"})

    assert "content-encoding" not in answer.headers


def test_every_series_and_range_has_the_numbers_of_the_model(
    predicting: Service, shared_models: Models
) -> None:
    forecast = shared_models.forecast("v1")
    with httpx.Client(base_url=predicting.url) as client:
        for index, (store, family) in enumerate(shared_models.SERIES):
            for days in range(1, 29):
                query = {"range": days, "store_nbr": store, "family": family}
                answer = msgspec.json.decode(
                    client.get("/predict", params=query).content, type=PredictionResponse
                )
                assert answer.prediction == forecast.rows(days, [index])


def test_models_describes_the_served_and_the_previous_version(own: Service, models: Models) -> None:
    own.start()
    assert own.get("/models").status_code == 503
    models.publish("v1")
    own.wait_ready()
    first = msgspec.json.decode(own.get("/models").content, type=ModelsResponse)
    assert (first.current.version, first.previous, first.fault) == ("v1", None, None)
    assert first.max_range == 30
    assert 0 < first.current.age_seconds < 3600
    assert first.current.backtest.model["total"].mase == 0.9

    models.publish("v2")
    own.wait_model("v2")
    assert own.get("/models").json()["previous"]["version"] == "v1"
    own.stop()
    own.start()
    own.wait_ready()
    models.bucket.blob("sales/current.json").upload_from_string(
        json.dumps({"version": "v9", "published_at": "2024-01-01T00:00:00Z"})
    )
    second = wait_for("the fault", lambda: own.get("/models").json()["fault"] and own.get("/models").json())
    assert second["current"]["version"] == "v2"
    assert second["previous"]["version"] == "v1"
    assert "v9" in second["fault"]


def test_a_forecast_says_which_plan_it_assumes(own: Service, models: Models) -> None:
    models.publish("v1")
    own.start()
    own.wait_ready()
    assert own.get("/predict?range=7").json()["model"] == {"version": "v1", "planned_until": None}

    models.upload("v2", planned_until=models.FIRST)
    models.publish("v2")
    own.wait_model("v2")

    for query in ("range=7", "range=7&layout=columns", "range=7&layout=sum"):
        reference = own.get(f"/predict?{query}").json()["model"]
        assert reference == {"version": "v2", "planned_until": models.FIRST.isoformat()}
    assert own.get("/history").json()["model"] == {"version": "v2"}


def test_a_missing_previous_version_does_no_harm(own: Service, models: Models) -> None:
    for version in ("v1", "v2", "v2"):
        models.publish(version)
    pointer = models.registry.pointer()
    assert pointer is not None
    assert pointer[0].previous == "v1"
    models.bucket.blob("sales/v1/manifest.json").delete()
    own.start()
    own.wait_ready()
    body = own.get("/models").json()
    assert (body["current"]["version"], body["previous"], body["fault"]) == ("v2", None, None)
    models.publish("v1")
    own.wait_model("v1")
    assert own.get("/models").json()["previous"]["version"] == "v2"
