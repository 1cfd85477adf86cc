"""What is remembered of answers, and what shows when there are none."""

import asyncio
import datetime
import json
from collections.abc import Awaitable, Callable

import pytest
from google import pubsub_v1

from services.contracts.settings import StreamingSettings
from services.streaming import processing
from services.streaming.processing import MessageBatch, ModelReplies, Processor
from services.streaming.pubsub import PubSub
from services.streaming.table import PredictionsTable
from tests.streaming.conftest import Surroundings


def batch() -> MessageBatch:
    """A message that asks for a reply; each call's is a message of its own with the same request."""
    data = json.dumps({"request_id": "r", "range": 1, "mode": "active"}).encode()
    message = pubsub_v1.PubsubMessage.pb()(data=data, message_id="m")
    message.publish_time.FromDatetime(datetime.datetime.now(datetime.UTC))
    return MessageBatch([pubsub_v1.ReceivedMessage.pb()(ack_id="a", message=message)])


def with_processor(
    surroundings: Surroundings,
    monkeypatch: pytest.MonkeyPatch,
    use: Callable[[Processor, Callable[[str], ModelReplies]], Awaitable[None]],
    reply_topic: str | None = None,
) -> None:
    """Run `use` with a processor and a function that loads a model version."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{surroundings.pubsub.port}")

    def load(version: str) -> ModelReplies:
        surroundings.models.upload(version)
        return ModelReplies(surroundings.models.registry.load(version).forecast, 30)

    async def run() -> None:
        pubsub = PubSub(surroundings.subscription)
        settings = StreamingSettings(
            model_bucket="b",
            subscription=surroundings.subscription,
            reply_topic=reply_topic or surroundings.reply_topic,
            dead_letter_topic=surroundings.dead_letter_topic,
            predictions_table=surroundings.table,
        )
        await use(Processor(settings, pubsub, PredictionsTable(surroundings.table)), load)
        await pubsub.close()

    asyncio.run(run())


def test_an_answer_is_repeated_by_a_new_model_or_after_a_while(
    surroundings: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(processor: Processor, load: Callable[[str], ModelReplies]) -> None:
        v1, v2 = load("v1"), load("v2")

        async def repeated(replies: ModelReplies) -> bool:
            messages = batch()
            await processor.process(messages, replies)
            processor.finish(messages)
            assert messages.durable == {"a"}
            return messages.duplicates == {"a"}

        assert [await repeated(v1), await repeated(v1)] == [False, True]
        assert [await repeated(v2), await repeated(v1)] == [False, True]
        monkeypatch.setattr(processing, "_REMEMBERED_SECONDS", 0.0)
        assert [await repeated(v1), await repeated(v2)] == [False, False]

    with_processor(surroundings, monkeypatch, use)
    surroundings.receive(surroundings.replies, 4)


def test_waiting_messages_without_any_answer_are_a_fault(
    surroundings: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processing, "_STALLED_SECONDS", 0.0)

    async def use(processor: Processor, load: Callable[[str], ModelReplies]) -> None:
        assert processor.fault is None
        messages = batch()
        await processor.process(messages, load("v1"))
        assert messages.pending
        assert "none was answered" in (processor.fault or "")
        processor.finish(messages)
        assert processor.fault is None

    with_processor(surroundings, monkeypatch, use, f"{surroundings.reply_topic}-absent")
