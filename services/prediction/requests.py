"""Requests for forecasts and past sales: reading them, and saying what is wrong with them."""

import difflib
import http
import re
import urllib.parse
from collections.abc import Callable
from typing import Any, Final, TypeVar, get_args

import msgspec

from services.contracts.messages import Format, HistoryRequest, Layout, PredictionRequest
from services.forecasting.forecast import UnknownSeriesError
from services.http.server import RefusedError

AnyRequest = TypeVar("AnyRequest", PredictionRequest, HistoryRequest)

_SINGLE: Final = ("range", "format", "layout")
_CHOICES: Final[dict[str, list[str]]] = {
    "format": [*get_args(get_args(Format)[0])],
    "layout": [*get_args(get_args(Layout)[0])],
}
# msgspec ends its messages with the field at fault: "... - at `$.store_nbr[...]`", "... field `x`".
_FIELD: Final = re.compile(r"`(?:\$\.)?(\w+)[^`]*`$")
# No more digits than any range has: int() reads other alphabets' digits, and takes long over long numbers.
_DAYS: Final = re.compile(r"[0-9]{1,9}")
# All known values are told up to here; of more, those most like the unknown one.
_ALL_VALUES: Final = 50
_CLOSEST_VALUES: Final = 10


class InvalidRequestError(RefusedError):
    """A request that cannot be answered as it is."""

    def __init__(
        self, detail: str, parameter: str | None = None, allowed: list[str] | dict[str, int] | None = None
    ) -> None:
        super().__init__(http.HTTPStatus.BAD_REQUEST, detail, parameter, allowed)


def from_query(query: bytes, kind: type[AnyRequest], max_range: int) -> AnyRequest:
    """Read the query of a GET. `store_nbr` and `family` may be repeated.

    Args:
        query: As received.
        kind: What is asked for.
        max_range: Most days that can be asked for.

    Raises:
        InvalidRequestError: says which parameter is wrong and what is allowed.
    """
    values: dict[str, Any] = urllib.parse.parse_qs(query.decode(errors="replace"), keep_blank_values=True)
    for name in _SINGLE:
        if name in values:
            values[name], *more = values[name]
            if more:
                raise InvalidRequestError(f"'{name}' is given more than once", name)
    if _DAYS.fullmatch(values.get("range", "")):
        values["range"] = int(values["range"])
    return _checked(lambda: msgspec.convert(values, kind), kind, max_range)


def from_body(body: bytes, max_range: int) -> PredictionRequest:
    """Read the JSON body of a POST.

    Raises:
        InvalidRequestError: says which parameter is wrong and what is allowed.
    """
    return _checked(lambda: msgspec.json.decode(body, type=PredictionRequest), PredictionRequest, max_range)


def no_series(error: UnknownSeriesError) -> InvalidRequestError:
    """The fault of filters that match no series of the model."""
    allowed = list(error.allowed)
    if len(allowed) > _ALL_VALUES:
        allowed = difflib.get_close_matches(error.value, allowed, _CLOSEST_VALUES, cutoff=0)
    return InvalidRequestError(
        f"none of the series asked for has {error.field} {error.value!r}", error.field, allowed
    )


def _checked(read: Callable[[], AnyRequest], kind: type[AnyRequest], max_range: int) -> AnyRequest:
    try:
        request = read()
    except msgspec.ValidationError as error:
        raise _invalid(str(error), kind, max_range) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f'the body is not JSON like {{"range": 7}}: {error}') from None
    if request.range > max_range:
        raise _range_out_of_limits(max_range)
    if request.format == "csv" and request.layout == "columns":
        raise InvalidRequestError("the layout 'columns' is for JSON; CSV has rows", "layout", ["rows"])
    return request


def _range_out_of_limits(max_range: int) -> InvalidRequestError:
    return InvalidRequestError(
        f"'range' must be a whole number of days from 1 to {max_range}",
        "range",
        {"minimum": 1, "maximum": max_range},
    )


def _invalid(message: str, kind: type[msgspec.Struct], max_range: int) -> InvalidRequestError:
    """What msgspec says, in the words of the API."""
    match = _FIELD.search(message)
    parameter = match[1] if match else None
    if parameter == "range":
        return _range_out_of_limits(max_range)
    if parameter in _CHOICES:
        choices = _CHOICES[parameter]
        return InvalidRequestError(f"'{parameter}' must be {' or '.join(choices)}", parameter, choices)
    names = kind.__struct_fields__
    if parameter in names:
        return InvalidRequestError(
            f"'{parameter}' must be a text of 1 to 128 characters, or several", parameter
        )
    if "unknown field" in message:
        name = message.removeprefix("Object contains unknown field ")
        return InvalidRequestError(f"unknown parameter {name}", parameter, [*names])
    return InvalidRequestError(f'{message}; expected an object like {{"range": 7}}')
