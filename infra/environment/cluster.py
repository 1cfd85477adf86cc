"""Settings of the stack `cluster`."""

from contextlib import suppress
from datetime import date, timedelta
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BeforeValidator, Field

from infra.environment.value_types import Contradictions, MachineType, Section, UniqueList

NODE_DISK_GB: Final = 50
"""Boot disk of a node."""

SPOT_POOLS: Final = ("spot", "spot-fallback")
"""Pools for pods that may lose their node: of spot nodes, and of others while there are none."""

# https://cloud.google.com/kubernetes-engine/docs/how-to/maintenance-windows-and-exclusions
_MAINTENANCE_HOURS: Final = 48
"""Hours of maintenance that GKE requires in any 32 days, in windows of at least four hours."""

_FULL_DAYS: Final = 31
"""Number of full window-days in any 32-day span."""

Weekday = Literal["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
WEEK: Final[tuple[Weekday, ...]] = get_args(Weekday)
"""Days of the week as in RFC 5545, Monday first."""
SOME_MONDAY: Final = date(2024, 1, 1)
"""A Monday in the past: the start of recurring windows."""


def _day(value: Any) -> Any:
    with suppress(TypeError, ValueError):
        return date.fromisoformat(value)
    return value  # pydantic refuses what is no date


Day = Annotated[date, BeforeValidator(_day)]


class NodePool(Section):
    """A node pool."""

    machine_type: MachineType = Field(description="machine type of a node")
    min_nodes: int = Field(ge=0, le=1000, description="fewest nodes, in all zones together")
    max_nodes: int = Field(ge=1, le=1000, description="most nodes, in all zones together")
    upgrade: Literal["SURGE", "BLUE_GREEN"] = Field(
        "SURGE", description="replace node by node, or create a second set of nodes and move the pods"
    )

    def _contradictions(self) -> Contradictions:
        yield from self._ordered("min_nodes", "max_nodes")

    def most_nodes(self, zones: int) -> int:
        """Most nodes in a number of zones at any time, including those that an upgrade adds."""
        return self.max_nodes + (self.max_nodes if self.upgrade == "BLUE_GREEN" else zones)


class ClusterMaintenanceExclusion(Section):
    """Days on which GKE does not upgrade the cluster."""

    name: str = Field(min_length=1, max_length=63, description="what the days are, such as peak-season")
    start: Day = Field(description="first day, in UTC")
    end: Day = Field(description="first day after them, in UTC")

    def _contradictions(self) -> Contradictions:
        if self.end <= self.start:
            yield ("end",), f"expected a day after start, which is {self.start}, found {self.end}"
        # https://cloud.google.com/kubernetes-engine/docs/concepts/maintenance-windows-and-exclusions#limitations-maint-exclusions
        if (days := (self.end - self.start).days) > 30:
            yield ("end",), f"GKE excludes at most 30 days, not {days}"


class ClusterMaintenance(Section):
    """The weekly window in which GKE may upgrade control plane and nodes."""

    days: UniqueList[Weekday] = Field(default=("SA", "SU"), min_length=1, description="days of the week")
    start_hour: int = Field(default=1, ge=0, le=23, description="hour at which it may begin, in UTC")
    hours: int = Field(default=6, ge=4, le=24, description="hours it may take")
    exclusions: tuple[ClusterMaintenanceExclusion, ...] = Field(
        default=(), description="periods without upgrades"
    )

    def _contradictions(self) -> Contradictions:
        first = min((each.start for each in self.exclusions), default=SOME_MONDAY)
        last = max((each.end for each in self.exclusions), default=SOME_MONDAY)
        least, since = min(
            (self.hours * sum(self._is_open(day + timedelta(offset)) for offset in range(_FULL_DAYS)), day)
            for day in (first + timedelta(each) for each in range(-_FULL_DAYS, (last - first).days + 1))
        )
        if least < _MAINTENANCE_HOURS:
            found = f"{least} in those from {since}" if self.exclusions else f"{least}"
            message = f"GKE wants {_MAINTENANCE_HOURS} hours of maintenance in any 32 days; there are {found}"
            yield ("exclusions",), f"{message}. Give more days or hours, or shorter exclusions"

    def _is_open(self, day: date) -> bool:
        """Whether a whole window begins on a day."""
        last = day + timedelta(days=(self.start_hour + self.hours - 1) // 24)
        excluded = any(last >= each.start and day < each.end for each in self.exclusions)
        return WEEK[day.weekday()] in self.days and not excluded


class BackupSettings(Section):
    """Backups of the objects in the cluster and of the data of its volumes."""

    retain_days: int = Field(30, ge=1, le=365, description="days that a backup is kept")
    lock_days: int = Field(0, ge=0, le=90, description="days during which nobody can delete a backup")

    def _contradictions(self) -> Contradictions:
        if self.lock_days > self.retain_days:
            expected = f"expected at most retain_days, which is {self.retain_days}"
            yield ("lock_days",), f"{expected}, found {self.lock_days}"


class ClusterSettings(Section):
    """The Kubernetes cluster."""

    release_channel: Literal["RAPID", "REGULAR", "STABLE"] = Field(
        "REGULAR", description="how soon new versions of Kubernetes come"
    )
    general: NodePool = Field(description="pool for all pods")
    spot: NodePool | None = Field(
        None,
        description="cheaper nodes that may vanish, for streaming, whose messages are redelivered; other "
        "nodes stand in while there are none",
    )
    autoscaling_profile: Literal["BALANCED", "OPTIMIZE_UTILIZATION"] = Field(
        "BALANCED", description="whether spare nodes are kept for a while or removed soon"
    )
    maintenance: ClusterMaintenance = Field(ClusterMaintenance(), description="when GKE may upgrade")
    control_plane_telemetry: bool = Field(
        False, description="also logs and metrics of API server, scheduler and controllers, billed by volume"
    )
    binary_authorization: bool = Field(
        False, description="admit only images that scripts/push_image.sh signed, and Google's"
    )
    backup: BackupSettings | None = Field(None, description="backups of the cluster; none without it")

    @property
    def pools(self) -> dict[str, NodePool]:
        """Its node pools, by name. Other nodes stand in for as many spot nodes as cannot be had."""
        spot = dict.fromkeys(SPOT_POOLS, self.spot) if self.spot else {}
        return {"general": self.general} | spot

    def most_nodes(self, zones: int) -> int:
        """Most nodes of all pools at any time."""
        return sum(pool.most_nodes(zones) for pool in self.pools.values())
