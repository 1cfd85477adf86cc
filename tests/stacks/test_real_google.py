"""What the real Google Cloud and the real providers refuse, change or do. A test each, named by it."""

import gzip
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.environment import PLATFORM
from scripts.laptop.install import TERRAFORM
from tests.stacks.synthesized import ROOT, Stack, Synthesis

WORKFLOWS = ROOT / ".github" / "workflows"
ENVIRONMENTS = ("dev", "prod", "staging")


def manifest(services: Stack, kind: str, name: str) -> dict[str, Any]:
    return services.one("kubernetes_manifest", manifest={"kind": kind, "metadata": {"name": name}})


def test_dataset_grants_know_workload_identities_by_another_name(synthesis: Synthesis) -> None:
    grants = synthesis.stack("prod-orchestration").all("google_bigquery_dataset_iam_member").values()
    members = [each["member"] for each in grants]
    assert any(member.startswith("iamMember:principal://") for member in members)
    assert not any(member.startswith("principal:") for member in members)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_pods_are_ready_after_the_first_model_only(synthesis: Synthesis, name: str) -> None:
    for deployment in synthesis.stack(f"{name}-services").all("kubernetes_deployment_v1").values():
        assert deployment["wait_for_rollout"] is False
    steps = yaml.safe_load((WORKFLOWS / "deploy-environment.yml").read_text())["jobs"]["deploy"]["steps"]
    assert steps[-1]["run"].startswith("scripts/verify"), "the gate that the apply no longer is"


def test_metrics_do_not_exist_before_the_first_request(synthesis: Synthesis) -> None:
    observability = synthesis.stack("prod-observability")
    for kind, _, _ in observability.resources:
        assert kind not in ("google_monitoring_slo", "google_monitoring_custom_service")
    queries = [
        condition["condition_prometheus_query_language"]
        for each in observability.all("google_monitoring_alert_policy").values()
        for condition in each["conditions"]
        if "condition_prometheus_query_language" in condition
    ]
    assert len(queries) > 9
    assert all(each["disable_metric_validation"] for each in queries)
    assert "prod-services" not in synthesis.dependencies["prod-observability"]


@pytest.mark.parametrize("stack", ["services", "orchestration"])
def test_a_node_answers_dns_by_itself(synthesis: Synthesis, stack: str) -> None:
    policy = synthesis.stack(f"prod-{stack}").one(
        "kubernetes_network_policy_v1", metadata={"name": "default-deny"}
    )
    [selector] = policy["spec"]["egress"][0]["to"][0]["pod_selector"]["match_expressions"]
    assert selector == {"key": "k8s-app", "operator": "In", "values": ["kube-dns", "node-local-dns"]}


def test_collectors_of_metrics_have_two_namespaces(synthesis: Synthesis) -> None:
    policy = synthesis.stack("prod-services").one(
        "kubernetes_network_policy_v1", metadata={"name": "prediction-callers"}
    )
    [selector] = policy["spec"]["ingress"][0]["from"][0]["namespace_selector"]["match_expressions"]
    assert selector["values"] == ["gmp-system", "gke-gmp-system"]


def test_a_new_project_has_little_ssd(synthesis: Synthesis) -> None:
    nodes = synthesis.stack("prod-cluster").one("google_container_cluster")["node_config"]
    assert (nodes["disk_type"], nodes["disk_size_gb"]) == ("pd-standard", 20)


def test_grants_take_two_minutes(synthesis: Synthesis) -> None:
    for stack, kind in (
        ("prod-registry", "google_artifact_registry_repository"),
        ("prod-cluster", "google_container_cluster"),
        ("prod-orchestration", "google_composer_environment"),
        ("staging-orchestration", "google_composer_environment"),
    ):
        wait = synthesis.stack(stack).one("terraform_data")
        assert wait["provisioner"] == [{"local-exec": {"command": "sleep 120"}}]
        assert (
            synthesis.stack(stack).address("terraform_data") in synthesis.stack(stack).one(kind)["depends_on"]
        )
    waits = [each.id for each in synthesis.stacks if each.all("terraform_data")]
    assert waits == ["local-orchestration", "prod-cluster", "prod-orchestration", "prod-registry",
                     "staging-orchestration"]  # fmt: skip
    [none] = synthesis.stack("local-orchestration").all("terraform_data").values()
    assert "provisioner" not in none, "nobody waits on this machine"


