"""Airflow on this machine, with the platform's DAGs: `make pipeline`, `make airflow`, `make backfill`.

Its database and logs are below the simulated cloud's folder. No process of it outlives the command.
"""

import argparse
import contextlib
import datetime
import json
import secrets
import signal
import sqlite3
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
from rich.console import Console
from rich.table import Column, Table

from infra.simulator import emulators, home
from scripts.command import CommandError, command, load_environment, running, started, use_environment
from scripts.deployment import step
from scripts.paths import ROOT, VENVS
from scripts.progress import Progress
from services.batch.warehouse import SalesTable
from services.contracts.names import DAILY_DAG
from services.contracts.settings import BatchSettings, DagSettings, to_environment

DAGS = ROOT / "services" / "batch" / "dags"
PROGRAM = VENVS / "airflow" / "bin" / "airflow"
# Of one process each: the API server with the pages, the scheduler, the reader of DAG files.
PROCESSES = (("api-server", "--workers", "1"), ("scheduler", "--skip-serve-logs"), ("dag-processor",))
# What every task needs is imported once, and not by each.
_PRELOADED = (
    "airflow.executors.local_executor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.dag_processing.dagbag",
    "airflow.providers.standard.decorators.branch_python",
    "airflow.providers.standard.decorators.short_circuit",
    "airflow.providers.standard.hooks.subprocess",
    "requests",
)
_PATIENCE_SECONDS = 600.0
# What a task's result has to say, besides rows.
_NOTES = {
    "check_day": "{day} is complete",
    "validate": "{series} series, {days} days, drift {drift}",
    "extract": "{first_date} to {last_date}",
    "train": "{version}",
    "backtest": "{origins} origins, {coverage:.0%} inside the interval",
    "compare": "{verdict}: {reason}",
    "publish": "{version}, in the place of {previous}",
    "keep": "{result}",
    "reject": "{result}",
    "check_scores": "{series} series, {sales:,.0f} units expected",
}


def settings(batch: BatchSettings) -> DagSettings:
    """The DAGs' settings on a laptop: steps are processes, nobody is told anything but by the log."""
    return DagSettings(
        **msgspec.structs.asdict(batch),
        platform_environment="local",
        runbook_url="docs/runbook.md",
        steps_run_on="processes",
        steps_python=str(VENVS / "batch" / "bin" / "python"),
        steps_folder=str(ROOT),
    )


