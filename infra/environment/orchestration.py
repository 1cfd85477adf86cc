"""Settings of the stack `orchestration`."""

from typing import Final, Literal

from pydantic import Field, ValidationInfo
from pydantic import field_validator as validator

from infra.environment.value_types import (
    ContradictionError,
    Days,
    MachineType,
    Network,
    PackageName,
    PackagePin,
    Section,
    Weekday,
    at_least,
    unique,
)

AIRFLOW_VERSION: Final = "3.3.1"
"""Version of Airflow in the cloud; `requirements/airflow.lock` has the same."""


class AirflowProcess(Section):
    """Resources of one Airflow process; prices and limits depend on them."""

    cpu: float = Field(default=0.5, ge=0.5, le=32, description="CPUs")
    memory_gb: float = Field(default=2, ge=0.5, le=128, description="memory, in GB")
    storage_gb: float = Field(default=1, ge=0, le=100, description="disk, in GB")


class AirflowProcesses(AirflowProcess):
    """Resources and number of processes."""

    count: int = Field(default=1, ge=1, le=3, description="how many there are")


class AirflowTriggerers(Section):
    """Triggerers, which wait for events on behalf of deferred tasks."""

    cpu: float = Field(default=0.5, ge=0.5, le=1, description="CPUs")
    memory_gb: float = Field(default=1, ge=0.5, le=6.5, description="memory, in GB")
    count: int = Field(default=1, ge=0, le=10, description="how many there are; 0 if no task is deferrable")


class AirflowWorkers(AirflowProcess):
    """Autoscaled workers."""

    min_count: int = Field(default=1, ge=1, le=100, description="fewest workers")
    max_count: int = Field(default=3, ge=1, le=100, description="most workers")

    @validator("max_count")
    @classmethod
    def _ordered(cls, most: int, info: ValidationInfo) -> int:
        return at_least("min_count", most, info)


class AirflowMaintenance(Section):
    """The window in which Google may upgrade the environment. Interrupted tasks are retried."""

    days: tuple[Weekday, ...] = Field(
        default=("FR", "SA", "SU"), min_length=1, description="days of the week"
    )
    start_hour: int = Field(default=0, ge=0, le=23, description="hour at which it may begin, in UTC")
    hours: int = Field(default=4, ge=4, le=24, description="hours it may take")

    @validator("hours")
    @classmethod
    def _enough(cls, hours: int, info: ValidationInfo) -> int:
        # https://cloud.google.com/composer/docs/composer-3/specify-maintenance-windows
        days = info.data.get("days", ())
        if days and hours * len(days) < 12:
            message = f"Composer wants 12 hours a week; {len(days)} x {hours} are {hours * len(days)}"
            raise ContradictionError(((), f"{message}. Give more days or hours"))
        return hours

    @validator("days")
    @classmethod
    def _once(cls, days: tuple[str, ...]) -> tuple[str, ...]:
        unique(days)
        return days


class ComposerSettings(Section):
    """Managed Airflow."""

    size: Literal["small", "medium", "large"] = Field(
        default="small", description="of Airflow's database and what else Google runs for it"
    )
    high_resilience: bool = Field(default=False, description="whether it survives the loss of a zone")
    scheduler: AirflowProcesses = Field(default=AirflowProcesses(), description="schedulers")
    dag_processor: AirflowProcesses = Field(default=AirflowProcesses(), description="readers of DAG files")
    triggerer: AirflowTriggerers = Field(default=AirflowTriggerers(), description="triggerers")
    web_server: AirflowProcess = Field(default=AirflowProcess(), description="Airflow's pages")
    worker: AirflowWorkers = Field(default=AirflowWorkers(), description="workers")
    maintenance: AirflowMaintenance = Field(
        default=AirflowMaintenance(), description="when Google may upgrade it"
    )
    snapshot_hour: int = Field(
        default=5, ge=0, le=23, description="hour, in UTC, at which a snapshot is taken every day"
    )
    keep_snapshots_days: Days = Field(default=14, description="days for which snapshots are kept")
    keep_history_days: int = Field(
        default=60, ge=30, le=730, description="days for which Airflow remembers runs and tasks"
    )
    web_access: tuple[Network, ...] = Field(
        default=(),
        description="addresses from which Airflow's pages are reached, by whom IAM lets in; all if none",
    )
    packages: dict[PackageName, PackagePin] = Field(
        default={}, description="PyPI packages that DAG files need, each with its version, as in ==1.2.3"
    )

    @validator("worker")
    @classmethod
    def _twice(cls, worker: AirflowWorkers, info: ValidationInfo) -> AirflowWorkers:
        # https://cloud.google.com/composer/docs/composer-3/set-up-highly-resilient-environments
        if info.data.get("high_resilience"):
            counts = {
                ("scheduler", "count"): info.data.get("scheduler"),
                ("dag_processor", "count"): info.data.get("dag_processor"),
                ("triggerer", "count"): info.data.get("triggerer"),
            }
            lonely = [f"{key[0]}.count" for key, each in counts.items() if each and each.count == 1]
            if lonely:
                message = f"high_resilience needs two of each in two zones: raise {', '.join(lonely)}"
                raise ContradictionError(((), message))
        return worker


class BatchSection(Section):
    """The batch pipeline's jobs on Dataflow."""

    machine_type: MachineType = Field(default="n2-standard-2", description="machine type of a worker")
    max_workers: int = Field(default=2, ge=1, le=1000, description="most workers of a job")
