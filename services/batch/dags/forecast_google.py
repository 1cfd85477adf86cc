"""Steps of a DAG in Google Cloud: pods in the cluster, and Dataflow jobs.

Nothing heavy runs in Airflow's own workers. Operators of Google Cloud are imported where they are made, so
that reading the DAGs needs Airflow alone.
"""

import json
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseOperator, get_current_context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferralTimeout

STEP_VARIABLES = (
    "MODEL_BUCKET",
    "STAGING_BUCKET",
    "SALES_TABLE",
    "SCORES_TABLE",
    "TRANSIENT_SCORES_TABLE",
    "STAGING_DATASET",
    "GROUP_SERIES",
)
"""What every step is told: the fields of `services.contracts.settings.BatchSettings`."""

_FAILURE = 1  # exit status of a command that cannot succeed as things are
_CONTAINER = "base"
_USER = 65532  # of the image; not root


def pod(
    command: str, arguments: Sequence[str], cpu: str, memory: str, options: dict[str, Any]
) -> BaseOperator:
    """A task that runs a command in a pod; see `forecast_steps.step`."""
    from airflow.providers.google.cloud.operators.kubernetes_engine import GKEStartPodOperator  # pyright: ignore[reportMissingImports]

    class PodStep(GKEStartPodOperator):  # pyright: ignore[reportUntypedBaseClass]
        def cleanup(self, pod: Any, remote_pod: Any, xcom_result: Any = None, context: Any = None) -> None:
            """Raise what the pod's end means for the task, or keep its result."""
            try:
                super().cleanup(pod, remote_pod, xcom_result, context)
            except AirflowException as error:
                raise pod_error(remote_pod, error) from error
            if result := pod_result(remote_pod):
                context["ti"].xcom_push("return_value", result)

        def process_pod_deletion(self, pod: Any, *, reraise: bool = True) -> Any:
            """Delete a pod that goes on: after a timeout, the next try would start a second one beside it."""
            if pod is not None and pod.status.phase in ("Pending", "Running", "Unknown"):
                self.on_finish_action = type(self.on_finish_action)("delete_pod")
            return super().process_pod_deletion(pod, reraise=reraise)

    return PodStep(
        **pod_arguments(command, arguments, cpu, memory, options["execution_timeout"]),
        **options,
        on_finish_action="delete_succeeded_pod",  # a failed one is there to look at
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


def pod_arguments(
    command: str, arguments: Sequence[str], cpu: str, memory: str, timeout: timedelta
) -> dict[str, Any]:
    """What `GKEStartPodOperator` is told."""
    variables = {name: os.environ[name] for name in STEP_VARIABLES if name in os.environ}
    # Where Kubernetes reads a container's last words: a result needs no second container, whose image would
    # have to come from elsewhere, and no right to run commands inside pods.
    variables["RESULT_FILE"] = "/dev/termination-log"
    return {
        "name": command.replace("_", "-"),
        "project_id": os.environ["STEPS_PROJECT"],
        "location": os.environ["STEPS_REGION"],
        "cluster_name": os.environ["STEPS_CLUSTER"],
        "use_dns_endpoint": True,  # the cluster's own address is not reachable from Composer's network
        "impersonation_chain": os.environ["STEPS_STARTER"],
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
                # A deferred task is ended by Airflow's triggerer, which may be away: Kubernetes ends the pod.
                "activeDeadlineSeconds": int(timeout.total_seconds()),
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


def job_server_arguments() -> tuple[str, ...]:
    """Options of a pipeline that runs on Flink or Spark, with workers of the batch image."""
    return (
        f"--runner={os.environ['STEPS_RUNNER']}",
        f"--job_endpoint={os.environ['STEPS_JOB_ENDPOINT']}",
        "--environment_type=DOCKER",
        f"--environment_config={os.environ['STEPS_IMAGE']}",
    )


def dataflow(arguments: Sequence[str], options: dict[str, Any]) -> BaseOperator:
    """A task that runs a pipeline as a Dataflow job; see `services.batch.job`."""
    from airflow.providers.google.cloud.operators.dataflow import DataflowStartFlexTemplateOperator  # pyright: ignore[reportMissingImports]

    class DataflowStep(DataflowStartFlexTemplateOperator):  # pyright: ignore[reportUntypedBaseClass]
        def defer(self, **options: Any) -> None:
            """Wait for the job no longer than the task may take: the operator itself hands on no deadline."""
            context: Any = get_current_context()
            context["ti"].xcom_push("dataflow_job", self.job["id"])
            super().defer(**options, timeout=self.execution_timeout)

        def resume_execution(self, next_method: str, next_kwargs: Any, context: Any) -> Any:
            """Cancel a job that takes too long, which would write its rows beside those of the next try."""
            try:
                return super().resume_execution(next_method, next_kwargs, context)
            except TaskDeferralTimeout:
                self.hook.cancel_job(
                    job_id=context["ti"].xcom_pull(self.task_id, key="dataflow_job"),
                    project_id=self.project_id,
                    location=self.location,
                )
                raise

    return DataflowStep(**dataflow_arguments(options["task_id"], arguments), **options)


def dataflow_arguments(name: str, arguments: Sequence[str]) -> dict[str, Any]:
    """What `DataflowStartFlexTemplateOperator` is told."""
    bucket = os.environ["STAGING_BUCKET"]
    return {
        "project_id": os.environ["STEPS_PROJECT"],
        "location": os.environ["STEPS_REGION"],
        "deferrable": True,
        "append_job_name": True,  # a second try is another job
        "body": {
            "launchParameter": {
                "jobName": name.replace("_", "-"),
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
