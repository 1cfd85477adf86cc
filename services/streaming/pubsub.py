"""Calls of Pub/Sub on the event loop.

gRPC makes them without Google's generated client, which takes 100 µs of CPU time for each: it wraps messages,
and calls, and listens in for a debug log.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from google import pubsub_v1
from google.api_core import grpc_helpers_async, retry_async
from google.api_core.gapic_v1.routing_header import to_grpc_metadata
from google.api_core.timeout import TimeToDeadlineTimeout
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from services.streaming.channels import channel

_CALL_SECONDS: Final = 10
_RETRY: Final = retry_async.AsyncRetry(initial=0.1, maximum=2.0, timeout=_CALL_SECONDS)
# Messages have up to 10 MB, a response several; gRPC's own limit is 4.
_UNLIMITED: Final = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))

PublishRequest: Final[Any] = pubsub_v1.PublishRequest.pb()
_PullRequest: Final[Any] = pubsub_v1.PullRequest.pb()
_AcknowledgeRequest: Final[Any] = pubsub_v1.AcknowledgeRequest.pb()
_ModifyAckDeadlineRequest: Final[Any] = pubsub_v1.ModifyAckDeadlineRequest.pb()

_Call = Callable[..., Awaitable[Any]]


class PubSub:
    """Pub/Sub of Google Cloud, or the emulator at PUBSUB_EMULATOR_HOST.

    All but `pull` try again for ten seconds where that may help. What fails in the end raises
    google.api_core.exceptions.GoogleAPIError.
    """

    def __init__(self) -> None:
        emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
        self._channel = channel(SubscriberGrpcAsyncIOTransport, emulator, _UNLIMITED)
        self._pull = self._call("Subscriber/Pull", _PullRequest, pubsub_v1.PullResponse.pb())
        self._acknowledge = self._call("Subscriber/Acknowledge", _AcknowledgeRequest, Empty)
        self._modify = self._call("Subscriber/ModifyAckDeadline", _ModifyAckDeadlineRequest, Empty)
        self._publish = self._call("Publisher/Publish", PublishRequest, pubsub_v1.PublishResponse.pb())

    def _call(self, method: str, request: Any, response: Any) -> _Call:
        call: Any = self._channel.unary_unary(
            f"/google.pubsub.v1.{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        wrapped: Any = grpc_helpers_async.wrap_errors(call)
        return wrapped

    async def pull(self, subscription: str, max_messages: int, seconds: float) -> Sequence[Any]:
        """Wait for messages: google.pubsub.v1.ReceivedMessage."""
        request = _PullRequest(subscription=subscription, max_messages=max_messages)
        response = await self._pull(request, timeout=seconds, metadata=_routed("subscription", subscription))
        return response.received_messages

    async def acknowledge(self, subscription: str, ack_ids: Sequence[str]) -> None:
        """Acknowledge messages."""
        request = _AcknowledgeRequest(subscription=subscription, ack_ids=ack_ids)
        await _repeated(self._acknowledge)(request, metadata=_routed("subscription", subscription))

    async def extend(self, subscription: str, ack_ids: Sequence[str], seconds: int) -> None:
        """Move the deadlines of messages; 0 seconds have them delivered again."""
        request = _ModifyAckDeadlineRequest(
            subscription=subscription, ack_ids=ack_ids, ack_deadline_seconds=seconds
        )
        await _repeated(self._modify)(request, metadata=_routed("subscription", subscription))

    async def publish(self, request: Any) -> None:
        """Publish the messages of a `PublishRequest`."""
        await _repeated(self._publish)(request, metadata=_routed("topic", request.topic))

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()


def _repeated(call: _Call) -> _Call:
    """The call with a deadline from now on for all attempts together."""
    return _RETRY(TimeToDeadlineTimeout(_CALL_SECONDS)(call))


def _routed(name: str, value: str) -> tuple[tuple[str, str]]:
    return (to_grpc_metadata(((name, value),)),)
