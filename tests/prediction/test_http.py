"""`/predict` over HTTP: responses, errors, caching."""

import gzip
import json
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services import runtime
from services.contracts.messages import PredictionResponse, Problem
from services.http import trace_context
from services.http.messages import Request, Response
from services.prediction.telemetry import AccessLog
from tests.conftest import Models, Service, wait_for

LIMITS = {"minimum": 1, "maximum": 28}


def parse(answer: httpx.Response) -> PredictionResponse:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return msgspec.json.decode(answer.content, type=PredictionResponse)


def parse_problem(answer: httpx.Response, status: int) -> Problem:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    problem = msgspec.json.decode(answer.content, type=Problem)
    assert problem.success is False
    assert problem.status == status
    return problem


@pytest.mark.parametrize("days", [1, 7, 28])
@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"store_nbr": ["1"]},
        {"store_nbr": ["1", "2"]},
        {"family": ["TEA & CO"]},
        {"family": ["BREAD", "MILK"], "store_nbr": ["1"]},
    ],
    ids=str,
)
def test_get_and_post_return_the_numbers_of_the_model(
    predicting: Service, shared_models: Models, days: int, filters: dict[str, list[str]]
) -> None:
    forecast = shared_models.forecast("v1")

    by_get = predicting.get("/predict", params={"range": days, **filters})
    by_post = httpx.post(predicting.url + "/predict", json={"range": days, **filters})

    answer = parse(by_get)
    assert answer.success is True
    assert answer.model.version == "v1"
    assert answer.prediction == forecast.rows(days, forecast.select(**filters))
    assert by_post.content == by_get.content


def test_post_accepts_one_name_as_text(predicting: Service) -> None:
    one = httpx.post(predicting.url + "/predict", json={"range": 2, "store_nbr": "2"})
    listed = httpx.post(predicting.url + "/predict", json={"range": 2, "store_nbr": ["2"]})

    assert {row.store_nbr for row in parse(one).prediction} == {"2"}
    assert one.content == listed.content


@pytest.mark.parametrize(
    ("query", "parameter", "allowed", "detail"),
    [
        ("", "range", LIMITS, "from 1 to 28"),
        ("range=", "range", LIMITS, "from 1 to 28"),
        ("range=0", "range", LIMITS, "from 1 to 28"),
        ("range=-1", "range", LIMITS, "from 1 to 28"),
        ("range=29", "range", LIMITS, "from 1 to 28"),
        ("range=99999999999999999999", "range", LIMITS, "from 1 to 28"),
        ("range=seven", "range", LIMITS, "from 1 to 28"),
        ("range=7.5", "range", LIMITS, "from 1 to 28"),
        ("range=1e1", "range", LIMITS, "from 1 to 28"),
        ("range=%D9%A7", "range", LIMITS, "from 1 to 28"),  # a seven in Arabic digits
        ("range=7&range=8", "range", None, "more than once"),
        (
            "range=7&days=7",
            "days",
            ["range", "store_nbr", "family", "format", "layout"],
            "unknown parameter `days`",
        ),
        (
            "range=7&store_nbr[]=1",
            "store_nbr[]",
            ["range", "store_nbr", "family", "format", "layout"],
            "unknown parameter `store_nbr[]`; repeat `store_nbr`",
        ),
        ("range=7&store_nbr=9", "store_nbr", ["1", "2"], "store_nbr '9'"),
        ("range=7&store_nbr=1&store_nbr=9", "store_nbr", ["1", "2"], "store_nbr '9'"),
        ("range=7&store_nbr=", "store_nbr", None, "1 to 128 characters"),
        ("range=7&family=BRED", "family", ["BREAD", "MILK", "TEA & CO"], "family 'BRED'"),
        # Both exist, but not together.
        ("range=7&store_nbr=2&family=MILK", "family", ["BREAD", "TEA & CO"], "family 'MILK'"),
    ],
)
def test_error_of_an_invalid_query_says_what_is_allowed(
    predicting: Service, query: str, parameter: str, allowed: object, detail: str
) -> None:
    problem = parse_problem(predicting.get(f"/predict?{query}"), 400)

    assert problem.parameter == parameter
    assert problem.allowed == allowed
    assert detail in problem.detail


