"""The errors of all batch commands."""

import contextlib
from collections.abc import Generator
from typing import Final

import requests
from google.api_core.exceptions import RetryError, ServerError, TooManyRequests
from google.auth.exceptions import TransportError


class BatchError(Exception):
    """Something the command cannot do; the message says what, why, and what to do about it."""


class TemporaryError(BatchError):
    """Something that may be done when it is tried again."""


TEMPORARY: Final = (
    ConnectionError,
    RetryError,
    ServerError,
    TemporaryError,
    TimeoutError,
    TooManyRequests,
    TransportError,
    requests.ConnectionError,
    requests.Timeout,
)
"""What passes by itself: servers that are away or busy."""


@contextlib.contextmanager
def temporary_errors() -> Generator[None]:
    """Turn what passes by itself into `TemporaryError`, which Beam hands on; of others it keeps the text."""
    try:
        yield
    except TEMPORARY as error:
        raise TemporaryError(str(error)) from error
