"""What runs on the cluster."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra import environment
from services.contracts.settings import PredictionSettings, StreamingSettings, from_environment
from tests.stacks.objects import KINDS, check_core, check_custom, manifests
from tests.stacks.synthesized import Stack, Synthesis

ENVIRONMENTS = environment.names()
MODULES = {"prediction": "services.prediction", "streaming": "services.streaming"}

CERTIFICATE = "sales-forecast-gateway-4f8c2083"
"""With a hash of its host name."""


@pytest.fixture
def pushed(variants: Synthesis) -> Stack:
    """Pub/Sub sends requests through the Gateway, which is public."""
    return variants.stack("pushed-services")


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
        trace_project="sales-forecast-prod",
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
        drain_seconds=0,  # no load balancer sends it requests
        trace_project="sales-forecast-prod",
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
        assert variable["default"] == ""
        assert f"scripts/push_image.sh {workload} {here.name}" in variable["description"]
        assert f"scripts/push_image.sh {workload} {here.name}" in variable["validation"][0]["error_message"]


def test_without_an_image_the_plan_names_the_command(synthesis: Synthesis, tmp_path: Path) -> None:
    variables = synthesis.stack("dev-services").content["variable"]
    (tmp_path / "main.tf.json").write_text(json.dumps({"variable": variables}))
    plan = ["terraform", f"-chdir={tmp_path}", "plan", "-input=false", "-no-color"]
    refused = subprocess.run(plan, check=False, capture_output=True, text=True)
    assert refused.returncode == 1
    for workload in MODULES:
        remedy = f"dev has no image of {workload} yet: run scripts/push_image.sh {workload} dev."
        assert remedy in " ".join(refused.stderr.replace("│", "").split())


def test_command_and_probes(services: Stack, workload: str) -> None:
    container = container_of(services, workload)
    assert container["command"] == ["python", "-m", MODULES[workload]]
    (port,) = container["port"]
    assert variables_of(services, workload)["PORT"] == str(port["container_port"])
    probes = {
        "startup_probe": ("/healthz", 60),
        "liveness_probe": ("/healthz", None),
        "readiness_probe": ("/readyz", None),
    }
    for probe, (path, failures) in probes.items():
        assert container[probe]["http_get"] == {"path": path, "port": port["name"]}
        assert container[probe].get("failure_threshold") == failures


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
    levels = {f"pod-security.kubernetes.io/{what}": "restricted" for what in ("enforce", "audit", "warn")}
    services.one("kubernetes_namespace_v1", metadata={"labels": levels})


def test_pods_are_given_time_to_drain(prod: Stack, pushed: Stack) -> None:
    """A service drains by itself after SIGTERM, and no program of the image is needed for it."""
    for stack, workload in ((prod, "prediction"), (pushed, "prediction"), (pushed, "streaming")):
        pod = spec_of(stack, workload)["template"]["spec"]
        assert "lifecycle" not in container_of(stack, workload)
        drain = environment.load("prod").prediction.drain_seconds
        assert drain > 2 * 5  # checks that fail before a load balancer believes it
        assert pod["termination_grace_period_seconds"] >= drain + 20
        assert variables_of(stack, workload)["DRAIN_SECONDS"] == str(drain)


def test_a_pull_worker_needs_no_drain_time(prod: Stack) -> None:
    assert "lifecycle" not in container_of(prod, "streaming")
    assert spec_of(prod, "streaming")["template"]["spec"]["termination_grace_period_seconds"] == 25


def test_the_laptop_does_not_wait_for_load_balancers(synthesis: Synthesis) -> None:
    local = synthesis.stack("local-services")
    assert "lifecycle" not in container_of(local, "prediction")
    assert variables_of(local, "prediction")["DRAIN_SECONDS"] == "0"


def test_a_rollout_takes_nothing_away(services: Stack, workload: str) -> None:
    assert spec_of(services, workload)["strategy"] == {
        "type": "RollingUpdate",
        "rolling_update": {"max_surge": "25%", "max_unavailable": "0"},
    }


def test_pods_spread_over_zones_and_nodes(services: Stack, workload: str) -> None:
    spread = spec_of(services, workload)["template"]["spec"]["topology_spread_constraint"]
    assert [each["topology_key"] for each in spread] == [
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    ]
    assert {each["when_unsatisfiable"] for each in spread} == {"ScheduleAnyway"}


def test_streaming_gets_spot_nodes_first_and_nobody_else_takes_them(
    prod: Stack, synthesis: Synthesis
) -> None:
    pod = spec_of(prod, "streaming")["template"]["spec"]
    key = "cloud.google.com/compute-class"
    assert pod["node_selector"] == {key: "spot-first"}
    assert pod["toleration"] == [
        {"key": key, "operator": "Equal", "value": "spot-first", "effect": "NoSchedule"}
    ]
    order = custom(prod, "ComputeClass", "spot-first")
    assert order["priorities"] == [{"nodepools": ["spot"]}, {"nodepools": ["spot-fallback"]}]
    assert order["activeMigration"] == {"optimizeRulePriority": True}
    pools = synthesis.stack("prod-cluster").all("google_container_node_pool").values()
    assert {"spot", "spot-fallback"} <= {each["name"] for each in pools}
    (deployment,) = (
        each
        for each in prod.all("kubernetes_deployment_v1").values()
        if each["metadata"]["name"] == "streaming"
    )
    assert prod.address("kubernetes_manifest", manifest={"kind": "ComputeClass"}) in deployment["depends_on"]
    without_such_nodes = spec_of(synthesis.stack("local-services"), "streaming")["template"]["spec"]
    for other in (spec_of(prod, "prediction")["template"]["spec"], without_such_nodes):
        assert not {"toleration", "affinity", "node_selector"} & set(other)


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
        custom(services, "PodDisruptionBudget", workload)["selector"]["matchLabels"],
        services.one("kubernetes_network_policy_v1", metadata={"name": f"{workload}-callers"})["spec"][
            "pod_selector"
        ]["match_labels"],
        *(
            selector["match_labels"]
            for constraint in spec["template"]["spec"]["topology_spread_constraint"]
            for selector in constraint["label_selector"]
        ),
        custom(services, "PodMonitoring", workload)["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels.items()


def autoscaler_of(services: Stack, workload: str) -> dict[str, Any]:
    return services.one("kubernetes_horizontal_pod_autoscaler_v2", metadata={"name": workload})["spec"]


def test_the_autoscaler_alone_says_how_many(services: Stack, workload: str) -> None:
    assert "replicas" not in spec_of(services, workload)
    size = getattr(environment.load(services.id.partition("-")[0]), workload)
    autoscaler = autoscaler_of(services, workload)
    assert autoscaler["min_replicas"] == size.min_replicas
    assert autoscaler["max_replicas"] == size.max_replicas >= size.min_replicas
    assert autoscaler["scale_target_ref"] == {
        "api_version": "apps/v1",
        "kind": "Deployment",
        "name": workload,
    }
    assert len(autoscaler["metric"]) == 1


def test_pods_come_quickly_and_go_slowly(services: Stack, workload: str) -> None:
    ((up,), (down,)) = (
        autoscaler_of(services, workload)["behavior"][f"scale_{way}"] for way in ("up", "down")
    )
    assert "stabilization_window_seconds" not in up
    assert max(each["value"] for each in up["policy"] if each["type"] == "Percent") == 100
    assert down["stabilization_window_seconds"] == 300
    assert [(each["type"], each["value"]) for each in down["policy"]] == [("Percent", 50)]


def test_the_number_of_pods_follows_the_cpu(prod: Stack) -> None:
    assert autoscaler_of(prod, "streaming")["metric"] == [
        {
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "average_utilization": 80}},
        }
    ]


@pytest.mark.parametrize(
    ("stack", "workload", "rate"),
    [("prod", "prediction", 500), ("pushed", "streaming", 50)],
)
def test_the_number_of_pods_follows_the_traffic(
    request: pytest.FixtureRequest, stack: str, workload: str, rate: int
) -> None:
    services: Stack = request.getfixturevalue(stack)
    (metric,) = autoscaler_of(services, workload)["metric"]
    assert metric == {
        "type": "Object",
        "object": {
            "described_object": {"api_version": "v1", "kind": "Service", "name": workload},
            "metric": {"name": "autoscaling.googleapis.com|gclb-capacity-utilization"},
            "target": {"type": "AverageValue", "average_value": "70"},
        },
    }
    services.one("kubernetes_service_v1", metadata={"name": workload})
    policy = custom(services, "GCPBackendPolicy", workload)
    assert policy["default"]["maxRatePerEndpoint"] == rate


def test_resource_requests_are_recommended(prod: Stack) -> None:
    for workload in MODULES:
        recommender = custom(prod, "VerticalPodAutoscaler", workload)
        assert recommender["targetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload}
        assert recommender["updatePolicy"] == {"updateMode": "Off"}


def custom(services: Stack, kind: str, name: str) -> dict[str, Any]:
    """The spec of the object of a kind that has no Terraform resource of its own."""
    return services.one("kubernetes_manifest", manifest={"kind": kind, "metadata": {"name": name}})[
        "manifest"
    ]["spec"]


def test_metrics_are_scraped(services: Stack, workload: str) -> None:
    monitoring = custom(services, "PodMonitoring", workload)
    assert monitoring["selector"] == {"matchLabels": {"app.kubernetes.io/name": workload}}
    assert monitoring["endpoints"] == [{"port": "http", "path": "/metrics", "interval": "30s"}]


def test_requests_come_through_the_gateway(prod: Stack) -> None:
    service = prod.one("kubernetes_service_v1", metadata={"name": "prediction"})
    (port,) = service["spec"]["port"]
    (container_port,) = container_of(prod, "prediction")["port"]
    assert port["target_port"] == container_port["name"]
    assert service["spec"]["selector"] == {"app.kubernetes.io/name": "prediction"}

    gateway = custom(prod, "Gateway", "gateway")
    assert gateway["gatewayClassName"] == "gke-l7-regional-external-managed"
    assert gateway["addresses"] == [{"type": "NamedAddress", "value": "sales-forecast-gateway"}]
    https, http = gateway["listeners"]
    assert (https["protocol"], https["port"]) == ("HTTPS", 443)
    assert (http["protocol"], http["port"]) == ("HTTP", 80)
    assert https["tls"]["options"] == {"networking.gke.io/cert-manager-certs": CERTIFICATE}
    assert https["hostname"] == http["hostname"] == "forecast.example.com"

    route = custom(prod, "HTTPRoute", "services")
    assert route["parentRefs"] == [{"name": "gateway", "sectionName": https["name"]}]
    assert route["hostnames"] == [https["hostname"]]
    assert route["rules"] == [
        {
            "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
            "backendRefs": [{"name": "prediction", "port": port["port"]}],
        }
    ]


def test_plain_http_is_redirected(prod: Stack) -> None:
    redirect = custom(prod, "HTTPRoute", "redirect")
    assert redirect["parentRefs"] == [{"name": "gateway", "sectionName": "http"}]
    (rule,) = redirect["rules"]
    assert "backendRefs" not in rule
    assert rule["filters"] == [
        {"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}
    ]


def test_the_certificate_is_renewed_by_google_and_old_tls_refused(prod: Stack) -> None:
    authorization = prod.address(
        "google_certificate_manager_dns_authorization", domain="forecast.example.com"
    )
    certificate = prod.address(
        "google_certificate_manager_certificate",
        name=CERTIFICATE,
        location="europe-west1",
        managed={"domains": ["forecast.example.com"], "dns_authorizations": [f"${{{authorization}.id}}"]},
    )
    address = prod.address(
        "google_compute_address",
        name="sales-forecast-gateway",
        region="europe-west1",
        network_tier="STANDARD",
    )
    gateway = prod.one("kubernetes_manifest", manifest={"kind": "Gateway"})
    assert {certificate, address} <= set(gateway["depends_on"])
    prod.one(
        "google_compute_region_ssl_policy",
        name="sales-forecast-gateway",
        min_tls_version="TLS_1_2",
        profile="MODERN",
    )
    assert custom(prod, "GCPGatewayPolicy", "gateway") == {
        "targetRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gateway"},
        "default": {"sslPolicy": "sales-forecast-gateway"},
    }


def test_the_owner_of_the_domain_is_told_the_dns_records(prod: Stack) -> None:
    assert set(prod.content["output"]) == {"address_record", "certificate_record"}


def test_the_load_balancer_sends_requests_to_pods_that_are_ready(prod: Stack) -> None:
    policy = custom(prod, "HealthCheckPolicy", "prediction")
    assert policy["targetRef"] == {"group": "", "kind": "Service", "name": "prediction"}
    probe = container_of(prod, "prediction")["readiness_probe"]["http_get"]
    assert policy["default"]["config"] == {
        "type": "HTTP",
        "httpHealthCheck": {
            "portSpecification": "USE_FIXED_PORT",
            "port": int(variables_of(prod, "prediction")["PORT"]),
            "requestPath": probe["path"],
        },
    }
    assert policy["default"]["timeoutSec"] < policy["default"]["checkIntervalSec"]
    noticed = policy["default"]["checkIntervalSec"] * policy["default"]["unhealthyThreshold"]
    assert noticed < float(variables_of(prod, "prediction")["DRAIN_SECONDS"])


def test_how_the_load_balancer_treats_the_pods(prod: Stack) -> None:
    assert custom(prod, "GCPBackendPolicy", "prediction") == {
        "targetRef": {"group": "", "kind": "Service", "name": "prediction"},
        "default": {
            "timeoutSec": 30,
            "connectionDraining": {"drainingTimeoutSec": 15},
            "maxRatePerEndpoint": 500,
            "logging": {"enabled": True, "sampleRate": 100_000},
            "securityPolicy": "sales-forecast-gateway",
            "iap": {"enabled": True},
        },
    }


def test_the_public_is_kept_from_metrics_and_to_its_share(prod: Stack) -> None:
    protection = prod.one("google_compute_region_security_policy", name="sales-forecast-gateway")
    metrics, share, rest = protection["rules"]
    assert metrics["action"] == "deny(404)"
    closed = ("/metrics", "/models", "/readyz")
    assert metrics["match"]["expr"]["expression"] == " || ".join(
        f"request.path == '{path}'" for path in closed
    )
    assert share["action"] == "throttle"
    assert share["rate_limit_options"] == {
        "rate_limit_threshold": {"count": 6000, "interval_sec": 60},
        "enforce_on_key": "IP",
        "conform_action": "allow",
        "exceed_action": "deny(429)",
    }
    assert (rest["action"], rest["priority"]) == ("allow", 2**31 - 1)
    assert metrics["priority"] < share["priority"] < rest["priority"]
    gateway = prod.one("kubernetes_manifest", manifest={"kind": "Gateway"})
    assert prod.address("google_compute_region_security_policy") in gateway["depends_on"]


def test_pushed_requests_reach_streaming_and_all_others_prediction(prod: Stack, pushed: Stack) -> None:
    exact, rest = custom(pushed, "HTTPRoute", "services")["rules"]
    assert exact["matches"] == [{"path": {"type": "Exact", "value": "/push"}}]
    assert exact["backendRefs"] == [{"name": "streaming", "port": 80}]
    assert rest["backendRefs"] == [{"name": "prediction", "port": 80}]
    check = custom(pushed, "HealthCheckPolicy", "streaming")["default"]["config"]["httpHealthCheck"]
    assert check["port"] == int(variables_of(pushed, "streaming")["PORT"])
    callers = pushed.one("kubernetes_network_policy_v1", metadata={"name": "streaming-callers"})["spec"]
    assert ranges(callers) == ["10.18.32.0/23", "35.191.0.0/16", "130.211.0.0/22"]
    # Pub/Sub has few addresses and a token: neither a share for each nor Identity-Aware Proxy is for it.
    assert not {"securityPolicy", "iap"} & custom(pushed, "GCPBackendPolicy", "streaming")["default"].keys()
    for kind in ("HealthCheckPolicy", "GCPBackendPolicy"):
        prod.none("kubernetes_manifest", manifest={"kind": kind, "metadata": {"name": "streaming"}})
    prod.none("kubernetes_service_v1", metadata={"name": "streaming"})


def test_only_who_is_named_may_call(prod: Stack, pushed: Stack) -> None:
    pushed.none("google_iap_web_iam_member")
    assert "iap" not in custom(pushed, "GCPBackendPolicy", "prediction")["default"]
    assert custom(prod, "GCPBackendPolicy", "prediction")["default"]["iap"] == {"enabled": True}
    prod.one(
        "google_iap_web_iam_member",
        role="roles/iap.httpsResourceAccessor",
        member="group:sales@example.com",
        # The grant is on the whole project.
        condition={"expression": "request.host == 'forecast.example.com'"},
    )


@pytest.mark.parametrize("name", ["local", "dev"])
def test_without_a_gateway_nothing_is_reached_from_outside(synthesis: Synthesis, name: str) -> None:
    services = synthesis.stack(f"{name}-services")
    kinds = {each["kind"] for each in manifests(services)}
    assert not {"Gateway", "HTTPRoute", "GCPBackendPolicy", "HealthCheckPolicy", "GCPGatewayPolicy"} & kinds
    assert not [
        kind for kind, _, _ in services.resources if kind.startswith(("google_compute", "google_cert"))
    ]
    for workload in MODULES:
        callers = services.one("kubernetes_network_policy_v1", metadata={"name": f"{workload}-callers"})
        assert ranges(callers["spec"]) == []


def ranges(policy: dict[str, Any]) -> list[str]:
    """The addresses that a network policy lets in."""
    callers = [each for rule in policy["ingress"] for each in rule["from"]]
    return [each["ip_block"]["cidr"] for each in callers if "ip_block" in each]


def test_kubernetes_takes_every_object(services: Stack) -> None:
    core = {api for api, _ in KINDS.values()}
    found = [each for each in manifests(services) if each["apiVersion"] in core]
    assert {each["kind"] for each in found} | {"Job", "Service"} == {kind for _, kind in KINDS.values()}
    for each in found:
        check_core(each)


def test_the_definitions_of_gateway_api_and_gke_take_every_object(prod: Stack, pushed: Stack) -> None:
    groups = ("gateway.networking.k8s.io/", "networking.gke.io/", "cloud.google.com/")
    found = [each for stack in (prod, pushed) for each in manifests(stack)]
    found = [each for each in found if each["apiVersion"].startswith(groups)]
    assert len(found) == 7 + 9
    assert check_custom(found) == []
    # What they refuse, lest they take anything:
    unknown, wrong = (json.loads(json.dumps(each)) for each in (found[0], found[0]))
    unknown["spec"]["colour"] = "blue"
    wrong["spec"]["listeners"][0]["port"] = 70_000
    faults = check_custom([unknown, wrong])
    assert any("colour" in fault for fault in faults)
    assert any("65535" in fault for fault in faults)


def test_quantities_and_names_are_kubernetes(services: Stack, pushed: Stack) -> None:
    """What no schema says: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/"""
    quantity = re.compile(r"\d+(\.\d+)?(m|Ki|Mi|Gi|Ti)?")
    name = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
    for stack in (services, pushed):
        for each in manifests(stack):
            assert name.fullmatch(each["metadata"]["name"]), each["metadata"]
            if each["kind"] not in ("ComputeClass", "Namespace"):
                assert name.fullmatch(each["metadata"]["namespace"])
            if each["kind"] == "Deployment":
                (container,) = each["spec"]["template"]["spec"]["containers"]
                for resources in container["resources"].values():
                    assert all(quantity.fullmatch(value) for value in resources.values())
                named = {port["name"]: port["containerPort"] for port in container["ports"]}
                probes = [container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")]
                assert {probe["httpGet"]["port"] for probe in probes} <= named.keys()
    identities = [
        (each["apiVersion"], each["kind"], each["metadata"]["name"]) for each in manifests(services)
    ]
    assert len(set(identities)) == len(identities)


def test_all_traffic_is_denied_but_what_is_needed(prod: Stack) -> None:
    everything = prod.one("kubernetes_network_policy_v1", metadata={"name": "default-deny"})["spec"]
    assert everything["pod_selector"] == {}
    assert everything["policy_types"] == ["Ingress", "Egress"]
    assert "ingress" not in everything
    ports = [port["port"] for rule in everything["egress"] for port in rule["ports"]]
    assert ports == ["53", "53", "80"]
    assert "0.0.0.0/0" not in json.dumps(prod.content)

    prediction = prod.one("kubernetes_network_policy_v1", metadata={"name": "prediction-callers"})["spec"]
    (rule,) = prediction["ingress"]
    assert rule["ports"] == [{"port": "8080", "protocol": "TCP"}]
    assert ranges(prediction) == ["10.18.32.0/23", "35.191.0.0/16", "130.211.0.0/22"]
    streaming = prod.one("kubernetes_network_policy_v1", metadata={"name": "streaming-callers"})["spec"]
    assert ranges(streaming) == []


def test_who_was_granted_something_reaches_google_apis_and_nobody_else(synthesis: Synthesis) -> None:
    for stack, namespace in (
        ("prod-services", "sales-forecast"),
        ("prod-orchestration", "sales-forecast-batch"),
    ):
        reaching: dict[str, Any] = {}
        for policy in synthesis.stack(stack).all("kubernetes_network_policy_v1").values():
            for rule in policy["spec"].get("egress", []):
                if [port["port"] for port in rule["ports"]] == ["443"]:
                    assert rule["to"] == [{"ip_block": {"cidr": "199.36.153.8/30"}}]
                    reaching |= {policy["metadata"]["name"]: policy["spec"]["pod_selector"]}
        members = {each.get("member", "") for _, _, each in synthesis.stack(stack).resources}
        subject = f"/subject/ns/{namespace}/sa/"
        granted = {each.rpartition("/")[2] for each in members if subject in each}
        if namespace == "sales-forecast":
            assert reaching == {
                f"{name}-google-apis": {"match_labels": {"app.kubernetes.io/name": name}} for name in granted
            }
            assert granted == {"prediction", "streaming"}
        else:
            assert granted == {"batch"}
            assert reaching == {"google-apis": {}}


def test_each_service_may_do_what_it_does_and_nothing_else(prod: Stack) -> None:
    granted: set[tuple[str, str, str]] = set()
    for kind, _, each in prod.resources:
        if "_iam_" in kind and kind != "google_iap_web_iam_member":
            others = {"member", "role", "project", "depends_on"}
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
            if each.get("manifest", {}).get("kind") == "ComputeClass":
                continue  # of the whole cluster
            assert each.get("manifest", each)["metadata"]["namespace"] == "sales-forecast"
            reached, ahead = set[str](), [f"{kind}.{name}"]
            while ahead:
                ahead.extend(waits[address] - reached if (address := ahead.pop()) not in reached else ())
                reached.add(address)
            assert namespace in reached, name


def test_a_job_trains_the_first_model_where_there_is_no_airflow(synthesis: Synthesis) -> None:
    for name in ("staging", "prod", "local"):
        synthesis.stack(f"{name}-services").none("kubernetes_job_v1")
    services = synthesis.stack("dev-services")
    job = services.one("kubernetes_job_v1")
    assert "wait_for_completion" not in job, "Terraform waits by default"
    assert job["spec"]["active_deadline_seconds"] < int(job["timeouts"]["create"].removesuffix("s"))
    assert job["spec"]["backoff_limit"] == 6
    pod = job["spec"]["template"]["spec"]
    assert pod["service_account_name"] == "first-model"
    assert pod["container"][0]["command"] == ["python", "-m", "services.batch.first_model"]
    policy = services.one("kubernetes_network_policy_v1", metadata={"name": "first-model-google-apis"})
    selected = policy["spec"]["pod_selector"]["match_labels"]
    assert selected.items() <= job["spec"]["template"]["metadata"]["labels"].items()
    # Terraform may not start it before it may read and write.
    assert len([each for each in job["depends_on"] if "iam_member" in each]) == 3
