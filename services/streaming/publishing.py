"""Publishing of replies and dead letters."""

from collections.abc import Iterator, Sequence
from typing import Final

from google.api_core import exceptions

from services.answers import MESSAGE_BYTES, Outgoing
from services.streaming.metrics import report
from services.streaming.pubsub import PublishRequest, PubSub

_PUBLISH_MESSAGES: Final = 1000  # https://cloud.google.com/pubsub/quotas#resource_limits
_MESSAGE_OVERHEAD_BYTES: Final = 64  # tags and lengths of a message in a publish request


async def publish(
    pubsub: PubSub,
    topic: str,
    ordering_key: str,
    outgoing: Sequence[Outgoing],
    *,
    published: set[str],
    refused: set[str],
) -> None:
    """Publish messages of one ordering key, in order, until a call fails.

    Adds the `ack_id`s of messages to `published`, or to `refused` if Pub/Sub does not accept them.

    Raises:
        google.api_core.exceptions.GoogleAPIError: Pub/Sub is unreachable, or has no such topic.
    """
    for batch in publish_batches(outgoing):
        try:
            await _publish_batch(pubsub, topic, ordering_key, batch)
            published.update(each.ack_id for each in batch)
        except exceptions.InvalidArgument:
            # One message that Pub/Sub does not accept fails the call: publish each alone.
            for one in batch:
                try:
                    await _publish_batch(pubsub, topic, ordering_key, [one])
                    published.add(one.ack_id)
                except exceptions.InvalidArgument as error:
                    report("publish", error)
                    refused.add(one.ack_id)


async def _publish_batch(pubsub: PubSub, topic: str, ordering_key: str, batch: Sequence[Outgoing]) -> None:
    request = PublishRequest(topic=topic)
    for each in batch:
        attributes = request.messages.add(data=each.data, ordering_key=ordering_key).attributes
        for name, value in each.attributes.items():  # a map made of a dictionary costs four times that
            attributes[name] = value
    await pubsub.publish(request)


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
