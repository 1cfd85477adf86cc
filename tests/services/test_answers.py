"""Message bytes: a request or a reason, never anything else."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.answers import InvalidMessageError, decode
from services.contracts.messages import SaleRangeRequest


def read(data: bytes) -> SaleRangeRequest:
    return decode(data, "m-1", 60)


@pytest.mark.parametrize("data", [b"7", b" 7\n", b"+7", b"007"])
def test_bare_integer(data: bytes) -> None:
    assert read(data) == SaleRangeRequest(request_id="m-1", range=7)


def test_json() -> None:
    data = b'{"request_id": "r", "range": 60, "store_nbr": "1", "family": "A", "mode": "active"}'

    assert read(data) == SaleRangeRequest("r", 60, "1", "A", "active")


@pytest.mark.parametrize("data", [b"0", b"61", b"-1", b"9" * 5000, b'{"request_id": "r", "range": 61}'])
def test_range_out_of_limits(data: bytes) -> None:
    with pytest.raises(InvalidMessageError, match="from 1 to 60"):
        read(data)


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.fixed_dictionaries(
        {"request_id": st.text() | st.none(), "range": st.integers() | st.floats() | st.text()},
        optional={"store_nbr": st.text(), "mode": st.sampled_from(["active", "passive", ""]), "x": st.none()},
    ).map(lambda value: json.dumps(value).encode())
)
@example(b"[" * 100_000)
@example(b"\xef\xbb\xbf7")
@example(b"\xd9\xa7")  # a seven in Arabic digits
def test_any_bytes_are_a_valid_request_or_a_reason(data: bytes) -> None:
    try:
        request = read(data)
    except InvalidMessageError:
        return
    assert 1 <= request.range <= 60
    assert 1 <= len(request.request_id) <= 128
    assert request.mode in ("active", "passive")
