"""What runs on the cluster."""

from typing import Any

import pytest

from infra import environment
from services.contracts.settings import PredictionSettings, StreamingSettings, from_environment
from tests.stacks.synthesized import Stack, Synthesis

ENVIRONMENTS = ["local", "dev", "staging", "prod"]
MODULES = {"prediction": "services.prediction", "streaming": "services.streaming"}


@pytest.fixture(params=ENVIRONMENTS)
def services(request: pytest.FixtureRequest, synthesis: Synthesis) -> Stack:
    return synthesis.stack(f"{request.param}-services")


@pytest.fixture
def prod(synthesis: Synthesis) -> Stack:
    return synthesis.stack("prod-services")


@pytest.fixture(params=sorted(MODULES))
def workload(request: pytest.FixtureRequest) -> str:
    return request.param


def spec_of(services: Stack, workload: str) -> dict[str, Any]:
    return services.one("kubernetes_deployment_v1", metadata={"name": workload})["spec"]


def container_of(services: Stack, workload: str) -> dict[str, Any]:
    (container,) = spec_of(services, workload)["template"]["spec"]["container"]
    return container


def variables_of(services: Stack, workload: str) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container_of(services, workload)["env"]}


def test_the_prediction_service_reads_its_settings_back(prod: Stack) -> None:
    settings = from_environment(PredictionSettings, variables_of(prod, "prediction"))
    assert settings == PredictionSettings(
        model_bucket="sales-forecast-prod-models",
        port=8080,
        max_range=60,
        drain_seconds=15,
        image=container_of(prod, "prediction")["image"],
    )


def test_the_streaming_service_reads_its_settings_back(prod: Stack) -> None:
    settings = from_environment(StreamingSettings, variables_of(prod, "streaming"))
    assert settings == StreamingSettings(
        model_bucket="sales-forecast-prod-models",
        subscription="projects/sales-forecast-prod/subscriptions/predict-range",
        reply_topic="projects/sales-forecast-prod/topics/sale-predictions",
        dead_letter_topic="projects/sales-forecast-prod/topics/sale-range-dead-letter",
        predictions_table="sales-forecast-prod.predictions.predictions",
        port=8081,
        max_range=60,
    )


def test_the_laptop_listens_on_loopback_on_two_ports(synthesis: Synthesis) -> None:
    local = synthesis.stack("local-services")
    variables = [variables_of(local, workload) for workload in MODULES]
    assert {each["HOST"] for each in variables} == {"127.0.0.1"}
    assert {each["PORT"] for each in variables} == {"8780", "8781"}
    assert all("EMULATOR" not in name for each in variables for name in each)


def test_image_by_digest(services: Stack, workload: str) -> None:
    here = environment.load(services.id.partition("-")[0])
    name, _, digest = container_of(services, workload)["image"].partition("@")
    assert name == f"europe-west1-docker.pkg.dev/{here.project_id}/sales-forecast/{workload}"
    if here.simulated:
        assert digest.startswith("sha256:")
        assert len(digest) == len("sha256:") + 64
    else:
        assert digest == f"${{var.{workload}_digest}}"
        variable = services.content["variable"][f"{workload}_digest"]
        assert "default" not in variable
        assert f"scripts/push_image.sh {workload} {here.name}" in variable["description"]
        assert f"scripts/push_image.sh {workload} {here.name}" in variable["validation"][0]["error_message"]


def test_command_and_probes(services: Stack, workload: str) -> None:
    container = container_of(services, workload)
    assert container["command"] == ["python", "-m", MODULES[workload]]
    (port,) = container["port"]
    assert variables_of(services, workload)["PORT"] == str(port["container_port"])
    for probe, path in (("liveness_probe", "/healthz"), ("readiness_probe", "/readyz")):
        assert container[probe]["http_get"] == {"path": path, "port": str(port["container_port"])}


