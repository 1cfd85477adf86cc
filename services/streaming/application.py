"""The service's HTTP side: messages that Pub/Sub pushes, health, readiness and metrics."""

import asyncio
import collections
import datetime
import http
import logging
import os
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
import prometheus_client
from google import pubsub_v1
from granian.rsgi import HTTPProtocol, Scope  # pyright: ignore[reportPrivateImportUsage]
from msgspec import Meta

from services.contracts.names import LIVENESS_PATH, METRICS_PATH, PUSH_PATH, READINESS_PATH
from services.contracts.settings import StreamingSettings
from services.forecasting.follower import ModelFollower
from services.runtime import Readiness
from services.streaming.answers import Answers
from services.streaming.oidc import GOOGLE, InvalidTokenError, IssuerError, Verifier
from services.streaming.processing import Batch, Processor, report

_log = logging.getLogger(__name__)

# A message has at most 10 MB, which base64 makes 13.4; attributes come on top.
MAX_BODY_BYTES: Final = 16 * 1024 * 1024
_BODY_SECONDS: Final = 10
_HEADER_PREFIX: Final = "x-goog-pubsub-"
_BATCH_MESSAGES: Final = 1000
# Bodies in memory; beyond, Pub/Sub is told to slow down, which it does.
_MOST_BYTES: Final = 64 * 1024 * 1024

_JSON: Final = [("content-type", "application/json"), ("cache-control", "no-store")]


class _PushedMessage(msgspec.Struct, rename="camel"):
    message_id: Annotated[str, Meta(min_length=1)]
    publish_time: Annotated[datetime.datetime, Meta(tz=True)]
    data: bytes = b""
    attributes: dict[str, str] = {}
    ordering_key: str = ""


class _Push(msgspec.Struct, rename="camel"):
    """https://cloud.google.com/pubsub/docs/push#receive_push."""

    message: _PushedMessage
    subscription: str
    delivery_attempt: int = 0


