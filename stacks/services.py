"""Workloads on the cluster: prediction behind a load balancer, streaming on Pub/Sub, other HTTP services."""

from collections.abc import Mapping, Sequence
from typing import Final

from infra.cdk import App
from infra.cdk.providers import configure_kubernetes
from infra.cdk.stack import PlatformStack
from infra.environment import PLATFORM, Environment
from infra.google.bucket import Bucket
from infra.google.cluster import Cluster
from infra.google.dataset import DatasetTable
from infra.google.images import image
from infra.google.network import Network
from infra.google.subscription import PushDelivery, Subscription
from infra.google.topic import Topic
from infra.kubernetes.gateway import HEALTH_CHECK_RANGES, Gateway
from infra.kubernetes.namespace import Namespace
from infra.kubernetes.network_policy import AllowCallers, DefaultDeny
from infra.kubernetes.workload import Workload
from services.contracts.names import PUSH_PATH
from services.contracts.settings import HttpSettings, PredictionSettings, StreamingSettings


class ServicesStack(PlatformStack):
    """The services. Each has its own identity with only the rights it needs."""

    def __init__(
        self,
        scope: App,
        environment: Environment,
        *,
        cluster: Cluster,
        network: Network,
        models: Bucket,
        predictions: DatasetTable,
        predict_range: Subscription,
        push: PushDelivery | None,
        sale_predictions: Topic,
        reply_topics: Sequence[Topic],
        dead_letter: Topic,
    ):
        super().__init__(scope, "services", environment=environment)
        configure_kubernetes(self, host=cluster.dns_name, simulated=environment.simulated)
        self._namespace: Final = Namespace(self, "namespace", name=PLATFORM, environment=environment)
        DefaultDeny(self, "default-deny", namespace=self._namespace)
        # A simulated pod is a process of this machine, which only this machine may call.
        self._host: Final = "127.0.0.1" if environment.simulated else "0.0.0.0"  # noqa: S104
        # Cloud Logging links log lines to the traces of this project.
        self._trace_project: Final = None if environment.simulated else environment.project_id

        prediction = self._prediction(models)
        models.grant_read(prediction.identity)
        streaming = self._streaming(
            models, predictions, predict_range, push, sale_predictions, reply_topics, dead_letter
        )
        models.grant_read(streaming.identity)
        if push is None:
            predict_range.grant_subscribe(streaming.identity)
        predictions.grant_write(streaming.identity)
        for topic in (sale_predictions, *reply_topics, dead_letter):
            topic.grant_publish(streaming.identity)
        # What one of them needs is granted here, in environments that have it:
        # `if "NAME" in others: models.grant_read(others["NAME"].identity)`
        others = {name: self._http(name) for name in environment.services}

        routes = {environment.services[name].route: workload for name, workload in others.items()}
        self._admit_callers(
            {"/": prediction, **routes}, streaming, {PUSH_PATH: streaming} if push else {}, network
        )

    def _prediction(self, models: Bucket) -> Workload:
        size = self.environment.prediction
        image_ = image(self, self.environment, service="prediction")
        return Workload(
            self,
            "prediction",
            namespace=self._namespace,
            image=image_,
            settings=PredictionSettings(
                model_bucket=models.name,
                host=self._host,
                port=size.port,
                max_range=size.max_range,
                drain_seconds=size.drain_seconds,
                image=image_,
                trace_project=self._trace_project,
            ),
            size=size,
            drain_seconds=size.drain_seconds,
        )

    def _streaming(
        self,
        models: Bucket,
        predictions: DatasetTable,
        requests: Subscription,
        push: PushDelivery | None,
        replies: Topic,
        reply_topics: Sequence[Topic],
        dead_letter: Topic,
    ) -> Workload:
        size = self.environment.streaming
        # A pull worker needs no drain time: no load balancer sends it requests.
        drain_seconds = size.drain_seconds if push else 0
        return Workload(
            self,
            "streaming",
            namespace=self._namespace,
            image=image(self, self.environment, service="streaming"),
            settings=StreamingSettings(
                model_bucket=models.name,
                subscription=requests.path,
                reply_topic=replies.path,
                reply_topics=tuple(topic.path for topic in reply_topics),
                delivery=size.delivery,
                push_audience=push.endpoint if push else None,
                push_account=push.account.email if push else None,
                dead_letter_topic=dead_letter.path,
                predictions_table=predictions.name,
                host=self._host,
                port=size.port,
                max_range=size.max_range,
                drain_seconds=drain_seconds,
                trace_project=self._trace_project,
            ),
            size=size,
            drain_seconds=drain_seconds,
            # Pub/Sub redelivers what a vanished pod has not acknowledged.
            spot=self.environment.cluster.spot is not None,
            subscription=requests,
        )

    def _http(self, name: str) -> Workload:
        """An HTTP service without settings of its own."""
        size = self.environment.services[name]
        return Workload(
            self,
            name,
            namespace=self._namespace,
            image=image(self, self.environment, service=name),
            settings=HttpSettings(
                route=size.route, host=self._host, port=size.port, drain_seconds=size.drain_seconds
            ),
            size=size,
            drain_seconds=size.drain_seconds,
        )

    def _admit_callers(
        self,
        public: Mapping[str, Workload],
        streaming: Workload,
        internal: Mapping[str, Workload],
        network: Network,
    ) -> None:
        """Create the Gateway, if the environment has one, and the network policies for callers."""
        callers: list[str] = []
        if settings := self.environment.gateway:
            gateway = Gateway(
                self,
                "gateway",
                namespace=self._namespace,
                settings=settings,
                region=self.environment.region,
            )
            gateway.route(public=public, internal=internal)
            callers = [str(network.addresses.proxy_only), *HEALTH_CHECK_RANGES]
        for workload in public.values():
            AllowCallers(self, f"{workload.name}-callers", workload=workload, ranges=callers)
        AllowCallers(self, "streaming-callers", workload=streaming, ranges=callers if internal else [])
