"""The messages of topic `sale-range` and what answers them: replies, refusals and dead letters."""

import contextlib
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from services.contracts import names
from services.contracts.messages import ModelReference, PredictionRow, SalePrediction, SaleRangeRequest
from services.forecasting.forecast import Forecast, UnknownSeriesError
from services.lru_cache import LruCache

# https://cloud.google.com/pubsub/quotas#resource_limits
MESSAGE_BYTES: Final = 10_000_000
ATTRIBUTE_BYTES: Final = 1024

# Client libraries propagate OpenTelemetry's context under the first name; the second is W3C's own.
_TRACE_ATTRIBUTES: Final = ("googclient_traceparent", "traceparent")
_ENTRY_BYTES: Final = 256
"""Memory of a cached reply besides its text: dictionary entry and objects."""
_CACHED_SERIES: Final = 10_000
"""Some 85 MiB of rows in JSON: those of 30,000 would take more memory than the rest of a service."""

# A number of days and nothing else, as `gcloud pubsub topics publish --message 7` sends it.
_BARE_INTEGER: Final = re.compile(rb"[+-]?[0-9]+")
_LONGEST_INTEGER: Final = 9  # digits; more than any range has


class InvalidMessageError(Exception):
    """A message that can never be answered; its text is the reason given in the dead letter."""

    def __init__(self, reason: str, request: SaleRangeRequest | None = None) -> None:
        super().__init__(reason)
        self.request = request  # as far as it could be read


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
        with contextlib.suppress(msgspec.ValidationError):
            said = msgspec.structs.asdict(request) | {name: fields.get(name)}
            request = msgspec.convert(said, SaleRangeRequest)
    return request


class Outgoing(NamedTuple):
    """A message to publish; `ack_id` is that of the message it answers."""

    ack_id: str
    data: bytes
    attributes: dict[str, str]
    ordering_key: str


def encoded_rows(
    forecast: Forecast, begin: int, days: int, encode: Callable[[PredictionRow], bytes]
) -> Callable[[int], list[bytes]]:
    """A function from a series to its rows of `days` days from the position `begin` on, to be cached.

    It is nobody's method: a cache that holds the object that has it would keep an old version in memory.
    """

    def rows(series: int) -> list[bytes]:
        return [encode(row) for row in forecast.rows(begin + days, [series])[begin:]]

    return rows


class Replies:
    """Builds the bodies of replies from one model version.

    What requests with the same range and filters share is built once.

    Args:
        max_range: Limit of the number of days; the version's horizon may be shorter.
        begin: Position of the first day in the forecast.
    """

    def __init__(self, forecast: Forecast, max_range: int, begin: int = 0) -> None:
        self.version = forecast.version
        self.max_range = min(max_range, forecast.horizon - begin)
        self._forecast = forecast
        rows = encoded_rows(forecast, begin, self.max_range, msgspec.json.encode)
        self._rows = functools.lru_cache(_CACHED_SERIES)(rows)
        # One entry per store, family and pair of them.
        self._series: dict[tuple[str | None, str | None], list[int]] = {}
        self._model = ModelReference(forecast.version)
        self._predictions: LruCache[tuple[int, str | None, str | None], msgspec.Raw] = LruCache()

    def series(
        self, store_nbr: str | None, family: str | None, request: SaleRangeRequest | None = None
    ) -> list[int]:
        """The series of a store and a family, or of all where they are None.

        Raises:
            InvalidMessageError: `request`, if that asks for them, asks for none; the text names known values.
        """
        series = self._series.get((store_nbr, family))
        if series is None:
            try:
                series = self._forecast.select(
                    store_nbr=[store_nbr] if store_nbr is not None else (),
                    family=[family] if family is not None else (),
                ).tolist()
            except UnknownSeriesError as error:
                raise InvalidMessageError(str(error), request) from None
            self._series[store_nbr, family] = series
        return series

    def reply(self, request: SaleRangeRequest) -> bytes:
        """The `SalePrediction` in JSON for a request; InvalidMessageError if it asks for no series."""
        query = request.range, request.store_nbr, request.family
        encoded = self._predictions.get(query)
        if encoded is None:
            series = self.series(request.store_nbr, request.family, request)
            rows: list[bytes] = []
            for index in series:
                rows += self._rows(index)[: request.range]
            encoded = msgspec.Raw(b"[%b]" % b",".join(rows))
            self._predictions.put(query, encoded, _ENTRY_BYTES + len(encoded))
        prediction: Any = encoded
        return msgspec.json.encode(SalePrediction(request.request_id, True, self._model, prediction))

    def refusal(self, request: SaleRangeRequest) -> bytes:
        """The `SalePrediction` in JSON that refuses an active request."""
        return msgspec.json.encode(SalePrediction(request.request_id, False, self._model, []))


