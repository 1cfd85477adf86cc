"""Where the steps of a DAG run: as processes on a laptop, as pods and Dataflow jobs in Google Cloud.

`STEPS_RUN_ON` decides. It and the other variables are fields of `services.contracts.settings.DagSettings`,
which the orchestration stack sets. A step is a command of `services.batch` in both places, with the same
arguments.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import forecast_google
from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.sdk import BaseOperator, Param, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException

RUN_DATE = "{{ (dag_run.logical_date or dag_run.run_after) | ds }}"
"""Day of a run, whose steps know the sales of all days before."""

MODEL = Param(
    "best",
    enum=["best", "combination", "theta", "exponential_smoothing", "croston"],
    description="kind of model to train; best: each series gets what suits it",
)

# Of the tables and buckets, as an option of Beam.
_PROJECT = f"--project={os.environ['SALES_TABLE'].split('.')[0]}"


def definition() -> str:
    """A digest of what the DAGs are made of: these files, and the variables that steps are made from."""
    files = [file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py"))]
    variables = [
        f"{name}={value}"
        for name, value in sorted(os.environ.items())
        if name in forecast_google.STEP_VARIABLES or name.startswith(("STEPS_", "DATAFLOW_"))
    ]
    return hashlib.sha256(b"\0".join([*files, *(each.encode() for each in variables)])).hexdigest()


def run_on_google() -> bool:
    """Whether steps run in Google Cloud. Raises ValueError if STEPS_RUN_ON names another place."""
    place = os.environ["STEPS_RUN_ON"]
    if place not in ("processes", "google"):
        raise ValueError(f"STEPS_RUN_ON: expected processes or google, found {place}")
    return place == "google"


def step(
    command: str, *arguments: str, timeout: timedelta, cpu: str = "500m", memory: str = "1Gi", **options: Any
) -> BaseOperator:
    """A task that runs the command `services.batch.<command>`, and has its name or `task_id`.

    The command's arguments are templates. A pod asks for `cpu` and `memory`, and may use no more memory.
    """
    options = {"task_id": command, "execution_timeout": timeout, **options}
    if run_on_google():
        return forecast_google.pod(command, arguments, cpu, memory, options)
    return ProcessStep(command=command, arguments=arguments, **options)


def job(task_id: str, *arguments: str, timeout: timedelta, **options: Any) -> BaseOperator:
    """A task that runs the Beam pipeline which `services.batch.job` finds in its `--name=value` arguments."""
    options = {"task_id": task_id, "execution_timeout": timeout, **options}
    if not run_on_google():
        local = (_PROJECT, "--runner=DirectRunner", "--no_auth")
        return ProcessStep(command="job", arguments=(*arguments, *local), **options)
    if os.environ["STEPS_RUNNER"] == "DataflowRunner":
        return forecast_google.dataflow(arguments, options)
    arguments = (*arguments, _PROJECT, *forecast_google.job_server_arguments())
    return forecast_google.pod("job", arguments, "500m", "1Gi", options)


def train(*arguments: str, timeout: timedelta, **options: Any) -> list[Any]:
    """Tasks, one after the other, that train: the last one, `train`, has the version.

    With GROUP_SERIES a job of Beam learns before, unless there is one group alone.
    """
    if "GROUP_SERIES" not in os.environ:
        return [step("train", *arguments, timeout=timeout, **options)]
    groups = "--groups={{ ti.xcom_pull('stage_groups')['groups'] }}"
    staged = step("stage_groups", *arguments, timeout=timedelta(minutes=30), **options)
    learned = job("learn_groups", groups, timeout=timeout)
    trained = step("train", *arguments, groups, timeout=timeout, trigger_rule="none_failed", **options)
    return [staged, several_groups(), learned, trained]


@task.short_circuit(execution_timeout=timedelta(minutes=1), ignore_downstream_trigger_rules=False)
def several_groups(ti: Any = None) -> bool:
    """Whether there is something to learn from by a job."""
    return bool(ti.xcom_pull("stage_groups")["groups"])


class ProcessStep(BaseOperator):
    """Runs a command as a process of this machine; its log is the task's, its result the task's."""

    template_fields = ("arguments",)

    def __init__(self, *, command: str, arguments: Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        self.command = command
        self.arguments = tuple(arguments)
        self._processes = SubprocessHook()

    def execute(self, context: Any) -> Any:
        """Run it to its end. It fails for good unless its exit status says that trying again may help."""
        command = [os.environ["STEPS_PYTHON"], "-m", f"services.batch.{self.command}", *self.arguments]
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder, "result.json")
            variables = {**os.environ, "RESULT_FILE": str(result)}
            ended = self._processes.run_command(command, variables, cwd=os.environ["STEPS_FOLDER"])
            if ended.exit_code == os.EX_TEMPFAIL:
                raise AirflowException(ended.output)
            if ended.exit_code < 0:
                raise AirflowFailException(f"{self.command}: ended by signal {-ended.exit_code}")
            if ended.exit_code:
                raise AirflowFailException(ended.output)
            return json.loads(result.read_bytes())

    def on_kill(self) -> None:
        """Stop it, and what it started."""
        self._processes.send_sigterm()
