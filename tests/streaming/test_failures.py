"""What goes wrong in operation: nothing is lost, and what comes twice is told apart."""

import collections
import json
import signal
from typing import Any

import httpx
import pytest
from google import pubsub_v1

from tests.conftest import wait_for
from tests.streaming.conftest import LEASE_SECONDS, Surroundings

POISON = b"seven"


def ask(request_id: str, mode: str, **more: Any) -> bytes:
    return json.dumps({"request_id": request_id, "range": 30, "mode": mode, **more}).encode()


def count(running: Surroundings, name: str) -> float:
    """The sum of a metric over its labels; 0 while nobody answers."""
    try:
        lines = running.service.get("/metrics").text.splitlines()
    except httpx.TransportError:
        return 0
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def latest(running: Surroundings) -> list[tuple[Any, ...]]:
    """Rows as the view `latest_predictions` has them: of each request, series and day, the one made last."""
    query = (
        f"SELECT request_id, store_nbr, family, date FROM `{running.table}` "  # noqa: S608
        "QUALIFY ROW_NUMBER() OVER (PARTITION BY request_id, store_nbr, family, date "
        "ORDER BY processed_at DESC) = 1"
    )
    return [tuple(row.values()) for row in running.bigquery.query(query).result()]


@pytest.mark.slow
def test_killed_amid_work_and_one_in_a_hundred_is_poison(running: Surroundings) -> None:
    """SIGKILL after the first answers, then SIGTERM, then a third worker: every request is settled."""
    wanted = {f"r-{number}": ("passive", "active")[number % 2] for number in range(600)}
    bodies = [ask(name, mode, store_nbr="1") for name, mode in wanted.items()]
    for number in range(0, 600, 100):
        bodies.insert(number, POISON)
    running.service.environment = {**running.service.environment, "MAX_MESSAGES": "20"}
    running.service.stop()
    running.publish(*bodies)
    running.service.start()
    wait_for("first answers", lambda: count(running, "streaming_messages_total") > 20)
    running.service.kill()
    running.service.start()
    wait_for("more answers", lambda: count(running, "streaming_messages_total") > 20, LEASE_SECONDS * 4)
    assert running.service.stop(signal.SIGTERM) == 0
    running.service.start()

    active = {name for name, mode in wanted.items() if mode == "active"}
    replied: collections.Counter[str] = collections.Counter()
    while replied.keys() != active:
        replied.update(
            reply.attributes["request_id"] for reply in running.receive(running.replies, 1, LEASE_SECONDS * 4)
        )
    passive = wanted.keys() - active
    wait_for("rows", lambda: {row[0] for row in latest(running)} == passive, LEASE_SECONDS * 4)
    rows = latest(running)
    assert len(rows) == len(set(rows)) == len(passive) * 2 * 30
    dead = running.receive(running.dead_letters, 6, LEASE_SECONDS * 4)
    assert {letter.data for letter in dead} == {POISON}
    # Whatever was repeated was repeated whole: the table's further rows are those of some requests again.
    assert (len(running.rows()) - len(rows)) % (2 * 30) == 0
    assert running.service.stop() == 0
    assert running.unacknowledged() == []


def test_a_repeated_request_is_answered_once(running: Surroundings) -> None:
    request = ask("twice", "active", store_nbr="1")

    running.publish(request, request)
    running.receive(running.replies, 1)
    running.publish(request, ask("other", "active", store_nbr="1"))

    replies = running.receive(running.replies, 1)
    assert [reply.attributes["request_id"] for reply in replies] == ["other"]
    wait_for("count", lambda: count(running, 'streaming_messages_total{kind="active",outcome="dup') == 2)
    assert running.service.stop() == 0
    assert running.unacknowledged() == []


def test_exactly_once_subscription(surroundings: Surroundings) -> None:
    surroundings.subscriber.delete_subscription(subscription=surroundings.subscription)
    surroundings.subscriber.create_subscription(
        request={
            "name": surroundings.subscription,
            "topic": surroundings.topic,
            "ack_deadline_seconds": LEASE_SECONDS,
            "enable_exactly_once_delivery": True,
        }
    )
    surroundings.models.publish("v1")
    surroundings.service.start()
    surroundings.service.wait_ready()

    surroundings.publish(*(ask(f"e-{number}", "active", store_nbr="1") for number in range(50)))

    replies = surroundings.receive(surroundings.replies, 50)
    assert {reply.attributes["request_id"] for reply in replies} == {f"e-{n}" for n in range(50)}
    wait_for("acknowledged", lambda: count(surroundings, "streaming_messages_total") == 50)
    assert surroundings.service.stop() == 0
    assert surroundings.unacknowledged() == []


def test_a_reply_goes_where_it_is_wanted_and_allowed(surroundings: Surroundings) -> None:
    other = surroundings.reply_topic.replace("sale-predictions", "elsewhere")
    taken = surroundings.replies.replace("replies", "elsewhere")
    surroundings.publisher.create_topic(name=other)
    surroundings.subscriber.create_subscription(
        request={"name": taken, "topic": other, "enable_message_ordering": True}
    )
    surroundings.service.environment = {**surroundings.service.environment, "REPLY_TOPICS": other}
    surroundings.models.publish("v1")
    surroundings.service.start()
    surroundings.service.wait_ready()
    name = other.rpartition("/")[2]
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    surroundings.publisher.publish(
        topic=surroundings.topic,
        messages=[
            pubsub_v1.PubsubMessage(
                data=ask(f"o-{number}", "active", reply_to=name),
                ordering_key="k",
                attributes={"googclient_traceparent": traceparent},
            )
            for number in range(10)
        ],
    )
    surroundings.publish(ask("no", "active", reply_to="projects/p/topics/nowhere"))

    replies = surroundings.receive(taken, 10)
    assert [reply.attributes["request_id"] for reply in replies] == [f"o-{n}" for n in range(10)]
    assert {reply.ordering_key for reply in replies} == {"k"}
    assert {reply.attributes["googclient_traceparent"] for reply in replies} == {traceparent}
    (letter,) = surroundings.receive(surroundings.dead_letters, 1)
    assert "reply_to 'projects/p/topics/nowhere' is not allowed" in letter.attributes["reason"]
    (refusal,) = surroundings.receive(surroundings.replies, 1)
    assert refusal.attributes["status"] == "refused"
    assert json.loads(refusal.data)["success"] is False
