"""Datasets, tables and views in the BigQuery emulator.

Access, encryption and labels are only recorded in Terraform's state.
"""

# ruff: noqa: D102 -- `Handler` says what each method does

import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

from infra.simulator.resources import ResourceError, Values, emulated

_NOT_SIMULATED: Final = (
    "external_data_configuration",
    "materialized_view",
    "range_partitioning",
    "table_replication_info",
)
# Names of types in SQL where a schema may have another one:
# https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types
_SQL_TYPES: Final = {
    "INTEGER": "INT64",
    "FLOAT": "FLOAT64",
    "BOOLEAN": "BOOL",
    "DECIMAL": "NUMERIC",
    "BIGDECIMAL": "BIGNUMERIC",
}

Column = Mapping[str, Any]
"""A column in BigQuery's JSON: `name`, `type`, `mode` and `description`."""


class _Emulated(emulated.Emulated):
    emulator, root = "bigquery", "/bigquery/v2/"

    def patch(self, values: Values) -> dict[str, Any]:
        """All fields: null removes a value."""
        return {emulated.camel(name): values.get(name) for name in self.fields}


class Dataset(_Emulated):
    """`google_bigquery_dataset`."""

    kind, delete_query = "dataset", "?deleteContents=true"
    fields: ClassVar[emulated.Fields] = {"description": (), "default_table_expiration_ms": ()}

    def create(self, planned: Values) -> Values:
        body = {"datasetReference": {"datasetId": planned["dataset_id"]}, "location": planned["location"]}
        self.make(planned, body | emulated.body(planned, self.fields))
        return planned

    def update(self, prior: Values, planned: Values) -> Values:
        self.call(f"update dataset {planned['dataset_id']}", "PATCH", self.path(planned), self.patch(planned))
        return planned

    def delete(self, state: Values) -> None:
        name = state["dataset_id"]
        listing = self.call(f"list dataset {name}", "GET", f"{self.path(state)}/tables", missing_ok=True)
        tables: list[str] = [item["tableReference"]["tableId"] for item in (listing or {}).get("tables", [])]
        if tables and not state.get("delete_contents_on_destroy"):
            detail = f"it holds the tables {', '.join(tables)} and delete_contents_on_destroy is not set"
            raise ResourceError(f"Cannot delete dataset {name}", detail, "delete_contents_on_destroy")
        super().delete(state)


