"""Which errors are worth another try, where no step of the other tests meets them."""

from unittest import mock

import grpc
import pytest
import requests
from apache_beam.io.filesystem import BeamIOError
from google.api_core.exceptions import Forbidden, NotFound, ServiceUnavailable
from google.cloud.storage.exceptions import InvalidResponse

from services.batch.errors import TemporaryError, is_temporary, temporary_errors
from tests.conftest import free_port


def refused_piece(status: int) -> InvalidResponse:
    return InvalidResponse(mock.Mock(status_code=status), "not what is expected")


@pytest.mark.parametrize(
    ("error", "temporary"),
    [
        (refused_piece(503), True),
        (refused_piece(429), True),
        (refused_piece(403), False),
        (BeamIOError("match", {"gs://b/a": ServiceUnavailable("busy"), "gs://b/c": NotFound("c")}), True),
        (BeamIOError("match", {"gs://b/a": Forbidden("not yours")}), False),
        (BeamIOError("no files"), False),
        (grpc.FutureTimeoutError(), True),
        (requests.exceptions.ChunkedEncodingError("broken off"), True),
        (requests.exceptions.InvalidURL("http://"), False),
    ],
    ids=repr,
)
def test_errors_are_final_or_temporary(error: Exception, temporary: bool) -> None:
    assert is_temporary(error) == temporary
    # Beam makes a new error of the first argument of one.
    with pytest.raises(TemporaryError if temporary else type(error)), temporary_errors():
        raise error


def test_a_job_server_that_went_away_may_come_back() -> None:
    address = f"127.0.0.1:{free_port()}"
    with grpc.insecure_channel(address) as channel, pytest.raises(TemporaryError), temporary_errors():
        channel.unary_unary("/Job/GetState")(b"", timeout=60)
