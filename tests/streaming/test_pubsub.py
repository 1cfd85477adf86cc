"""Connections to Pub/Sub that go silent."""

import asyncio

import pytest
from google.api_core import exceptions

from services.streaming import channels
from services.streaming.pubsub import PubSub
from tests.streaming.conftest import Surroundings
from tests.streaming.silent_relay import Relay


def test_a_silent_connection_breaks_and_the_next_pull_has_another(
    surroundings: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ping that is not answered breaks it: without that, a pull would wait for its whole minute."""
    monkeypatch.setattr(channels, "KEEPALIVE", [(name, 1000) for name, _ in channels.KEEPALIVE])

    async def pull() -> None:
        relay = Relay(f"127.0.0.1:{surroundings.pubsub.port}")
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", await relay.listen())
        pubsub = PubSub(surroundings.subscription)

        async def one() -> bytes:
            (received,) = await pubsub.pull(1)
            await pubsub.acknowledge([received.ack_id])
            return received.message.data

        surroundings.publish(b"1")
        assert await one() == b"1"
        relay.silence()
        with pytest.raises(exceptions.ServiceUnavailable):
            await one()
        surroundings.publish(b"2")
        assert await one() == b"2"
        await pubsub.close()

    asyncio.run(pull())
