"""Messages that Pub/Sub pushes: https://cloud.google.com/pubsub/docs/push."""

import asyncio
import collections
import datetime
import logging
import os
import uuid
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from google import pubsub_v1
from msgspec import Meta

from services.contracts.names import PUSH_PATH
from services.contracts.settings import StreamingSettings
from services.forecasting.follower import ModelFollower
from services.http.messages import HttpError, Receive, Request, Response, problem_document
from services.streaming.metrics import report
from services.streaming.oidc import GOOGLE, InvalidTokenError, IssuerError, Verifier
from services.streaming.processing import MessageBatch, ModelReplies, Processor

_log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""A message has at most 10 MB, which are 13.4 MB in base64, and attributes."""
_MAX_BYTES: Final = 32 * 1024 * 1024
"""Of all bodies in memory. Each is there about six times at the worst: as received, decoded, as a message, as
a dead letter and its request. Beyond that a status of 429 makes Pub/Sub push more slowly."""
_BATCH_MESSAGES: Final = 1000


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


class PushHandler:
    """Answers pushes; the asynchronous handler of the server.

    A status of success acknowledges a message; after any other, Pub/Sub pushes it again, with back-off. So
    errors are for what a later attempt may overcome, or an operator can correct, such as a refused token. A
    message that can never be answered is dead-lettered and acknowledged. Messages that come while a batch is
    processed form the next batch.
    """

    def __init__(
        self, settings: StreamingSettings, processor: Processor, follower: ModelFollower[ModelReplies]
    ) -> None:
        self._processor = processor
        self._follower = follower
        issuer = os.environ.get("OIDC_ISSUER", GOOGLE)
        self._verifier = Verifier(issuer, settings.push_audience or "", settings.push_account or "")
        self._bytes = 0
        self._waiting: collections.deque[tuple[Any, asyncio.Future[bool]]] = collections.deque()
        self._processing: asyncio.Task[None] | None = None

    def __call__(self, request: Request, receive: Receive) -> Coroutine[Any, Any, Response] | None:
        """The response to a push, or None for other requests."""
        return self._answer(request, receive) if request.path == PUSH_PATH.encode() else None

    async def _answer(self, request: Request, receive: Receive) -> Response:
        try:
            if request.method != b"POST":
                raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, "allowed here: POST", header=("allow", "POST"))
            await self._authenticate(request.headers.get(b"authorization", b"").decode("latin-1"))
            await self._push(request, receive)
        except Exception as error:
            return problem_document(request, error)
        return Response(HTTPStatus.NO_CONTENT, [])

    async def _authenticate(self, authorization: str) -> None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise HttpError(HTTPStatus.UNAUTHORIZED, "a bearer token is required")
        try:
            await self._verifier.verify(token.strip())
        except InvalidTokenError as error:
            _log.warning("push refused: %s", error)
            raise HttpError(HTTPStatus.UNAUTHORIZED, "the token is invalid") from None
        except IssuerError as error:
            report("verify", error)
            raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, "the token cannot be verified") from None

    async def _push(self, request: Request, receive: Receive) -> None:
        """Receive and answer a message; HttpError if the answer is not durable."""
        if self._follower.current is None:
            raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, f"no model is loaded: {self._follower.error}")
        size = int(request.headers.get(b"content-length", MAX_BODY_BYTES))
        if self._bytes and self._bytes + size > _MAX_BYTES:
            raise HttpError(HTTPStatus.TOO_MANY_REQUESTS, "too many messages are in memory")
        self._bytes += size
        try:
            received = _received(await receive(MAX_BODY_BYTES))
            durable = asyncio.get_running_loop().create_future()
            self._waiting.append((received, durable))
            if self._processing is None or self._processing.done():
                self._processing = asyncio.create_task(self._process_waiting())
            if not await durable:
                raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, "not answered; try again later")
        finally:
            self._bytes -= size

    async def _process_waiting(self) -> None:
        while self._waiting:
            number = min(len(self._waiting), _BATCH_MESSAGES)
            messages = [self._waiting.popleft() for _ in range(number)]
            batch = MessageBatch(received for received, _ in messages)
            model = self._follower.current
            try:
                if model is not None:
                    await self._processor.process(batch, model.prepared)
            except Exception as error:
                report("push", error)
            for received, durable in messages:
                if not durable.done():
                    durable.set_result(received.ack_id in batch.durable)
            self._processor.finish(batch)


def _received(body: bytes) -> Any:
    """The google.pubsub.v1.ReceivedMessage in the body of a push; HttpError if there is none."""
    try:
        push = msgspec.json.decode(body, type=_Push)
        message = push.message
        pushed = pubsub_v1.PubsubMessage.pb()(
            data=message.data,
            attributes=message.attributes,
            message_id=message.message_id,
            ordering_key=message.ordering_key,
        )
        pushed.publish_time.FromDatetime(message.publish_time)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        # ValueError: text, time. RecursionError: a field that is not read is nested too deeply.
        raise HttpError(HTTPStatus.BAD_REQUEST, f"this is not a push of Pub/Sub: {error}") from None
    # A random ack_id: a push is acknowledged by its response, and this only identifies it in a batch.
    return pubsub_v1.ReceivedMessage.pb()(
        ack_id=uuid.uuid4().hex, message=pushed, delivery_attempt=push.delivery_attempt
    )
