"""For `fork_server`: imports what Airflow's commands do, and readies their API, which takes longer still."""

import asyncio
import importlib
import sys
from pathlib import Path

sys.path.remove(str(Path.cwd()))  # the program `airflow` does not find this repository's packages

for command in ("dag_command", "backfill_command"):
    importlib.import_module(f"airflow.cli.commands.{command}")

httpx = importlib.import_module("httpx")
api = importlib.import_module("airflow.sdk.execution_time.supervisor").in_process_api_server().app


async def ask() -> None:
    """Ask for what is not there: the first request makes the routes of every version."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://api") as client:
        assert (await client.get("/nothing")).status_code == 404


asyncio.run(ask())
