"""Dashboards: sections of charts."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from infra.cdk import Construct, google

_COLUMNS: Final = 48
_WIDTH: Final = _COLUMNS // 3
_HEIGHT: Final = 14
_HEADER_HEIGHT: Final = 4


@dataclass(frozen=True)
class Chart:
    """Lines over time."""

    title: str
    unit: str
    queries: Sequence[str]

    def widget(self) -> dict[str, Any]:
        """The widget in the API's JSON."""
        sets = [{"plotType": "LINE", "timeSeriesQuery": {"prometheusQuery": query}} for query in self.queries]
        return {"title": self.title, "xyChart": {"dataSets": sets, "yAxis": {"label": self.unit}}}


@dataclass(frozen=True)
class Section:
    """A group of charts, three per row."""

    title: str
    charts: Sequence[Chart]


class Dashboard(Construct):
    """A dashboard with its sections from top to bottom."""

    def __init__(self, scope: Construct, id_: str, *, title: str, sections: Sequence[Section]):
        super().__init__(scope, id_)
        layout = {"columns": _COLUMNS, "tiles": list(_tiles(sections))}
        content = json.dumps({"displayName": title, "mosaicLayout": layout})
        google.monitoring_dashboard.MonitoringDashboard(
            self,
            "Default",
            # As the API returns it, without zeros and empty texts: with them no plan would be empty.
            dashboard_json=json.dumps(json.loads(content, object_hook=_without_empty)),
        )


def _without_empty(members: dict[str, Any]) -> dict[str, Any]:
    return {key: each for key, each in members.items() if each not in (0, "")}


def _tiles(sections: Sequence[Section]) -> Iterator[dict[str, Any]]:
    y = 0
    for section in sections:
        header = {"title": section.title, "sectionHeader": {"dividerBelow": True}}
        yield {"yPos": y, "width": _COLUMNS, "height": _HEADER_HEIGHT, "widget": header}
        y += _HEADER_HEIGHT
        for index, chart in enumerate(section.charts):
            yield {
                "xPos": index % 3 * _WIDTH,
                "yPos": y + index // 3 * _HEIGHT,
                "width": _WIDTH,
                "height": _HEIGHT,
                "widget": chart.widget(),
            }
        y += -(-len(section.charts) // 3) * _HEIGHT