class Airflow:
    """An Airflow of its own: SQLite, no examples, two tasks at a time, loopback alone.

    Its home is `folder`, made when absent. `variables` go to its tasks, those of `DagSettings` among them.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str]):
        self.folder = folder
        secret = secrets.token_hex()
        self.variables = {
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "2",
            # SQLite lets one write at a time; the others wait for their turn.
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder.absolute()}/airflow.db?timeout=60",
            "AIRFLOW__API__HOST": emulators.HOST,
            "AIRFLOW__API__SECRET_KEY": secret,
            "AIRFLOW__API_AUTH__JWT_SECRET": secret,
            # Loopback is the fence; whoever may start this may do everything.
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            # The server is slow to answer its first task on a busy machine.
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
            "AIRFLOW__SCHEDULER__MP_START_METHOD": "forkserver",
            "AIRFLOW__CORE__MP_FORKSERVER_PRELOAD": ",".join(_PRELOADED),
            # A worker may notice the end of its task no sooner than its next heartbeat, five seconds later by
            # default, and takes no other task meanwhile.
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            # Nor does the scheduler sleep for a second before it looks for the task that comes next.
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.25",
            # Runs begin when they are asked for, not by the clock: there are no sales of today.
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            **variables,
        }

    def run(self, *arguments: str, log: str | None = None) -> None:
        """Run a command of Airflow to its end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{log or arguments[0]}.log"
        path.unlink(missing_ok=True)
        with started(PROGRAM, *arguments, log=path, cwd=self.folder, variables=self.variables) as process:
            status = process.wait()
        if status != 0:
            tail = "\n    ".join(path.read_text(errors="replace").splitlines()[-15:])
            raise CommandError(f"`airflow {' '.join(arguments)}` failed:\n    {tail}\n  log: {path}")

    def prepare(self) -> None:
        """Make the database, or bring it up to date."""
        self.run("db", "migrate")
        self._query("PRAGMA journal_mode = WAL")  # readers, such as this program, keep nobody from writing

    def try_run(
        self, run_date: datetime.date, conf: Mapping[str, Any] | None = None, dag: str = DAILY_DAG
    ) -> str:
        """Run a DAG for a day, here and now, with no scheduler. Returns the run's id."""
        query = "SELECT run_id FROM dag_run WHERE dag_id = ? AND date(logical_date) = ? ORDER BY id DESC"
        day = run_date.isoformat()
        try:
            self.run("dags", "test", dag, day, "--conf", json.dumps(conf or {}), log=f"run-{day}")
        except CommandError:
            if not self._query(query, dag, day):
                raise  # otherwise the states of the tasks tell, and what to do
        return self._query(query, dag, day)[0][0]

    def tasks(self, run_id: str, dag: str = DAILY_DAG) -> dict[str, dict[str, Any]]:
        """State, tries, seconds and result of a run's tasks, in the order in which they began."""
        rows = self._query(
            "SELECT task_id, state, try_number, (julianday(end_date) - julianday(start_date)) * 86400, "
            "coalesce(value, 'null') FROM task_instance LEFT JOIN "
            "(SELECT dag_id, run_id, task_id, value FROM xcom WHERE key = 'return_value') "
            "USING (dag_id, run_id, task_id) "
            "WHERE dag_id = ? AND run_id = ? ORDER BY start_date IS NULL, start_date",
            dag,
            run_id,
        )
        return {
            task_id: {"state": state, "tries": tries, "seconds": seconds, "result": json.loads(result)}
            for task_id, state, tries, seconds, result in rows
        }

    def _query(self, query: str, *parameters: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.folder / "airflow.db")) as database:
            return database.execute(query, parameters).fetchall()

    @contextlib.contextmanager
    def running(self) -> Generator[str]:
        """Its processes, until the block ends. Yields the address of its pages."""
        home.keep_logs_small(self.folder)
        processes: list[psutil.Popen] = []
        # Found now, and not when this object is made: by then another program may have taken it.
        port = emulators.free_port()
        url = f"http://{emulators.HOST}:{port}"
        variables = self.variables | {
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": url,
        }
        with contextlib.ExitStack() as stack:
            for words in PROCESSES:
                log = self.folder / f"{words[0]}.log"
                process = running(PROGRAM, *words, log=log, cwd=self.folder, variables=variables)
                processes.append(stack.enter_context(process))
                if len(processes) == 1:  # tasks that a scheduler starts before it answers fail
                    self._wait_healthy(url, processes, ())
            self._wait_healthy(url, processes, ("scheduler", "dag_processor"))
            yield url

    def _wait_healthy(self, url: str, processes: Sequence[psutil.Popen], parts: Sequence[str]) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        health: Any = "no answer"
        while time.monotonic() < deadline and all(process.poll() is None for process in processes):
            with contextlib.suppress(httpx.HTTPError, json.JSONDecodeError):
                health = httpx.get(f"{url}/api/v2/monitor/health", timeout=5).json()
                if all(health[part]["status"] == "healthy" for part in parts):
                    return
            time.sleep(0.5)
        raise CommandError(f"Airflow is not healthy: {health}; its logs: {self.folder}/*.log")

    def plan(self, first: datetime.date, last: datetime.date, conf: Mapping[str, Any] | None = None) -> int:
        """Ask for a run of every day, again where there was one. Returns the id of this backfill.

        Not while it is `running`: SQLite does not let two processes write at once.
        """
        self.run("dags", "reserialize")
        if self._query("SELECT 1 FROM dag WHERE dag_id = ? AND is_paused", DAILY_DAG):
            raise CommandError(f"{DAILY_DAG} is paused; let it run on its page (make airflow)")
        options = ["--dag-id", DAILY_DAG, "--reprocess-behavior", "completed", "--max-active-runs", "1"]
        # A day's run is at some hour of it.
        options += ["--from-date", first.isoformat(), "--to-date", f"{last}T23:59:59"]
        self.run("backfill", "create", *options, "--dag-run-conf", json.dumps(conf or {}))
        [(backfill,)] = self._query("SELECT max(id) FROM backfill")
        return backfill

    def now(self) -> str:
        """The tasks that run."""
        running = self._query("SELECT run_id, task_id FROM task_instance WHERE state = 'running'")
        return ", ".join(f"{task_id} of {run_id}" for run_id, task_id in running)

    def finish(self, backfill: int, tell: Callable[[str], None]) -> list[str]:
        """Wait, while it is `running`, until a backfill has ended. Returns the ids of its runs, in order."""
        query = "SELECT count(*) FROM backfill WHERE id = ? AND completed_at IS NULL"
        while self._query(query, str(backfill)) != [(0,)]:
            tell(self.now())
            time.sleep(1)
        ids = "SELECT run_id FROM dag_run WHERE backfill_id = ? ORDER BY logical_date"
        return [run_id for (run_id,) in self._query(ids, str(backfill))]


