"""The streaming service against the emulators: answers, dead letters, outages, stop."""

import collections
import json
import signal
import time
from typing import Any

import httpx
import msgspec
from google import pubsub_v1

from services.contracts.messages import PredictionRow, SalePrediction
from tests.conftest import Process, service, wait_for
from tests.streaming.conftest import Surroundings


def request(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def as_predicted(row: dict[str, Any]) -> PredictionRow:
    return PredictionRow(*(row[name] for name in PredictionRow.__struct_fields__))


def acknowledged(running: Surroundings, number: int) -> None:
    """Wait until the service has acknowledged so many messages."""

    def enough() -> bool:
        lines = running.service.get("/metrics").text.splitlines()
        return sum(float(line.split()[1]) for line in lines if 'outcome="acknowledged"' in line) >= number

    wait_for(f"{number} messages acknowledged", enough)


def test_rows_of_a_passive_request_equal_the_response_over_http(running: Surroundings) -> None:
    predicting = service(
        "services.prediction", running.models.environment, running.service.log.with_name("prediction.log")
    )
    predicting.start()
    try:
        query = {"range": 7, "store_nbr": "1"}
        running.publish(request(request_id="p-1", **query))
        predicting.wait_ready()
        answer = predicting.get("/predict", params=query).json()
    finally:
        predicting.kill()

    rows = running.wait_rows(7 * 2)
    assert [as_predicted(row) for row in rows] == msgspec.convert(answer["prediction"], list[PredictionRow])
    for row in rows:
        assert row["request_id"] == "p-1"
        assert row["model_version"] == "v1"
        assert row["published_at"] <= row["processed_at"]
    acknowledged(running, 1)


def test_active_request_gets_one_reply(running: Surroundings) -> None:
    forecast = running.models.forecast("v1")

    running.publish(request(request_id="a-1", range=3, store_nbr="1", family="MILK", mode="active"))

    (reply,) = running.receive(running.replies, 1)
    assert reply.attributes["request_id"] == "a-1"
    answer = msgspec.json.decode(reply.data, type=SalePrediction)
    assert (answer.request_id, answer.success, answer.model.version) == ("a-1", True, "v1")
    assert answer.prediction == forecast.rows(3, forecast.select(store_nbr=["1"], family=["MILK"]))
    assert running.rows() == []


def test_bare_integer_is_a_passive_request(running: Surroundings) -> None:
    forecast = running.models.forecast("v1")

    (message_id,) = running.publish(b" 5\n")

    rows = running.wait_rows(5 * 4)
    assert [as_predicted(row) for row in rows] == forecast.rows(5, forecast.select())
    assert {row["request_id"] for row in rows} == {message_id}


def test_invalid_messages_are_dead_lettered_and_do_not_block_others(
    running: Surroundings,
) -> None:
    invalid = {
        b"": "neither a whole number nor JSON",
        b"seven": "neither a whole number nor JSON",
        b"\xff\xfe": "neither a whole number nor JSON",
        b"0": "from 1 to 30",
        b"-3": "from 1 to 30",
        b"31": "from 1 to 30",
        b"9" * 5000: "from 1 to 30",
        b'{"range": 7}': "request_id",
        request(request_id="x", range="7"): "range",
        request(request_id="x", range=7, mode="loud"): "mode",
        request(request_id="x", range=7, colour="red"): "colour",
        request(request_id="x", range=7, store_nbr="9"): "unknown store_nbr '9'; known: 1, 2",
        request(request_id="x", range=7, store_nbr="2", family="MILK"): "family 'MILK'",
    }
    good = [request(request_id=f"good-{number}", range=1, mode="active") for number in range(20)]
    bodies = [*invalid, *good]
    bodies = bodies[::2] + bodies[1::2]
    # Pub/Sub does not take a message that has neither data nor attributes.
    running.publish(*bodies, source="test")

    replies = running.receive(running.replies, len(good))
    dead = running.receive(running.dead_letters, len(invalid))

    assert {reply.attributes["request_id"] for reply in replies} == {f"good-{n}" for n in range(20)}
    assert collections.Counter(letter.data for letter in dead) == collections.Counter(list(invalid))
    for letter in dead:
        assert invalid[letter.data] in letter.attributes["reason"], letter
        assert letter.attributes["source"] == "test"
    acknowledged(running, len(bodies))
    assert running.service.stop() == 0
    assert running.unacknowledged() == []


def test_who_waits_for_a_reply_is_told_of_every_refusal(surroundings: Surroundings) -> None:
    """Whatever field has a wrong type, the sender gets a reply; a dead letter keeps its ordering key."""
    surroundings.subscriber.delete_subscription(subscription=surroundings.dead_letters)
    surroundings.subscriber.create_subscription(
        request={
            "name": surroundings.dead_letters,
            "topic": surroundings.dead_letter_topic,
            "enable_message_ordering": True,
        }
    )
    wrong = {"store_nbr": 1, "family": ["MILK"], "range": "7", "colour": "red", "reply_to": 5}
    bodies = [
        request(**{"request_id": f"x-{name}", "range": 1, "mode": "active", name: value})
        for name, value in wrong.items()
    ]
    surroundings.models.publish("v1")
    surroundings.service.start()

    surroundings.publisher.publish(
        topic=surroundings.topic,
        messages=[pubsub_v1.PubsubMessage(data=body, ordering_key="k") for body in bodies],
    )
    surroundings.publish(request(request_id=5, range=1, mode="active"))

    replies = surroundings.receive(surroundings.replies, len(bodies) + 1)
    letters = surroundings.receive(surroundings.dead_letters, len(bodies) + 1)
    ids = {reply.attributes["request_id"] for reply in replies}
    assert ids > {f"x-{name}" for name in wrong}
    assert {reply.attributes["status"] for reply in replies} == {"refused"}
    assert [letter.data for letter in letters if letter.ordering_key == "k"] == bodies


def test_log_of_an_invalid_message_names_its_trace(surroundings: Surroundings) -> None:
    surroundings.service.environment = {**surroundings.service.environment, "TRACE_PROJECT": "p"}
    surroundings.models.publish("v1")
    surroundings.service.start()
    trace_id = "0af7651916cd43dd8448eb211c80319c"

    surroundings.publish(b"seven", googclient_traceparent=f"00-{trace_id}-b7ad6b7169203331-01")
    surroundings.publish(b"eight", traceparent="nonsense")
    surroundings.receive(surroundings.dead_letters, 2)

    def refused() -> list[dict[str, Any]]:
        lines = map(json.loads, surroundings.service.log.read_text().splitlines())
        return [line for line in lines if line["severity"] == "WARNING"]

    # A thread of the service writes them, maybe after the letters.
    wait_for("the lines", lambda: len(refused()) >= 2)
    assert all(
        line["message"] == f"message {line['message_id']} refused: {line['reason']}" for line in refused()
    )
    traces = [line.get("logging.googleapis.com/trace") for line in refused()]
    assert sorted(traces, key=str) == [None, f"projects/p/traces/{trace_id}"]


def test_a_huge_invalid_message_does_not_block_others(running: Surroundings) -> None:
    huge = b"x" * 6_000_000

    running.publish(huge)
    running.publish(request(request_id="after", range=1, mode="active"))

    assert running.receive(running.replies, 1)[0].attributes["request_id"] == "after"


def test_a_new_model_needs_no_restart(running: Surroundings) -> None:
    running.models.publish("v2")
    running.service.wait_model("v2")

    running.publish(request(request_id="a", range=1, mode="active"))

    (reply,) = running.receive(running.replies, 1)
    assert json.loads(reply.data)["model"] == {"version": "v2"}


def test_messages_wait_for_the_first_model(surroundings: Surroundings) -> None:
    surroundings.service.start()
    surroundings.publish(request(request_id="early", range=1, mode="active"))
    wait_for(
        "poll", lambda: surroundings.service.get("/readyz").json()["fault"] == "no model is published yet"
    )
    assert surroundings.service.get("/readyz").status_code == 503
    assert surroundings.service.get("/healthz").status_code == 200

    surroundings.models.publish("v1")

    (reply,) = surroundings.receive(surroundings.replies, 1)
    assert reply.attributes["request_id"] == "early"
    assert surroundings.service.get("/readyz").json() == {"ready": True, "model": "v1", "fault": None}


def test_not_ready_when_the_subscription_is_absent(surroundings: Surroundings) -> None:
    surroundings.models.publish("v1")
    surroundings.service.environment = {
        **surroundings.service.environment,
        "SUBSCRIPTION": f"{surroundings.subscription}-absent",
    }
    surroundings.service.start()

    wait_for("fault", lambda: "NotFound" in (surroundings.service.get("/readyz").json()["fault"] or ""))
    assert surroundings.service.get("/readyz").status_code == 503


def test_nothing_is_acknowledged_before_it_is_saved(surroundings: Surroundings) -> None:
    """Without the table BigQuery refuses rows: passive requests wait, active ones do not."""
    surroundings.models.publish("v1")
    surroundings.bigquery.delete_table(surroundings.table)
    surroundings.service.start()
    surroundings.service.wait_ready()

    surroundings.publish(request(request_id="p", range=2))
    surroundings.publish(request(request_id="a", range=1, mode="active"))
    surroundings.receive(surroundings.replies, 1)
    wait_for("fault", lambda: surroundings.metric('streaming_faults_total{attempt="save"}'), 40)

    surroundings.create_table()
    rows = surroundings.wait_rows(2 * 4, 60)
    assert {row["request_id"] for row in rows} == {"p"}
    acknowledged(surroundings, 2)


def test_sigterm_finishes_or_releases_what_is_leased(running: Surroundings) -> None:
    """A stop loses nothing: the next worker gets the unanswered messages."""
    ids = {f"r-{number}" for number in range(300)}
    modes = ("passive", "active", "active")
    wanted = {name: modes[number % 3] for number, name in enumerate(sorted(ids))}
    running.publish(*(request(request_id=name, range=30, mode=mode) for name, mode in wanted.items()))
    acknowledged(running, 1)

    begun = time.monotonic()
    assert running.service.stop() == 0
    assert time.monotonic() - begun < 20
    running.service.start()

    active = {name for name, mode in wanted.items() if mode == "active"}
    replied: set[str] = set()
    while replied != active:
        replied |= {reply.attributes["request_id"] for reply in running.receive(running.replies, 1, 40)}
    passive = ids - active
    wait_for("rows", lambda: {row["request_id"] for row in running.rows()} == passive, 60)
    days = collections.Counter((row["request_id"], row["store_nbr"], row["family"]) for row in running.rows())
    assert min(days.values()) >= 30


def test_recovers_from_an_outage_of_pubsub(running: Surroundings, pubsub_emulator: Process) -> None:
    pubsub_emulator.stop(signal.SIGKILL)
    wait_for("fault", lambda: running.service.get("/readyz").status_code == 503, 60)
    assert running.service.get("/healthz").status_code == 200
    pubsub_emulator.start()
    running.create_topics()

    running.publish(request(request_id="back", range=1, mode="active"))

    assert running.receive(running.replies, 1, 60)[0].attributes["request_id"] == "back"
    wait_for("ready", lambda: running.service.get("/readyz").status_code == 200)


def test_recovers_from_an_outage_of_bigquery(running: Surroundings, bigquery_emulator: Process) -> None:
    bigquery_emulator.stop(signal.SIGKILL)
    running.publish(request(request_id="p", range=2))
    wait_for("fault", lambda: running.metric('streaming_faults_total{attempt="save"}'), 60)
    bigquery_emulator.start()

    assert {row["request_id"] for row in running.wait_rows(2 * 4, 60)} == {"p"}
    assert running.metric("streaming_messages_received_total") == 1


def test_a_used_port_is_reported_in_one_line(surroundings: Surroundings, storage_emulator: Process) -> None:
    taken = storage_emulator.port
    surroundings.service.environment = {**surroundings.service.environment, "PORT": str(taken)}

    assert surroundings.service.spawn().wait(20) == 1
    assert surroundings.service.log.read_text() == (
        f"error: cannot listen on 127.0.0.1:{taken}: Address already in use\n"
    )


def test_invalid_settings_are_reported_in_one_line(surroundings: Surroundings) -> None:
    surroundings.service.environment = {**surroundings.service.environment, "REPLY_TOPIC": "sale-predictions"}

    assert surroundings.service.spawn().wait(20) == 2
    (line,) = surroundings.service.log.read_text().splitlines()
    assert line.startswith("error: ")
    assert "REPLY_TOPIC" in line


def test_unknown_path_and_method_of_the_health_server(running: Surroundings) -> None:
    assert running.service.get("/predict").status_code == 404
    assert httpx.post(running.service.url + "/healthz").status_code == 405
