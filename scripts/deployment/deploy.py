"""Deploy an environment, from an empty project to a forecast: `scripts/deploy dev`, or here by `make up`.

Every step is a command that can be run alone, and each is idempotent: after a failure or Ctrl-C, a second run
resumes; after a success, it changes nothing. Without --data, sales are loaded into an empty table only.
Exit status: 0 done, 1 a step failed (the message names the command that repeats it).
"""

import shlex
import sys
from pathlib import Path

from google.api_core.exceptions import NotFound
from rich.console import Console

from infra.environment import IMAGES, Environment
from scripts.command import TARGET, CommandError, argument, command, use_environment
from scripts.deployment import access, step, terraform
from scripts.deployment.steps import Step, StepRunner, log_folder
from scripts.deployment.terraform import Synthesis, Terraform
from scripts.laptop import checks, status
from scripts.paths import SIMULATOR
from services.batch import ingest
from services.batch.warehouse import SalesTable
from services.forecasting import backtest
from services.forecasting.model_registry import ModelRegistry
from services.forecasting.panel import Panel, UnusableSalesError
from services.forecasting.table_file import DataError


class Deployment:
    """The steps for one environment; `data` is a file of sales to load."""

    def __init__(self, target: Environment, data: Path | None, runner: StepRunner) -> None:
        self._target = target
        self._data = data
        self._runner = runner
        self._synthesis = Synthesis(target.name, terraform.OUT, target.stacks)
        self._variables = {"NO_COLOR": "1", "PLATFORM_ENV": target.name}

    def run(self) -> None:
        """Take all steps."""
        name = self._target.name
        if self._target.simulated:
            self._step("start the emulators", *SIMULATOR, "up")
        else:
            self._step("preflight", "scripts/preflight", name)
        self._synthesize()
        self._step("bootstrap", "scripts/bootstrap.sh", name)
        if not self._target.simulated:
            self._step("quotas and ranges", "scripts/preflight", name, "quotas", "ranges")
        self._deploy("foundation", "registry")
        if not self._target.simulated:
            for service in IMAGES:
                self._step(f"image of {service}", "scripts/push_image.sh", service, name)
            self._synthesize()
        self._deploy("cluster", "data", "messaging")
        use_environment(self._target)  # for Google's clients, here and in the steps that follow
        self._load_sales()
        if not self._target.trains_by_job:
            self._step("train and backtest", "scripts/step", name, "train")
            self._step("publish the model", "scripts/step", name, "publish_model")
        elif not self._published():
            self._step("train the first model", "scripts/first_model", name)
        self._deploy("services", "observability", "orchestration")  # a service is ready once there is a model
        self._step("check the forecasts", "scripts/verify", name)

    def _load_sales(self) -> None:
        if not self._data and (loaded := _newest_sales(self._target)):
            kept = f"not needed: the sales until {loaded} stay; --data replaces them (make up DATA=FILE)"
            self._runner.progress.note("load sales", kept)
            return
        file = ("--file", str(self._data)) if self._data else ()
        if self._target.simulated:
            file = ("--replace", *file)  # nothing here that --data should not replace
        self._step("load sales", "scripts/step", self._target.name, "ingest", *file)

    def _published(self) -> bool:
        batch = step.settings(self._target)
        return ModelRegistry(batch.model_bucket, project=batch.project).pointer() is not None

    def _synthesize(self) -> None:
        self._variables.pop("CDKTF_SKIP_SYNTH", None)
        self._step("synthesize", sys.executable, "-m", "stacks")
        self._variables["CDKTF_SKIP_SYNTH"] = "true"  # the steps that follow, too, take what is there

    def _deploy(self, *stacks: str) -> None:
        for stack in stacks:
            if stack in self._target.stacks:
                self._runner.apply(Terraform(self._synthesis, f"{self._target.name}-{stack}"), "deploy")

    def _step(self, name: str, *words: str) -> None:
        self._runner.run(Step(name, words), self._variables)


def _newest_sales(target: Environment) -> str | None:
    """The last day in the sales table of an environment; None if it is empty or absent."""
    try:
        return SalesTable(step.settings(target).sales_table).newest().isoformat()
    except (NotFound, UnusableSalesError):
        return None


def _check_data(file: Path) -> None:
    """Read a sales file as `ingest` does; the error names rows and columns."""
    try:
        backtest.origins(Panel.from_frame(ingest.read(file).frame))
    except (DataError, OSError, UnusableSalesError) as error:
        raise CommandError(f"sales are not usable, nothing was started: {error}") from None


@command(
    "deploy",
    TARGET,
    argument("--data", type=Path, help="sales file; the default data set if the table is empty"),
)
def main(target: Environment, data: Path | None) -> int:
    """Take every step, until one fails."""
    access.check_access(target)
    if target.simulated:
        checks.check_files()
        checks.check_ports(target)
    if data:
        data = data.absolute()
        _check_data(data)
    console = Console()
    resume = shlex.join(["scripts/deploy", target.name, *(["--data", str(data)] if data else [])])
    runner = StepRunner(console, log_folder("deploy", target), resume)
    Deployment(target, data, runner).run()
    console.print(f"done in {sum(runner.progress.taken.values()):.0f} s", highlight=False)
    if target.simulated:
        status.show(target, console)
    return 0