class Table(_Emulated):
    """`google_bigquery_table`: plain tables, and views in standard SQL."""

    kind = "table"
    fields: ClassVar[emulated.Fields] = {"description": ()}

    def name(self, values: Values) -> str:
        return f"{values['project']}.{values['dataset_id']}.{values['table_id']}"

    def replaces(self, prior: Values, planned: Values) -> list[str]:
        """Its kind, and its columns unless they are only added or relaxed."""
        if bool(prior["view"]) != bool(planned["view"]):
            return ["view"]
        before, after = prior["schema"], planned["schema"]
        known = isinstance(before, str) and isinstance(after, str)
        return ["schema"] if known and not planned["view"] and not _extends(before, after) else []

    def create(self, planned: Values) -> Values:
        emulated.refuse(planned, _NOT_SIMULATED)
        if view := emulated.block(planned, "view"):
            return self._create_view(planned, view) | {"type": "VIEW"}
        body = {"tableReference": {"tableId": planned["table_id"]}} | emulated.body(planned, self.fields)
        body |= _layout(planned) | {"schema": {"fields": _declared(planned)}}
        self.make(planned, body)
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
        if _normal(found) != _normal(_columns(state.get("schema"))):
            seen["schema"] = json.dumps(found)
        if view:
            return seen
        seen["clustering"] = live.get("clustering", {}).get("fields") or None
        seen["time_partitioning"] = []
        if partition := live.get("timePartitioning"):
            known = emulated.block(state, "time_partitioning") or {}
            seen["time_partitioning"] = [known | {"type": partition["type"], "field": partition.get("field")}]
        return seen

    def update(self, prior: Values, planned: Values) -> Values:
        """Add columns, make columns nullable, change description, clustering, expiration or query."""
        if view := emulated.block(planned, "view"):
            return self._define_view(planned, view, prior["schema"])
        name = self.name(planned)
        order = [column["name"] for column in _columns(prior.get("schema"))]
        wanted = _declared(planned)
        added = [column for column in wanted if column["name"] not in order]
        for column in added:
            sql = f"ALTER TABLE `{name}` ADD COLUMN `{column['name']}` {_sql_type(column)}"
            self._query(f"add column {column['name']} to {name}", planned, sql)
        # The emulator's catalog does not follow ALTER TABLE, and needs columns in the table's order.
        kept = [column for column in wanted if column["name"] in order]
        kept.sort(key=lambda column: order.index(column["name"]))
        body = self.patch(planned) | _layout(planned) | {"schema": {"fields": kept + added}}
        self.call(f"update table {name}", "PATCH", self.path(planned), body)
        return planned

    def delete(self, state: Values) -> None:
        if state.get("view"):
            # The emulator's REST interface deletes only tables.
            self._query(f"delete view {self.name(state)}", state, f"DROP VIEW IF EXISTS `{self.name(state)}`")
        else:
            super().delete(state)

    def _create_view(self, planned: Values, view: Values) -> Values:
        if view.get("use_legacy_sql") is not False:
            detail = "the emulator has no legacy SQL, which is the default: set use_legacy_sql to false"
            raise ResourceError("Not simulated", detail, "view")
        if self.live(planned):
            detail = "it exists. If it is left over from an interrupted command, drop it and apply again"
            raise ResourceError(f"Cannot create view {self.name(planned)}", detail)
        return self._define_view(planned, view, "[]")

    def _define_view(self, planned: Values, view: Values, schema: str) -> Values:
        """Set the query of a view by SQL, and then its description; REST would create a table instead."""
        name = self.name(planned)
        if planned["schema"] != schema:
            raise ResourceError(
                "Not simulated",
                f"BigQuery compares the schema of {name} with the query before, and refuses a column that is "
                "new in both: leave it out, and the columns follow the query",
                "schema",
            )
        columns = self._columns_of(f"define view {name}", planned, f"({view['query']})")
        self._query(f"define view {name}", planned, f"CREATE OR REPLACE VIEW `{name}` AS {view['query']}")
        description = self.patch(planned) | {"schema": {"fields": columns}}
        self.call(f"describe view {name}", "PATCH", self.path(planned), description)
        return planned | {"schema": json.dumps(columns)}

    def _live_query(self, state: Values, live: Mapping[str, Any]) -> str | None:
        """The query of a view as the emulator spells it; None if a table has replaced the view."""
        if live["type"] != "VIEW":
            return None
        views = f"`{state['project']}.{state['dataset_id']}.INFORMATION_SCHEMA.VIEWS`"
        sql = f"SELECT view_definition FROM {views} WHERE table_name = '{state['table_id']}'"  # noqa: S608
        answer = self._query(f"read the query of {self.name(state)}", state, sql)
        return answer["rows"][0]["f"][0]["v"]

    def _live_columns(self, state: Values, live: Mapping[str, Any]) -> list[Column]:
        """The columns that a query returns, with the modes and descriptions of the emulator's catalog.

        The catalog alone is not enough: it does not follow SQL such as ALTER TABLE.
        """
        catalog = {field["name"]: field for field in live.get("schema", {}).get("fields", [])}
        if not catalog:
            return []
        name = self.name(state)
        return [
            known
            if (known := catalog.get(column["name"])) and _sql_type(known) == _sql_type(column)
            else column
            for column in self._columns_of(f"read the columns of {name}", state, f"`{name}`")
        ]

    def _columns_of(self, action: str, values: Values, source: str) -> list[Column]:
        answer = self._query(action, values, f"SELECT * FROM {source} LIMIT 0")  # noqa: S608 -- user's own
        return answer["schema"]["fields"]

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


def _layout(values: Values) -> dict[str, Any]:
    layout: dict[str, Any] = {"clustering": {"fields": values.get("clustering") or []}}
    partitioning: emulated.Fields = {"time_partitioning": ("type", "field", "expiration_ms")}
    return layout | emulated.body(values, partitioning)


def _columns(schema: str | None) -> list[Column]:
    try:
        return json.loads(schema or "[]")
    except ValueError as error:
        raise ResourceError("The schema is not JSON", str(error), "schema") from error


def _declared(planned: Values) -> list[Column]:
    """The columns of a table to be created or changed; no contract has records or repeated ones."""
    columns = _columns(planned.get("schema"))
    for column in columns:
        if "fields" in column or _mode(column) == "REPEATED":
            detail = f"column {column['name']}: records and repeated columns"
            raise ResourceError("Not simulated", detail, "schema")
    return columns


def _extends(before: str, after: str) -> bool:
    """Whether BigQuery can change columns in place: it adds nullable ones and relaxes REQUIRED."""
    # https://cloud.google.com/bigquery/docs/managing-table-schemas
    known, wanted = ({column["name"]: column for column in _columns(each)} for each in (before, after))
    if known.keys() - wanted.keys():
        return False
    for name, column in wanted.items():
        old = known.get(name)
        if _mode(column) == "REQUIRED" and (old is None or _mode(old) != "REQUIRED"):
            return False
        if old is not None and _sql_type(old) != _sql_type(column):
            return False
    return True


def _normal(columns: Iterable[Column]) -> list[tuple[str, str, str, str]]:
    """Columns in one order and spelling."""
    return sorted(
        (column["name"], _sql_type(column), _mode(column), column.get("description") or "")
        for column in columns
    )


def _sql_type(column: Column) -> str:
    name: str = column["type"].upper()
    return _SQL_TYPES.get(name, name)


def _mode(column: Column) -> str:
    return (column.get("mode") or "NULLABLE").upper()
