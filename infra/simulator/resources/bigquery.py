"""Datasets, tables and views in the BigQuery emulator.

Access, encryption and labels are only recorded in Terraform's state.
"""

# ruff: noqa: D102 -- `Handler` says what each method does

import json
from collections.abc import Mapping
from typing import Any, Final

from infra.simulator.resources import Handler, ResourceError, Values, columns, emulated
from infra.simulator.resources.columns import Column
from infra.simulator.values import items

_BIGQUERY: Final = emulated.Service("bigquery")
_DATASET: Final[emulated.Fields] = {"description": (), "default_table_expiration_ms": ()}
_TABLE: Final[emulated.Fields] = {"description": ()}
_NOT_SIMULATED: Final = (
    "external_data_configuration",
    "materialized_view",
    "range_partitioning",
    "table_replication_info",
)


def _dataset_path(values: Values) -> str:
    return emulated.path("bigquery", "v2", "projects", values["project"], "datasets", values["dataset_id"])


def _table_path(values: Values) -> str:
    return _dataset_path(values) + emulated.path("tables", values["table_id"])


class Dataset(Handler):
    """`google_bigquery_dataset`."""

    def create(self, planned: Values) -> Values:
        path = _dataset_path(planned)
        _BIGQUERY.create(
            f"create dataset {planned['dataset_id']}",
            "POST",
            path.rpartition("/")[0],
            {"datasetReference": {"datasetId": planned["dataset_id"]}, "location": planned["location"]}
            | emulated.body(planned, _DATASET),
            resource=f"{path}?deleteContents=true",
        )
        return planned | {
            "id": f"projects/{planned['project']}/datasets/{planned['dataset_id']}",
            "self_link": f"https://bigquery.googleapis.com{path}",
        }

    def read(self, state: Values) -> Values | None:
        live = _BIGQUERY.read(f"read dataset {state['dataset_id']}", _dataset_path(state))
        if live is None:
            return None
        if expiration := live.get("defaultTableExpirationMs"):
            live |= {"defaultTableExpirationMs": int(expiration)}  # REST writes 64-bit integers as text
        return emulated.observe(state, live, _DATASET)

    def update(self, prior: Values, planned: Values) -> Values:
        _BIGQUERY.change(
            f"update dataset {planned['dataset_id']}",
            "PATCH",
            _dataset_path(planned),
            _patch(planned, _DATASET),
        )
        return planned

    def delete(self, state: Values) -> None:
        name, path = state["dataset_id"], _dataset_path(state)
        listing = _BIGQUERY.read(f"list dataset {name}", f"{path}/tables")
        tables: list[str] = [item["tableReference"]["tableId"] for item in (listing or {}).get("tables", [])]
        if tables and not state.get("delete_contents_on_destroy"):
            raise ResourceError(
                f"Cannot delete dataset {name}",
                f"it holds the tables {', '.join(tables)} and delete_contents_on_destroy is not set",
                "delete_contents_on_destroy",
            )
        _BIGQUERY.delete(f"delete dataset {name}", f"{path}?deleteContents=true")