@pytest.mark.parametrize(
    ("body", "parameter", "detail"),
    [
        (b"", None, "not JSON"),
        (b"range=7", None, "not JSON"),
        (b'{"range": 7', None, "not JSON"),
        (b"\xff\xfe", None, "not JSON"),
        (b"[7]", None, "Expected `object`"),
        (b"{}", "range", "from 1 to 28"),
        (b'{"range": "7"}', "range", "from 1 to 28"),
        (b'{"range": 7.5}', "range", "from 1 to 28"),
        (b'{"range": true}', "range", "from 1 to 28"),
        (b'{"range": null}', "range", "from 1 to 28"),
        (b'{"range": 0}', "range", "from 1 to 28"),
        (b'{"range": 29}', "range", "from 1 to 28"),
        (b'{"range": 7, "days": 7}', "days", "unknown parameter `days`"),
        (b'{"range": 7, "store_nbr": 1}', "store_nbr", "1 to 128 characters"),
        (b'{"range": 7, "store_nbr": []}', "store_nbr", "1 to 128 characters"),
        (b'{"range": 7, "store_nbr": ["1", 2]}', "store_nbr", "1 to 128 characters"),
        (b'{"range": 7, "store_nbr": "9"}', "store_nbr", "store_nbr '9'"),
        (b'{"range": 7, "store_nbr": "2", "family": "MILK"}', "family", "family 'MILK'"),
        (b'{"range": 7, "family": "\\ud800"}', None, "not JSON"),
    ],
)
def test_error_of_an_invalid_body_says_what_is_allowed(
    predicting: Service, body: bytes, parameter: str | None, detail: str
) -> None:
    problem = parse_problem(httpx.post(predicting.url + "/predict", content=body), 400)

    assert problem.parameter == parameter
    assert detail in problem.detail


def test_parameters_beside_a_body_are_refused(predicting: Service) -> None:
    answer = httpx.post(predicting.url + "/predict?store_nbr=2", json={"range": 7})

    assert "in its body" in parse_problem(answer, 400).detail


def test_too_large_a_body_is_refused_with_and_without_content_length(predicting: Service) -> None:
    padding = b'{"range": 7, "family": "' + b"x" * 64 * 1024 + b'"}'

    announced = httpx.post(predicting.url + "/predict", content=padding)
    chunked = httpx.post(predicting.url + "/predict", content=iter([padding[:60_000], padding[60_000:]]))

    for answer in (announced, chunked):
        assert "65536 bytes" in parse_problem(answer, 413).detail


def test_too_long_a_query_is_refused(predicting: Service) -> None:
    query = "range=7&" + "&".join(f"store_nbr={number}" for number in range(1000))

    assert "POST" in parse_problem(predicting.get(f"/predict?{query}"), 414).detail


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/predict", {"GET", "HEAD", "POST"}),
        ("PUT", "/predict", {"GET", "HEAD", "POST"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
        ("POST", "/metrics", {"GET", "HEAD"}),
    ],
)
def test_error_of_a_wrong_method_lists_those_allowed(
    predicting: Service, method: str, path: str, allow: set[str]
) -> None:
    answer = httpx.request(method, predicting.url + path)

    parse_problem(answer, 405)
    assert set(answer.headers["allow"].split(", ")) == allow


@pytest.mark.parametrize("path", ["/predictions", "/predict/", "/PREDICT", "/%00"])
def test_error_of_an_unknown_path_lists_the_known_ones(predicting: Service, path: str) -> None:
    problem = parse_problem(predicting.get(path), 404)

    assert isinstance(problem.allowed, list)
    assert "/predict" in problem.allowed


@pytest.mark.parametrize(
    "path", ["/predict?range=3", "/openapi.json", "/", "/models", "/predict", "/unknown"]
)
def test_head_has_the_headers_of_get_and_no_body(predicting: Service, path: str) -> None:
    got = predicting.get(path)
    head = httpx.head(predicting.url + path)

    assert head.status_code == got.status_code
    assert head.content == b""
    differing = {"date", "traceparent", *({"content-length"} if path == "/models" else ())}
    for name in got.headers.keys() - differing:
        assert head.headers[name] == got.headers[name]


def test_a_compressed_body_is_refused(predicting: Service) -> None:
    body = gzip.compress(b'{"range": 7}')
    answer = httpx.post(predicting.url + "/predict", content=body, headers={"content-encoding": "gzip"})

    assert "compressed" in parse_problem(answer, 415).detail
    assert answer.headers["accept-encoding"] == "identity"


