"""Resource types that the simulation makes real, and what is asked of each.

A type without a handler is recorded in Terraform's state only.
"""

import importlib
from collections.abc import Collection, Mapping
from typing import Any, Final, Protocol

Values = dict[str, Any]
"""A resource's values in Terraform's attribute names.

Every attribute and block of the schema is there: an absent attribute is `None`. A nested block is a list of
dicts (also one that occurs at most once), except in the few types whose schema nests singly, where it is a
dict or `None`. Numbers are `int` or `float`.
"""


class ResourceError(Exception):
    """The simulated cloud refuses a request.

    Attributes:
        summary: What went wrong, in a few words.
        detail: What the emulator or process said, and what to do about it.
        attribute: Top-level attribute to blame, so that Terraform can show its line.
    """

    def __init__(self, summary: str, detail: str, attribute: str | None = None) -> None:
        super().__init__(f"{summary}: {detail}")
        self.summary = summary
        self.detail = detail
        self.attribute = attribute


class Handler(Protocol):
    """Makes one Terraform resource type real.

    Every method may raise ResourceError. Calls for different resources come from several threads at once.
    """

    def replaces(self, prior: Values, planned: Values) -> Collection[str]:
        """Top-level attributes whose change cannot be made in place.

        Args:
            prior: State before the change.
            planned: As Terraform plans it: values may be unknown still.
        """
        ...

    def create(self, planned: Values) -> Values:
        """Create the resource; it is an error if it exists.

        Args:
            planned: Complete values. Those only a provider knows (`id`, `self_link`, ...) already hold
                plausible, deterministic ones; replace the ones that the real thing tells.

        Returns:
            The new state.
        """
        ...

    def read(self, state: Values) -> Values | None:
        """What exists now, as far as it can be asked; the rest as in `state`. None when it is gone."""
        ...

    def update(self, prior: Values, planned: Values) -> Values:
        """Change the resource in place and return its new state."""
        ...

    def delete(self, state: Values) -> None:
        """Remove the resource; fine if it is gone already."""
        ...


_MODULES: Final[Mapping[str, str]] = {
    "google_pubsub_schema": "pubsub",
    "google_pubsub_subscription": "pubsub",
    "google_pubsub_topic": "pubsub",
    "google_bigquery_dataset": "bigquery",
    "google_bigquery_table": "bigquery",
    "google_storage_bucket": "storage",
    "google_storage_bucket_object": "storage",
    "kubernetes_deployment_v1": "deployment",
}


def handler(type_name: str) -> Handler | None:
    """The handler of a resource type, or None if the type is only recorded.

    It is found as `HANDLERS[type_name]` of the module named above, imported when first needed.
    """
    if type_name not in _MODULES:
        return None
    module = importlib.import_module(f"{__name__}.{_MODULES[type_name]}")
    handlers: Mapping[str, Handler] = module.HANDLERS
    return handlers[type_name]


def changed(prior: Values, planned: Values, *names: str) -> list[str]:
    """Which of these attributes a plan changes."""
    return [name for name in names if prior[name] != planned[name]]
