"""Where the steps of a DAG run: as processes on a laptop, as pods and Dataflow jobs in Google Cloud.

`STEPS_RUN_ON` decides; it and the other variables are fields of `services.contracts.settings.DagSettings`,
which the orchestration stack sets. A step is a command of `services.batch` either way, with the same
arguments, and in the cloud nothing heavy runs in Airflow's own workers. Operators of Google Cloud are
imported where they are made, so that reading the DAGs needs Airflow alone.
"""

import hashlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator, Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException

RUN_DATE = "{{ (dag_run.logical_date or dag_run.run_after) | ds }}"
"""Day of a run, whose steps know the sales of all days before."""

MODEL = Param(
    "best",
    enum=["best", "gradient_boosting", "theta", "exponential_smoothing", "croston"],
    description="kind of model to train; best: each series gets what suits it",
)

STEP_VARIABLES = (
    "MODEL_BUCKET",
    "STAGING_BUCKET",
    "SALES_TABLE",
    "SCORES_TABLE",
    "TRANSIENT_SCORES_TABLE",
    "STAGING_DATASET",
)
"""What every step is told: the fields of `services.contracts.settings.BatchSettings`."""

# Exit statuses of a command: it cannot be done as things are; it may be when it is tried again (sysexits.h).
_FAILURE = 1
_TEMPORARY_FAILURE = 75
_CONTAINER = "base"
_USER = 65532  # of the image; not root


def definition() -> str:
    """A digest of what the DAGs are made of: these files, and the variables that steps are made from."""
    files = [file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py"))]
    variables = [
        f"{name}={value}"
        for name, value in sorted(os.environ.items())
        if name in STEP_VARIABLES or name.startswith(("STEPS_", "DATAFLOW_"))
    ]
    return hashlib.sha256(b"\0".join([*files, *(each.encode() for each in variables)])).hexdigest()


def run_on_google() -> bool:
    """Whether steps run in Google Cloud.

    Raises:
        KeyError: STEPS_RUN_ON is not set.
        ValueError: it has a value there is not.
    """
    place = os.environ["STEPS_RUN_ON"]
    if place not in ("processes", "google"):
        raise ValueError(f"STEPS_RUN_ON: expected processes or google, found {place}")
    return place == "google"


def step(
    command: str, *arguments: str, timeout: timedelta, cpu: str = "500m", memory: str = "1Gi", **options: Any
) -> BaseOperator:
    """A task that runs the command `services.batch.<command>`, and has its name or `task_id`.

    Args:
        command: module of `services.batch`.
        arguments: of the command; templates.
        timeout: after which the task has failed.
        cpu: that a pod asks for.
        memory: that a pod asks for and may use.
        options: of the operator.
    """
    options = {"task_id": command, "execution_timeout": timeout, **options}
    if run_on_google():
        return _pod(command, arguments, cpu, memory, options)
    return ProcessStep(command=command, arguments=arguments, **options)


def score(*arguments: str, timeout: timedelta, **options: Any) -> BaseOperator:
    """A task that runs the Beam pipeline `services.batch.score` with `--name=value` arguments."""
    options = {"task_id": "score", "execution_timeout": timeout, **options}
    if run_on_google():
        return _dataflow(arguments, options)
    local = ("--runner=DirectRunner", "--no_auth")
    return ProcessStep(command="score", arguments=(*arguments, *local), **options)


class ProcessStep(BaseOperator):
    """Runs a command as a process of this machine; its log is the task's, its result the task's."""

    template_fields = ("arguments",)

    def __init__(self, *, command: str, arguments: Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        self.command = command
        self.arguments = tuple(arguments)
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Any) -> Any:
        """Run it to its end.

        Raises:
            AirflowFailException: it cannot succeed; trying again is of no use.
            AirflowException: it failed, and may succeed the next time.
        """
        command = [os.environ["STEPS_PYTHON"], "-m", f"services.batch.{self.command}", *self.arguments]
        self.log.info("%s", " ".join(command))
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder, "result.json")
            self._process = subprocess.Popen(
                command,
                cwd=os.environ["STEPS_FOLDER"],
                env={**os.environ, "RESULT_FILE": str(result)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            last = ""
            for line in self._process.stdout or ():
                last = line.rstrip() or last
                self.log.info("%s", last)
            status = self._process.wait()
            if status == _TEMPORARY_FAILURE:
                raise AirflowException(last)
            if status != 0:
                raise AirflowFailException(
                    last if status > 0 else f"{self.command}: ended by signal {-status}"
                )
            return json.loads(result.read_bytes())

    def on_kill(self) -> None:
        """Stop it, and what it started."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)


def _pod(
    command: str, arguments: Sequence[str], cpu: str, memory: str, options: dict[str, Any]
) -> BaseOperator:
    from airflow.providers.google.cloud.operators.kubernetes_engine import (  # pyright: ignore[reportMissingImports]
        GKEStartPodOperator,
    )

    class PodStep(GKEStartPodOperator):  # pyright: ignore[reportUntypedBaseClass]
        def cleanup(self, pod: Any, remote_pod: Any, xcom_result: Any = None, context: Any = None) -> None:
            """Raise what the pod's end means for the task, or keep its result."""
            try:
                super().cleanup(pod, remote_pod, xcom_result, context)
            except AirflowException as error:
                raise pod_error(remote_pod, error) from error
            if result := pod_result(remote_pod):
                context["ti"].xcom_push("return_value", result)

    return PodStep(
        **pod_arguments(command, arguments, cpu, memory), **options, on_finish_action="delete_succeeded_pod"
    )


def pod_result(pod: Any) -> Any:
    """What the pod's command left in RESULT_FILE, if it succeeded; a pod's status carries up to 4 KiB."""
    ended = _terminated(pod)
    return json.loads(ended.message) if ended and ended.exit_code == 0 else None


def pod_error(pod: Any, error: AirflowException) -> AirflowException:
    """The error to raise for a pod that failed with `error`: a final one if trying again is of no use."""
    ended = _terminated(pod)
    return AirflowFailException(str(error)) if ended and ended.exit_code == _FAILURE else error


def _terminated(pod: Any) -> Any:
    """How the command ended: `exit_code` and `message`; None if it never ran or its node went away."""
    statuses = pod.status.container_statuses or ()
    return next((each.state.terminated for each in statuses if each.name == _CONTAINER), None)


def pod_arguments(command: str, arguments: Sequence[str], cpu: str, memory: str) -> dict[str, Any]:
    """What `GKEStartPodOperator` is told."""
    variables = {name: os.environ[name] for name in STEP_VARIABLES}
    # Where Kubernetes reads a container's last words: a result needs no second container, whose image would
    # have to come from elsewhere, and no right to run commands inside pods.
    variables["RESULT_FILE"] = "/dev/termination-log"
    return {
        "name": command.replace("_", "-"),
        "project_id": os.environ["STEPS_PROJECT"],
        "location": os.environ["STEPS_REGION"],
        "cluster_name": os.environ["STEPS_CLUSTER"],
        "use_dns_endpoint": True,  # the cluster's own address is not reachable from Composer's network
        "namespace": os.environ["STEPS_NAMESPACE"],
        "arguments": list(arguments),  # templates of the pod's own dictionary would not be rendered in lists
        "do_xcom_push": False,  # see RESULT_FILE
        "deferrable": True,  # a worker's slot is not held while the pod runs
        "startup_timeout_seconds": 900,  # a node may have to be made
        "pod_template_dict": {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"labels": {"app.kubernetes.io/name": "batch"}},
            "spec": {
                "serviceAccountName": os.environ["STEPS_ACCOUNT"],
                "automountServiceAccountToken": False,
                "restartPolicy": "Never",
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": _USER,
                    "runAsGroup": _USER,
                    "fsGroup": _USER,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": _CONTAINER,
                        "image": os.environ["STEPS_IMAGE"],
                        "command": ["python", "-m", f"services.batch.{command}"],
                        "terminationMessagePolicy": "FallbackToLogsOnError",
                        "env": [{"name": name, "value": value} for name, value in variables.items()],
                        "resources": {
                            "requests": {"cpu": cpu, "memory": memory},
                            "limits": {"memory": memory},
                        },
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]},
                        },
                        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 -- a volume
                    }
                ],
                "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
            },
        },
    }


