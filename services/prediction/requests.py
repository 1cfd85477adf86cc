"""Requests to `/predict`: reading them, and saying what is wrong with them."""

import difflib
import re
import urllib.parse
from typing import Any, Final

import msgspec

from services.contracts.messages import PredictionRequest
from services.forecasting.forecast import UnknownSeriesError

_PARAMETERS: Final = PredictionRequest.__struct_fields__
# msgspec ends its messages with the field at fault: "... - at `$.store_nbr[...]`", "... field `x`".
_FIELD: Final = re.compile(r"`(?:\$\.)?(\w+)[^`]*`$")
# No more digits than any range has: int() reads other alphabets' digits, and takes long over long numbers.
_DAYS: Final = re.compile(r"[0-9]{1,9}")
# All known values are told up to here; of more, those most like the unknown one.
_ALL_VALUES: Final = 50
_CLOSEST_VALUES: Final = 10


class InvalidRequestError(Exception):
    """A request that cannot be answered as it is.

    Attributes:
        detail: What is wrong and what is allowed, in one sentence.
        parameter: The parameter at fault, if it is one.
        allowed: The values to choose from, or the limits of a number.
    """

    def __init__(
        self, detail: str, parameter: str | None = None, allowed: list[str] | dict[str, int] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.parameter = parameter
        self.allowed = allowed


def from_query(query: str, max_range: int) -> PredictionRequest:
    """Read the query of a GET. `store_nbr` and `family` may be repeated.

    Raises:
        InvalidRequestError: says which parameter is wrong and what is allowed.
    """
    values: dict[str, Any] = urllib.parse.parse_qs(query, keep_blank_values=True)
    if "range" in values:
        first, *more = values["range"]
        if more:
            raise InvalidRequestError("'range' is given more than once", "range")
        values["range"] = int(first) if _DAYS.fullmatch(first) else first
    try:
        return msgspec.convert(values, PredictionRequest)
    except msgspec.ValidationError as error:
        raise _invalid(str(error), max_range) from None


def from_body(body: bytes, max_range: int) -> PredictionRequest:
    """Read the JSON body of a POST.

    Raises:
        InvalidRequestError: says which parameter is wrong and what is allowed.
    """
    try:
        return msgspec.json.decode(body, type=PredictionRequest)
    except msgspec.ValidationError as error:
        raise _invalid(str(error), max_range) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f'the body is not JSON like {{"range": 7}}: {error}') from None


def range_out_of_limits(max_range: int) -> InvalidRequestError:
    """The fault of a range that is missing, too small, too long or no number."""
    return InvalidRequestError(
        f"'range' must be a whole number of days from 1 to {max_range}",
        "range",
        {"minimum": 1, "maximum": max_range},
    )


def no_series(error: UnknownSeriesError) -> InvalidRequestError:
    """The fault of filters that match no series of the model."""
    allowed = list(error.allowed)
    if len(allowed) > _ALL_VALUES:
        allowed = difflib.get_close_matches(error.value, allowed, _CLOSEST_VALUES, cutoff=0)
    return InvalidRequestError(
        f"none of the series asked for has {error.field} {error.value!r}", error.field, allowed
    )


def _invalid(message: str, max_range: int) -> InvalidRequestError:
    """What msgspec says, in the words of the API."""
    match = _FIELD.search(message)
    parameter = match[1] if match else None
    if parameter == "range":
        return range_out_of_limits(max_range)
    if parameter in _PARAMETERS:
        return InvalidRequestError(
            f"'{parameter}' must be a text of 1 to 128 characters, or several", parameter
        )
    if "unknown field" in message:
        name = message.removeprefix("Object contains unknown field ")
        return InvalidRequestError(f"unknown parameter {name}", parameter, list(_PARAMETERS))
    return InvalidRequestError(f'{message}; expected an object like {{"range": 7}}')
