"""Settings of the stack `orchestration`."""

from typing import Annotated, Final, Literal

from pydantic import Field

from infra.environment.value_types import Contradictions, Days, MachineType, Network, Section, matching

AIRFLOW_VERSION: Final = "3.3.1"
"""Version of Airflow in the cloud; `requirements/airflow.lock` has the same."""

# https://packaging.python.org/en/latest/specifications/name-normalization/
PackageName = Annotated[
    str, matching("[a-z0-9]+(-[a-z0-9]+)*", "a package's normalized name: lower case, with hyphens")
]
PackagePin = Annotated[
    str, matching(r"(\[[a-z0-9,-]+\])?==[0-9][0-9a-z.+!-]*", 'one version, such as "==1.2.3"')
]


class AirflowProcess(Section):
    """Resources of one Airflow process; prices and limits depend on them."""

    cpu: float = Field(default=0.5, ge=0.5, le=32, description="CPUs")
    memory_gb: float = Field(default=2, ge=0.5, le=128, description="memory, in GB")


class AirflowProcesses(AirflowProcess):
    """Resources and number of processes."""

    count: int = Field(default=1, ge=1, le=3, description="how many there are")


class AirflowTriggerers(Section):
    """Triggerers, which wait for events on behalf of deferred tasks."""

    count: int = Field(default=1, ge=0, le=10, description="how many there are; 0 if no task is deferrable")


class AirflowWorkers(AirflowProcess):
    """Autoscaled workers."""

    storage_gb: float = Field(default=1, ge=0, le=100, description="disk, in GB")
    min_count: int = Field(default=1, ge=1, le=100, description="fewest workers")
    max_count: int = Field(default=3, ge=1, le=100, description="most workers")

    def _contradictions(self) -> Contradictions:
        yield from self._ordered("min_count", "max_count")


class ComposerSettings(Section):
    """Managed Airflow."""

    size: Literal["small", "medium", "large"] = Field(
        default="small", description="size of Airflow's database and of what else Google runs for it"
    )
    high_resilience: bool = Field(default=False, description="whether it survives the loss of a zone")
    scheduler: AirflowProcesses = Field(default=AirflowProcesses(), description="schedulers")
    dag_processor: AirflowProcesses = Field(default=AirflowProcesses(), description="readers of DAG files")
    triggerer: AirflowTriggerers = Field(default=AirflowTriggerers(), description="triggerers")
    web_server: AirflowProcess = Field(default=AirflowProcess(), description="Airflow's pages")
    worker: AirflowWorkers = Field(default=AirflowWorkers(), description="workers")
    keep_snapshots_days: Days = Field(default=14, description="days for which snapshots are kept")
    keep_history_days: int = Field(default=60, ge=30, le=730, description="days that Airflow remembers runs")
    web_access: tuple[Network, ...] = Field(
        default=(),
        description="addresses from which Airflow's pages can be reached by whom IAM lets in; all by default",
    )
    packages: dict[PackageName, PackagePin] = Field(
        default={}, description="PyPI packages that DAG files need, each with its version, as in ==1.2.3"
    )
    deny_policy: bool = Field(
        default=False,
        description="whether an IAM deny policy takes from Airflow's account the permissions that its "
        "role has in excess; only a project of an organization can have one",
    )

    def _contradictions(self) -> Contradictions:
        # https://cloud.google.com/composer/docs/composer-3/set-up-highly-resilient-environments
        processes = ("scheduler", "dag_processor", "triggerer")
        lonely = [f"{name}.count" for name in processes if getattr(self, name).count == 1]
        if self.high_resilience and lonely:
            yield ("worker",), f"high_resilience needs two of each in two zones: raise {', '.join(lonely)}"


class BatchSection(Section):
    """Where the batch pipeline's Beam jobs run."""

    runner: Literal["DataflowRunner", "FlinkRunner", "SparkRunner"] = Field(
        default="DataflowRunner", description="Dataflow, or a cluster that has a job server of Beam"
    )
    job_endpoint: str | None = Field(
        default=None, pattern=r"^[^:/]+:\d+$", description="host:port of that job server, as pods reach it"
    )
    group_series: int | None = Field(
        default=None, ge=1, description="most series to learn from together, of whole stores; all by default"
    )
    machine_type: MachineType = Field(default="n2-standard-2", description="machine type of Dataflow workers")
    max_workers: int = Field(default=2, ge=1, le=1000, description="most workers of a Dataflow job")

    def _contradictions(self) -> Contradictions:
        if (self.runner == "DataflowRunner") != (self.job_endpoint is None):
            yield ("job_endpoint",), "runner FlinkRunner or SparkRunner and job_endpoint go together"
