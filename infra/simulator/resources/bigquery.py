"""Datasets and tables in the BigQuery emulator.

Access, encryption, expiration and integer-range partitioning are Terraform's state only.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from infra.simulator.resources import Handler, ResourceError, Values, changed, emulated

Field = Mapping[str, Any]
"""A column in BigQuery's JSON: `name`, `type`, `mode`, `description`, and `fields` of a record."""

_DATASET: Final[emulated.Fields] = {
    "friendly_name": (),
    "description": (),
    "labels": (),
    "default_table_expiration_ms": (),
    "default_partition_expiration_ms": (),
}
_TABLE: Final[emulated.Fields] = {"friendly_name": (), "description": (), "labels": ()}
_NOT_SIMULATED: Final = ("materialized_view", "external_data_configuration", "table_replication_info")

# A type's name in schemas, and in SQL (https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types).
_SQL_NAMES: Final = {
    "INTEGER": "INT64",
    "FLOAT": "FLOAT64",
    "BOOLEAN": "BOOL",
    "DECIMAL": "NUMERIC",
    "BIGDECIMAL": "BIGNUMERIC",
    "RECORD": "STRUCT",
}


def _dataset_path(values: Values) -> str:
    return emulated.path("bigquery", "v2", "projects", values["project"], "datasets", values["dataset_id"])


def _table_path(values: Values) -> str:
    return _dataset_path(values) + emulated.path("tables", values["table_id"])


