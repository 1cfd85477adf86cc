"""Ask the local BigQuery: `make sql QUERY='SELECT * FROM predictions.latest_predictions LIMIT 5'`."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from scripts.command import command, command_parser, use_environment
from services.bigquery import connect


@command("sql")
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the rows."""
    parser = command_parser(__doc__)
    parser.add_argument("query", metavar="QUERY", help="in GoogleSQL")
    query = parser.parse_args(arguments).query
    with connect(use_environment("local").project_id) as client:
        rows = client.query(query, job_retry=None, timeout=30).result(timeout=60, job_retry=None)
        table = Table(*(field.name for field in rows.schema))
        for row in rows:
            table.add_row(*("NULL" if value is None else str(value) for value in row.values()))
    Console().print(table)
    return 0
