"""Monthly list prices of resources, from their arguments in Terraform."""

import functools
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from infra.environment.value_types import machine_cpus
from scripts.command import CommandError

_FOLDER: Final = Path(__file__).with_name("list_prices")
_HOURS: Final = 730  # of a month, as Google counts
_NAT_NODES: Final = 32  # most that a NAT gateway is billed for


class Cost(msgspec.Struct, frozen=True):
    """US dollars a month: `idle` without any load, `full` at the limits of the environment."""

    what: str
    idle: float
    full: float


@functools.cache
def prices(region: str) -> dict[str, Any]:
    """The list prices of a region; CommandError if there are none."""
    file = _FOLDER / f"{region}.toml"
    if not file.exists():
        known = ", ".join(each.stem for each in sorted(_FOLDER.glob("*.toml")))
        raise CommandError(f"no list prices of {region}: write {file} as those of {known}")
    return tomllib.loads(file.read_text(encoding="utf-8"))


def costs(kind: str, values: Mapping[str, Any], region: str) -> Iterator[Cost]:
    """What a resource costs; nothing if it is free, or billed by use. CommandError as `prices`.

    The values are its arguments, as in a configuration or in a plan.
    """
    listed = prices(region)
    name = values["manifest"]["kind"] if kind == "kubernetes_manifest" else kind
    if fixed := listed["fixed"].get(name):
        month = fixed.get("month") or fixed["hour"] * _HOURS
        yield Cost(fixed["what"], month, month)
    if kind == "google_container_node_pool":
        yield from _pool(values, listed)
    elif kind == "google_composer_environment":
        yield _airflow(only(only(values["config"])["workloads_config"]), listed["composer"])
    elif kind == "google_compute_region_security_policy":
        armor, rules = listed["security_policy"], len(values["rules"])
        month = armor["month"] + rules * armor["rule_month"]
        yield Cost(f"Cloud Armor: a policy of {rules} rules", month, month)


def _pool(values: Mapping[str, Any], listed: Mapping[str, Any]) -> Iterator[Cost]:
    config, scaling = only(values["node_config"]), only(values["autoscaling"])
    family, _, size = config["machine_type"].rpartition("-")
    machine = listed["machine"].get(family)
    disk = listed["disk"].get(config["disk_type"])
    spot = " spot" if config.get("spot") else ""
    least, most = scaling.get("total_min_node_count") or 0, scaling["total_max_node_count"]
    name = f"{least} to {most}{spot} nodes {family}-{size}"
    if machine is None or disk is None:
        yield Cost(f"{name}: not counted, no list price", 0, 0)
        return
    cpus = machine_cpus(config["machine_type"])
    node = cpus * machine["spot" if spot else "standard"] * _HOURS
    yield Cost(name, least * node, most * node)
    of_disk = config["disk_size_gb"] * disk["month"]
    yield Cost(f"their disks of {config['disk_size_gb']} GB", least * of_disk, most * of_disk)
    nat = listed["nat_node"]["hour"] * _HOURS
    yield Cost("their share of Cloud NAT", min(least, _NAT_NODES) * nat, min(most, _NAT_NODES) * nat)


def _airflow(workloads: Mapping[str, Any], listed: Mapping[str, Any]) -> Cost:
    idle = full = 0.0
    for block in workloads.values():
        process = only(block)
        units = process["cpu"] * listed["dcu_per_cpu"] + process["memory_gb"] * listed["dcu_per_gb"]
        least = process.get("min_count") or process.get("count", 1)
        idle, full = idle + least * units, full + (process.get("max_count") or least) * units
    assumed = f"assumed: {listed['dcu_per_cpu']} DCU a CPU, {listed['dcu_per_gb']} a GB of memory"
    price = listed["hour"] * _HOURS
    return Cost(f"Airflow's processes; {assumed}", idle * price, full * price)


def only(block: Any) -> Mapping[str, Any]:
    """A block that exists once: a plan has a list where a configuration has none."""
    return block[0] if isinstance(block, list) else block


def difference(changes: Iterable[Mapping[str, Any]], region: str) -> Cost:
    """What the resource changes of a plan add to the costs; CommandError without prices of the region."""
    prices(region)
    idle = full = 0.0
    for each in changes:
        for sign, values in ((-1, each["change"]["before"]), (1, each["change"]["after"])):
            for cost in costs(each["type"], values, region) if values else ():
                idle, full = idle + sign * cost.idle, full + sign * cost.full
    return Cost("difference", round(idle, 2), round(full, 2))