class Answers:
    """Makes the messages that answer others.

    A message to answer is google.pubsub.v1.PubsubMessage or Beam's PubsubMessage.

    Args:
        reply_topic: Full name of the topic for replies that name no other.
        reply_topics: Other topics that `reply_to` may name.
    """

    def __init__(self, reply_topic: str, reply_topics: Iterable[str]) -> None:
        self._reply_topic = reply_topic
        topics = (reply_topic, *reply_topics)
        self._topics = {name: topic for topic in topics for name in (topic, topic.rpartition("/")[2])}

    def reply(
        self, ack_id: str, message: Any, request: SaleRangeRequest, replies: Replies
    ) -> tuple[str, Outgoing]:
        """The reply to an active request, and its topic; InvalidMessageError if it cannot be answered."""
        topic = self._topics.get(request.reply_to or self._reply_topic)
        if topic is None:
            allowed = ", ".join(sorted(name for name in self._topics if "/" not in name))
            reason = f"reply_to {request.reply_to!r} is not allowed here; allowed: {allowed}"
            raise InvalidMessageError(reason, request)
        data = replies.reply(request)
        if len(data) > MESSAGE_BYTES - 2 * ATTRIBUTE_BYTES:
            reason = f"the reply has {len(data)} bytes, and Pub/Sub allows {MESSAGE_BYTES}: ask for less"
            raise InvalidMessageError(reason, request)
        attributes = {names.REQUEST_ID_ATTRIBUTE: request.request_id, names.STATUS_ATTRIBUTE: "ok"}
        if message.attributes:
            attributes |= trace(message.attributes)
        return topic, Outgoing(ack_id, data, attributes, message.ordering_key)

    def refusal(
        self, ack_id: str, message: Any, error: InvalidMessageError, replies: Replies
    ) -> tuple[str, Outgoing] | None:
        """The reply to an invalid active request, and its topic; None if nobody waits for one."""
        request = error.request
        if request is None or request.mode != "active":
            return None
        attributes = {
            names.REQUEST_ID_ATTRIBUTE: request.request_id,
            names.STATUS_ATTRIBUTE: "refused",
            names.REASON_ATTRIBUTE: reason(error),
            **trace(message.attributes or {}),
        }
        topic = self._topics.get(request.reply_to or "", self._reply_topic)
        return topic, Outgoing(ack_id, replies.refusal(request), attributes, message.ordering_key)


def dead_letter(ack_id: str, message: Any, error: InvalidMessageError, delivery_attempt: int = 0) -> Outgoing:
    """An invalid message as received, with the reason as an attribute."""
    attributes = {**(message.attributes or {}), names.REASON_ATTRIBUTE: reason(error)}
    if delivery_attempt:
        attributes[names.DELIVERY_ATTEMPT_ATTRIBUTE] = str(delivery_attempt)
    return Outgoing(ack_id, message.data, attributes, message.ordering_key)


def trace(attributes: Mapping[str, str]) -> dict[str, str]:
    """The attributes that say which trace a message belongs to."""
    return {name: attributes[name] for name in _TRACE_ATTRIBUTES if name in attributes}


def reason(error: InvalidMessageError) -> str:
    """Why a message is refused, as long as an attribute may be."""
    return str(error).encode()[:ATTRIBUTE_BYTES].decode(errors="ignore")