def test_the_openapi_document_is_not_sent_again(predicting: Service) -> None:
    tag = predicting.get("/openapi.json").headers["etag"]

    assert predicting.get("/openapi.json", headers={"if-none-match": tag}).status_code == 304


def test_entity_tag_is_strong_and_saves_the_body(predicting: Service) -> None:
    first = predicting.get("/predict?range=3")
    tag = first.headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]+"', tag)
    assert predicting.get("/predict?range=3").headers["etag"] == tag
    assert predicting.get("/predict?range=4").headers["etag"] != tag

    for condition in (tag, f'"other", W/{tag}', "*"):
        unchanged = predicting.get("/predict?range=3", headers={"if-none-match": condition})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert unchanged.headers["etag"] == tag
        assert unchanged.headers["cache-control"] == first.headers["cache-control"]
    assert predicting.get("/predict?range=3", headers={"if-none-match": '"other"'}).content == first.content


def test_openapi_document_describes_the_responses(predicting: Service) -> None:
    document = predicting.get("/openapi.json").json()

    assert set(document["paths"]) == {
        "/predict",
        "/history",
        "/models",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    names = {
        parameter["name"]: parameter["required"]
        for parameter in document["paths"]["/predict"]["get"]["parameters"]
    }
    assert names == {"range": True, "store_nbr": False, "family": False, "format": False, "layout": False}
    row = document["components"]["schemas"]["PredictionRow"]
    assert list(predicting.get("/predict?range=1").json()["prediction"][0]) == list(row["properties"])


def test_metrics_count_requests_by_route_and_name_the_model(predicting: Service) -> None:
    def count(text: str, sample: str) -> float:
        (value,) = re.findall(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
        return float(value)

    sample = 'prediction_requests_total{code="400",method="GET",route="/predict"}'
    predicting.get("/predict?range=0")
    before = predicting.get("/metrics").text
    predicting.get("/predict?range=0")
    predicting.get("/some/path/of/the/clients/choice")
    httpx.request("BREW", predicting.url + "/predict")
    after = predicting.get("/metrics").text

    assert count(after, sample) == count(before, sample) + 1
    assert count(after, 'model_info{version="v1"}') == 1
    assert count(after, 'model_reloads_total{outcome="loaded"}') == 1
    assert count(after, 'model_reloads_total{outcome="failed"}') == 0
    assert 0 < count(after, "model_age_seconds") < 3600
    assert count(after, "prediction_requests_in_flight") == 0
    assert count(after, 'prediction_request_duration_seconds_count{route="/predict"}') > 0
    # Clients cannot choose the label values.
    assert "choice" not in after
    assert "BREW" not in after


def test_a_request_that_is_being_received_is_in_flight(predicting: Service) -> None:
    with socket.create_connection(("127.0.0.1", predicting.port)) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\n")
        wait_for("the gauge", lambda: "prediction_requests_in_flight 1.0" in predicting.get("/metrics").text)


def test_access_log_has_a_json_object_a_line(predicting: Service) -> None:
    answer = predicting.get("/predict?range=1&family=%22%0A")
    predicting.get("/healthz")

    def line() -> dict[str, Any] | None:
        lines = [json.loads(text) for text in predicting.log.read_text().splitlines()]
        # Successful probes are not logged.
        assert not any(entry["message"] == "GET /healthz 200" for entry in lines)
        return next((entry for entry in lines if "%22%0A" in entry["message"]), None)

    entry = wait_for("the line", line)
    assert entry["severity"] == "INFO"
    assert entry["httpRequest"]["status"] == 400
    assert entry["httpRequest"]["requestMethod"] == "GET"
    assert re.fullmatch(r"\d+\.\d+s", entry["httpRequest"]["latency"])
    trace, span = entry["logging.googleapis.com/trace"], entry["logging.googleapis.com/spanId"]
    assert answer.headers["traceparent"] == f"00-{trace}-{span}-00"


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Callable[[Request], dict[str, Any]]:
    """What the access log says about a request."""

    def log(request: Request) -> dict[str, Any]:
        lines: list[bytes] = []
        with monkeypatch.context() as patch:
            patch.setattr(runtime.stdout, "write", lines.append)
            AccessLog("p").add(request, Response(200, []), 0.1)
        return json.loads(lines[0])

    return log


def test_access_log_names_the_trace_of_cloud_logging(logged: Callable[[Request], dict[str, Any]]) -> None:
    traceparent = trace_context.begin(None)
    line = logged(Request("", b"GET", b"/", traceparent=traceparent))

    _, trace, span, _ = traceparent.decode().split("-")
    assert line["logging.googleapis.com/trace"] == f"projects/p/traces/{trace}"
    assert line["logging.googleapis.com/spanId"] == span


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.1.2.3", b"203.0.113.7,34.1.1.1", "203.0.113.7"),
        ("10.1.2.3", b"1.2.3.4, 2001:db8::1, 34.1.1.1", "2001:db8::1"),
        ("10.1.2.3", b"1.2.3.4", "10.1.2.3"),
        ("10.1.2.3", b"", "10.1.2.3"),
        ("10.1.2.3", b"\xff\x1b[2J,34.1.1.1", "10.1.2.3"),
        ("34.5.6.7", b"203.0.113.7,34.1.1.1", "34.5.6.7"),
        ("", b"203.0.113.7,34.1.1.1", ""),
    ],
)
def test_access_log_has_the_clients_address_behind_the_load_balancer(
    logged: Callable[[Request], dict[str, Any]], peer: str, forwarded: bytes, client: str
) -> None:
    request = Request(peer, b"GET", b"/", headers={b"x-forwarded-for": forwarded} if forwarded else {})

    assert logged(request)["httpRequest"]["remoteIp"] == client


