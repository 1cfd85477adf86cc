"""Pushed bodies: acknowledged or refused as no message, never a fault of the service."""

import base64
import datetime
import json
import sys
from collections.abc import Iterator
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
# What HTTP lets a header have.
values = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f")).map(str.strip)


def pushed(**more: Any) -> dict[str, Any]:
    """A push of a message, with some of its fields or the push's own changed."""
    message = {"data": "Nw==", "messageId": "m", "publishTime": "2026-01-01T00:00:00Z"}
    own = {name: more.pop(name) for name in ("deliveryAttempt",) if name in more}
    return {"message": message | more, "subscription": "s", **own}


@pytest.fixture
def token(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An issuer of its own: the service's environment, and the header that it takes."""
    port = free_port()
    issuer = Process(
        [sys.executable, "-m", "infra.simulator.issuer", "--port", str(port)], {}, port, tmp_path / "log"
    )
    issuer.start()
    yield {
        "issuer": issuer.url,
        "authorization": "Bearer "
        + httpx.post(f"{issuer.url}/token", json={"account": ACCOUNT, "audience": AUDIENCE}).json()["token"],
    }
    issuer.kill()


def test_any_body_is_acknowledged_or_refused(surroundings: Surroundings, token: dict[str, str]) -> None:
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

    with httpx.Client(headers={"authorization": token["authorization"]}, timeout=60) as client:

        def push(body: bytes, headers: dict[bytes, bytes]) -> int:
            return client.post(f"{surroundings.service.url}/push", content=body, headers=headers).status_code

        @given(st.binary() | st.text().map(str.encode) | pushes.map(lambda push: json.dumps(push).encode()))
        @example(b"[" * 100_000)
        @example(json.dumps(pushed(messageId="\ud800")).encode())
        @example(json.dumps(pushed(deliveryAttempt=2**40)).encode())
        @example(json.dumps(pushed(deliveryAttempt=-1)).encode())
        @example(json.dumps(pushed(publishTime="0001-01-01T00:00:00+23:59")).encode())
        @example(json.dumps(pushed(publishTime="9999-12-31T23:59:59-23:59")).encode())
        @example(json.dumps(pushed(publishTime="0001-01-01T00:00:00Z")).encode())
        @example(json.dumps(pushed(data="Kg==", attributes={str(n): "" for n in range(200)})).encode())
        @settings(max_examples=EXAMPLES)
        def wrapped(body: bytes) -> None:
            assert push(body, {}) in (204, 400)

        @given(bodies, values, times | values, values)
        @settings(max_examples=EXAMPLES)
        def unwrapped(body: bytes, message_id: str, time: str, key: str) -> None:
            metadata = {"message-id": message_id, "publish-time": time, "ordering-key": key}
            headers = {
                f"x-goog-pubsub-{name}".encode(): value.encode("latin-1") for name, value in metadata.items()
            }
            assert push(body, headers) in (204, 400)

        wrapped()
        unwrapped()
        assert push(json.dumps(pushed()).encode(), {}) == 204
    surroundings.wait_rows(7 * 4)
