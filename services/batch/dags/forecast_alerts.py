"""Tells people what a DAG has to say: by mail, to PagerDuty, or both.

`ALERT_CHANNELS` lists the channels (`mail`, `pagerduty`; none on a laptop, where the log has it all). Mail
goes through the Airflow connection `smtp_default` to `ALERT_EMAIL`; PagerDuty's routing key is the password
of the connection `pagerduty_default`. In the cloud both come from Secret Manager; there is no key here.
"""

import logging
import os
from typing import Any, Literal

import requests
from airflow.sdk import BaseHook, BaseNotifier

_OWNER = "sales-forecast"
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
        """Send it; every channel is tried before an ExceptionGroup tells which failed."""
        subject, body, key = self._text(context)
        _log.warning("%s\n%s", subject, body)
        faults: list[Exception] = []
        for channel in filter(None, os.environ["ALERT_CHANNELS"].split(",")):
            try:
                if channel == "mail":
                    _mail(subject, body)
                elif channel == "pagerduty":
                    if self.severity != "info":
                        _page(subject, body, self.severity, key)
                else:
                    raise ValueError(f"ALERT_CHANNELS: expected mail or pagerduty, found {channel}")
            except Exception as error:  # whatever is wrong with one channel, the next is tried
                faults.append(error)
        if faults:
            raise ExceptionGroup(f"not sent: {subject}", faults)

    def _text(self, context: Any) -> tuple[str, str, str]:
        """Subject, body, and the key under which PagerDuty counts repetitions as one."""
        dag_run = context["dag_run"]
        # A deadline's callback is given the run as the REST API has it, a task's as an object.
        if isinstance(dag_run, dict):
            dag_id, run_id = dag_run["dag_id"], dag_run["dag_run_id"]
        else:
            dag_id, run_id = dag_run.dag_id, dag_run.run_id
        task = context.get("task_instance")
        place = dag_id + (f".{task.task_id}" if task else "")
        section = f"{os.environ['RUNBOOK_URL']}#{self.event.lower().replace(' ', '-')}"
        lines = {
            "what": self.detail or context.get("exception"),
            "DAG": dag_id,
            "task": task and f"{task.task_id}, try {task.try_number}",
            "run": run_id,
            "log": task and task.log_url,
            "environment": os.environ["PLATFORM_ENVIRONMENT"],
            "owner": _OWNER,
            "runbook": None if self.severity == "info" else section,
        }
        body = "\n".join(f"{name}: {value}" for name, value in lines.items() if value)
        subject = f"[{os.environ['PLATFORM_ENVIRONMENT']}] {self.event}: {place}"
        return subject, body, f"{place}/{self.event}/{run_id}"


TASK_DEFAULTS = {"owner": _OWNER, "on_failure_callback": Alert("Task failed", "error")}
"""Arguments of every task: whose it is, and that people are told when it fails."""


def deadline_missed(context: Any, **_: Any) -> None:
    """The callback of a DAG's deadline, which Airflow calls for a run that has failed as well."""
    if context["dag_run"]["state"] in ("queued", "running"):
        Alert("Deadline missed", "error", "The run has not ended in time; it goes on.").notify(context)


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
