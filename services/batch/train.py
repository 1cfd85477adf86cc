"""Train a model on the sales in BigQuery, backtest it, and upload it to the model registry.

The version follows from data and code: when the registry has it already, there is nothing to do.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from services.batch import command
from services.batch.warehouse import SalesTable
from services.contracts.settings import BatchSettings
from services.forecasting import training
from services.forecasting.registry import ModelRegistry, UnknownVersionError


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run; returns the exit status."""
    argparse.ArgumentParser(prog="train", description=__doc__).parse_args(arguments)
    return command.run("train", train)


def train(settings: BatchSettings) -> dict[str, Any]:
    """Train if need be; returns the version and its scores.

    Raises:
        UnusableSalesError: the table is empty, incomplete or too short.
    """
    registry = ModelRegistry(settings.model_bucket, project=settings.sales_table.split(".")[0])
    sales = SalesTable(settings.sales_table).read()
    try:
        manifest, trained = registry.manifest(training.version_of(sales)), False
    except UnknownVersionError:
        with tempfile.TemporaryDirectory() as folder:
            training.train(sales, Path(folder))
            manifest, trained = registry.upload(Path(folder)), True
    return {
        "version": manifest.version,
        "trained": trained,
        "series": manifest.series,
        "last_date": manifest.last_date,
        "backtest": manifest.backtest,
    }


if __name__ == "__main__":
    sys.exit(main())