@pytest.mark.parametrize("name", ENVIRONMENTS)
@pytest.mark.parametrize("account", ["ci-plan", "ci-apply"])
def test_reading_an_identity_pool_lists_its_attestation_rules(
    synthesis: Synthesis, name: str, account: str
) -> None:
    """With providers since 7.45: workloadIdentityPools.listAttestationRules.

    Google's own role follows its API; the permission's name is published nowhere, so no custom role has it.
    """
    foundation = synthesis.stack(f"{name}-foundation")
    assert foundation.all("google_iam_workload_identity_pool")
    foundation.one(
        "google_project_iam_member",
        role="roles/iam.workloadIdentityPoolViewer",
        member=f"serviceAccount:{PLATFORM}-{account}@sales-forecast-{name}.iam.gserviceaccount.com",
    )


def test_budgets_are_billed_to_a_project(variants: Synthesis) -> None:
    observability = variants.stack("paged-observability")
    assert observability.one("google_billing_budget")["provider"] == "google.quota"
    [quota] = [each for each in observability.content["provider"]["google"] if "alias" in each]
    project = "sales-forecast-prod"
    assert quota == {
        "alias": "quota", "project": project, "billing_project": project, "user_project_override": True
    }  # fmt: skip
    role = variants.stack("paged-foundation").one("google_project_iam_custom_role", role_id="ciPlan")
    assert "serviceusage.services.use" in role["permissions"]


def test_terraform_waits_for_a_variable_without_a_default(variants: Synthesis) -> None:
    for stack in variants.stacks:
        for name, variable in stack.content.get("variable", {}).items():
            assert "default" in variable, f"{stack.id}: {name}"
    for workflow in ("deploy-environment.yml", "plan-environment.yml"):
        assert "TF_VAR_pagerduty_service_key: ${{ secrets" in (WORKFLOWS / workflow).read_text()


