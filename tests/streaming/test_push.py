"""Bodies of pushes: each is acknowledged or refused, and none is a server error."""

import base64
import collections
import datetime
import json
import re
import sys
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.conftest import Process, free_port
from tests.streaming.conftest import Surroundings

ACCOUNT = "push@test-project.iam.gserviceaccount.com"
AUDIENCE = "https://forecast.example.com/push"
EXAMPLES = 100

times = st.datetimes(timezones=st.timezones()).map(datetime.datetime.isoformat)
requests = st.fixed_dictionaries(
    {"request_id": st.text() | st.none(), "range": st.integers(-1, 40) | st.floats() | st.text()},
    optional={
        "store_nbr": st.sampled_from(["1", "9"]),
        "mode": st.sampled_from(["active", "passive", ""]),
        "reply_to": st.text(),
    },
).map(lambda value: json.dumps(value).encode())
bodies = st.binary() | st.integers().map(lambda number: str(number).encode()) | requests
messages = st.fixed_dictionaries(
    {"messageId": st.text() | st.integers(), "publishTime": times | st.text()},
    optional={
        "data": bodies.map(lambda body: base64.b64encode(body).decode()) | st.text(),
        "attributes": st.dictionaries(st.text(), st.text() | st.none()),
        "orderingKey": st.text(),
    },
)
pushes = st.fixed_dictionaries(
    {"message": messages | st.none() | st.integers(), "subscription": st.text()},
    optional={"deliveryAttempt": st.integers(), "more": st.none()},
)


def pushed(**more: Any) -> dict[str, Any]:
    """A push with changed fields of the message or of the push."""
    message = {"data": "Nw==", "messageId": "m", "publishTime": "2026-01-01T00:00:00Z"}
    own = {name: more.pop(name) for name in ("deliveryAttempt",) if name in more}
    return {"message": message | more, "subscription": "s", **own}


@pytest.fixture
def token(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A token issuer: its URL, and a header with a valid token."""
    port = free_port()
    issuer = Process([sys.executable, "-m", "infra.simulator.issuer", str(port)], {}, port, tmp_path / "log")
    issuer.start()
    yield {
        "issuer": issuer.url,
        "authorization": "Bearer "
        + httpx.post(f"{issuer.url}/token", json={"account": ACCOUNT, "audience": AUDIENCE}).json()["token"],
    }
    issuer.kill()


@pytest.fixture
def pushed_to(surroundings: Surroundings, token: dict[str, str]) -> Surroundings:
    """The surroundings with the service waiting for pushes."""
    surroundings.service.environment = {
        **surroundings.service.environment,
        "DELIVERY": "push",
        "PUSH_AUDIENCE": AUDIENCE,
        "PUSH_ACCOUNT": ACCOUNT,
        "OIDC_ISSUER": token["issuer"],
    }
    surroundings.models.publish("v1")
    surroundings.service.start()
    surroundings.service.wait_ready()
    return surroundings


def test_large_messages_at_once_stay_within_the_memory_limit(
    pushed_to: Surroundings, token: dict[str, str]
) -> None:
    """What exceeds the limit in flight is pushed again, more slowly; the pod may have 512 MiB."""
    body = json.dumps(pushed(data=base64.b64encode(b"x" * 5_000_000).decode())).encode()
    process = pushed_to.service.process
    assert process

    def push(_: int) -> int:
        try:
            return client.post(f"{pushed_to.service.url}/push", content=body).status_code
        except httpx.WriteError:  # refused before the body was sent
            return 429

    headers = {"authorization": token["authorization"]}
    with httpx.Client(headers=headers, timeout=120) as client, futures.ThreadPoolExecutor(64) as pool:
        statuses = collections.Counter(pool.map(push, range(128)))

    assert statuses[204] >= 1, statuses
    assert statuses.keys() <= {204, 429}
    status = Path(f"/proc/{process.pid}/status").read_text()
    (peak,) = re.findall(r"VmHWM:\s+([0-9]+) kB", status)
    assert int(peak) < 400 * 1024


def test_every_body_is_acknowledged_or_refused(pushed_to: Surroundings, token: dict[str, str]) -> None:
    with httpx.Client(headers={"authorization": token["authorization"]}, timeout=60) as client:

        def push(body: bytes) -> int:
            return client.post(f"{pushed_to.service.url}/push", content=body).status_code

        @given(st.binary() | st.text().map(str.encode) | pushes.map(lambda push: json.dumps(push).encode()))
        @example(b"[" * 100_000)
        @example(b'{"more":' + b"[" * 100_000)
        @example(json.dumps(pushed(messageId="\ud800")).encode())
        @example(json.dumps(pushed(deliveryAttempt=2**40)).encode())
        @example(json.dumps(pushed(deliveryAttempt=-1)).encode())
        @example(json.dumps(pushed(publishTime="0001-01-01T00:00:00+23:59")).encode())
        @example(json.dumps(pushed(publishTime="9999-12-31T23:59:59-23:59")).encode())
        @example(json.dumps(pushed(publishTime="0001-01-01T00:00:00Z")).encode())
        @example(json.dumps(pushed(data="Kg==", attributes={str(n): "" for n in range(200)})).encode())
        @settings(max_examples=EXAMPLES)
        def push_anything(body: bytes) -> None:
            assert push(body) in (204, 400)

        push_anything()
        assert push(json.dumps(pushed()).encode()) == 204
    pushed_to.wait_rows(7 * 4)
