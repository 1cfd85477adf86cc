"""30,490 series, as many as the M5 competition has: a turn of the event loop does little, and nothing stays.

What a turn allocates stands for its work, since it does not depend on how busy the machine is: a row in JSON
has 110 bytes, a number of a table 8.
"""

import datetime
import decimal
import gc
import json
import tracemalloc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import msgspec
import numpy as np
import pytest

from services.contracts.model import HISTORY_DAYS
from services.contracts.settings import PredictionSettings
from services.forecasting.artifact import Model
from services.forecasting.follower import ModelFollower, ServedModel
from services.forecasting.forecast import Forecast, History
from services.http.messages import Request, Response
from services.prediction.application import Application
from services.prediction.responses import ModelResponses
from tests.conftest import Models

SERIES = 30_490
HORIZON = 60
PRICE = decimal.Decimal("129021012.62")
TURN_BYTES = 2_000_000
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


def table(keys: list[tuple[str, str]]) -> tuple[Forecast, History]:
    """A forecast and a history of these series; sales are `PRICE`, except on days before a series begins."""
    stores, families = zip(*sorted(keys), strict=True)
    shape = (SERIES, HORIZON)
    sales = np.full(shape, float(PRICE))
    past = np.full((SERIES, HISTORY_DAYS), float(PRICE))
    past[: SERIES // 2, :-1] = np.nan
    first = Models.FIRST
    forecast = Forecast(
        version="v1",
        dates=tuple(first + datetime.timedelta(days=day) for day in range(HORIZON)),
        store_nbr=stores,
        family=families,
        sales=sales,
        lower=sales / 2,
        upper=sales * 2,
        sums={"total": (np.full((1, HORIZON), 1.0), np.full((1, HORIZON), 2.0))},
    )
    dates = tuple(first - datetime.timedelta(days=HISTORY_DAYS - day) for day in range(HISTORY_DAYS))
    return forecast, History(dates, past)


def application(keys: list[tuple[str, str]]) -> Application:
    forecast, history = table(keys)
    manifest: Any = SimpleNamespace(
        version="v1", created_at=datetime.datetime.now(datetime.UTC), planned_until=None
    )
    for name in ("first_date", "last_date", "series", "horizon", "interval", "backtest"):
        setattr(manifest, name, None)
    prepared = ModelResponses(Model(manifest, forecast, history), HORIZON, "")
    registry: Any = None  # nothing is polled
    follower = ModelFollower(registry, lambda _: prepared, 1)
    follower.current, follower.error = ServedModel(manifest, prepared), None
    with mock.patch("services.prediction.application.Info"):  # a process can have one
        return Application(PredictionSettings(model_bucket="models"), follower)


SHAPES = {
    "10 stores": [(f"S{store}", f"P{product:04}") for store in range(10) for product in range(SERIES // 10)],
    "1 store": [("S0", f"P{product:05}") for product in range(SERIES)],
    "1 product": [(f"S{store:05}", "P") for store in range(SERIES)],
}


@pytest.fixture(scope="module", params=SHAPES)
def large(request: pytest.FixtureRequest) -> Application:
    return application(SHAPES[request.param])


@pytest.fixture(scope="module")
def m5() -> Application:
    return application(SHAPES["10 stores"])


def asked(target: str, body: bytes = b"", **headers: str) -> Request:
    path, _, query = target.partition("?")
    return Request(
        "10.0.0.9",
        b"POST" if body else b"GET",
        target.encode(),
        path.encode(),
        query.encode(),
        headers={name.replace("_", "-").encode(): value.encode() for name, value in headers.items()},
        body=body,
        traceparent=TRACE,
    )


def parts(response: Response) -> Iterator[bytes]:
    return iter([response.body]) if response.parts is None else response.parts()


def turns(serving: Application, request: Request, most: int = 12) -> Iterator[int]:
    """Most bytes that each of the first turns of the event loop allocates, until the answer is whole."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        content = parts(serving.answer(request))
        yield tracemalloc.get_traced_memory()[1] - before
        while most := most - 1:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            part = next(content, None)
            yield tracemalloc.get_traced_memory()[1] - before
            if part is None:
                return
    finally:
        tracemalloc.stop()


LAYOUTS = ("", "&layout=columns", "&format=csv", "&layout=sum", "&layout=sum&format=csv")


@pytest.mark.parametrize(
    "path", ["/predict?range=1", "/predict?range=60", "/history?range=1", "/history?range=180"]
)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("accepted", ["gzip", "identity"])
def test_a_turn_of_a_long_answer_is_short(large: Application, path: str, layout: str, accepted: str) -> None:
    assert max(turns(large, asked(path + layout, accept_encoding=accepted))) < TURN_BYTES


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/predict?range=7&store_nbr=nowhere", b""),
        ("/predict?range=7&family=nothing", b""),
        ("/predict?range=60&store_nbr=S0", b""),
        ("/predict?range=60&family=P", b""),
        ("/predict?range=60&layout=sum&store_nbr=S0", b""),
        ("/predict", msgspec.json.encode({"range": 60, "layout": "sum", "store_nbr": ["S0"] * 9_000})),
        ("/predict", msgspec.json.encode({"range": 60, "family": [f"P{each:04}" for each in range(3_000)]})),
        ("/predict", msgspec.json.encode({"range": 1, "format": "`" + "a" * 60_000})),
        ("/predict?range=1&" + "&".join("a" * 4_000), b""),
        ("/models", b""),
        ("/metrics", b""),
        ("/openapi.json", b""),
        ("/page.json", b""),
        ("/", b""),
        ("/docs", b""),
        ("/readyz", b""),
        ("/nowhere", b""),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else str(len(value)),
)
def test_a_turn_of_any_answer_is_short(large: Application, target: str, body: bytes) -> None:
    assert max(turns(large, asked(target, body))) < TURN_BYTES


def test_nothing_of_long_headers_stays(m5: Application) -> None:
    """They are keys of caches, as clients repeat them."""
    names = ("accept", "accept_encoding", "x_forwarded_for", "user_agent", "if_none_match", "referer")

    def ask(number: int) -> None:
        request = asked(
            "/predict?range=1&store_nbr=S0&family=P0000", **dict.fromkeys(names, f"{number}" * 6_000)
        )
        m5.observe(request, m5.answer(request), 0.1)

    with mock.patch("services.runtime.stdout"):
        ask(0)
        tracemalloc.start()
        try:
            for number in range(1_000, 1_500):
                ask(number)
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] < TURN_BYTES
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("path", ["/predict", "/history"])
def test_sums_are_exact_to_the_cent(m5: Application, path: str) -> None:
    """Added up as fractions, their last digits are lost."""
    body = b"".join(parts(m5.answer(asked(f"{path}?range=60&layout=sum"))))

    days = json.loads(body, parse_float=decimal.Decimal)["prediction" if path == "/predict" else "history"]
    assert [day["sales"] for day in days[-1:]] == [PRICE * SERIES]
    assert [day["sales"] for day in days[:-1]] == [
        PRICE * (SERIES if path == "/predict" else SERIES // 2)
    ] * 59
