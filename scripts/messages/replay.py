"""Publish dead letters again, once the cause of their failure is fixed.

    scripts/replay --dry-run                # count them by reason
    scripts/replay                          # all
    scripts/replay --reason 'unknown store'  # those whose reason contains this text

A batch of up to a thousand is acknowledged after Pub/Sub has confirmed its publication: an interruption may
send some twice, but loses none. Dead letters that are not selected stay.
"""

import collections
import functools
import itertools
import time
from collections.abc import Callable
from typing import Any, Final

from google import pubsub_v1
from rich.console import Console
from rich.table import Table

from infra.environment import Environment
from scripts.command import MESSAGES_TARGET, argument, command, use_environment
from scripts.messages.subscriptions import PER_CALL, pull
from services.answers import Outgoing
from services.contracts import names
from services.streaming.pubsub import publish_batches

_LEASE_SECONDS: Final = 600
# Attributes that the platform and Pub/Sub add to a dead letter.
_ADDED: Final = (names.REASON_ATTRIBUTE, names.DELIVERY_ATTEMPT_ATTRIBUTE)
_ADDED_PREFIX: Final = "CloudPubSubDeadLetterSource"
_UNKNOWN: Final = "(dead-lettered by Pub/Sub after too many attempts)"


def _original(received: Any) -> Outgoing:
    message = received.message
    attributes = {
        name: value
        for name, value in message.attributes.items()
        if name not in _ADDED and not name.startswith(_ADDED_PREFIX)
    }
    return Outgoing(received.ack_id, message.data, attributes, message.ordering_key)


def replay(
    subscription: str, topic: str, wanted: Callable[[str], bool], *, dry_run: bool
) -> tuple[collections.Counter[str], collections.Counter[str]]:
    """Move dead letters to the topic. Returns the numbers of moved and remaining ones, by reason.

    Every dead letter is leased until the end, so that each is examined once. Those published after the start
    remain: they may be moved messages that failed again.
    """
    begun = time.time_ns()
    publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
    set_deadline = functools.partial(subscriber.modify_ack_deadline, subscription=subscription)
    found, moved = collections.Counter[str](), collections.Counter[str]()
    leased: set[str] = set()
    try:
        while received := pull(subscriber, subscription):
            reasons = {
                each.ack_id: each.message.attributes.get(names.REASON_ATTRIBUTE) or _UNKNOWN
                for each in received
            }
            found.update(reasons.values())
            leased |= reasons.keys()
            set_deadline(ack_ids=[*reasons], ack_deadline_seconds=_LEASE_SECONDS)
            # One call publishes messages of one ordering key.
            letters = collections.defaultdict[str, list[Outgoing]](list)
            for each in received:
                if wanted(reasons[each.ack_id]) and each.message.publish_time.ToNanoseconds() <= begun:
                    letters[each.message.ordering_key].append(_original(each))
            for batch in itertools.chain.from_iterable(map(publish_batches, letters.values())):
                ack_ids = [each.ack_id for each in batch]
                moved.update(reasons[ack_id] for ack_id in ack_ids)
                if not dry_run:
                    messages = [
                        pubsub_v1.PubsubMessage(
                            data=each.data, attributes=each.attributes, ordering_key=each.ordering_key
                        )
                        for each in batch
                    ]
                    publisher.publish(topic=topic, messages=messages)
                    subscriber.acknowledge(subscription=subscription, ack_ids=ack_ids)
                    leased.difference_update(ack_ids)
    finally:
        released = [*leased]
        for begin in range(0, len(released), PER_CALL):
            set_deadline(ack_ids=released[begin : begin + PER_CALL], ack_deadline_seconds=0)
    return moved, found - moved


@command(
    "replay",
    MESSAGES_TARGET,
    argument("--reason", dest="wanted", default="", help="only dead letters whose reason contains this text"),
    argument("--dry-run", action="store_true", help="only count what would be moved"),
)
def main(target: Environment, wanted: str, *, dry_run: bool) -> int:
    """Move, print the counts by reason; 1 if the environment cannot be used."""
    project = use_environment(target).project_id
    moved, left = replay(
        f"projects/{project}/subscriptions/{names.DEAD_LETTER_TOPIC}",
        f"projects/{project}/topics/{names.SALE_RANGE_TOPIC}",
        lambda reason: wanted in reason,
        dry_run=dry_run,
    )
    table = Table("reason", "would be moved" if dry_run else "moved", "left")
    for reason in sorted(moved | left):
        table.add_row(reason, str(moved[reason]), str(left[reason]))
    console = Console()
    console.print(table if moved or left else "there are no dead letters")
    return 0