def test_no_stack_is_planned_without_the_key_of_the_last(variants: Synthesis, tmp_path: Path) -> None:
    """With `npx cdktf deploy`, too: Terraform checks a variable before it plans anything."""
    paged = [stack for stack in variants.stacks if stack.id.startswith("paged-")]
    assert len(paged) == 8
    variables = [stack.content["variable"]["pagerduty_service_key"] for stack in paged]
    assert all(each == variables[0] for each in variables)
    checked = {"variable": {"pagerduty_service_key": variables[0]}}
    (tmp_path / "cdk.tf.json").write_text(json.dumps(checked))
    command = [*TERRAFORM.command[:1], "plan", "-input=false", "-no-color"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Set TF_VAR_pagerduty_service_key, the integration key of PagerDuty." in done.stderr
    key = {**os.environ, "TF_VAR_pagerduty_service_key": "secret"}
    assert subprocess.run(command, cwd=tmp_path, env=key, capture_output=True, check=False).returncode == 0


def test_gke_wants_no_protocol_of_a_port(synthesis: Synthesis) -> None:
    [port] = synthesis.stack("prod-services").one("kubernetes_service_v1")["spec"]["port"]
    assert "app_protocol" not in port


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:  # pyright: ignore[reportUnknownVariableType]
            yield from leaves(each)
    else:
        yield value


def test_dashboards_come_back_without_zeros_and_empty_texts(synthesis: Synthesis) -> None:
    for name in ENVIRONMENTS:
        dashboard = synthesis.stack(f"{name}-observability").one("google_monitoring_dashboard")
        found = list(leaves(json.loads(dashboard["dashboard_json"])))
        assert len(found) > 50
        assert [each for each in found if each in (0, "")] == []


def test_limits_of_cpu_hold_where_the_kubelet_is_told(synthesis: Synthesis) -> None:
    pools = synthesis.stack("prod-cluster").all("google_container_node_pool").values()
    assert [each["node_config"]["kubelet_config"]["cpu_cfs_quota"] for each in pools] == [True] * 3


def test_a_storage_client_asks_for_metadata_of_the_bucket(synthesis: Synthesis) -> None:
    variable = "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"
    for deployment in synthesis.stack("prod-services").all("kubernetes_deployment_v1").values():
        [container] = deployment["spec"]["template"]["spec"]["container"]
        assert {"name": variable, "value": "1"} in container["env"]
    dockerfile = (ROOT / "services" / "Dockerfile").read_text()
    images = re.split(r"(?m)^FROM ", dockerfile)
    assert all(f"{variable}=1" in each for each in images if "\nENTRYPOINT" in each)


def test_the_pod_operator_watches_events(synthesis: Synthesis) -> None:
    role = synthesis.stack("prod-orchestration").one("kubernetes_role_v1")
    [events] = [each for each in role["rule"] if each["resources"] == ["events"]]
    assert events["verbs"] == ["list", "watch"]


def test_pods_that_are_not_ready_block_a_drain(synthesis: Synthesis) -> None:
    budget = manifest(synthesis.stack("prod-services"), "PodDisruptionBudget", "streaming")["manifest"]
    assert budget["apiVersion"] == "policy/v1"
    assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert budget["spec"]["maxUnavailable"] == 1


def test_a_grant_vanishes_with_what_it_is_on(synthesis: Synthesis) -> None:
    for kind, resource, arguments in (
        ("google_pubsub_subscription_iam_member", "google_pubsub_subscription", {"name": "predict-range"}),
        ("google_pubsub_topic_iam_member", "google_pubsub_topic", {"name": "sale-range-dead-letter"}),
    ):
        messaging = synthesis.stack("prod-messaging")
        granted_on = messaging.address(resource, **arguments)
        grants = messaging.all(kind).values()
        assert grants
        triggers = [each for grant in grants for each in grant["lifecycle"]["replace_triggered_by"]]
        assert f"{granted_on}.id" in triggers


def test_a_backlog_goes_with_its_topic_or_subscription(synthesis: Synthesis) -> None:
    for name, protected in (("prod", True), ("staging", True), ("dev", False)):
        messaging = synthesis.stack(f"{name}-messaging")
        for kind in ("google_pubsub_topic", "google_pubsub_subscription"):
            for each in messaging.all(kind).values():
                assert each["lifecycle"]["prevent_destroy"] is protected


def test_a_view_gets_no_column_that_its_query_lacks(synthesis: Synthesis) -> None:
    view = synthesis.stack("prod-data").one("google_bigquery_table", table_id="latest_predictions")
    assert "schema" not in view


def test_a_certificate_in_use_is_not_deleted(synthesis: Synthesis) -> None:
    services = {name: synthesis.stack(f"{name}-services") for name in ("prod", "staging")}
    certificates = {
        name: stack.one("google_certificate_manager_certificate") for name, stack in services.items()
    }
    assert certificates["prod"]["name"] != certificates["staging"]["name"], "of another host name"
    for name, stack in services.items():
        authorization = stack.one("google_certificate_manager_dns_authorization")
        for each in (certificates[name], authorization):
            assert each["lifecycle"] == {"create_before_destroy": True}


def test_a_channel_in_use_is_not_deleted(variants: Synthesis) -> None:
    channels = variants.stack("paged-observability").all("google_monitoring_notification_channel").values()
    assert len(channels) == 2
    assert all(each["lifecycle"] == {"create_before_destroy": True} for each in channels)


def test_policies_of_a_load_balancer_are_not_deleted(synthesis: Synthesis) -> None:
    services = synthesis.stack("prod-services")
    gateway = manifest(services, "Gateway", "gateway")
    for kind in ("google_compute_region_ssl_policy", "google_compute_region_security_policy"):
        assert services.address(kind) in gateway["depends_on"]


def test_a_namespace_goes_slowly(synthesis: Synthesis) -> None:
    namespace = synthesis.stack("prod-services").one("kubernetes_namespace_v1", metadata={"name": PLATFORM})
    assert namespace["timeouts"] == {"delete": "20m"}


def test_saved_plans_carry_the_replicas_of_their_time(synthesis: Synthesis) -> None:
    for deployment in synthesis.stack("prod-services").all("kubernetes_deployment_v1").values():
        assert "replicas" not in deployment["spec"]
    # The provider writes back the number that it saw while it planned: `scripts/apply` plans again, at once.
    for workflow in WORKFLOWS.glob("*.yml"):
        assert not re.search("terraform apply|cdktf deploy", workflow.read_text())


def test_security_posture_has_an_api(synthesis: Synthesis) -> None:
    for name in ENVIRONMENTS:
        synthesis.stack(f"{name}-foundation").one(
            "google_project_service", service="containersecurity.googleapis.com"
        )


def test_old_builds_of_composer_are_withdrawn(synthesis: Synthesis) -> None:
    config = synthesis.stack("prod-orchestration").one("google_composer_environment")["config"]
    assert "build" not in config["software_config"]["image_version"]


def test_readiness_metrics_and_models_are_not_for_the_public(synthesis: Synthesis) -> None:
    rules = synthesis.stack("prod-services").one("google_compute_region_security_policy")["rules"]
    expression = rules[0]["match"]["expr"]["expression"]
    closed = ("/metrics", "/models", "/readyz")
    assert expression == " || ".join(f"request.path == '{path}'" for path in closed)


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (
            "printf '<!-- diff of dev -->\\n### Diff of `dev`\\n\\n| stack |\\n' >diff.md; exit 2",
            " at 4ac1\n\n| stack |",
        ),
        ("echo 'no such stack' >&2; exit 1", " FAILED at 4ac1\n\n    no such stack"),
    ],
)
def test_an_old_comment_looks_like_that_of_the_last_commit(
    tmp_path: Path, program: str, expected: str
) -> None:
    steps = yaml.safe_load((WORKFLOWS / "plan-environment.yml").read_text())["jobs"]["plan"]["steps"]
    [step] = [each for each in steps if each.get("name", "").startswith("scripts/diff")]
    (tmp_path / "scripts").mkdir()
    command = tmp_path / "scripts" / "diff"
    command.write_text(f"#!/bin/bash\n{program}\n")
    command.chmod(0o755)
    variables = {
        "ENVIRONMENT": "dev",
        "COMMIT": "4ac1",
        "GITHUB_STEP_SUMMARY": "summary.md",
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(["bash", "-e", "-c", step["run"]], cwd=tmp_path, env=variables, check=False)
    assert (done.returncode == 0) is ("FAILED" not in expected)
    assert (tmp_path / "diff.md").read_text().rstrip() == f"<!-- diff of dev -->\n### Diff of `dev`{expected}"


def test_composer_and_a_cluster_take_three_hours() -> None:
    job = yaml.safe_load((WORKFLOWS / "deploy-environment.yml").read_text())["jobs"]["deploy"]
    assert job["timeout-minutes"] >= 150 + 60


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_no_cluster_is_replaced_for_what_google_turns_on_by_itself(synthesis: Synthesis, name: str) -> None:
    with gzip.open(ROOT / "infra" / "simulator" / "provider_facts" / "google.jsonl.gz") as lines:
        [known] = [json.loads(line) for line in lines if b'"google_container_cluster"' in line[:40]]
    facts = known["attributes"]
    assert facts["enable_l4_ilb_subsetting"]["mode"] == "optional_computed"
    assert facts["monitoring_config"]["block"]["enable_components"]["type"] == "set"
    ours = synthesis.stack(f"{name}-cluster").one("google_container_cluster")
    left_out = {
        attribute
        for attribute, each in facts.items()
        if each.get("force_new") and each["mode"] == "optional" and attribute not in ours
    }
    # A cluster has these if it was made with them.
    made_with = {"dataplane_optimization_mode", "description", "enable_autopilot"}
    assert left_out == made_with | {"enable_kubernetes_alpha", "enable_tpu"}


def test_every_environment_of_ci_is_deployed_in_its_order() -> None:
    jobs = yaml.safe_load((WORKFLOWS / "deploy.yml").read_text())["jobs"]
    job = jobs["deploy"]
    assert set(jobs) == {"tests", "deploy"}, "an environment with a job of its own could be skipped"
    assert (job["needs"], job["if"]) == ("tests", "vars.CI_ENVIRONMENTS != ''")
    assert job["strategy"]["matrix"]["environment"].startswith("${{ fromJSON(vars.CI_ENVIRONMENTS ")
    assert (job["strategy"]["max-parallel"], job["strategy"]["fail-fast"]) == (1, True)
