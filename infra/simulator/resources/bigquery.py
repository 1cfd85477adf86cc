"""Datasets, tables and views in the BigQuery emulator.

Access, encryption and labels are only recorded in Terraform's state.
"""

# ruff: noqa: D102 -- `Handler` says what each method does

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from infra.simulator.resources import ResourceError, Values, columns, emulated
from infra.simulator.resources.columns import Column

_NOT_SIMULATED: Final = (
    "external_data_configuration",
    "materialized_view",
    "range_partitioning",
    "table_replication_info",
)


class Dataset(emulated.Emulated):
    """`google_bigquery_dataset`."""

    emulator, root, kind, delete_query = "bigquery", "/bigquery/v2/", "dataset", "?deleteContents=true"
    fields: ClassVar[emulated.Fields] = {"description": (), "default_table_expiration_ms": ()}

    def create(self, planned: Values) -> Values:
        body = {"datasetReference": {"datasetId": planned["dataset_id"]}, "location": planned["location"]}
        body |= emulated.body(planned, self.fields)
        self.make(planned, "POST", self.path(planned).rpartition("/")[0], body)
        return planned

    def update(self, prior: Values, planned: Values) -> Values:
        action = f"update dataset {planned['dataset_id']}"
        self.call(action, "PATCH", self.path(planned), _patch(planned, self.fields))
        return planned

    def delete(self, state: Values) -> None:
        name = state["dataset_id"]
        listing = self.call(f"list dataset {name}", "GET", f"{self.path(state)}/tables", missing_ok=True)
        tables: list[str] = [item["tableReference"]["tableId"] for item in (listing or {}).get("tables", [])]
        if tables and not state.get("delete_contents_on_destroy"):
            raise ResourceError(
                f"Cannot delete dataset {name}",
                f"it holds the tables {', '.join(tables)} and delete_contents_on_destroy is not set",
                "delete_contents_on_destroy",
            )
        super().delete(state)