def _dataflow(arguments: Sequence[str], options: dict[str, Any]) -> BaseOperator:
    from airflow.providers.google.cloud.operators.dataflow import (  # pyright: ignore[reportMissingImports]
        DataflowStartFlexTemplateOperator,
    )

    return DataflowStartFlexTemplateOperator(**dataflow_arguments(arguments), **options)


def dataflow_arguments(arguments: Sequence[str]) -> dict[str, Any]:
    """What `DataflowStartFlexTemplateOperator` is told."""
    bucket = os.environ["STAGING_BUCKET"]
    return {
        "project_id": os.environ["STEPS_PROJECT"],
        "location": os.environ["STEPS_REGION"],
        "deferrable": True,
        "append_job_name": True,  # a second try is another job
        "body": {
            "launchParameter": {
                "jobName": "score",
                "containerSpecGcsPath": os.environ["DATAFLOW_TEMPLATE"],
                "parameters": dict(
                    argument.removeprefix("--").split("=", maxsplit=1) for argument in arguments
                ),
                "environment": {
                    "serviceAccountEmail": os.environ["DATAFLOW_ACCOUNT"],
                    "subnetwork": os.environ["DATAFLOW_SUBNETWORK"],
                    "ipConfiguration": "WORKER_IP_PRIVATE",
                    "machineType": os.environ["DATAFLOW_MACHINE_TYPE"],
                    "numWorkers": 1,
                    "maxWorkers": int(os.environ["DATAFLOW_MAX_WORKERS"]),
                    "autoscalingAlgorithm": "AUTOSCALING_ALGORITHM_BASIC",
                    "sdkContainerImage": os.environ["STEPS_IMAGE"],
                    "tempLocation": f"gs://{bucket}/dataflow/temp",
                    "stagingLocation": f"gs://{bucket}/dataflow/staging",
                    "additionalUserLabels": {
                        "environment": os.environ["PLATFORM_ENVIRONMENT"],
                        "managed_by": "airflow",
                    },
                },
            }
        },
    }
