"""What goes wrong in operation: nothing is lost, and what comes twice is told apart."""

import collections
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from google import pubsub_v1

from tests.conftest import wait_for
from tests.streaming.conftest import LEASE_SECONDS, Surroundings, grpc_address

POISON = b"seven"


def ask(request_id: str, mode: str, **more: Any) -> bytes:
    return json.dumps({"request_id": request_id, "range": 30, "mode": mode, **more}).encode()


def rows_by_request(rows: list[dict[str, Any]]) -> collections.Counter[str]:
    return collections.Counter(row["request_id"] for row in rows)


@pytest.mark.slow
def test_killed_amid_work_and_one_in_a_hundred_is_poison(
    running: Surroundings, latest_predictions: str
) -> None:
    """SIGKILL after the first answers, then SIGTERM, then a third worker: every request is settled."""
    wanted = {f"r-{number}": ("passive", "active")[number % 2] for number in range(600)}
    bodies = [ask(name, mode, store_nbr="1") for name, mode in wanted.items()]
    for number in range(0, 600, 100):
        bodies.insert(number, POISON)
    running.create_view(latest_predictions)
    running.service.environment = {**running.service.environment, "MAX_MESSAGES": "20"}
    running.service.stop()
    running.publish(*bodies)
    running.service.start()
    wait_for("first answers", lambda: running.metric("streaming_messages_total") > 20)
    running.service.kill()
    running.service.start()
    wait_for("more answers", lambda: running.metric("streaming_messages_total") > 20, LEASE_SECONDS * 4)
    assert running.service.stop(signal.SIGTERM) == 0
    running.service.start()

    active = {name for name, mode in wanted.items() if mode == "active"}
    replied: collections.Counter[str] = collections.Counter()
    while replied.keys() != active:
        replied.update(
            reply.attributes["request_id"] for reply in running.receive(running.replies, 1, LEASE_SECONDS * 4)
        )
    passive = wanted.keys() - active
    wait_for("rows", lambda: rows_by_request(running.latest()).keys() == passive, LEASE_SECONDS * 4)
    assert rows_by_request(running.latest()) == dict.fromkeys(passive, 2 * 30)
    dead = running.receive(running.dead_letters, 6, LEASE_SECONDS * 4)
    assert {letter.data for letter in dead} == {POISON}
    # Whatever was repeated was repeated whole: the table's further rows are those of some requests again.
    assert all(number % (2 * 30) == 0 for number in rows_by_request(running.rows()).values())
    assert running.service.stop() == 0
    assert running.unacknowledged() == []


def unread(address: str) -> int:
    """Bytes that a server was sent and has not read."""
    port = f":{int(address.rpartition(':')[2]):04X}"
    tables = [Path("/proc/net", name).read_text().splitlines() for name in ("tcp", "tcp6")]
    sockets = [line.split() for table in tables for line in table]
    return sum(int(each[4].partition(":")[2], 16) for each in sockets if each[1].endswith(port))


def test_killed_between_saving_and_acknowledging(running: Surroundings, latest_predictions: str) -> None:
    """The rows are there twice, and once in the view: those that were made last."""
    running.create_view(latest_predictions)
    saving, working = running.bigquery_server.process, running.service.process
    assert saving
    assert working
    running.publish(ask("p-0", "passive", store_nbr="1"))
    wait_for("a stream", lambda: running.metric("streaming_messages_total") == 1)
    saving.send_signal(signal.SIGSTOP)
    try:
        running.publish(*(ask(f"p-{number}", "passive", store_nbr="1") for number in (1, 2, 3)))
        wait_for("messages", lambda: running.metric("streaming_messages_received_total") == 4)
        wait_for("rows on their way", lambda: unread(grpc_address(running.bigquery_server)) > 3 * 2 * 30 * 50)
        working.send_signal(signal.SIGSTOP)
    finally:
        saving.send_signal(signal.SIGCONT)
    first = running.wait_rows(4 * 2 * 30)
    running.service.kill()

    running.service.start()
    every = running.wait_rows(len(first) + 3 * 2 * 30, LEASE_SECONDS * 4)

    assert rows_by_request(every) == {"p-0": 2 * 30} | {f"p-{number}": 2 * 2 * 30 for number in (1, 2, 3)}
    latest = running.latest()
    assert rows_by_request(latest) == {f"p-{number}": 2 * 30 for number in range(4)}
    assert min(row["processed_at"] for row in latest if row["request_id"] != "p-0") > max(
        row["processed_at"] for row in first
    )
    running.service.stop()
    assert running.unacknowledged() == []


def test_bigquery_down_for_longer_than_two_leases(surroundings: Surroundings) -> None:
    """No message is delivered again, so none runs out of attempts; active ones are answered meanwhile."""
    surroundings.subscribe_anew(
        dead_letter_policy={"dead_letter_topic": surroundings.dead_letter_topic, "max_delivery_attempts": 5},
        retry_policy={"minimum_backoff": {"seconds": 1}, "maximum_backoff": {"seconds": 1}},
    )
    surroundings.models.publish("v1")
    surroundings.service.start()
    surroundings.service.wait_ready()
    surroundings.bigquery_server.stop(signal.SIGKILL)
    passive = [ask(f"p-{number}", "passive", store_nbr="1") for number in range(198)]
    active = [ask(f"a-{number}", "active", store_nbr="1") for number in range(198)]

    for number in range(0, 198, 66):
        surroundings.publish(*passive[number : number + 66], *active[number : number + 66], POISON, POISON)
        time.sleep(0.8 * LEASE_SECONDS)
    replies = surroundings.receive(surroundings.replies, len(active))
    (*letters,) = surroundings.receive(surroundings.dead_letters, 6)
    assert surroundings.service.get("/readyz").status_code == 200
    surroundings.bigquery_server.start()

    wait_for("rows", lambda: len(surroundings.rows()) >= 198 * 2 * 30, 60)
    assert rows_by_request(surroundings.rows()) == {f"p-{number}": 2 * 30 for number in range(198)}
    assert len(replies) == len(active)
    assert [letter.data for letter in letters] == [POISON] * 6
    wait_for(
        "acknowledgements",
        lambda: surroundings.metric("streaming_messages_total") == len(passive) + len(active) + 6,
    )
    assert surroundings.metric("streaming_messages_received_total") == len(passive) + len(active) + 6
    # A lease lasts 30 s: no message needs more than one extension in 20.
    assert len(passive) <= surroundings.metric("streaming_lease_extensions_total") <= 3 * len(passive)
    assert surroundings.service.stop() == 0
    assert surroundings.unacknowledged() == []


def test_a_repeated_request_is_answered_once(running: Surroundings) -> None:
    request = ask("twice", "active", store_nbr="1")

    running.publish(request, request)
    running.receive(running.replies, 1)
    running.publish(request, ask("other", "active", store_nbr="1"))

    replies = running.receive(running.replies, 1)
    assert [reply.attributes["request_id"] for reply in replies] == ["other"]
    wait_for("count", lambda: running.metric('streaming_messages_total{kind="active",outcome="dup') == 2)
    assert running.service.stop() == 0
    assert running.unacknowledged() == []


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
