"""Checks from outside: Google calls the services from several continents."""

from infra.cdk import Construct, google
from infra.cdk.stack import PlatformStack

check = google.monitoring_uptime_check_config


class UptimeCheck(Construct):
    """Calls a path every minute and checks the certificate.

    Identity-Aware Proxy answers strangers with a redirect to its login or a refusal, which is an answer, too.
    """

    def __init__(self, scope: PlatformStack, id_: str, *, hostname: str, path: str):
        super().__init__(scope, id_)
        environment = scope.environment
        guarded = bool(environment.gateway and environment.gateway.iap_members)
        check.MonitoringUptimeCheckConfig(
            self,
            "Default",
            display_name=f"{environment.name}: {hostname}",
            user_labels=scope.labels,
            period="60s",
            timeout="10s",
            monitored_resource=check.MonitoringUptimeCheckConfigMonitoredResource(
                type="uptime_url", labels={"project_id": environment.project_id, "host": hostname}
            ),
            http_check=check.MonitoringUptimeCheckConfigHttpCheck(
                path=path,
                port=443,
                use_ssl=True,
                validate_ssl=True,
                accepted_response_status_codes=[
                    check.MonitoringUptimeCheckConfigHttpCheckAcceptedResponseStatusCodes(status_class=each)
                    for each in (
                        ["STATUS_CLASS_2XX", "STATUS_CLASS_3XX", "STATUS_CLASS_4XX"]
                        if guarded
                        else ["STATUS_CLASS_2XX"]
                    )
                ],
            ),
        )
