"""Settings of the stack `cluster`."""

from datetime import date, timedelta
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationInfo
from pydantic import field_validator as validator

from infra.environment.value_types import (
    SOME_MONDAY,
    UNIQUE,
    WEEK,
    ContradictionError,
    Day,
    MachineType,
    Section,
    Weekday,
    at_least,
)

# https://cloud.google.com/kubernetes-engine/docs/how-to/maintenance-windows-and-exclusions
NODE_DISK_GB: Final = 50
"""Boot disk of a node."""

SPOT_POOLS: Final = ("spot", "spot-fallback")
"""Pools for pods that may lose their node: of spot nodes, and of others while there are none."""

_MAINTENANCE_HOURS: Final = 48
"""Hours of maintenance that GKE requires in any 32 days, in windows of at least four hours."""


_FULL_DAYS: Final = 31
"""Number of full window-days in any 32-day span."""


class NodePool(Section):
    """A node pool."""

    machine_type: MachineType = Field(description="machine type of a node")
    min_nodes: int = Field(ge=0, le=1000, description="fewest nodes, in all zones together")
    max_nodes: int = Field(ge=1, le=1000, description="most nodes, in all zones together")
    upgrade: Literal["SURGE", "BLUE_GREEN"] = Field(
        "SURGE", description="replace node by node, or create a second set of nodes and move the pods"
    )

    @validator("max_nodes")
    @classmethod
    def _ordered(cls, most: int, info: ValidationInfo) -> int:
        return at_least("min_nodes", most, info)

    def surge(self, zones: int) -> int:
        """Nodes that an upgrade temporarily adds to `max_nodes`."""
        return self.max_nodes if self.upgrade == "BLUE_GREEN" else zones


class ClusterMaintenanceExclusion(Section):
    """Days on which GKE does not upgrade the cluster."""

    name: str = Field(min_length=1, max_length=63, description="what the days are, such as peak-season")
    start: Day = Field(description="first day, in UTC")
    end: Day = Field(description="first day after it, in UTC")

    @validator("end")
    @classmethod
    def _ordered(cls, end: date, info: ValidationInfo) -> date:
        start = info.data.get("start")
        if start is not None and end <= start:
            raise ContradictionError(((), f"expected a day after start, which is {start}, found {end}"))
        # https://cloud.google.com/kubernetes-engine/docs/concepts/maintenance-windows-and-exclusions#limitations-maint-exclusions
        if start is not None and (days := (end - start).days) > 30:
            raise ContradictionError(((), f"GKE excludes at most 30 days, not {days}"))
        return end


class ClusterMaintenance(Section):
    """The weekly window in which GKE may upgrade control plane and nodes."""

    days: Annotated[tuple[Weekday, ...], UNIQUE] = Field(
        default=("SA", "SU"), min_length=1, description="days of the week"
    )
    start_hour: int = Field(default=1, ge=0, le=23, description="hour at which it may begin, in UTC")
    hours: int = Field(default=6, ge=4, le=24, description="hours it may take")
    exclusions: tuple[ClusterMaintenanceExclusion, ...] = Field(
        default=(), description="periods without upgrades"
    )

    @validator("exclusions")
    @classmethod
    def _enough(
        cls, exclusions: tuple[ClusterMaintenanceExclusion, ...], info: ValidationInfo
    ) -> tuple[ClusterMaintenanceExclusion, ...]:
        days, start_hour, hours = (info.data.get(name) for name in ("days", "start_hour", "hours"))
        if days is None or start_hour is None or hours is None:
            return exclusions

        def open_on(day: date) -> bool:
            last = day + timedelta(days=(start_hour + hours - 1) // 24)
            return WEEK[day.weekday()] in days and all(
                last < each.start or day >= each.end for each in exclusions
            )

        first = min((each.start for each in exclusions), default=SOME_MONDAY) - timedelta(days=_FULL_DAYS)
        last = max((each.end for each in exclusions), default=SOME_MONDAY)
        least, since = min(
            (hours * sum(open_on(day + timedelta(days=offset)) for offset in range(_FULL_DAYS)), day)
            for day in (first + timedelta(days=offset) for offset in range((last - first).days + 1))
        )
        if least < _MAINTENANCE_HOURS:
            found = f"{least} in those from {since}" if exclusions else f"{least}"
            message = f"GKE wants {_MAINTENANCE_HOURS} hours of maintenance in any 32 days; there are {found}"
            remedy = "Give more days or hours, or shorter exclusions"
            raise ContradictionError(((), f"{message}. {remedy}"))
        return exclusions


class BackupSettings(Section):
    """Backups of the objects in the cluster and of the data of its volumes."""

    retain_days: int = Field(30, ge=1, le=365, description="days that a backup is kept")
    lock_days: int = Field(0, ge=0, le=90, description="days during which nobody can delete a backup")

    @validator("lock_days")
    @classmethod
    def _within_retention(cls, lock: int, info: ValidationInfo) -> int:
        retain = info.data.get("retain_days")
        if retain is not None and lock > retain:
            raise ContradictionError(((), f"expected at most retain_days, which is {retain}, found {lock}"))
        return lock


class ClusterSettings(Section):
    """The Kubernetes cluster."""

    release_channel: Literal["RAPID", "REGULAR", "STABLE"] = Field(
        "REGULAR", description="how soon new versions of Kubernetes come"
    )
    general: NodePool = Field(description="pool for all pods")
    spot: NodePool | None = Field(
        None,
        description="cheaper nodes that may vanish, for streaming, whose messages are redelivered; as many "
        "other nodes while there are none",
    )
    autoscaling_profile: Literal["BALANCED", "OPTIMIZE_UTILIZATION"] = Field(
        "BALANCED", description="whether spare nodes are kept for a while or removed soon"
    )
    maintenance: ClusterMaintenance = Field(ClusterMaintenance(), description="when GKE may upgrade")
    control_plane_telemetry: bool = Field(
        False,
        description="logs and metrics of API server, scheduler and controllers too, billed by volume",
    )
    binary_authorization: bool = Field(
        False, description="admit only images that scripts/push_image.sh signed, and Google's"
    )
    backup: BackupSettings | None = Field(None, description="backups of the cluster; none without it")

    @property
    def pools(self) -> dict[str, NodePool]:
        """Its node pools, by name. Other nodes stand in for as many spot nodes as cannot be had."""
        if not self.spot:
            return {"general": self.general}
        return {"general": self.general} | dict.fromkeys(SPOT_POOLS, self.spot)

    def most_nodes(self, zones: int) -> int:
        """Most nodes at any time, including those that upgrades add.

        Args:
            zones: number of zones of the nodes.
        """
        return sum(pool.max_nodes + pool.surge(zones) for pool in self.pools.values())
