"""What runs on the cluster: prediction behind a load balancer, streaming on Pub/Sub."""

from collections.abc import Sequence
from pathlib import Path

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
from services.contracts.settings import PredictionSettings, StreamingSettings


class ServicesStack(PlatformStack):
    """The services, each with its own identity that may do what the service does and nothing else."""

    def __init__(
        self,
        scope: App,
        environment: Environment,
        simulator_home: Path,
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
        super().__init__(scope, "services", environment=environment, simulator_home=simulator_home)
        configure_kubernetes(self, host=cluster.dns_name, simulated=environment.simulated)
        namespace = Namespace(self, "namespace", name=PLATFORM, environment=environment)
        DefaultDeny(self, "default-deny", namespace=namespace)
        # A simulated pod is a process of this machine: nobody else is to reach it, and no load balancer does.
        host = "127.0.0.1" if environment.simulated else "0.0.0.0"  # noqa: S104

        prediction_image = image(self, environment, service="prediction")
        prediction = Workload(
            self,
            "prediction",
            namespace=namespace,
            image=prediction_image,
            module="services.prediction",
            settings=PredictionSettings(
                model_bucket=models.name,
                host=host,
                port=environment.prediction.port,
                max_range=environment.prediction.max_range,
                drain_seconds=environment.prediction.drain_seconds,
                image=prediction_image,
            ),
            size=environment.prediction,
            drain_seconds=environment.prediction.drain_seconds,
        )
        models.grant_read(prediction.identity)
        # Nobody has to be told that a pod stops which asks for messages.
        streaming_drain = environment.streaming.drain_seconds if push else 0
        streaming = Workload(
            self,
            "streaming",
            namespace=namespace,
            image=image(self, environment, service="streaming"),
            module="services.streaming",
            settings=StreamingSettings(
                model_bucket=models.name,
                subscription=predict_range.path,
                reply_topic=sale_predictions.path,
                reply_topics=tuple(topic.path for topic in reply_topics),
                delivery=environment.streaming.delivery,
                push_audience=push.endpoint if push else None,
                push_account=push.account.email if push else None,
                dead_letter_topic=dead_letter.path,
                predictions_table=predictions.name,
                host=host,
                port=environment.streaming.port,
                max_range=environment.streaming.max_range,
                drain_seconds=streaming_drain,
            ),
            size=environment.streaming,
            drain_seconds=streaming_drain,
            # What a vanished pod has not acknowledged is delivered again.
            spot=environment.cluster.spot is not None,
            subscription=predict_range,
        )
        models.grant_read(streaming.identity)
        if push is None:
            predict_range.grant_subscribe(streaming.identity)
        predictions.grant_write(streaming.identity)
        for topic in (sale_predictions, *reply_topics, dead_letter):
            topic.grant_publish(streaming.identity)

        callers: list[str] = []
        if environment.gateway:
            gateway = Gateway(
                self,
                "gateway",
                namespace=namespace,
                settings=environment.gateway,
                region=environment.region,
            )
            gateway.route(prediction, {PUSH_PATH: streaming} if push else {})
            callers = [str(network.addresses.proxy_only), *HEALTH_CHECK_RANGES]
        AllowCallers(self, "prediction-callers", workload=prediction, ranges=callers)
        AllowCallers(self, "streaming-callers", workload=streaming, ranges=callers if push else [])
