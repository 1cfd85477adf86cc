"""Scoring as a stream: the requests of a subscription, answered as the streaming service answers them."""

import datetime
from collections.abc import Iterator, Sequence
from typing import Any, Final

import apache_beam as beam
from apache_beam.io.gcp.pubsub import PubsubMessage, ReadFromPubSub, WriteToPubSub
from apache_beam.pvalue import TaggedOutput

from services import answers
from services.answers import Answers, InvalidMessageError, Outgoing, decode
from services.batch.beam_io import InsertRows
from services.batch.scoring import AnswerBatches, ModelSource, answered
from services.contracts.schema import defaults
from services.contracts.tables import Prediction

_MESSAGES: Final = "messages"
_DEFAULTS: Final = defaults(Prediction)


class AnswerMessages(AnswerBatches):
    """Answers batches of messages.

    Yields a block of rows of `Prediction`, one a line, for the passive requests of each batch. Replies,
    refusals and dead letters go under the tag `messages`, each with its topic.
    """

    def __init__(self, source: ModelSource, topics: Sequence[str], dead_letter_topic: str):
        super().__init__(source)
        self._answers = Answers(topics[0], topics[1:])
        self._dead_letter_topic = dead_letter_topic

    def process(self, element: list[PubsubMessage]) -> Iterator[Any]:
        """Answer a batch."""
        model = self.model()
        lines: list[bytes] = []
        dead = 0
        for message in element:
            try:
                request = decode(message.data or b"", message.message_id or "", model.max_range)
                if request.mode == "active":
                    yield _tagged(*self._answers.reply("", message, request, model))
                else:
                    series = model.series(request.store_nbr, request.family)
                    fields = _DEFAULTS | {
                        "request_id": request.request_id,
                        # A datetime of Google's, which msgspec does not know.
                        "published_at": message.publish_time and message.publish_time.isoformat(),
                        "processed_at": datetime.datetime.now(datetime.UTC),
                    }
                    for of_series in model.lines(fields, series, request.range):
                        lines += of_series
            except InvalidMessageError as error:
                dead += 1
                if refusal := self._answers.refusal("", message, error, model):
                    yield _tagged(*refusal)
                yield _tagged(self._dead_letter_topic, answers.dead_letter("", message, error))
        if lines:
            yield b"\n".join(lines)
        self.count(len(element), len(lines), dead)


def _tagged(topic: str, outgoing: Outgoing) -> Any:
    message = PubsubMessage(outgoing.data, outgoing.attributes, ordering_key=outgoing.ordering_key)
    return TaggedOutput(_MESSAGES, (topic, message))


def build(
    pipeline: beam.Pipeline,
    source: ModelSource,
    subscription: str,
    table: str,
    topics: Sequence[str],
    dead_letter_topic: str,
) -> None:
    """Add the transforms that answer a subscription; the first topic gets replies that name no other."""
    messages = pipeline | "read messages" >> ReadFromPubSub(subscription=subscription, with_attributes=True)
    answering = answered(messages, AnswerMessages(source, topics, dead_letter_topic), _MESSAGES)
    _ = answering.blocks | "save" >> beam.ParDo(InsertRows(table))
    for topic in (*topics, dead_letter_topic):
        name = topic.rpartition("/")[2]
        _ = (
            answering[_MESSAGES]
            | f"for {name}" >> beam.Filter(_is_for, topic)
            | f"message for {name}" >> beam.Values()
            | f"publish to {name}" >> WriteToPubSub(topic, with_attributes=True)
        )


def _is_for(element: tuple[str, PubsubMessage], topic: str) -> bool:
    return element[0] == topic