def test_access_log_bounds_and_escapes_what_clients_choose(
    logged: Callable[[Request], dict[str, Any]],
) -> None:
    agent = b"\xff\x9b2J\x7f" + b"x" * 30_000
    line = logged(Request("", b"GET", b"/" + b"p" * 30_000, headers={b"user-agent": agent}))

    assert line["httpRequest"]["userAgent"].startswith(r"\xff\x9b2J\x7fxx")
    assert len(json.dumps(line)) < 4000


@pytest.fixture(scope="module")
def client(predicting: Service) -> Iterator[httpx.Client]:
    """A client with a persistent connection: a new one for each example would cost more than the example."""
    with httpx.Client(base_url=predicting.url) as client:
        yield client


@pytest.mark.parametrize(
    "head",
    [
        b"GET /predict?range=\xff&store_nbr=\xc3\x28 HTTP/1.1\r\nHost: x\r\n",
        b"GET /\xff%ff%2e%2e/ HTTP/1.1\r\nHost: x\r\n",
        b"GET http://x/predict?range=x HTTP/1.1\r\nHost: x\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n",
        b"GET /predict?range=7 HTTP/1.1\r\nHost: x\r\nIf-None-Match: \xff\r\nContent-Length: 7\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -7\r\n",
        b"nonsense\r\n",
    ],
)
def test_no_malformed_request_causes_a_server_error(predicting: Service, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", predicting.port), timeout=60) as connection:
        connection.sendall(head + b"Connection: close\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()

    assert answer == b"" or re.match(rb"HTTP/1.1 [234]\d\d ", answer), answer
    assert predicting.get("/healthz").status_code == 200


KNOWN = st.sampled_from(["range", "store_nbr", "family", "7", "28", "1", "BREAD", "MILK", "%FF", "%00", "+"])
QUERIES = st.lists(
    st.tuples(KNOWN | st.text(max_size=20), KNOWN | st.text(max_size=20) | st.integers().map(str)), max_size=5
)
fuzzed = settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    database=None,
)


@fuzzed
@given(QUERIES)
@example([("range", "7"), ("store_nbr", "1" * 200)])
def test_no_query_causes_a_server_error(client: httpx.Client, pairs: list[tuple[str, str]]) -> None:
    answer = client.get("/predict", params=[*pairs])

    if answer.status_code == 200:
        assert parse(answer).prediction
    else:
        assert parse_problem(answer, 400).detail


@fuzzed
@given(
    st.binary(max_size=64)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KNOWN | st.text(), inner, max_size=4),
        max_leaves=6,
    ).map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries(
        {"range": st.integers(-2, 40)},
        optional={"store_nbr": KNOWN | st.lists(KNOWN, max_size=3), "family": KNOWN | st.lists(KNOWN)},
    ).map(lambda value: json.dumps(value).encode())
)
@example(b"[" * 60_000)
@example(b'{"range": ' + b"9" * 5000 + b"}")
def test_no_body_causes_a_server_error(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/predict", content=body)

    if answer.status_code == 200:
        assert parse(answer).prediction
    else:
        assert parse_problem(answer, 400).detail