class Dataset:
    """`google_bigquery_dataset`."""

    def replaces(self, prior: Values, planned: Values) -> list[str]:
        """Its identity and place."""
        return changed(prior, planned, "dataset_id", "project", "location")

    def create(self, planned: Values) -> Values:
        """Create the dataset."""
        path = _dataset_path(planned)
        emulated.create(
            f"create dataset {planned['dataset_id']}",
            emulated.endpoints().bigquery,
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
        """Its description, labels and default expirations."""
        live = emulated.read(
            f"read dataset {state['dataset_id']}", emulated.endpoints().bigquery, _dataset_path(state)
        )
        return _observe(state, live, _DATASET) if live else None

    def update(self, prior: Values, planned: Values) -> Values:
        """Change its description, labels and default expirations."""
        emulated.change(
            f"update dataset {planned['dataset_id']}",
            emulated.endpoints().bigquery,
            "PATCH",
            _dataset_path(planned),
            _patch(planned, _DATASET),
        )
        return planned

    def delete(self, state: Values) -> None:
        """Delete the dataset.

        Raises:
            ResourceError: it holds tables, and not `delete_contents_on_destroy`.
        """
        name, path, address = state["dataset_id"], _dataset_path(state), emulated.endpoints().bigquery
        listing = emulated.read(f"list dataset {name}", address, f"{path}/tables")
        tables: list[str] = [item["tableReference"]["tableId"] for item in (listing or {}).get("tables", [])]
        if tables and not state.get("delete_contents_on_destroy"):
            raise ResourceError(
                f"Cannot delete dataset {name}",
                f"it holds the tables {', '.join(tables)} and delete_contents_on_destroy is not set",
                "delete_contents_on_destroy",
            )
        emulated.delete(f"delete dataset {name}", address, f"{path}?deleteContents=true")


class Table:
    """`google_bigquery_table`: plain tables and views in standard SQL, no materialized or external ones."""

    def replaces(self, prior: Values, planned: Values) -> list[str]:
        """Its identity and kind, its partitioning, and its columns unless they are only added or relaxed."""
        names = changed(prior, planned, "table_id", "dataset_id", "project", "range_partitioning")
        if bool(prior.get("view")) != bool(planned.get("view")):
            return [*names, "view"]
        if planned.get("view"):
            return names  # a view has no rows to lose: its columns are those of its query
        if _partition(prior) != _partition(planned):
            names.append("time_partitioning")
        if isinstance(planned["schema"], str) and isinstance(prior["schema"], str):
            before, after = _columns(prior["schema"]), _columns(planned["schema"])
            if not _extends(before, after):
                names.append("schema")
        return names

    def create(self, planned: Values) -> Values:
        """Create the table or view."""
        if refused := [name for name in _NOT_SIMULATED if planned.get(name)]:
            raise ResourceError(
                "Not simulated", f"{refused[0]}: on a laptop, only plain tables and views exist", refused[0]
            )
        path = _table_path(planned)
        if view := emulated.block(planned, "view"):
            return self._create_view(planned, view) | self._identity(path, "VIEW")
        emulated.create(
            f"create table {_name(planned)}",
            emulated.endpoints().bigquery,
            "POST",
            path.rpartition("/")[0],
            {"tableReference": {"tableId": planned["table_id"]}}
            | _layout(planned)
            | emulated.body(planned, _TABLE)
            | {"schema": {"fields": _columns(planned.get("schema"))}},
            resource=path,
        )
        return planned | self._identity(path, "TABLE")

    def read(self, state: Values) -> Values | None:
        """Its columns, partitioning, clustering, description and labels; of a view the query instead."""
        address = emulated.endpoints().bigquery
        live = emulated.read(f"read table {_name(state)}", address, _table_path(state))
        if live is None:
            return None
        seen = _observe(state, live, _TABLE)
        if view := emulated.block(state, "view"):
            query = self._live_query(state, live)
            if query is None or _canonical(query) != _canonical(view["query"]):
                seen["view"] = [view | {"query": query}] if query else []
            columns: list[Field] = live["schema"]["fields"]
            if not _same(columns, _columns(state["schema"])):
                seen["schema"] = json.dumps(columns)
            return seen
        columns = self._live_columns(state, live)
        if not _same(columns, _columns(state.get("schema"))):
            seen["schema"] = json.dumps(columns)
        seen["clustering"] = live.get("clustering", {}).get("fields") or None
        if partition := live.get("timePartitioning"):
            known = emulated.block(state, "time_partitioning") or {}
            seen["time_partitioning"] = [known | {"type": partition["type"], "field": partition.get("field")}]
        else:
            seen["time_partitioning"] = []
        return seen

    def update(self, prior: Values, planned: Values) -> Values:
        """Add columns, make columns nullable, change description, labels, clustering, expiration, query."""
        if view := emulated.block(planned, "view"):
            return self._define_view(planned, view, prior)
        address = emulated.endpoints().bigquery
        existing = {column["name"] for column in _columns(prior.get("schema"))}
        columns = _columns(planned.get("schema"))
        added = [column for column in columns if column["name"] not in existing]
        for column in added:
            self._query(
                f"add column {column['name']} to {_name(planned)}",
                planned,
                f"ALTER TABLE `{_name(planned)}` ADD COLUMN `{column['name']}` {_sql_type(column)}",
            )
        # The emulator's catalog does not follow ALTER TABLE, and wants columns in the table's order.
        kept = [column for column in columns if column["name"] in existing]
        order = [column["name"] for column in _columns(prior.get("schema"))]
        kept.sort(key=lambda column: order.index(column["name"]))
        emulated.change(
            f"update table {_name(planned)}",
            address,
            "PATCH",
            _table_path(planned),
            _patch(planned, _TABLE) | _layout(planned) | {"schema": {"fields": kept + added}},
        )
        return planned

    def delete(self, state: Values) -> None:
        """Delete the view, or the table and its rows.

        Raises:
            ResourceError: it is protected.
        """
        # The real provider's default is true.
        if state.get("deletion_protection") is not False:
            raise ResourceError(
                f"Cannot delete table {_name(state)}",
                "deletion_protection is not false: apply it as false first",
                "deletion_protection",
            )
        if state.get("view"):
            # The emulator's REST interface deletes tables only.
            self._query(f"delete view {_name(state)}", state, f"DROP VIEW IF EXISTS `{_name(state)}`")
        else:
            emulated.delete(f"delete table {_name(state)}", emulated.endpoints().bigquery, _table_path(state))

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
                "the emulator knows no legacy SQL, which is the default: set use_legacy_sql to false",
                "view",
            )
        action = f"create view {_name(planned)}"
        if emulated.read(action, emulated.endpoints().bigquery, _table_path(planned)):
            raise ResourceError(
                f"Cannot {action}",
                "it exists. If it is left over from an interrupted command, drop it and apply again",
            )
        return self._define_view(planned, view)

    def _define_view(self, planned: Values, view: Values, prior: Values | None = None) -> Values:
        """Give a view its query and then its texts; a view that the emulator's REST creates is a table."""
        name = _name(planned)
        answer = self._query(f"define view {name}", planned, f"SELECT * FROM ({view['query']}) LIMIT 0")  # noqa: S608
        found: list[Field] = answer["schema"]["fields"]
        columns = _columns(planned["schema"])
        if not _alike(columns, found):
            if columns and (prior is None or prior["schema"] != planned["schema"]):
                returned = ", ".join(f"{column['name']} {_type(column)}" for column in found)
                raise ResourceError(
                    f"Cannot define view {name}",
                    f"the schema does not match the query, which returns {returned}",
                    "schema",
                )
            # Not declared, so they follow the query.
            columns = found
            planned = planned | {"schema": json.dumps(columns)}
        self._query(f"define view {name}", planned, f"CREATE OR REPLACE VIEW `{name}` AS {view['query']}")
        emulated.change(
            f"describe view {name}",
            emulated.endpoints().bigquery,
            "PATCH",
            _table_path(planned),
            _patch(planned, _TABLE) | {"schema": {"fields": columns}},
        )
        return planned

    def _live_query(self, state: Values, live: Mapping[str, Any]) -> str | None:
        """The query of a view as the emulator writes it; None if a table took the view's place."""
        if live["type"] != "VIEW":
            return None
        views = f"`{state['project']}.{state['dataset_id']}.INFORMATION_SCHEMA.VIEWS`"
        answer = self._query(
            f"read the query of {_name(state)}",
            state,
            f"SELECT view_definition FROM {views} WHERE table_name = '{state['table_id']}'",  # noqa: S608
        )
        return answer["rows"][0]["f"][0]["v"]

    def _live_columns(self, state: Values, live: Mapping[str, Any]) -> list[Field]:
        """The table's own columns; its catalog entry, which SQL does not change, knows modes and texts."""
        catalog = {field["name"]: field for field in live.get("schema", {}).get("fields", [])}
        if not catalog:
            return []
        answer = self._query(
            f"read the columns of {_name(state)}",
            state,
            f"SELECT * FROM `{_name(state)}` LIMIT 0",  # noqa: S608 -- names the emulator accepted
        )
        found: list[Field] = answer["schema"]["fields"]
        return [
            catalog[field["name"]] if _fits(catalog.get(field["name"]), field) else field for field in found
        ]

    def _query(self, action: str, values: Values, sql: str) -> Any:
        project_path = emulated.path("bigquery", "v2", "projects", values["project"])
        answer = emulated.change(
            action,
            emulated.endpoints().bigquery,
            "POST",
            f"{project_path}/queries",
            {"query": sql, "useLegacySql": False},
        )
        # The emulator answers 200 to SQL that fails.
        if errors := answer.get("errors"):
            raise ResourceError(f"Cannot {action}", errors[0]["message"])
        return answer


