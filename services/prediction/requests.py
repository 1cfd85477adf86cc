"""Parsing of requests for forecasts and past sales."""

import functools
import re
import urllib.parse
from http import HTTPStatus
from typing import Any, Final, get_args

import msgspec

from services.contracts.messages import Format, HistoryRequest, Layout, PredictionRequest
from services.http.messages import HttpError

AnyRequest = PredictionRequest | HistoryRequest

_CHOICES: Final[dict[str, list[str]]] = {
    "format": [*get_args(get_args(Format)[0])],
    "layout": [*get_args(get_args(Layout)[0])],
}
_UNKNOWN_FIELD: Final = "Object contains unknown field `"
# No more digits than any range has: int() reads digits of other alphabets, and is slow on long numbers.
_DAYS: Final = re.compile(r"[0-9]{1,9}")
_bad_request: Final = functools.partial(HttpError, HTTPStatus.BAD_REQUEST)


def parse(text: bytes, kind: type[AnyRequest], max_range: int, *, posted: bool) -> AnyRequest:
    """Parse the JSON body of a POST, or the query of a GET, which may repeat `store_nbr` and `family`.

    Raises:
        HttpError: names the parameter at fault and what is allowed.
    """
    try:
        request = msgspec.json.decode(text, type=kind) if posted else msgspec.convert(_values(text), kind)
        if request.range > max_range:
            raise msgspec.ValidationError("field `range`")
    except msgspec.ValidationError as error:
        raise _invalid(str(error), kind, max_range) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _bad_request(f'the body is not JSON like {{"range": 7}}: {error}') from None
    if request.format == "csv" and request.layout == "columns":
        raise _bad_request("the layout 'columns' is for JSON; CSV has rows", "layout", ["rows", "sum"])
    return request


def _values(query: bytes) -> dict[str, Any]:
    values: dict[str, Any] = urllib.parse.parse_qs(query.decode(errors="replace"), keep_blank_values=True)
    for name in ("range", "format", "layout"):
        if name in values:
            values[name], *more = values[name]
            if more:
                raise _bad_request(f"'{name}' is given more than once", name)
    if _DAYS.fullmatch(values.get("range", "")):
        values["range"] = int(values["range"])
    return values


def _invalid(message: str, kind: type[msgspec.Struct], max_range: int) -> HttpError:
    """The error of msgspec in the words of the API."""
    names = kind.__struct_fields__
    if message.startswith(_UNKNOWN_FIELD):
        name = message.removeprefix(_UNKNOWN_FIELD)[:-1]
        single = name.partition("[")[0]
        hint = f"; repeat `{single}`" if name != single and single in names else ""
        return _bad_request(f"unknown parameter `{name}`{hint}", name, [*names])
    # It ends with the field at fault: "... - at `$.store_nbr[...]`", "... field `range`".
    parameter = message.removesuffix("`").rpartition("`")[2].removeprefix("$.").partition("[")[0]
    if parameter == "range":
        detail = f"'range' must be a whole number of days from 1 to {max_range}"
        return _bad_request(detail, "range", {"minimum": 1, "maximum": max_range})
    if parameter in _CHOICES:
        choices = _CHOICES[parameter]
        return _bad_request(f"'{parameter}' must be {' or '.join(choices)}", parameter, choices)
    if parameter in names:
        detail = f"'{parameter}' must be a text of 1 to 128 characters, or several texts"
        return _bad_request(detail, parameter)
    return _bad_request(f'{message}; expected an object like {{"range": 7}}')
