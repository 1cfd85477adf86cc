"""Metrics that alerts and objectives name: Google refuses those that do not exist.

Google's own always do. Others do from their first value on, which nothing writes to a simulated cloud.
"""

import json
import re
from collections.abc import Iterator
from typing import Final

from infra.simulator import inventory
from infra.simulator.resources import ResourceError, Values
from infra.simulator.values import items

# https://cloud.google.com/monitoring/api/metrics
_GOOGLES: Final = re.compile(
    r"(?!(custom|external|prometheus|workload)\.)([a-z]+\.googleapis\.com/(?!user/)|(kubernetes|istio)\.io/)"
)
_IN_FILTER: Final = re.compile(r'metric\.type *= *\\?"([^"\\]+)')
# What is no name of a metric in PromQL: texts, labels and ranges; lists of labels; functions; words.
_SYNTAX: Final = re.compile(
    r""""[^"]*"|'[^']*'|\{[^}]*\}|\[[^]]*\]"""
    r"|(\b[a-z_]+ +)?\b(by|without|on|ignoring|group_left|group_right) *\([^)]*\)"
    r"|\b[a-z_]+ *(?=\()|\b(and|or|unless|group_left|group_right|bool|offset|inf|nan)\b"
)
_NAME: Final = re.compile(r"(?<![\w.])[a-zA-Z_][\w:]*")


def check(type_name: str, values: Values) -> None:
    """Check that the metrics exist that an alert policy or objective names.

    Raises:
        ResourceError: one does not.
    """
    logged = inventory.all_of("google_logging_metric")
    known = {f"logging.googleapis.com/user/{each['name']}" for each in logged}
    known |= {each["type"] for each in inventory.all_of("google_monitoring_metric_descriptor")}
    for metric in _named(values):
        if metric not in known and not _GOOGLES.match(metric):
            problem = f'Cannot find metric(s) that match type = "{metric}".'
            raise ResourceError("Error 404: notFound", problem)


def _named(values: Values) -> Iterator[str]:
    yield from _IN_FILTER.findall(json.dumps(values))
    for condition in items(values.get("conditions")):
        for query in items(condition["condition_prometheus_query_language"]):
            if not query["disable_metric_validation"]:
                yield from map(_type, _NAME.findall(_SYNTAX.sub(" ", query["query"])))


def _type(name: str) -> str:
    """The type of a metric by its name in PromQL: https://cloud.google.com/monitoring/promql/promql-mapping."""
    domain, colon, path = name.partition(":")
    return f"{domain.replace('_', '.')}/{path}" if colon else f"prometheus.googleapis.com/{name}"