class Table(emulated.Emulated):
    """`google_bigquery_table`: plain tables, and views in standard SQL."""

    emulator, root, kind = "bigquery", "/bigquery/v2/", "table"
    fields: ClassVar[emulated.Fields] = {"description": ()}

    def name(self, values: Values) -> str:
        return f"{values['project']}.{values['dataset_id']}.{values['table_id']}"

    def replaces(self, prior: Values, planned: Values) -> list[str]:
        """Its kind, and its columns unless they are only added or relaxed."""
        if bool(prior["view"]) != bool(planned["view"]):
            return ["view"]
        before, after = prior["schema"], planned["schema"]
        known = isinstance(before, str) and isinstance(after, str)
        if known and not planned["view"] and not columns.extends(columns.parse(before), columns.parse(after)):
            return ["schema"]
        return []

    def create(self, planned: Values) -> Values:
        emulated.refuse(planned, _NOT_SIMULATED)
        if view := emulated.block(planned, "view"):
            return self._create_view(planned, view) | {"type": "VIEW"}
        self.make(
            planned,
            "POST",
            self.path(planned).rpartition("/")[0],
            {"tableReference": {"tableId": planned["table_id"]}}
            | _layout(planned)
            | emulated.body(planned, self.fields)
            | {"schema": {"fields": columns.declared(planned.get("schema"))}},
        )
        return planned | {"type": "TABLE"}

    def read(self, state: Values) -> Values | None:
        """Its columns and description; also the query of a view, or the partitioning of a table."""
        live = self.live(state)
        if live is None:
            return None
        seen = emulated.observe(state, live, self.fields)
        if view := emulated.block(state, "view"):
            query = self._live_query(state, live)
            if query is None or _canonical(query) != _canonical(view["query"]):
                seen["view"] = [view | {"query": query}] if query else []
            found: list[Column] = live["schema"]["fields"]
        else:
            found = self._live_columns(state, live)
        if not columns.same(found, columns.parse(state.get("schema"))):
            seen["schema"] = json.dumps(found)
        if view:
            return seen
        seen["clustering"] = live.get("clustering", {}).get("fields") or None
        if partition := live.get("timePartitioning"):
            known = emulated.block(state, "time_partitioning") or {}
            seen["time_partitioning"] = [known | {"type": partition["type"], "field": partition.get("field")}]
        else:
            seen["time_partitioning"] = []
        return seen

    def update(self, prior: Values, planned: Values) -> Values:
        """Add columns, make columns nullable, change description, clustering, expiration or query."""
        if view := emulated.block(planned, "view"):
            return self._define_view(planned, view, prior)
        order = [column["name"] for column in columns.parse(prior.get("schema"))]
        wanted = columns.declared(planned.get("schema"))
        added = [column for column in wanted if column["name"] not in order]
        for column in added:
            name, kind = column["name"], columns.sql_type(column)
            action = f"add column {name} to {self.name(planned)}"
            self._query(action, planned, f"ALTER TABLE `{self.name(planned)}` ADD COLUMN `{name}` {kind}")
        # The emulator's catalog does not follow ALTER TABLE, and needs columns in the table's order.
        kept = [column for column in wanted if column["name"] in order]
        kept.sort(key=lambda column: order.index(column["name"]))
        self.call(
            f"update table {self.name(planned)}",
            "PATCH",
            self.path(planned),
            _patch(planned, self.fields) | _layout(planned) | {"schema": {"fields": kept + added}},
        )
        return planned

    def delete(self, state: Values) -> None:
        # The real provider's default is true.
        if state.get("deletion_protection") is not False:
            raise ResourceError(
                f"Cannot delete table {self.name(state)}",
                "apply deletion_protection = false first",
                "deletion_protection",
            )
        if state.get("view"):
            # The emulator's REST interface deletes only tables.
            self._query(f"delete view {self.name(state)}", state, f"DROP VIEW IF EXISTS `{self.name(state)}`")
        else:
            super().delete(state)

    def _create_view(self, planned: Values, view: Values) -> Values:
        if view.get("use_legacy_sql") is not False:
            raise ResourceError(
                "Not simulated",
                "the emulator has no legacy SQL, which is the default: set use_legacy_sql to false",
                "view",
            )
        action = f"create view {self.name(planned)}"
        if self.live(planned):
            raise ResourceError(
                f"Cannot {action}",
                "it exists. If it is left over from an interrupted command, drop it and apply again",
            )
        return self._define_view(planned, view)

    def _define_view(self, planned: Values, view: Values, prior: Values | None = None) -> Values:
        """Set the query of a view by SQL, and then its description; REST would create a table instead."""
        name = self.name(planned)
        if planned["schema"] != (prior["schema"] if prior else "[]"):
            raise ResourceError(
                "Not simulated",
                f"BigQuery compares the schema of {name} with the query before, and refuses a column that is "
                "new in both: leave it out, and the columns follow the query",
                "schema",
            )
        columns_of = f"SELECT * FROM ({view['query']}) LIMIT 0"  # noqa: S608
        returned = self._query(f"define view {name}", planned, columns_of)["schema"]["fields"]
        self._query(f"define view {name}", planned, f"CREATE OR REPLACE VIEW `{name}` AS {view['query']}")
        description = _patch(planned, self.fields) | {"schema": {"fields": returned}}
        self.call(f"describe view {name}", "PATCH", self.path(planned), description)
        return planned | {"schema": json.dumps(returned)}

    def _live_query(self, state: Values, live: Mapping[str, Any]) -> str | None:
        """The query of a view as the emulator spells it; None if a table has replaced the view."""
        if live["type"] != "VIEW":
            return None
        views = f"`{state['project']}.{state['dataset_id']}.INFORMATION_SCHEMA.VIEWS`"
        answer = self._query(
            f"read the query of {self.name(state)}",
            state,
            f"SELECT view_definition FROM {views} WHERE table_name = '{state['table_id']}'",  # noqa: S608
        )
        return answer["rows"][0]["f"][0]["v"]

    def _live_columns(self, state: Values, live: Mapping[str, Any]) -> list[Column]:
        """The columns that a query returns, with the modes and descriptions of the emulator's catalog.

        The catalog alone is not enough: it does not follow SQL such as ALTER TABLE.
        """
        catalog = {field["name"]: field for field in live.get("schema", {}).get("fields", [])}
        if not catalog:
            return []
        answer = self._query(
            f"read the columns of {self.name(state)}",
            state,
            f"SELECT * FROM `{self.name(state)}` LIMIT 0",  # noqa: S608 -- names the emulator accepted
        )
        found: list[Column] = answer["schema"]["fields"]
        return [
            known
            if (known := catalog.get(column["name"])) and columns.sql_type(known) == columns.sql_type(column)
            else column
            for column in found
        ]

    def _query(self, action: str, values: Values, sql: str) -> Any:
        path = f"{self.root}projects/{values['project']}/queries"
        answer = self.call(action, "POST", path, {"query": sql, "useLegacySql": False})
        # The emulator answers failing SQL with status 200.
        if errors := answer.get("errors"):
            raise ResourceError(f"Cannot {action}", errors[0]["message"])
        return answer


def _canonical(query: str) -> str:
    """A query in the emulator's spelling, without comments and line breaks."""
    import sqlglot  # the parser of bqemulator; most stacks have no view

    return sqlglot.parse_one(query, read="bigquery").sql(dialect="bigquery")


def _patch(values: Values, fields: emulated.Fields) -> dict[str, Any]:
    """All fields: null removes a value."""
    return {emulated.camel(name): values.get(name) for name in fields}


def _layout(values: Values) -> dict[str, Any]:
    layout: dict[str, Any] = {"clustering": {"fields": values.get("clustering") or []}}
    if partition := emulated.block(values, "time_partitioning"):
        layout["timePartitioning"] = {
            emulated.camel(key): partition[key]
            for key in ("type", "field", "expiration_ms")
            if partition.get(key) is not None
        }
    return layout
