"""The transient pipeline: train and predict in one go, nothing saved but the predictions.

For a look at what another kind of model or newer sales would give, without a trace in the model registry. It
runs when somebody asks for it.
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Param, chain
from forecast_alerts import TASK_DEFAULTS
from forecast_steps import MODEL, RUN_DATE, step

with DAG(
    "sales_forecast_transient",
    description="Train and predict in one go, nothing saved but the predictions",
    doc_md=__doc__,
    schedule=None,
    start_date=datetime(2010, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={**TASK_DEFAULTS, "retries": 1, "retry_delay": timedelta(minutes=2)},
    params={  # pyright: ignore[reportArgumentType] -- a dictionary is as good
        "horizon": Param(28, type="integer", minimum=1, maximum=60, description="days to forecast"),
        "model": MODEL,
        "dry_run": Param(False, type="boolean", description="keep no predictions"),
    },
    tags=["sales", "forecast"],
) as dag:
    check_day = step("check_day", f"--run-date={RUN_DATE}", timeout=timedelta(minutes=10))
    transient = step(
        "transient",
        f"--run-date={RUN_DATE}",
        "--model={{ params.model }}",
        "--horizon={{ params.horizon }}",
        "--dry-run={{ params.dry_run | lower }}",
        timeout=timedelta(minutes=90),
        cpu="2",
        memory="4Gi",
    )
    chain(check_day, transient)
