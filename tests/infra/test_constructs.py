"""Constructs outside of this platform: in a stack that has a place and nothing else of it."""

import importlib
import pkgutil
from ipaddress import IPv4Network
from pathlib import Path

import infra.google
import infra.kubernetes
import infra.monitoring
from infra.cdk import App, Construct, TerraformResource, TerraformStack
from infra.cdk.stack import Place, configure_google, configure_kubernetes
from infra.environment.addresses import AddressPlan
from infra.environment.cluster import ClusterSettings
from infra.environment.orchestration import ComposerSettings
from infra.environment.services import Autoscaling, WorkloadSettings
from infra.google.artifact_registry import ImageRepository
from infra.google.binary_authorization import Attestor, ImagePolicy
from infra.google.bucket import Bucket
from infra.google.budget import Budget
from infra.google.ci_identity import CiIdentity
from infra.google.cluster import Cluster
from infra.google.composer import Composer
from infra.google.dataset import Dataset, DatasetTable, LatestView
from infra.google.dataset_copy import DatasetCopy, grant_copies
from infra.google.deny_policy import DenyPolicy
from infra.google.identity import Account, NewAccount, Principal, ServiceAgent
from infra.google.key import Key
from infra.google.network import GOOGLE_APIS, Network
from infra.google.project import ProjectSettings, cap_cpus, cap_queries, enable_apis
from infra.google.secret import Secret
from infra.google.subscription import Subscription
from infra.google.topic import MessageSchema, Topic
from infra.kubernetes.gateway import Gateway
from infra.kubernetes.job import Job
from infra.kubernetes.namespace import Namespace
from infra.kubernetes.network_policy import AllowCallers, DefaultDeny
from infra.kubernetes.pod_runner import PodRunner
from infra.kubernetes.workload import SpotFirst, Workload
from infra.monitoring.alerting import Alert, OnCall, query_condition
from infra.monitoring.dashboard import Chart, Dashboard, Section
from infra.monitoring.objective import Objective, availability
from infra.monitoring.uptime import UptimeCheck
from services.contracts.messages import SalePrediction
from services.contracts.settings import HttpSettings
from services.contracts.tables import Sale

PLACE = Place("shop", "shop", "shop-1", 123456789012, "europe-west3", protected=True, simulated=False)
LABELS = {"team": "shop"}


