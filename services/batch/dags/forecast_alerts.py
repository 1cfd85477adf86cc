"""Tells people what a DAG has to say: by mail, to PagerDuty, or both.

`ALERT_CHANNELS` lists the channels (`mail`, `pagerduty`; none on a laptop, where the log has it all). Mail
goes through the Airflow connection `smtp_default` to `ALERT_EMAIL`; PagerDuty's routing key is the password
of the connection `pagerduty_default`. In the cloud both come from Secret Manager; there is no key here.
"""

import logging
import os
from collections.abc import Sequence
from typing import Any, Literal

import requests
from airflow.sdk import BaseHook, BaseNotifier

OWNER = "sales-forecast"
_EVENTS = "https://events.pagerduty.com"
_TIMEOUT_SECONDS = 10
# Of a summary, at most: https://developer.pagerduty.com/docs/events-api-v2-overview
_LONGEST_SUMMARY = 1024

_log = logging.getLogger(__name__)

Severity = Literal["error", "warning", "info"]


class Alert(BaseNotifier):
    """One event of a run.

    Args:
        event: what happened; unless it is `info`, the runbook has a section of this name. With the run, what
            PagerDuty takes for the same incident.
        severity: PagerDuty's; mail alone for `info`.
        detail: more about it; a template.
    """

    template_fields = ("detail",)

    def __init__(self, event: str, severity: Severity, detail: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.event = event
        self.severity: Severity = severity
        self.detail = detail

    def notify(self, context: Any) -> None:
        """Send it; every channel is tried before a failure of one is raised."""
        send(self.event, self.severity, self.detail, context)


def deadline_missed(context: Any, **_: Any) -> None:
    """The callback of a DAG's deadline, which Airflow calls for a run that has failed as well."""
    if context["dag_run"]["state"] in ("queued", "running"):
        send("Deadline missed", "error", "The run has not ended in time; it goes on.", context)


def send(event: str, severity: Severity, detail: str, context: Any) -> None:
    """Send an event over every channel.

    Raises:
        ExceptionGroup: channels that failed; the others have it.
    """
    subject, body, key = _text(event, severity, detail, context)
    _log.warning("%s\n%s", subject, body)
    channels = [each for each in os.environ["ALERT_CHANNELS"].split(",") if each]
    faults: list[Exception] = []
    for channel in channels:
        try:
            if channel == "mail":
                _mail(subject, body)
            elif channel == "pagerduty":
                if severity != "info":
                    _page(subject, body, severity, key)
            else:
                raise ValueError(f"ALERT_CHANNELS: expected mail or pagerduty, found {channel}")
        except Exception as error:  # whatever is wrong with one channel, the next is tried
            faults.append(error)
    if faults:
        raise ExceptionGroup(f"not sent: {subject}", faults)


def _text(event: str, severity: Severity, detail: str, context: Any) -> tuple[str, str, str]:
    """Subject, body, and the key under which PagerDuty counts repetitions as one."""
    dag_run = context["dag_run"]
    # A deadline's callback is given the run as the REST API has it, a task's as an object.
    if isinstance(dag_run, dict):
        dag_id, run_id = dag_run["dag_id"], dag_run["dag_run_id"]
    else:
        dag_id, run_id = dag_run.dag_id, dag_run.run_id
    task = context.get("task_instance")
    place = dag_id + (f".{task.task_id}" if task else "")
    exception = context.get("exception")
    section = f"{os.environ['RUNBOOK_URL']}#{event.lower().replace(' ', '-')}"
    lines: Sequence[tuple[str, Any]] = (
        ("what", detail or exception),
        ("DAG", dag_id),
        ("task", task and f"{task.task_id}, try {task.try_number}"),
        ("run", run_id),
        ("log", task and task.log_url),
        ("environment", os.environ["PLATFORM_ENVIRONMENT"]),
        ("owner", OWNER),
        ("runbook", None if severity == "info" else section),
    )
    body = "\n".join(f"{name}: {value}" for name, value in lines if value)
    subject = f"[{os.environ['PLATFORM_ENVIRONMENT']}] {event}: {place}"
    return subject, body, f"{place}/{event}/{run_id}"


def _mail(subject: str, body: str) -> None:
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    text = body.replace("&", "&amp;").replace("<", "&lt;")
    with SmtpHook() as smtp:
        smtp.send_email_smtp(to=os.environ["ALERT_EMAIL"], subject=subject, html_content=f"<pre>{text}</pre>")


def _page(subject: str, body: str, severity: Severity, key: str) -> None:
    connection = BaseHook.get_connection("pagerduty_default")
    event = {
        "routing_key": connection.password,
        "event_action": "trigger",
        "dedup_key": key[:255],
        "payload": {
            "summary": subject[:_LONGEST_SUMMARY],
            "source": os.environ["PLATFORM_ENVIRONMENT"],
            "severity": severity,
            "custom_details": {"text": body},
        },
    }
    url = f"{connection.host or _EVENTS}/v2/enqueue"
    requests.post(url, json=event, timeout=_TIMEOUT_SECONDS).raise_for_status()
