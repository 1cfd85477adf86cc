"""The error of all batch commands."""


class BatchError(Exception):
    """Something the command cannot do; the message says what, why, and what to do about it."""
