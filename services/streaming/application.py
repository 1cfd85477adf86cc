"""The service's HTTP side: messages that Pub/Sub pushes, health, readiness and metrics."""

import asyncio
import collections
import datetime
import http
import logging
import os
import uuid
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final

import msgspec
from google import pubsub_v1
from msgspec import Meta

from services.contracts.names import PUSH_PATH
from services.contracts.settings import StreamingSettings
from services.forecasting.follower import ModelFollower
from services.http import routes
from services.http.routes import Readiness
from services.http.server import Receive, RefusedError, Request, Response
from services.streaming.answers import Answers
from services.streaming.oidc import GOOGLE, InvalidTokenError, IssuerError, Verifier
from services.streaming.processing import Batch, Processor, report

_log = logging.getLogger(__name__)

# A message has at most 10 MB, which base64 makes 13.4; attributes come on top.
MAX_BODY_BYTES: Final = 16 * 1024 * 1024
_HEADER_PREFIX: Final = b"x-goog-pubsub-"
_BATCH_MESSAGES: Final = 1000
# Bodies in memory; beyond, Pub/Sub is told to slow down, which it does.
_MOST_BYTES: Final = 64 * 1024 * 1024


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
    delivery_attempt: Annotated[int, Meta(ge=0, lt=2**31)] = 0


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
            for received, settled in messages:
                if not settled.done():
                    settled.set_result(received.ack_id in batch.durable)


class Application:
    """Answers HTTP requests.

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
        self._router = routes.Router(routes.probes(self._readiness))
        self._bytes = 0
        self._inbox = Inbox(self._process)
        self._verifier = Verifier(
            os.environ.get("OIDC_ISSUER", GOOGLE), settings.push_audience or "", settings.push_account or ""
        )

    def answer(self, request: Request) -> Response:
        """The answer to a request that is no push."""
        return self._router.answer(request)

    def work(self, request: Request, receive: Receive) -> Coroutine[Any, Any, Response] | None:
        """The answer to a push."""
        if request.path == PUSH_PATH.encode() and self._settings.delivery == "push":
            return self._answer_push(request, receive)
        return None

    def refuse(self, status: http.HTTPStatus, detail: str) -> Response:
        """The answer to what is not a request."""
        return routes.problem(status, detail)

    def observe(self, request: Request, response: Response, seconds: float) -> None:
        """What is told of a push is told of its message."""

    async def _answer_push(self, request: Request, receive: Receive) -> Response:
        try:
            if request.method != b"POST":
                return routes.problem(
                    http.HTTPStatus.METHOD_NOT_ALLOWED, "allowed here: POST", headers=[("allow", "POST")]
                )
            await self._push(request, receive)
        except Exception as error:
            return routes.failure(request, error)
        return Response(http.HTTPStatus.NO_CONTENT, [])

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

    async def _push(self, request: Request, receive: Receive) -> None:
        """Take a message in; returns when it is durably answered.

        Raises:
            RefusedError: it is not.
        """
        await self._authenticate(request.headers.get(b"authorization", b"").decode("latin-1"))
        if self._follower.current is None:
            raise RefusedError(
                http.HTTPStatus.SERVICE_UNAVAILABLE, f"no model is loaded: {self._follower.error}"
            )
        size = int(request.headers.get(b"content-length", MAX_BODY_BYTES))
        if self._bytes and self._bytes + size > _MOST_BYTES:
            raise RefusedError(http.HTTPStatus.TOO_MANY_REQUESTS, "too much is being answered")
        self._bytes += size
        try:
            received = _received(request.headers, await receive(MAX_BODY_BYTES))
            if not await self._inbox.settle(received):
                raise RefusedError(http.HTTPStatus.SERVICE_UNAVAILABLE, "not answered; again, later")
        finally:
            self._bytes -= size

    async def _process(self, batch: Batch) -> None:
        model = self._follower.current
        try:
            if model is not None:
                await self._processor.process(batch, model.prepared)
        finally:
            self._processor.finish(batch)

    async def _authenticate(self, authorization: str) -> None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise RefusedError(http.HTTPStatus.UNAUTHORIZED, "a bearer token is needed")
        try:
            await self._verifier.verify(token.strip())
        except InvalidTokenError as error:
            _log.warning("push refused: %s", error)
            raise RefusedError(http.HTTPStatus.UNAUTHORIZED, "the token is not accepted") from None
        except IssuerError as error:
            report("verify", error)
            raise RefusedError(http.HTTPStatus.SERVICE_UNAVAILABLE, "the token cannot be verified") from None


def _received(headers: dict[bytes, bytes], body: bytes) -> Any:
    """The google.pubsub.v1.ReceivedMessage that a request carries, wrapped or not.

    Unwrapped messages need their metadata as headers (`no_wrapper { write_metadata = true }`):
    https://cloud.google.com/pubsub/docs/payload-unwrapping

    Raises:
        RefusedError: it carries none.
    """
    delivery_attempt = 0
    try:
        if headers.get(b"%bmessage-id" % _HEADER_PREFIX):
            message = _unwrapped(headers, body)
        else:
            push = msgspec.json.decode(body, type=_Push)
            message, delivery_attempt = push.message, push.delivery_attempt
        pushed = pubsub_v1.PubsubMessage.pb()(
            data=message.data,
            attributes=message.attributes,
            message_id=message.message_id,
            ordering_key=message.ordering_key,
        )
        pushed.publish_time.FromDatetime(message.publish_time)
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:  # ValueError: text, time
        raise RefusedError(
            http.HTTPStatus.BAD_REQUEST, f"neither a push request nor an unwrapped message: {error}"
        ) from None
    # Nothing is acknowledged by it; it only tells messages of a batch apart.
    ack_id = uuid.uuid4().hex
    return pubsub_v1.ReceivedMessage.pb()(ack_id=ack_id, message=pushed, delivery_attempt=delivery_attempt)


def _unwrapped(headers: dict[bytes, bytes], body: bytes) -> _PushedMessage:
    metadata = {
        name.removeprefix(_HEADER_PREFIX).decode(): value.decode()
        for name, value in headers.items()
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