def test_pods_may_do_nothing_they_need_not(services: Stack, workload: str) -> None:
    pod = spec_of(services, workload)["template"]["spec"]
    container = container_of(services, workload)
    assert container["security_context"] == {
        "allow_privilege_escalation": False,
        "capabilities": {"drop": ["ALL"]},
        "read_only_root_filesystem": True,
        "run_as_non_root": True,
    }
    assert pod["security_context"]["seccomp_profile"] == {"type": "RuntimeDefault"}
    assert int(pod["security_context"]["run_as_user"]) > 10_000
    assert pod["automount_service_account_token"] is False
    assert {each["name"] for each in pod["volume"]} == {each["name"] for each in container["volume_mount"]}
    services.one(
        "kubernetes_namespace_v1", metadata={"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    )


def test_pods_are_given_time_to_drain(prod: Stack) -> None:
    pod = spec_of(prod, "prediction")["template"]["spec"]
    assert (
        pod["termination_grace_period_seconds"]
        > float(variables_of(prod, "prediction")["DRAIN_SECONDS"]) + 10
    )


def test_resources(services: Stack, workload: str) -> None:
    resources = container_of(services, workload)["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    assert set(resources["limits"]) == {"memory"}
    assert resources["requests"]["cpu"]


def test_everything_that_selects_pods_finds_them(services: Stack, workload: str) -> None:
    spec = spec_of(services, workload)
    labels = spec["template"]["metadata"]["labels"]
    selectors = [
        spec["selector"]["match_labels"],
        services.one("kubernetes_pod_disruption_budget_v1", metadata={"name": workload})["spec"]["selector"][
            "match_labels"
        ],
        services.one("kubernetes_network_policy_v1", metadata={"name": f"{workload}-callers"})["spec"][
            "pod_selector"
        ]["match_labels"],
        *(
            each["match_labels"]
            for each in spec["template"]["spec"]["topology_spread_constraint"][0]["label_selector"]
        ),
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels.items()


def test_the_autoscaler_alone_says_how_many(services: Stack, workload: str) -> None:
    assert "replicas" not in spec_of(services, workload)
    size = getattr(environment.load(services.id.partition("-")[0]), workload)
    autoscaler = services.one(
        "kubernetes_horizontal_pod_autoscaler_v2",
        spec={
            "min_replicas": size.min_replicas,
            "max_replicas": size.max_replicas,
            "scale_target_ref": {"api_version": "apps/v1", "kind": "Deployment", "name": workload},
            "metric": [{"resource": {"name": "cpu", "target": {"average_utilization": 80}}}],
        },
    )
    assert autoscaler["metadata"]["name"] == workload


def test_requests_come_through_the_gateway(services: Stack) -> None:
    service = services.one("kubernetes_service_v1", metadata={"name": "prediction"})
    (port,) = service["spec"]["port"]
    container_port = container_of(services, "prediction")["port"][0]["container_port"]
    assert port["target_port"] == str(container_port)
    assert service["spec"]["selector"] == {"app.kubernetes.io/name": "prediction"}

    gateway, route = services.manifest("Gateway"), services.manifest("HTTPRoute")
    assert gateway["spec"]["gatewayClassName"] == "gke-l7-regional-external-managed"
    assert route["spec"]["parentRefs"] == [{"name": gateway["metadata"]["name"]}]
    assert route["spec"]["rules"] == [{"backendRefs": [{"name": "prediction", "port": port["port"]}]}]

    policy = services.manifest("HealthCheckPolicy")["spec"]
    assert policy["targetRef"]["name"] == "prediction"
    assert policy["default"]["config"]["httpHealthCheck"] == {
        "portSpecification": "USE_FIXED_PORT",
        "port": container_port,
        "requestPath": "/readyz",
    }


def test_all_traffic_is_denied_but_what_is_needed(prod: Stack) -> None:
    everything = prod.one("kubernetes_network_policy_v1", metadata={"name": "default-deny"})["spec"]
    assert everything["pod_selector"] == {}
    assert everything["policy_types"] == ["Ingress", "Egress"]
    assert "ingress" not in everything
    ports = [port["port"] for rule in everything["egress"] for port in rule["ports"]]
    assert ports == ["53", "53", "80", "443"]

    prediction = prod.one("kubernetes_network_policy_v1", metadata={"name": "prediction-callers"})["spec"]
    (rule,) = prediction["ingress"]
    assert rule["ports"] == [{"port": "8080", "protocol": "TCP"}]
    assert [each["ip_block"]["cidr"] for each in rule["from"] if "ip_block" in each] == [
        "10.18.32.0/23",
        "35.191.0.0/16",
        "130.211.0.0/22",
    ]
    streaming = prod.one("kubernetes_network_policy_v1", metadata={"name": "streaming-callers"})["spec"]
    assert not [each for rule in streaming["ingress"] for each in rule["from"] if "ip_block" in each]


def test_each_service_may_do_what_it_does_and_nothing_else(prod: Stack) -> None:
    granted: set[tuple[str, str, str]] = set()
    for kind, _, each in prod.resources:
        if "_iam_" in kind:
            others = {"member", "role", "depends_on"}
            resource = ".".join(each[key] for key in sorted(each.keys() - others))
            granted.add((each["member"].rpartition("/")[2], each["role"], resource))
    assert granted == {
        ("prediction", "roles/storage.objectViewer", "sales-forecast-prod-models"),
        ("streaming", "roles/storage.objectViewer", "sales-forecast-prod-models"),
        ("streaming", "roles/pubsub.subscriber", "predict-range"),
        ("streaming", "roles/pubsub.publisher", "sale-predictions"),
        ("streaming", "roles/pubsub.publisher", "sale-range-dead-letter"),
        ("streaming", "roles/bigquery.dataEditor", "predictions.predictions"),
    }
    for workload in MODULES:
        prod.one("kubernetes_service_account_v1", metadata={"name": workload, "namespace": "sales-forecast"})
        assert spec_of(prod, workload)["template"]["spec"]["service_account_name"] == workload


def test_the_cluster_is_reached_by_its_name_with_the_callers_own_identity(prod: Stack) -> None:
    (provider,) = prod.content["provider"]["kubernetes"]
    assert provider["host"].startswith("https://${data.terraform_remote_state.")
    assert provider["exec"] == [
        {"api_version": "client.authentication.k8s.io/v1beta1", "command": "gke-gcloud-auth-plugin"}
    ]
    assert not {"token", "client_key", "cluster_ca_certificate", "config_path"} & set(provider)


def test_everything_waits_for_its_namespace(services: Stack) -> None:
    """Directly or through another object, for Terraform makes independent ones at the same time."""
    namespace = services.address("kubernetes_namespace_v1", metadata={"name": "sales-forecast"})
    waits = {f"{kind}.{name}": set(each.get("depends_on", [])) for kind, name, each in services.resources}
    for kind, name, each in services.resources:
        if kind.startswith("kubernetes_") and kind != "kubernetes_namespace_v1":
            assert each.get("manifest", each)["metadata"]["namespace"] == "sales-forecast"
            reached, ahead = set[str](), [f"{kind}.{name}"]
            while ahead:
                ahead.extend(waits[address] - reached if (address := ahead.pop()) not in reached else ())
                reached.add(address)
            assert namespace in reached, name