def _name(values: Values) -> str:
    return f"{values['project']}.{values['dataset_id']}.{values['table_id']}"


def _canonical(query: str) -> str:
    """A query in the emulator's spelling, which knows neither comments nor line breaks."""
    import sqlglot  # bqemulator's own parser; most stacks have no view

    return sqlglot.parse_one(query, read="bigquery").sql(dialect="bigquery")


def _patch(values: Values, fields: emulated.Fields) -> dict[str, Any]:
    """All fields, so that a removed one is removed."""
    return {emulated.camel(name): values.get(name) for name in fields} | {
        "labels": values.get("labels") or {}
    }


def _observe(state: Values, live: Mapping[str, Any], fields: emulated.Fields) -> Values:
    # REST writes 64-bit integers as text.
    numbers = {key: int(value) for key, value in live.items() if key.endswith("ExpirationMs")}
    return emulated.observe(state, {**live, **numbers}, fields)


def _layout(values: Values) -> dict[str, Any]:
    layout: dict[str, Any] = {"clustering": {"fields": values.get("clustering") or []}}
    if partition := emulated.block(values, "time_partitioning"):
        layout["timePartitioning"] = {
            emulated.camel(key): partition[key]
            for key in ("type", "field", "expiration_ms")
            if partition.get(key) is not None
        }
    return layout


