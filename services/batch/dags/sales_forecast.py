"""The daily pipeline: check, train, publish what is better, score the days to come.

Each run stands for a day, and knows the sales of the days before it. Running a day again replaces that day's
rows of scores and nothing else; a model is published only in place of one whose sales end no later.
"""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import (
    DAG,
    DeadlineAlert,  # pyright: ignore[reportAttributeAccessIssue] -- missing in Airflow's stub
    DeadlineReference,  # pyright: ignore[reportAttributeAccessIssue]
    Param,
    SyncCallback,  # pyright: ignore[reportAttributeAccessIssue]
    chain,
    task,
)
from forecast_alerts import TASK_DEFAULTS, Alert, deadline_missed
from forecast_steps import MODEL, RUN_DATE, definition, job, run_on_google, step, train

_MINUTES = timedelta(minutes=1)
_SNAPSHOT = "--snapshot={{ ti.xcom_pull('extract')['snapshot'] }}"
_VERSION = "{{ ti.xcom_pull('compare')['score_with'] }}"

with DAG(
    "sales_forecast",
    description="Check, train, publish what is better, score the days to come",
    doc_md=__doc__,
    # After the day's sales have come in, at four in the morning.
    schedule="0 5 * * *",
    start_date=datetime(2010, 1, 1, tzinfo=UTC),  # backfills reach no further
    catchup=False,
    max_active_runs=1,  # runs share the pointer
    # `airflow dags test`, which `make pipeline` runs on a laptop, counts it from the logical date.
    dagrun_timeout=timedelta(hours=6) if run_on_google() else None,
    deadline=DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(hours=3),
        # Airflow drops a deadline that stays the same while the rest of its DAG changes
        # (https://github.com/apache/airflow/issues/68732), so this one changes as well.
        callback=SyncCallback(deadline_missed, kwargs={"definition": definition()}),
    ),
    default_args={
        **TASK_DEFAULTS,
        "retries": 2,
        "retry_delay": 2 * _MINUTES,
        "retry_exponential_backoff": True,
    },
    params={  # pyright: ignore[reportArgumentType] -- a dictionary is as good
        "horizon": Param(28, type="integer", minimum=1, maximum=60, description="days to score"),
        "model": MODEL,
        "margin": Param(0.02, type="number", minimum=0, maximum=1, description="see services.batch.compare"),
        "dry_run": Param(False, type="boolean", description="publish nothing, and keep no scores"),
    },
    tags=["sales", "forecast"],
) as dag:
    check_day = step("check_day", f"--run-date={RUN_DATE}", timeout=10 * _MINUTES)
    extract = step("extract", f"--run-date={RUN_DATE}", timeout=10 * _MINUTES, memory="2Gi")
    validate = step("validate", _SNAPSHOT, timeout=10 * _MINUTES, memory="2Gi")
    trained = train(_SNAPSHOT, "--model={{ params.model }}", timeout=90 * _MINUTES, cpu="2", memory="4Gi")
    backtest = step(
        "report_backtest",
        "--version={{ ti.xcom_pull('train')['version'] }}",
        _SNAPSHOT,
        timeout=10 * _MINUTES,
        memory="2Gi",
        task_id="backtest",
    )
    compare = step(
        "compare",
        "--version={{ ti.xcom_pull('train')['version'] }}",
        "--margin={{ params.margin }}",
        "--dry-run={{ params.dry_run | lower }}",
        timeout=5 * _MINUTES,
        retries=4,
    )

    @task.branch(execution_timeout=_MINUTES)
    def decide(params: Any = None, ti: Any = None) -> str:
        """Which way to go on: `publish`, `reject` (its error is too high) or `keep`."""
        verdict = ti.xcom_pull("compare")["verdict"]
        return "keep" if verdict == "publish" and params["dry_run"] else verdict

    publish = step(
        "publish_model",
        "--version={{ ti.xcom_pull('compare')['version'] }}",
        "--generation={{ ti.xcom_pull('compare')['generation'] }}",
        timeout=5 * _MINUTES,
        task_id="publish",
    )

    @task(execution_timeout=_MINUTES)
    def keep(params: Any = None, ti: Any = None) -> str:
        """Say why the published model stays."""
        reason = ti.xcom_pull("compare")["reason"]
        return f"dry run; {reason}" if params["dry_run"] else reason

    @task(
        execution_timeout=_MINUTES,
        on_success_callback=Alert(
            "Model rejected",
            "warning",
            "{{ ti.xcom_pull('compare')['version'] }} stays out: {{ ti.xcom_pull('compare')['reason'] }}",
        ),
    )
    def reject(ti: Any = None) -> str:
        """Say why the published model stays, to people, too."""
        return ti.xcom_pull("compare")["reason"]

    scored = job(
        "score",
        "--query=SELECT DISTINCT store_nbr, family "  # noqa: S608 -- a table is no parameter
        f"FROM `{os.environ['SALES_TABLE']}` "
        f"WHERE date < DATE '{RUN_DATE}'",
        f"--run_date={RUN_DATE}",
        "--horizon={{ params.horizon }}",
        f"--model_version={_VERSION}",
        f"--model_bucket={os.environ['MODEL_BUCKET']}",
        f"--model_project={os.environ['SALES_TABLE'].split('.')[0]}",
        f"--output=gs://{os.environ['STAGING_BUCKET']}/runs/{RUN_DATE}/scores-{{{{ ti.try_number }}}}",
        f"--table={{{{ '' if params.dry_run else '{os.environ['SCORES_TABLE']}' }}}}",
        f"--staging_dataset={{{{ '' if params.dry_run else '{os.environ['STAGING_DATASET']}' }}}}",
        timeout=60 * _MINUTES,
        trigger_rule="none_failed_min_one_success",
    )

    @task.short_circuit(execution_timeout=_MINUTES)
    def kept(params: Any = None) -> bool:
        """Whether there are scores to check."""
        return not params["dry_run"]

    check_scores = step(
        "check_scores",
        f"--run-date={RUN_DATE}",
        "--horizon={{ params.horizon }}",
        f"--version={_VERSION}",
        timeout=10 * _MINUTES,
    )

    @task(
        execution_timeout=_MINUTES,
        on_success_callback=Alert(
            "Run complete",
            "info",
            f"{RUN_DATE} is scored with {_VERSION}; {{{{ ti.xcom_pull('compare')['reason'] }}}}",
        ),
    )
    def notify() -> None:
        """Say that the day is done."""

    ways = [publish, keep(), reject()]
    chain(check_day, extract, validate, *trained, backtest, compare, decide(), ways)
    chain(ways, scored, kept(), check_scores, notify())
