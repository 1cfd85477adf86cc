"""Publish a version: move the registry's pointer to it. Rolling back is publishing an older version."""

import argparse
import sys
from typing import Any

from services.batch import command
from services.batch.warehouse import SalesTable
from services.contracts.settings import BatchSettings
from services.forecasting import training
from services.forecasting.registry import ModelRegistry


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run; returns the exit status."""
    parser = argparse.ArgumentParser(prog="publish", description=__doc__)
    parser.add_argument("--version", help="that of the sales in BigQuery and of this code when not given")
    options = parser.parse_args(arguments)
    return command.run("publish", lambda settings: publish(settings, options.version))


def publish(settings: BatchSettings, version: str | None) -> dict[str, Any]:
    """Move the pointer unless it is there already; returns where it points and pointed.

    Raises:
        UnknownVersionError: the registry has no complete version of this name.
        CorruptModelError: an object of the version is not what its manifest says.
        PointerMovedError: somebody else moved the pointer meanwhile.
    """
    registry = ModelRegistry(settings.model_bucket, project=settings.sales_table.split(".")[0])
    version = version or training.version_of(SalesTable(settings.sales_table).read())
    pointer, generation = registry.pointer() or (None, 0)
    previous = pointer.version if pointer else None
    if previous != version:
        registry.publish(version, generation=generation)
    return {"version": version, "changed": previous != version, "previous": previous}


if __name__ == "__main__":
    sys.exit(main())
