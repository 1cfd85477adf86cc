"""What the scoring pipeline is asked in a batch, and what the answers begin with."""

import datetime
from dataclasses import dataclass
from typing import Final

import msgspec

from services.contracts.decoding import InvalidMessageError
from services.contracts.messages import Days, Key
from services.contracts.names import REASON_ATTRIBUTE
from services.contracts.schema import defaults
from services.contracts.tables import Score

_SCORE_DEFAULTS: Final = defaults(Score)


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

    def head(self, question: Question) -> bytes:
        """The JSON of the columns that do not come from the model, without the closing brace."""
        fields = {"run_date": self.run_date, **_SCORE_DEFAULTS}
        if question.request_id is not None:
            fields["request_id"] = question.request_id
        return msgspec.json.encode(fields)[:-1] + b","

    def dead(self, element: bytes, reason: str) -> bytes:
        """The dead letter of a line that cannot be answered."""
        return msgspec.json.encode({"body": element.decode(errors="replace"), REASON_ATTRIBUTE: reason})
