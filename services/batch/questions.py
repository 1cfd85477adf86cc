"""What the scoring pipeline is asked, in a batch and as a stream, and what the answers begin with."""

import datetime
from dataclasses import dataclass
from typing import Final

import msgspec
from apache_beam.io.gcp.pubsub import PubsubMessage

from services.contracts.decoding import InvalidMessageError, decode
from services.contracts.messages import Days, Key, SaleRangeRequest
from services.contracts.names import REASON_ATTRIBUTE
from services.contracts.schema import defaults
from services.contracts.tables import Prediction, Score

_SCORE_DEFAULTS: Final = defaults(Score)
_PREDICTION_DEFAULTS: Final = defaults(Prediction)


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question of a batch: a line of a file, or a row of a query."""

    store_nbr: Key | None = None  # all when absent
    family: Key | None = None  # all when absent
    range: Days | None = None  # days from the run date on; --horizon when absent
    request_id: Key | None = None


_QUESTION: Final = msgspec.json.Decoder(Question)


@dataclass(frozen=True)
class BatchQuestions:
    """Lines of files, answered by rows of `Score`.

    Attributes:
        run_date: day of the run.
        horizon: days to forecast when the question does not say, and at most.
    """

    run_date: datetime.date
    horizon: int

    def read(self, element: bytes) -> tuple[Question, int]:
        """The question and its number of days.

        Raises:
            InvalidMessageError: the line is no question.
        """
        try:
            question = _QUESTION.decode(element)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidMessageError(f"not a question: {error}") from None
        days = question.range or self.horizon
        if days > self.horizon:
            raise InvalidMessageError(f"range must be a whole number of days from 1 to {self.horizon}")
        return question, days

    def head(self, element: bytes, question: Question) -> bytes:
        """The JSON of the columns that do not come from the model, without the closing brace."""
        fields = {"run_date": self.run_date, **_SCORE_DEFAULTS}
        if question.request_id is not None:
            fields["request_id"] = question.request_id
        return msgspec.json.encode(fields)[:-1] + b","

    def dead(self, element: bytes, reason: str) -> bytes:
        """The dead letter of a line that cannot be answered."""
        return msgspec.json.encode({"body": element.decode(errors="replace"), REASON_ATTRIBUTE: reason})


@dataclass(frozen=True)
class StreamRequests:
    """Messages of a subscription, answered by rows of `Prediction`.

    Attributes:
        max_range: most days that can be asked for.
    """

    max_range: int

    def read(self, element: PubsubMessage) -> tuple[SaleRangeRequest, int]:
        """The request and its number of days.

        Raises:
            InvalidMessageError: the message is no request.
        """
        request = decode(element.data or b"", element.message_id or "", self.max_range)
        return request, request.range

    def head(self, element: PubsubMessage, request: SaleRangeRequest) -> bytes:
        """The JSON of the columns that do not come from the model, without the closing brace."""
        fields = _PREDICTION_DEFAULTS | {
            "request_id": request.request_id,
            # A datetime of Google's, which msgspec does not know.
            "published_at": element.publish_time and element.publish_time.isoformat(),
            "processed_at": datetime.datetime.now(datetime.UTC),
        }
        return msgspec.json.encode(fields)[:-1] + b","

    def dead(self, element: PubsubMessage, reason: str) -> PubsubMessage:
        """The dead letter: the message with the reason as an attribute."""
        return PubsubMessage(element.data, {**(element.attributes or {}), REASON_ATTRIBUTE: reason})
