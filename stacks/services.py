"""What runs on the cluster: prediction behind a load balancer, streaming on Pub/Sub, other HTTP services."""

from collections.abc import Mapping, Sequence
from typing import Final

from infra.cdk import App
from infra.cdk.stack import PlatformStack, configure_kubernetes
from infra.environment import PLATFORM
from infra.environment.project import ExistingCluster
from infra.google.cluster import Cluster
from infra.google.network import Network
from infra.kubernetes.gateway import HEALTH_CHECK_RANGES, Gateway
from infra.kubernetes.job import Job
from infra.kubernetes.namespace import Namespace
from infra.kubernetes.network_policy import AllowCallers, AllowGoogleApis, DefaultDeny
from infra.kubernetes.workload import SpotFirst, Workload
from services.contracts.names import PUSH_PATH
from services.contracts.settings import HttpSettings, PredictionSettings, StreamingSettings, TrainingSettings
from stacks.data import DataStack
from stacks.foundation import FoundationStack
from stacks.messaging import MessagingStack
from stacks.registry import image


class ServicesStack(PlatformStack):
    """The services. Each has its own identity with only the rights it needs."""

    def __init__(
        self,
        scope: App,
        foundation: FoundationStack,
        cluster: Cluster | ExistingCluster,
        data: DataStack,
        messaging: MessagingStack,
    ):
        environment = foundation.environment
        super().__init__(scope, "services", environment=environment)
        configure_kubernetes(self, host=cluster.dns_name)
        self._namespace = Namespace(self, "namespace", name=PLATFORM, google_apis=foundation.google_apis)
        DefaultDeny(self, "default-deny", namespace=self._namespace)
        # A simulated pod is a process of this machine, which only this machine may call.
        self._host: Final = "127.0.0.1" if environment.simulated else "0.0.0.0"  # noqa: S104
        # Cloud Logging links log lines to the traces of this project.
        self._trace_project: Final = None if environment.simulated else environment.project_id

        prediction = self._prediction(data)
        data.models.grant_read(prediction.identity)
        streaming = self._streaming(data, messaging)
        data.models.grant_read(streaming.identity)
        if messaging.push is None:
            messaging.predict_range.grant_subscribe(streaming.identity)
        data.predictions.grant_write(streaming.identity)
        for topic in (messaging.sale_predictions, *messaging.reply_topics, messaging.dead_letter):
            topic.grant_publish(streaming.identity)
        # What one of them needs is granted here, in environments that have it:
        # `if "NAME" in others: data.models.grant_read(others["NAME"].identity)`
        others = {name: self._http(name) for name in environment.services}

        if environment.trains_by_job:
            self._first_model(data)

        public = {"/": prediction}
        public |= {environment.services[name].route: workload for name, workload in others.items()}
        internal = {PUSH_PATH: streaming} if messaging.push else {}
        callers = self._gateway(public, internal, foundation.network)
        for each in (prediction, streaming, *others.values()):
            if each.identity.node.children:  # its grants
                AllowGoogleApis(
                    self, f"{each.name}-google-apis", namespace=self._namespace, selector=each.selector
                )
            # A service that pulls messages is called by nobody but the collector of its metrics.
            reached = each is not streaming or messaging.push
            AllowCallers(self, f"{each.name}-callers", workload=each, ranges=callers if reached else ())

    def _prediction(self, data: DataStack) -> Workload:
        size = self.environment.prediction
        image_ = image(self, "prediction")
        return Workload(
            self,
            "prediction",
            namespace=self._namespace,
            image=image_,
            settings=PredictionSettings(
                model_bucket=data.models.name,
                host=self._host,
                port=size.port,
                drain_seconds=size.drain_seconds,
                image=image_,
                trace_project=self._trace_project,
            ),
            size=size,
        )

    def _streaming(self, data: DataStack, messaging: MessagingStack) -> Workload:
        size = self.environment.streaming
        push = messaging.push
        return Workload(
            self,
            "streaming",
            namespace=self._namespace,
            image=image(self, "streaming"),
            settings=StreamingSettings(
                model_bucket=data.models.name,
                subscription=messaging.predict_range.path,
                reply_topic=messaging.sale_predictions.path,
                reply_topics=tuple(topic.path for topic in messaging.reply_topics),
                delivery=size.delivery,
                push_audience=push.endpoint if push else None,
                push_account=push.account.email if push else None,
                dead_letter_topic=messaging.dead_letter.path,
                predictions_table=data.predictions.name,
                host=self._host,
                port=size.port,
                # A pull worker needs no drain time: no load balancer sends it requests.
                drain_seconds=size.drain_seconds if push else 0,
                trace_project=self._trace_project,
            ),
            size=size,
            # Pub/Sub redelivers what a vanished pod has not acknowledged.
            spot=SpotFirst(self, "spot-first", labels=self._namespace.labels)
            if self.environment.cluster and self.environment.cluster.spot
            else None,
        )

    def _first_model(self, data: DataStack) -> None:
        """Train in the cluster what the services wait for, where no Airflow does."""
        job = Job(self, "first-model", namespace=self._namespace)
        job.run(
            "services.batch.first_model",
            image=image(self, "batch"),
            settings=TrainingSettings(
                model_bucket=data.models.name,
                sales_table=data.sales.name,
                group_series=self.environment.batch.group_series,
            ),
            cpu="1",
            memory="4Gi",
            after=[
                data.models.grant_write(job.identity),
                data.sales.grant_read(job.identity),
                # Queries are jobs, which belong to the project.
                job.identity.grant_project_role("roles/bigquery.jobUser"),
            ],
        )

    def _http(self, name: str) -> Workload:
        """An HTTP service without settings of its own."""
        size = self.environment.services[name]
        return Workload(
            self,
            name,
            namespace=self._namespace,
            image=image(self, name),
            settings=HttpSettings(
                route=size.route, host=self._host, port=size.port, drain_seconds=size.drain_seconds
            ),
            size=size,
        )

    def _gateway(
        self, public: Mapping[str, Workload], internal: Mapping[str, Workload], network: Network
    ) -> Sequence[str]:
        """Create the Gateway, if the environment has one. Returns the address ranges of what calls pods."""
        settings = self.environment.gateway
        if settings is None:
            return ()
        gateway = Gateway(
            self,
            "gateway",
            namespace=self._namespace,
            hostname=settings.hostname,
            iap_members=settings.iap_members,
        )
        gateway.route(public=public, internal=internal)
        return (str(network.proxy_only), *HEALTH_CHECK_RANGES)
