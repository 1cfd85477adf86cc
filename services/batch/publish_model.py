"""Publish a version: move the registry's pointer to it. Rolling back is publishing an older version."""

import sys
from typing import Any

from services.batch import command
from services.batch.warehouse import SalesTable
from services.contracts.settings import BatchSettings
from services.forecasting import training
from services.forecasting.model_registry import ModelRegistry


def publish(settings: BatchSettings, version: str | None, generation: int | None = None) -> dict[str, Any]:
    """Move the pointer unless it is there already; returns where it points and pointed.

    Raises:
        UnknownVersionError: the registry has no complete version of this name.
        CorruptModelError: an object of the version is not what its manifest says.
        PointerMovedError: somebody else moved the pointer meanwhile.
    """
    registry = ModelRegistry(settings.model_bucket, project=settings.project)
    version = version or training.version_of(SalesTable(settings.sales_table).read())
    pointer, present = registry.pointer() or (None, 0)
    previous = pointer.version if pointer else None
    if previous != version:
        registry.publish(version, generation=present if generation is None else generation)
    return {"version": version, "changed": previous != version, "previous": previous}


main = command.EntryPoint(
    publish,
    __doc__,
    ("--version", {"help": "that of the sales in BigQuery and of this code when not given"}),
    (
        "--generation",
        {"type": int, "help": "of the pointer that is replaced, as `compare` saw it; any by default"},
    ),
)

if __name__ == "__main__":
    sys.exit(main())