class Table(Handler):
    """`google_bigquery_table`: plain tables, and views in standard SQL."""

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
        path = _table_path(planned)
        if view := emulated.block(planned, "view"):
            return self._create_view(planned, view) | self._identity(path, "VIEW")
        _BIGQUERY.create(
            f"create table {_name(planned)}",
            "POST",
            path.rpartition("/")[0],
            {"tableReference": {"tableId": planned["table_id"]}}
            | _layout(planned)
            | emulated.body(planned, _TABLE)
            | {"schema": {"fields": columns.declared(planned.get("schema"))}},
            resource=path,
        )
        return planned | self._identity(path, "TABLE")

    def read(self, state: Values) -> Values | None:
        """Its columns and description; also the query of a view, or the partitioning of a table."""
        live = _BIGQUERY.read(f"read table {_name(state)}", _table_path(state))
        if live is None:
            return None
        seen = emulated.observe(state, live, _TABLE)
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
            self._query(
                f"add column {column['name']} to {_name(planned)}",
                planned,
                f"ALTER TABLE `{_name(planned)}` ADD COLUMN `{column['name']}` {columns.sql_type(column)}",
            )
        # The emulator's catalog does not follow ALTER TABLE, and needs columns in the table's order.
        kept = [column for column in wanted if column["name"] in order]
        kept.sort(key=lambda column: order.index(column["name"]))
        _BIGQUERY.change(
            f"update table {_name(planned)}",
            "PATCH",
            _table_path(planned),
            _patch(planned, _TABLE) | _layout(planned) | {"schema": {"fields": kept + added}},
        )
        return planned

    def delete(self, state: Values) -> None:
        # The real provider's default is true.
        if state.get("deletion_protection") is not False:
            raise ResourceError(
                f"Cannot delete table {_name(state)}",
                "apply deletion_protection = false first",
                "deletion_protection",
            )
        if state.get("view"):
            # The emulator's REST interface deletes only tables.
            self._query(f"delete view {_name(state)}", state, f"DROP VIEW IF EXISTS `{_name(state)}`")
        else:
            _BIGQUERY.delete(f"delete table {_name(state)}", _table_path(state))

    def _identity(self, path: str, kind: str) -> Values:
        return {
            "id": path.removeprefix("/bigquery/v2/"),
            "self_link": f"https://bigquery.googleapis.com{path}",
            "type": kind,
        }

    def _create_view(self, planned: Values, view: Values) -> Values:
        if view.get("use_legacy_sql") is not False:
            raise ResourceError(
                "Not simulated",
                "the emulator has no legacy SQL, which is the default: set use_legacy_sql to false",
                "view",
            )
        action = f"create view {_name(planned)}"
        if _BIGQUERY.read(action, _table_path(planned)):
            raise ResourceError(
                f"Cannot {action}",
                "it exists. If it is left over from an interrupted command, drop it and apply again",
            )
        return self._define_view(planned, view)

    def _define_view(self, planned: Values, view: Values, prior: Values | None = None) -> Values:
        """Set the query of a view by SQL, and then its description; REST would create a table instead."""
        name = _name(planned)
        found = self._returned(planned, view)
        declared = columns.parse(planned["schema"])
        if declared and (prior is None or prior["schema"] != planned["schema"]):
            # In an update, BigQuery compares the columns with those of the query before.
            for query in (view, *items(prior and prior["view"])):
                if not columns.alike(declared, returned := self._returned(planned, query)):
                    of_query = ", ".join(f"{each['name']} {columns.sql_type(each)}" for each in returned)
                    raise ResourceError(
                        f"Cannot define view {name}",
                        f"the schema does not match {query['query']}, which returns {of_query}",
                        "schema",
                    )
        if not columns.alike(declared, found):
            # Columns that are not declared follow the query.
            declared = found
            planned = planned | {"schema": json.dumps(declared)}
        self._query(f"define view {name}", planned, f"CREATE OR REPLACE VIEW `{name}` AS {view['query']}")
        _BIGQUERY.change(
            f"describe view {name}",
            "PATCH",
            _table_path(planned),
            _patch(planned, _TABLE) | {"schema": {"fields": declared}},
        )
        return planned

    def _returned(self, values: Values, view: Values) -> list[Column]:
        """The columns that the query of a view returns."""
        sql = f"SELECT * FROM ({view['query']}) LIMIT 0"  # noqa: S608
        return self._query(f"define view {_name(values)}", values, sql)["schema"]["fields"]

    def _live_query(self, state: Values, live: Mapping[str, Any]) -> str | None:
        """The query of a view as the emulator spells it; None if a table has replaced the view."""
        if live["type"] != "VIEW":
            return None
        views = f"`{state['project']}.{state['dataset_id']}.INFORMATION_SCHEMA.VIEWS`"
        answer = self._query(
            f"read the query of {_name(state)}",
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
            f"read the columns of {_name(state)}",
            state,
            f"SELECT * FROM `{_name(state)}` LIMIT 0",  # noqa: S608 -- names the emulator accepted
        )
        found: list[Column] = answer["schema"]["fields"]
        return [
            known
            if (known := catalog.get(column["name"])) and columns.sql_type(known) == columns.sql_type(column)
            else column
            for column in found
        ]

    def _query(self, action: str, values: Values, sql: str) -> Any:
        project_path = emulated.path("bigquery", "v2", "projects", values["project"])
        answer = _BIGQUERY.change(
            action,
            "POST",
            f"{project_path}/queries",
            {"query": sql, "useLegacySql": False},
        )
        # The emulator answers failing SQL with status 200.
        if errors := answer.get("errors"):
            raise ResourceError(f"Cannot {action}", errors[0]["message"])
        return answer


def _name(values: Values) -> str:
    return f"{values['project']}.{values['dataset_id']}.{values['table_id']}"


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


HANDLERS: Final[Mapping[str, Handler]] = {
    "google_bigquery_dataset": Dataset(),
    "google_bigquery_table": Table(),
}
