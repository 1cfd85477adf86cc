"""The streaming service against the emulators: what a message leads to."""

import json

import msgspec

from services.contracts.messages import SalePrediction
from tests.streaming.conftest import Surroundings


def request(**fields: object) -> bytes:
    return json.dumps(fields).encode()


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
    assert [
        (row["date"], row["store_nbr"], row["family"], row["sales"], row["lower"], row["upper"])
        for row in rows
    ] == [msgspec.structs.astuple(row) for row in forecast.rows(5, forecast.select())]
    assert {row["request_id"] for row in rows} == {message_id}
