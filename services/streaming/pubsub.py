"""Calls of Pub/Sub on the event loop."""

import os
from collections.abc import Iterator, Sequence
from typing import Any, Final

from google import pubsub_v1
from google.api_core import exceptions, retry_async
from google.api_core.gapic_v1.routing_header import to_grpc_metadata
from google.api_core.timeout import TimeToDeadlineTimeout
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from services.answers import MESSAGE_BYTES, Outgoing
from services.streaming.channels import Call, call, channel
from services.streaming.metrics import report

_PULL_SECONDS: Final = 60
_CALL_SECONDS: Final = 10
_RETRY: Final = retry_async.AsyncRetry(initial=0.1, maximum=2.0, timeout=_CALL_SECONDS)

_PUBLISH_MESSAGES: Final = 1000  # https://cloud.google.com/pubsub/quotas#resource_limits
_MESSAGE_OVERHEAD_BYTES: Final = 64  # tags and lengths of a message in a publish request

_PublishRequest: Final[Any] = pubsub_v1.PublishRequest.pb()
_PullRequest: Final[Any] = pubsub_v1.PullRequest.pb()
_AcknowledgeRequest: Final[Any] = pubsub_v1.AcknowledgeRequest.pb()
_ModifyAckDeadlineRequest: Final[Any] = pubsub_v1.ModifyAckDeadlineRequest.pb()


class PubSub:
    """Pub/Sub of Google Cloud, or the emulator at PUBSUB_EMULATOR_HOST; messages come from one subscription.

    All but `pull` try again for ten seconds where that may help. What fails in the end raises
    google.api_core.exceptions.GoogleAPIError.
    """

    def __init__(self, subscription: str) -> None:
        self._subscription = subscription
        self._channel = channel(SubscriberGrpcAsyncIOTransport, os.environ.get("PUBSUB_EMULATOR_HOST"))
        self._pull = self._call("Subscriber/Pull", _PullRequest, pubsub_v1.PullResponse.pb())
        self._acknowledge = self._call("Subscriber/Acknowledge", _AcknowledgeRequest, Empty)
        self._modify = self._call("Subscriber/ModifyAckDeadline", _ModifyAckDeadlineRequest, Empty)
        self._publish = self._call("Publisher/Publish", _PublishRequest, pubsub_v1.PublishResponse.pb())

    def _call(self, method: str, request: Any, response: Any) -> Call:
        return call(self._channel.unary_unary, f"/google.pubsub.v1.{method}", request, response)

    async def pull(self, max_messages: int) -> Sequence[Any]:
        """Messages (google.pubsub.v1.ReceivedMessage); none if none comes within a minute."""
        request = _PullRequest(subscription=self._subscription, max_messages=max_messages)
        metadata = _routed(request, "subscription")
        try:
            return (await self._pull(request, timeout=_PULL_SECONDS, metadata=metadata)).received_messages
        except exceptions.DeadlineExceeded:
            return ()

    async def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """Acknowledge messages."""
        request = _AcknowledgeRequest(subscription=self._subscription, ack_ids=ack_ids)
        await _with_retries(self._acknowledge, request, "subscription")

    async def extend(self, ack_ids: Sequence[str], seconds: int) -> None:
        """Move the deadlines of messages; 0 seconds have them delivered again."""
        request = _ModifyAckDeadlineRequest(
            subscription=self._subscription, ack_ids=ack_ids, ack_deadline_seconds=seconds
        )
        await _with_retries(self._modify, request, "subscription")

    async def publish(
        self, topic: str, outgoing: Sequence[Outgoing], published: set[str], refused: set[str]
    ) -> None:
        """Publish messages of one ordering key, in order, until a call fails.

        Adds the `ack_id`s of messages to `published`, or to `refused` if Pub/Sub does not accept them.
        """
        for batch in publish_batches(outgoing):
            try:
                await self._publish_batch(topic, batch)
                published.update(each.ack_id for each in batch)
            except exceptions.InvalidArgument:
                # One message that Pub/Sub does not accept fails the call: publish each alone.
                for one in batch:
                    try:
                        await self._publish_batch(topic, [one])
                        published.add(one.ack_id)
                    except exceptions.InvalidArgument as error:
                        report("publish", error)
                        refused.add(one.ack_id)

    async def _publish_batch(self, topic: str, batch: Sequence[Outgoing]) -> None:
        request = _PublishRequest(topic=topic)
        for each in batch:
            attributes = request.messages.add(data=each.data, ordering_key=each.ordering_key).attributes
            for name, value in each.attributes.items():  # a map made of a dictionary costs four times that
                attributes[name] = value
        await _with_retries(self._publish, request, "topic")

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()


async def _with_retries(call: Call, request: Any, routed_by: str) -> None:
    """Call with a deadline from now on for all attempts together."""
    repeated: Call = _RETRY(TimeToDeadlineTimeout(_CALL_SECONDS)(call))
    await repeated(request, metadata=_routed(request, routed_by))


def _routed(request: Any, field: str) -> tuple[tuple[str, str]]:
    return (to_grpc_metadata(((field, getattr(request, field)),)),)


def publish_batches(outgoing: Sequence[Outgoing]) -> Iterator[Sequence[Outgoing]]:
    """Group messages within the limits of one publish call."""
    begin = size = 0
    for index, one in enumerate(outgoing):
        characters = sum(map(len, one.attributes)) + sum(map(len, one.attributes.values()))
        more = len(one.data) + _MESSAGE_OVERHEAD_BYTES + 4 * characters  # UTF-8 has at most 4 bytes each
        if index > begin and (index - begin == _PUBLISH_MESSAGES or size + more > MESSAGE_BYTES):
            yield outgoing[begin:index]
            begin, size = index, 0
        size += more
    if outgoing:
        yield outgoing[begin:]
