"""Train and publish the first model; with a model, or without sales, do nothing and say so.

A Kubernetes Job runs it where there is no Airflow.
"""

import sys
from typing import Any

from services.batch import command
from services.batch.publish_model import publish
from services.batch.train import train
from services.batch.warehouse import SalesTable
from services.contracts.settings import TrainingSettings
from services.forecasting.model_registry import ModelRegistry


def first_model(settings: TrainingSettings) -> dict[str, Any]:
    """Returns the version that is published now, and why nothing was done, if so."""
    present = ModelRegistry(settings.model_bucket, project=settings.project).pointer()
    if present:
        return {"version": present[0].version, "nothing_done": "a model is published"}
    if not SalesTable(settings.sales_table).latest():
        return {"version": None, "nothing_done": f"no sales yet: {settings.sales_table} is empty"}
    return publish(settings, train(settings)["version"])


main = command.entry_point(first_model)

if __name__ == "__main__":
    sys.exit(main())
