"""Resource types that are real in the simulated cloud, and the interface of their handlers.

A type without a handler is only recorded in Terraform's state.
"""

import contextlib
import functools
import importlib
from collections.abc import Collection, Generator, Mapping
from typing import Any, Final, Protocol

from infra.simulator import SimulatorError

Values = dict[str, Any]
"""A resource's values in Terraform's attribute names.

They have every attribute and block of the schema; an absent attribute is `None`. A nested block is a list of
dicts, also if it occurs at most once. In the few types with single nesting, it is a dict or `None`. Numbers
are `int` or `float`.
"""


class ResourceError(Exception):
    """The simulated cloud refuses a request; Terraform shows the line of a top-level attribute."""

    created: Values | None = None
    """State of what exists all the same, which Terraform keeps and calls tainted."""

    def __init__(self, summary: str, detail: str, attribute: str | None = None) -> None:
        super().__init__(f"{summary}: {detail}")
        self.summary = summary
        self.detail = detail
        self.attribute = attribute


@contextlib.contextmanager
def refusing(summary: str, attribute: str | None = None) -> Generator[None]:
    """Report what goes wrong in the simulated cloud as a ResourceError with this summary."""
    try:
        yield
    except SimulatorError as error:
        raise ResourceError(summary, str(error), attribute) from error


class Handler(Protocol):
    """Makes one resource type real.

    Every method may raise ResourceError. Several threads call a handler, for different resources. In `plan`
    and `replaces`, planned values may be unknown.
    """

    def plan(self, prior: Values | None, planned: Values) -> Values:
        """The planned values, completed as the real provider does in code."""
        return planned

    def replaces(self, prior: Values, planned: Values) -> Collection[str]:
        """Attributes that the real provider replaces for in code; its facts tell of the others."""
        return ()

    def create(self, planned: Values) -> Values:
        """Create the resource, which must not exist; returns its state.

        Computed values (`id`, `self_link`, ...) are made up: it replaces those that the emulator knows.
        """
        ...

    def read(self, state: Values) -> Values | None:
        """The state, with the emulator's values where it has them; None if the resource does not exist."""
        ...

    def update(self, prior: Values, planned: Values) -> Values:
        """Change the resource in place; returns its new state."""
        return planned

    def delete(self, state: Values) -> None:
        """Delete the resource, if it exists."""
        ...


HANDLERS: Final[Mapping[str, str]] = {
    "google_pubsub_schema": "pubsub.Schema",
    "google_pubsub_subscription": "pubsub.Subscription",
    "google_pubsub_topic": "pubsub.Topic",
    "google_bigquery_dataset": "bigquery.Dataset",
    "google_bigquery_table": "bigquery.Table",
    "google_storage_bucket": "storage.Bucket",
    "google_storage_bucket_object": "storage.Object",
    "kubernetes_deployment_v1": "deployment.Deployment",
    "kubernetes_job_v1": "deployment.Job",
}
"""Classes of handlers by resource type; their modules are imported at the first use."""


@functools.cache
def handler(type_name: str) -> Handler | None:
    """The handler of a resource type, or None if the type is only recorded."""
    if type_name not in HANDLERS:
        return None
    module, _, name = HANDLERS[type_name].partition(".")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)()
