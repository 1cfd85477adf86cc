"""Errors of the batch commands, and which of them are worth another try."""

import contextlib
from collections.abc import Generator
from typing import Final

import grpc
import requests
from google.api_core.exceptions import (
    GoogleAPICallError,
    GoogleAPIError,
    RetryError,
    ServerError,
    TooManyRequests,
    from_http_status,
)
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

from services.contracts.settings import SettingsError
from services.forecasting.artifact import CorruptModelError
from services.forecasting.model_registry import PointerMovedError, UnknownVersionError, VersionExistsError
from services.forecasting.panel import UnusableSalesError
from services.forecasting.table_file import DataError


class BatchError(Exception):
    """Something the command cannot do; the message says what, why, and what to do about it."""


class TemporaryError(BatchError):
    """Something that may be done when it is tried again."""


# Servers that are away or busy, answers that broke off on the way, another writer who was faster.
_TEMPORARY: Final = (
    ConnectionError,
    DataCorruption,  # the checksum of a download of Cloud Storage
    PointerMovedError,
    RetryError,
    ServerError,
    TemporaryError,
    TimeoutError,
    TooManyRequests,
    TransportError,
    grpc.FutureTimeoutError,  # a job server of Beam that does not listen
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    requests.exceptions.JSONDecodeError,
)
# BigQuery answers 403 or 400 to these (https://cloud.google.com/bigquery/docs/error-messages).
_TEMPORARY_REASONS: Final = ("rateLimitExceeded", "jobRateLimitExceeded", "tableUnavailable")
_TEMPORARY_CODES: Final = (
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
)
# What cannot be done as things are: the message says what to change. Any other error is a bug.
_FINAL: Final = (
    BatchError,
    CorruptModelError,
    DataError,
    GoogleAPIError,
    GoogleAuthError,
    InvalidResponse,  # to a piece of an upload to Cloud Storage
    OSError,
    SettingsError,
    UnknownVersionError,
    UnusableSalesError,
    VersionExistsError,
    grpc.RpcError,
    requests.RequestException,
)
EXPECTED: Final = (*_TEMPORARY, *_FINAL)


def is_temporary(error: BaseException) -> bool:
    """Whether the same call may succeed a few minutes later."""
    if isinstance(error, GoogleAPICallError) and any(
        each.get("reason") in _TEMPORARY_REASONS for each in error.errors if isinstance(each, dict)
    ):
        return True
    if isinstance(error, grpc.RpcError):
        return isinstance(error, grpc.Call) and error.code() in _TEMPORARY_CODES
    if isinstance(error, InvalidResponse):
        error = from_http_status(error.response.status_code, "")
    # Beam has several errors in one of its own.
    causes = [*(getattr(error, "exception_details", None) or {}).values()]
    return any(map(is_temporary, causes)) or isinstance(error, _TEMPORARY)


@contextlib.contextmanager
def temporary_errors() -> Generator[None]:
    """Turn temporary errors into `TemporaryError`, which Beam hands on; of others it keeps the text."""
    try:
        yield
    except EXPECTED as error:
        if is_temporary(error):
            raise TemporaryError(str(error)) from error
        raise