class Elsewhere(TerraformStack):
    """A stack of somebody else."""

    def __init__(self, app: App) -> None:
        super().__init__(app, "shop")
        self.place = PLACE
        configure_google(self, labels=LABELS)
        configure_kubernetes(self, host="gke-1.europe-west3.gke.goog")
        [api] = enable_apis(Construct(self, "apis"), ["pubsub"]).values()
        network = Network(self, "network", ranges=AddressPlan.carve(IPv4Network("10.0.0.0/16")), after=[api])
        key = Key(self, "key", existing=None, after=api)
        self._of_the_project(api, key)
        self._of_data()
        account = NewAccount(self, "nodes", description="Nodes", after=[api])
        Cluster(
            self,
            "cluster",
            settings=ClusterSettings.model_validate(
                {
                    "general": {"machine_type": "e2-standard-2", "min_nodes": 1, "max_nodes": 2},
                    "binary_authorization": True,
                    "backup": {},
                }
            ),
            zones=["europe-west3-a"],
            network=network,
            labels=LABELS,
            node_account=account,
            key=key,
            after=[],
        )
        Composer(
            self,
            "composer",
            settings=ComposerSettings(),
            network=network,
            account=Account(self, "airflow"),
            bucket=Bucket(self, "dags", purpose="dags", soft_delete_days=7),
            snapshots=Bucket(self, "snapshots", purpose="snapshots", soft_delete_days=7),
            variables={},
            after=[api],
        )
        self._of_pods(account)
        self._of_watching()

    def _of_the_project(self, api: TerraformResource, key: Key) -> None:
        ProjectSettings(self, "project", keep_audit_logs_days=30, after=[api])
        cap_queries(self, gigabytes=1, email="ada@shop.example", after=[api])
        cap_cpus(self, "N2_CPUS", most=8, email="ada@shop.example", after=[api])
        ci = CiIdentity(
            self,
            "ci",
            issuer="github",
            repository="shop/platform",
            repository_id=1,
            after=[api],
        )
        DenyPolicy(self, "deny", airflow=ci.plan, ci=ci.apply, after=[api])
        ring = "projects/shop-1/locations/europe-west3/keyRings/images"
        Attestor(self, "attestor", key=f"{ring}/cryptoKeys/signing", after=[api])
        ImagePolicy(self, "image-policy", attestor="projects/shop-1/attestors/shop")
        ImageRepository(self, "images", keep_versions=5, untagged_days=3, scan=True, key=key, may_use_key=[])
        Secret(self, "secret", name="mail").grant_read(ServiceAgent(self, "agent", service="gcp-sa-pubsub"))

    def _of_data(self) -> None:
        dataset = Dataset(self, "sales", dataset_id="sales", description="Sales")
        table = DatasetTable(
            self,
            "table",
            dataset=dataset,
            table_id="sales",
            row=Sale,
            partition_by="date",
            partition="MONTH",
        )
        LatestView(
            self,
            "latest",
            table=table,
            view_id="latest",
            description="The last of each",
            key=["store_nbr"],
            newest_by="date",
            days=30,
        )
        schema = MessageSchema(self, "schema", name="requests", message=SalePrediction)
        topic = Topic(self, "topic", name="requests", schema=schema)
        Subscription(self, "requests", name="requests", topic=topic, keep_days=7)

        copies = NewAccount(self, "copies", description="Copies", after=[])
        grant_copies(self, copies, after=[])
        DatasetCopy(
            self, "copy", source=dataset, region="europe-west4", account=copies, schedule="every day 08:00"
        )

    def _of_pods(self, starter: Account) -> None:
        namespace = Namespace(self, "namespace", name="shop", google_apis=GOOGLE_APIS)
        DefaultDeny(self, "default-deny", namespace=namespace)
        workload = Workload(
            self,
            "prediction",
            namespace=namespace,
            image="prediction@sha256:0",
            settings=HttpSettings(route="/", host="0.0.0.0", port=8080, drain_seconds=1),  # noqa: S104
            size=WorkloadSettings(
                port=8080,
                cpu="1",
                memory="512Mi",
                min_replicas=1,
                max_replicas=2,
                drain_seconds=1,
                autoscaling=Autoscaling(),
            ),
            spot=SpotFirst(self, "spot", labels=LABELS),
        )
        AllowCallers(self, "callers", workload=workload, ranges=["10.0.0.0/26"])
        Job(self, "train", namespace=namespace)
        PodRunner(self, "steps", namespace=namespace, starter=starter)
        Gateway(self, "gateway", namespace=namespace, hostname="forecast.shop.example", iap_members=[]).route(
            public={"/": workload}, internal={}
        )

    def _of_watching(self) -> None:
        on_call = OnCall(
            self,
            "on-call",
            email="ada@shop.example",
            pagerduty_key=None,
            runbook="https://shop.example/runbook",
            labels=LABELS,
        )
        Alert(
            self,
            "down",
            title="down",
            summary="Nobody answers.",
            on_call=on_call,
            severity="CRITICAL",
            condition=query_condition("up < 1"),
        )
        Objective(
            self,
            "answers",
            service="prediction",
            title="answers",
            goal=0.99,
            indicator=availability("requests_total", "", 'code="500"'),
            on_call=on_call,
        )
        Dashboard(self, "board", title="Shop", sections=[Section("all", [Chart("up", "1", ["up"])])])
        UptimeCheck(self, "uptime", hostname="shop.example", path="/healthz", guarded=False, labels=LABELS)
        Budget(self, "budget", billing_account="012345-6789AB-CDEF01", amount=10, on_call=on_call)


def test_every_construct_is_of_use_in_a_stack_of_somebody_else(tmp_path: Path) -> None:
    app = App(outdir=str(tmp_path))
    stack = Elsewhere(app)
    there = {type(each) for each in stack.node.find_all()}
    known = there | {Principal}
    for room in (infra.google, infra.kubernetes, infra.monitoring):
        for found in pkgutil.iter_modules(room.__path__):
            module = importlib.import_module(f"{room.__name__}.{found.name}")
            own = [
                each for each in vars(module).values() if getattr(each, "__module__", "") == module.__name__
            ]
            constructs = {each for each in own if isinstance(each, type) and issubclass(each, Construct)}
            assert constructs <= known, "add it above"
    app.synth()
    text = (tmp_path / "stacks" / "shop" / "cdk.tf.json").read_text()
    assert "europe-west1" not in text
    assert "sales-forecast" not in text
    assert '"shop: down"' in text