def report(airflow: Airflow, run_id: str) -> Table:
    """A run's tasks: state, time, rows, and what else they say, or where their log is."""
    table = Table("task", "state", "seconds", "rows", Column("note", overflow="fold"), title=run_id)
    for name, task in airflow.tasks(run_id).items():
        result = task["result"]
        values = result if isinstance(result, dict) else {"result": result}
        note = "" if result is None else _NOTES.get(name, "").format_map(values)
        if task["state"] == "failed":
            logs = f"{airflow.folder}/logs/dag_id={DAILY_DAG}/run_id={run_id}/task_id={name}"
            note = f"try {task['tries']}; {logs}"
        seconds = f"{task['seconds']:.1f}" if task["seconds"] is not None else ""
        table.add_row(name, task["state"] or "", seconds, str(values.get("rows", "")), note)
    return table


def failed(airflow: Airflow, run_id: str) -> bool:
    """Whether a task of a run did not do what it should."""
    return any(task["state"] not in ("success", "skipped") for task in airflow.tasks(run_id).values())


def _add_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", required=True)
    pipeline = commands.add_parser("pipeline", help="run the DAG for one day")
    pipeline.add_argument("--date", type=datetime.date.fromisoformat, help="the day after the newest sales")
    pipeline.add_argument("--conf", type=json.loads, default={}, help="parameters of the run, in JSON")
    backfill = commands.add_parser("backfill", help="run the DAG for every day of a range")
    backfill.add_argument("first", type=datetime.date.fromisoformat)
    backfill.add_argument("last", type=datetime.date.fromisoformat)
    commands.add_parser("serve", help="Airflow's pages, until Ctrl-C")


@command("airflow", _add_commands)
def main(*, action: str, **options: Any) -> int:
    """Run a DAG, or show Airflow's pages; returns the exit status."""
    console = Console()
    batch = step.settings(use_environment(load_environment("local")))
    airflow = Airflow(home.folder("airflow"), to_environment(settings(batch)))
    progress = Progress(console)
    airflow.prepare()
    if action == "pipeline":
        day = options["date"] or SalesTable(batch.sales_table).newest() + datetime.timedelta(days=1)
        with futures.ThreadPoolExecutor() as pool, progress.of("pipeline") as tell:
            run = pool.submit(airflow.try_run, day, options["conf"])
            while futures.wait([run], 1).not_done:
                tell(airflow.now())
            runs = [run.result()]
    elif action == "backfill":
        first, last = options["first"], options["last"]
        backfill = airflow.plan(first, last)
        with airflow.running() as url:
            console.print(f"Airflow: {url}")
            with progress.of(f"backfill of {(last - first).days + 1} days") as tell:
                runs = airflow.finish(backfill, tell)
    else:
        with airflow.running() as url:
            console.print(f"Airflow: {url} (Ctrl-C ends it)")
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
        return 0
    for run_id in runs:
        console.print(report(airflow, run_id))
    return int(any(failed(airflow, run_id) for run_id in runs))
