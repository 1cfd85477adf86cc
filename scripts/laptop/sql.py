"""Ask the local BigQuery: `make sql QUERY='SELECT * FROM predictions.latest_predictions LIMIT 5'`."""

from rich.console import Console
from rich.table import Table

from scripts.command import argument, command, load_environment, use_environment
from services.bigquery import connect


@command("sql", argument("query", metavar="QUERY", help="in GoogleSQL"))
def main(query: str) -> int:
    """Print the rows."""
    with connect(use_environment(load_environment("local")).project_id) as client:
        rows = client.query(query, job_retry=None, timeout=30).result(timeout=60, job_retry=None)
        table = Table(*(field.name for field in rows.schema))
        for row in rows:
            table.add_row(*("NULL" if value is None else str(value) for value in row.values()))
    Console().print(table)
    return 0