def _partition(values: Values) -> tuple[Any, Any] | None:
    partition = emulated.block(values, "time_partitioning")
    return (partition.get("type"), partition.get("field")) if partition else None


def _columns(schema: str | None) -> list[Field]:
    """The columns of a table's `schema`, which is JSON."""
    if not schema:
        return []
    try:
        return json.loads(schema)
    except ValueError as error:
        raise ResourceError("The schema is not JSON", str(error), "schema") from error


def _type(column: Field) -> str:
    name: str = column["type"].upper()
    return _SQL_NAMES.get(name, name)


def _mode(column: Field) -> str:
    return (column.get("mode") or "NULLABLE").upper()


def _fits(known: Field | None, found: Field) -> bool:
    """Whether a catalog entry describes a column that was found."""
    return (
        known is not None
        and _type(known) == _type(found)
        and (_mode(known) == "REPEATED") == (_mode(found) == "REPEATED")
        and [field["name"] for field in known.get("fields", [])]
        == [field["name"] for field in found.get("fields", [])]
    )


def _shape(column: Field) -> tuple[Any, ...]:
    """What makes two columns equal, however they are written."""
    fields = sorted((_shape(field) for field in column.get("fields") or ()), key=repr)
    return column["name"], _type(column), _mode(column), column.get("description") or "", tuple(fields)


def _same(first: Iterable[Field], second: Iterable[Field]) -> bool:
    return sorted(map(_shape, first), key=repr) == sorted(map(_shape, second), key=repr)


def _alike(first: list[Field], second: list[Field]) -> bool:
    """Whether two lists have columns of the same names and types, in this order."""
    return [(column["name"], _type(column)) for column in first] == [
        (column["name"], _type(column)) for column in second
    ]


def _extends(before: list[Field], after: list[Field]) -> bool:
    """Whether BigQuery can change columns in place: it adds nullable ones and drops REQUIRED.

    https://cloud.google.com/bigquery/docs/managing-table-schemas
    """
    known = {column["name"]: column for column in before}
    if known.keys() - {column["name"] for column in after}:
        return False
    for column in after:
        old = known.get(column["name"])
        if old is None:
            if _mode(column) == "REQUIRED":
                return False
        elif (
            _type(old) != _type(column)
            or (_mode(old) != _mode(column) and (_mode(old), _mode(column)) != ("REQUIRED", "NULLABLE"))
            or not _same(_plain(old.get("fields")), _plain(column.get("fields")))
        ):
            return False
    return True


def _plain(fields: Iterable[Field] | None) -> list[Field]:
    """Fields of a record without their texts, which can always change."""
    return [{**field, "description": "", "fields": _plain(field.get("fields"))} for field in fields or ()]


def _sql_type(column: Field) -> str:
    name = _type(column)
    if name == "STRUCT":
        inner = ", ".join(f"`{field['name']}` {_sql_type(field)}" for field in column["fields"])
        name = f"STRUCT<{inner}>"
    return f"ARRAY<{name}>" if _mode(column) == "REPEATED" else name


HANDLERS: Final[Mapping[str, Handler]] = {
    "google_bigquery_dataset": Dataset(),
    "google_bigquery_table": Table(),
}