class _RefusedError(Exception):
    """A request that is not answered with success."""

    def __init__(self, status: http.HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Inbox:
    """Gathers messages that arrive one by one: those that come while a batch is answered are the next.

    Args:
        process: Answers a batch.
    """

    def __init__(self, process: Callable[[Batch], Any]) -> None:
        self._process = process
        self._waiting: collections.deque[tuple[Any, asyncio.Future[bool]]] = collections.deque()
        self._working: asyncio.Task[None] | None = None

    async def settle(self, received: Any) -> bool:
        """Have a message answered; returns whether its answer is durable."""
        settled = asyncio.get_running_loop().create_future()
        self._waiting.append((received, settled))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await settled

    async def _work(self) -> None:
        while self._waiting:
            number = min(len(self._waiting), _BATCH_MESSAGES)
            messages = [self._waiting.popleft() for _ in range(number)]
            batch = Batch([received for received, _ in messages])
            try:
                await self._process(batch)
            except Exception as error:
                report("push", error)
            batch.count()
            for received, settled in messages:
                if not settled.done():
                    settled.set_result(received.ack_id in batch.durable)


class Application:
    """Answers HTTP requests, as Granian's RSGI interface hands them over.

    A pushed message is acknowledged by a status of success. Any other lets Pub/Sub push it again, later and
    later, so that is said only when another time may go better: the service or what it depends on fails, or
    the sender's identity is in doubt, which an operator can mend. What can never be answered is dead-lettered
    and acknowledged.

    Attributes:
        draining: Set when the process is about to stop.
    """

    def __init__(
        self,
        settings: StreamingSettings,
        processor: Processor,
        follower: ModelFollower[Answers],
        fault: Callable[[], str | None],
    ) -> None:
        self.draining = False
        self._settings = settings
        self._processor = processor
        self._follower = follower
        self._fault = fault
        self._bytes = 0
        self._inbox = Inbox(self._process)
        self._verifier = Verifier(
            os.environ.get("OIDC_ISSUER", GOOGLE), settings.push_audience or "", settings.push_account or ""
        )

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        """Answer one request."""
        try:
            status, headers, body = await self._answer(scope, protocol)
        except _RefusedError as refusal:
            status, headers, body = _problem(refusal.status, refusal.detail)
        except Exception:
            _log.exception("%s %s failed", scope.method, scope.path)
            status, headers, body = _problem(http.HTTPStatus.INTERNAL_SERVER_ERROR, "the fault is logged")
        if self.draining:
            headers = [*headers, ("connection", "close")]
        protocol.response_bytes(status, headers, body)

    async def _answer(self, scope: Scope, protocol: HTTPProtocol) -> tuple[int, list[tuple[str, str]], bytes]:
        path = scope.path
        if path == PUSH_PATH and self._settings.delivery == "push":
            if scope.method != "POST":
                raise _RefusedError(http.HTTPStatus.METHOD_NOT_ALLOWED, "allowed here: POST")
            await self._push(scope, protocol)
            return http.HTTPStatus.NO_CONTENT, [], b""
        if path not in (LIVENESS_PATH, READINESS_PATH, METRICS_PATH):
            raise _RefusedError(http.HTTPStatus.NOT_FOUND, "no such path")
        if scope.method not in ("GET", "HEAD"):
            raise _RefusedError(http.HTTPStatus.METHOD_NOT_ALLOWED, "allowed here: GET, HEAD")
        if path == LIVENESS_PATH:
            return http.HTTPStatus.OK, _JSON, b'{"alive":true}'
        if path == READINESS_PATH:
            state = self._readiness()
            return state.status, _JSON, msgspec.json.encode(state)
        media_type = [("content-type", prometheus_client.CONTENT_TYPE_LATEST)]
        return http.HTTPStatus.OK, media_type, prometheus_client.generate_latest()

    def _readiness(self) -> Readiness:
        """Ready with a model loaded and, where the service pulls, a subscription that answers."""
        model = self._follower.current
        stopping = "stopping" if self.draining else None
        fault = self._fault()
        return Readiness(
            ready=model is not None and not stopping and not fault,
            model=model.manifest.version if model else None,
            fault=stopping or fault or self._follower.error,
        )

    async def _push(self, scope: Scope, protocol: HTTPProtocol) -> None:
        """Take a message in; returns when it is durably answered.

        Raises:
            _RefusedError: it is not.
        """
        await self._authenticate(scope.headers.get("authorization") or "")
        if self._follower.current is None:
            raise _RefusedError(
                http.HTTPStatus.SERVICE_UNAVAILABLE, f"no model is loaded: {self._follower.error}"
            )
        length = scope.headers.get("content-length") or ""
        size = int(length) if length.isdecimal() else MAX_BODY_BYTES
        if size > MAX_BODY_BYTES and length:
            raise _TOO_LARGE
        if self._bytes and self._bytes + size > _MOST_BYTES:
            raise _RefusedError(http.HTTPStatus.TOO_MANY_REQUESTS, "too much is being answered")
        self._bytes += size
        try:
            try:
                async with asyncio.timeout(_BODY_SECONDS):
                    body = await _read(protocol)
            except TimeoutError:
                raise _RefusedError(http.HTTPStatus.REQUEST_TIMEOUT, "the body did not arrive") from None
            if not await self._inbox.settle(_received(scope, body)):
                raise _RefusedError(http.HTTPStatus.SERVICE_UNAVAILABLE, "not answered; again, later")
        finally:
            self._bytes -= size

    async def _process(self, batch: Batch) -> None:
        model = self._follower.current
        if model is not None:
            await self._processor.process(batch, model.prepared)

    async def _authenticate(self, authorization: str) -> None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise _RefusedError(http.HTTPStatus.UNAUTHORIZED, "a bearer token is needed")
        try:
            await self._verifier.verify(token.strip())
        except InvalidTokenError as error:
            _log.warning("push refused: %s", error)
            raise _RefusedError(http.HTTPStatus.UNAUTHORIZED, "the token is not accepted") from None
        except IssuerError as error:
            report("verify", error)
            raise _RefusedError(http.HTTPStatus.SERVICE_UNAVAILABLE, "the token cannot be verified") from None


_TOO_LARGE: Final = _RefusedError(
    http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {MAX_BODY_BYTES} bytes"
)


def _received(scope: Scope, body: bytes) -> Any:
    """The google.pubsub.v1.ReceivedMessage that a request carries, wrapped or not.

    Unwrapped messages need their metadata as headers (`no_wrapper { write_metadata = true }`):
    https://cloud.google.com/pubsub/docs/payload-unwrapping

    Raises:
        _RefusedError: it carries none.
    """
    delivery_attempt = 0
    try:
        if scope.headers.get(f"{_HEADER_PREFIX}message-id"):
            message = _unwrapped(scope, body)
        else:
            push = msgspec.json.decode(body, type=_Push)
            message, delivery_attempt = push.message, push.delivery_attempt
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _RefusedError(
            http.HTTPStatus.BAD_REQUEST, f"neither a push request nor an unwrapped message: {error}"
        ) from None
    pushed = pubsub_v1.PubsubMessage.pb()(
        data=message.data,
        attributes=message.attributes,
        message_id=message.message_id,
        ordering_key=message.ordering_key,
    )
    pushed.publish_time.FromDatetime(message.publish_time)
    # Nothing is acknowledged by it; it only tells messages of a batch apart.
    ack_id = uuid.uuid4().hex
    return pubsub_v1.ReceivedMessage.pb()(ack_id=ack_id, message=pushed, delivery_attempt=delivery_attempt)


def _unwrapped(scope: Scope, body: bytes) -> _PushedMessage:
    metadata = {
        name.removeprefix(_HEADER_PREFIX): value
        for name, value in scope.headers.items()
        if name.startswith(_HEADER_PREFIX)
    }
    own = {
        "messageId": metadata.pop("message-id"),
        "publishTime": metadata.pop("publish-time", None),
        "orderingKey": metadata.pop("ordering-key", ""),
    }
    metadata.pop("subscription-name", None)
    message = msgspec.convert(own, _PushedMessage)
    message.data, message.attributes = body, metadata
    return message


async def _read(protocol: HTTPProtocol) -> bytes:
    body = bytearray()
    async for chunk in protocol:
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _TOO_LARGE
    return bytes(body)


def _problem(status: http.HTTPStatus, detail: str) -> tuple[http.HTTPStatus, list[tuple[str, str]], bytes]:
    """An error as problem details (RFC 9457)."""
    body = {"success": False, "title": status.phrase, "status": status.value, "detail": detail}
    headers = [("content-type", "application/problem+json"), ("cache-control", "no-store")]
    return status, headers, msgspec.json.encode(body)
