"""Reading requests off the topic `sale-range`."""

import contextlib
import re
from typing import Any, Final

import msgspec

from services.contracts.messages import SaleRangeRequest

# A number of days and nothing else, as `gcloud pubsub topics publish --message 7` sends it.
_BARE_INTEGER: Final = re.compile(rb"[+-]?[0-9]+")
_LONGEST_INTEGER: Final = 9  # digits; more than any range has


class InvalidMessageError(Exception):
    """A message that can never be answered; its text is the reason given in the dead letter.

    Attributes:
        request: What was asked, as far as it could be read.
    """

    def __init__(self, reason: str, request: SaleRangeRequest | None = None) -> None:
        super().__init__(reason)
        self.request = request


def decode(data: bytes, message_id: str, max_range: int) -> SaleRangeRequest:
    """Read a message's body: a `SaleRangeRequest` in JSON, or a bare integer in UTF-8.

    A bare integer is a passive request for that many days of all series; its id is the message's.

    Raises:
        InvalidMessageError: says what is wrong and what is allowed.
    """
    text = data.strip()
    try:
        if _BARE_INTEGER.fullmatch(text):
            days = int(text) if len(text) <= _LONGEST_INTEGER else max_range + 1
            request = SaleRangeRequest(request_id=message_id, range=days)
        else:
            request = msgspec.json.decode(text, type=SaleRangeRequest)
    except msgspec.ValidationError as error:
        raise InvalidMessageError(f"not a request: {error}", _sender(text, message_id)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidMessageError(f"neither a whole number nor JSON: {error}") from None
    if not 1 <= request.range <= max_range:
        raise InvalidMessageError(f"range must be a whole number of days from 1 to {max_range}", request)
    return request


def _sender(text: bytes, message_id: str) -> SaleRangeRequest | None:
    """What an invalid request says of its sender, who may wait for a reply; None if it is no object.

    Fields of a wrong type are as if they were absent.
    """
    try:
        fields = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return None
    request = SaleRangeRequest(request_id=message_id, range=1)
    for name in ("request_id", "mode", "reply_to"):
        if name in fields:
            with contextlib.suppress(msgspec.ValidationError):
                one = {"request_id": message_id, "range": 1, name: fields[name]}
                value = getattr(msgspec.convert(one, SaleRangeRequest), name)
                request = msgspec.structs.replace(request, **{name: value})
    return request
