"""The model that the benchmarks serve: of the default data set, trained once per version of the code."""

from typing import Final

from scripts.own_emulators import PROJECT, publish_model
from scripts.paths import BENCH
from services.batch import ingest
from services.forecasting import training
from services.forecasting.artifact import Model
from services.forecasting.model_registry import ModelRegistry
from services.forecasting.panel import Panel

BUCKET: Final = "models"


def load() -> Model:
    """The published version, as services load it."""
    registry = ModelRegistry(BUCKET, PROJECT)
    pointer = registry.pointer()
    assert pointer is not None, "publish first"  # noqa: S101
    return registry.load(pointer[0].version)


def publish() -> Model:
    """Publish it in the emulator that STORAGE_EMULATOR_HOST names."""
    folder = BENCH / f"model-{training.code_version()[:12]}"
    if not (folder / "manifest.json").exists():
        sales = ingest.read(None)
        training.train(Panel.from_frame(sales.frame), folder)
    publish_model(folder, BUCKET)
    return load()
