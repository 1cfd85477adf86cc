"""Addresses, model and processes of the platform on this machine: `make status`, `make open`."""

import datetime
import os
import webbrowser

from rich.console import Console
from rich.table import Table

from infra.environment import Environment
from infra.simulator import __main__ as simulator
from infra.simulator import emulators, home
from scripts.command import argument, command, load_environment
from scripts.deployment.verify import url_of
from scripts.laptop.checks import check_files
from services.contracts import names
from services.forecasting.artifact import CorruptModelError
from services.forecasting.model_registry import ModelRegistry, UnknownVersionError


def show(target: Environment, console: Console) -> None:
    """Print the addresses, the published model, and commands to try.

    Raises:
        SimulatorError: the emulators do not run.
    """
    url = url_of(target, "prediction")
    addresses = emulators.endpoints().environment
    os.environ.update(addresses)
    table = Table(title="The platform on this machine", show_header=False)
    table.add_row("page", f"{url}/   (make open)")
    table.add_row("API documentation", f"{url}/docs")
    table.add_row("forecast over HTTP", f"{url}/predict?range=7")
    bucket = names.bucket_name(target.project_id, names.MODELS_BUCKET)
    table.add_row("model", model_of(ModelRegistry(bucket, target.project_id)))
    for name, address in addresses.items():
        table.add_row(name, address)
    table.add_row("logs", str(home.folder("logs")))
    console.print(table)
    view = f"{names.PREDICTIONS_DATASET}.{names.LATEST_PREDICTIONS_VIEW}"
    for line in (
        "What to try:",
        f"  curl '{url}/predict?range=7'",
        "  scripts/publish 7 --active           # over Pub/Sub: ask, and wait for the reply",
        f"  make sql QUERY='SELECT * FROM {view} LIMIT 5'",  # noqa: S608 -- printed
        "  make pipeline                        # the daily pipeline, under Airflow",
        "  make down                            # stop it all",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def model_of(registry: ModelRegistry) -> str:
    """Version, age and accuracy of the published model."""
    try:
        current = registry.pointer()
        if current is None:
            return "none is published"
        pointer, _ = current
        manifest = registry.manifest(pointer.version)
    except (CorruptModelError, UnknownVersionError) as error:
        return f"{error}; services keep the version they have. `make down FORCE=1`, `make up` start anew"
    age = datetime.datetime.now(datetime.UTC) - pointer.published_at
    own, naive = (each["total"].mase for each in (manifest.backtest.model, manifest.backtest.seasonal_naive))
    return (
        f"{pointer.version}, published {age.total_seconds() / 3600:.1f} h ago; {manifest.series} series "
        f"until {manifest.last_date}; error of totals (MASE) {own:.3f}, seasonal naive {naive:.3f}"
    )


@command(
    "status",
    argument("--open", action="store_true", dest="browse", help="open the page in a browser, nothing else"),
)
def main(*, browse: bool) -> int:
    """Print everything; 1 if a process is dead or nothing runs."""
    target = load_environment("local")
    if browse:
        page = f"{url_of(target, 'prediction')}/"
        if not webbrowser.open(page):
            print(f"no browser here; the page is at {page}")
        return 0
    check_files()
    status = simulator.status()
    show(target, Console())
    return status
