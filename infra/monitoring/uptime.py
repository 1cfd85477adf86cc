"""Checks from outside: Google calls the services from several continents."""

from collections.abc import Mapping

from infra.cdk import Construct, google
from infra.cdk.stack import place_of


class UptimeCheck(Construct):
    """Calls a path every minute and checks the certificate.

    Args:
        guarded: whether Identity-Aware Proxy answers strangers, with a redirect to its login or a refusal.
        labels: labels of the check, which gets none from the provider.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        hostname: str,
        path: str,
        guarded: bool,
        labels: Mapping[str, str],
    ):
        super().__init__(scope, id_)
        place = place_of(self)
        accepted = ("2XX", "3XX", "4XX") if guarded else ("2XX",)
        google.monitoring_uptime_check_config.MonitoringUptimeCheckConfig(
            self,
            "Default",
            display_name=f"{place.name}: {hostname}",
            user_labels=labels,
            period="60s",
            timeout="10s",
            monitored_resource={
                "type": "uptime_url",
                "labels": {"project_id": place.project_id, "host": hostname},
            },
            http_check={
                "path": path,
                "port": 443,
                "use_ssl": True,
                "validate_ssl": True,
                "accepted_response_status_codes": [
                    {"status_class": f"STATUS_CLASS_{each}"} for each in accepted
                ],
            },
        )
