"""Responses of many series and days, which are encoded while they are sent."""

import contextlib
import gzip
import itertools
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from services.forecasting.artifact import Model, load_manifest
from services.http.server import MAX_STREAMS
from services.prediction.responses import ModelResponses, Query
from tests.conftest import Models, Service, service, wait_for
from tests.prediction.test_tables import rows

PART_BYTES = 400_000


class ManyModels(Models):
    """Models of 50 stores and 21 families, some named like formulas; the history of one begins late."""

    SERIES = tuple(
        itertools.product(
            ("+1", "-1", "=1", "@1", *(f"S{number:02}" for number in range(46))),
            ("+A", "-A", "=A", "@A", *"ABCDEFGHIJKLMNOPQ"),
        )
    )


@pytest.fixture(scope="module")
def many(storage_emulator: Any, tmp_path_factory: pytest.TempPathFactory) -> ManyModels:
    models = ManyModels(storage_emulator.url, tmp_path_factory.mktemp("models"))
    models.publish("v1")
    return models


@pytest.fixture(scope="module")
def serving(many: ManyModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    log = tmp_path_factory.mktemp("prediction") / "service.log"
    running = service("services.prediction", many.environment, log)
    running.start()
    yield running.wait_ready()
    running.kill()


@pytest.mark.parametrize("path", ["/predict", "/history"])
def test_every_format_has_the_rows_of_the_model(serving: Service, many: ManyModels, path: str) -> None:
    def ask(**more: str) -> list[dict[str, Any]]:
        answer = serving.get(path, params={"range": 28, **more})
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.headers["content-encoding"] == "gzip"
        return rows(answer)

    expected = ask()
    if path == "/predict":
        forecast = many.forecast("v1")
        assert [row["sales"] for row in expected] == forecast.sales[:, :28].ravel().tolist()
    else:
        sales = many.history("v1").sales[:, -28:].astype(np.float64).round(3).ravel()
        assert [row["sales"] for row in expected] == sales[~np.isnan(sales)].tolist()
    assert ask(layout="columns") == expected
    for row in expected:
        for name in ("store_nbr", "family"):
            if row[name][0] in "=+-@":  # spreadsheets take it for a formula
                row[name] = f"'{row[name]}"
    assert ask(format="csv") == expected


def test_the_same_question_is_answered_from_the_cache(serving: Service) -> None:
    first = serving.get("/predict?range=27")
    second = serving.get("/predict?range=27")

    assert "transfer-encoding" in first.headers
    assert "content-length" in second.headers
    assert first.content == second.content
    tag = first.headers["etag"]
    assert tag.startswith('W/"')
    assert second.headers["etag"] == tag
    assert serving.get("/predict?range=27", headers={"if-none-match": tag}).status_code == 304
    assert serving.get("/predict?range=26").headers["etag"] != tag
    plain = serving.get("/predict?range=27", headers={"accept-encoding": "identity"})
    assert plain.headers["etag"] != tag
    assert plain.content == first.content


def test_a_post_may_ask_for_everything(serving: Service) -> None:
    answer = httpx.post(serving.url + "/predict", json={"range": 30})

    assert len(rows(answer)) == len(ManyModels.SERIES) * 30


def end(connection: socket.socket) -> bytes:
    """The last bytes of a chunked response."""
    last = b""
    while not last.endswith(b"\r\n0\r\n\r\n") and (received := connection.recv(1 << 20)):
        last = (last + received)[-7:]
    return last


def test_memory_is_bounded_with_as_many_long_answers_as_there_may_be(
    serving: Service, many: ManyModels
) -> None:
    """By what docs/benchmarks.md asks a pod to have."""
    with contextlib.ExitStack() as opened:
        connections: list[socket.socket] = []
        for number in range(MAX_STREAMS):
            connection = opened.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            connection.bind((f"127.0.0.{2 + number % 2}", 0))
            connection.connect(("127.0.0.1", serving.port))
            path = ("/predict?range=30", "/predict?range=30&format=csv", "/history?range=90")[number % 3]
            connection.sendall(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
            connections.append(connection)
        full = f"prediction_requests_in_flight {MAX_STREAMS}.0"
        wait_for("all answers to be sent", lambda: full in serving.get("/metrics").text)
        refused = serving.get("/predict?range=30&layout=columns")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        with ThreadPoolExecutor(MAX_STREAMS) as pool:
            assert {*pool.map(end, connections)} == {b"\r\n0\r\n\r\n"}
    forecast, history = many.forecast("v1"), many.history("v1")
    tables = 3 * forecast.sales.nbytes + history.sales.nbytes
    assert serving.process is not None
    status = Path(f"/proc/{serving.process.pid}/status").read_text()
    peak = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024
    assert peak < (80 + 90) * 2**20 + 3.1 * tables


@pytest.mark.parametrize("text", [b"range=30", b"range=30&layout=columns", b"range=30&format=csv"])
@pytest.mark.parametrize("content", ["prediction", "history"])
@pytest.mark.parametrize("compressed", [True, False])
def test_parts_are_small(many: ManyModels, content: Any, text: bytes, compressed: bool) -> None:
    """What the event loop does at a time is bounded by the size of a part."""
    manifest = load_manifest(many.bucket.blob("sales/v1/manifest.json").download_as_bytes())
    model = Model(manifest, many.forecast("v1"), many.history("v1"))
    response = ModelResponses(model, 30, "").build(Query(content, False, text, False, compressed)).response

    assert response.body == b""
    assert response.parts is not None
    parts = [*response.parts()]
    assert len(parts) > 30
    assert max(map(len, parts)) < PART_BYTES
    body = b"".join(parts)
    assert len(gzip.decompress(body) if compressed else body) > 300_000
