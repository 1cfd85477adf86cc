"""The fast path to the provider bindings."""

import gc
import os
import subprocess
import sys

import pytest

from infra.cdk.bindings import fast_imports


def test_node_options_of_the_user_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_OPTIONS", "--max-old-space-size=512")
    with fast_imports():
        assert os.environ["NODE_OPTIONS"].startswith("--max-old-space-size=512 --require=")
        assert not gc.isenabled()
    assert os.environ["NODE_OPTIONS"] == "--max-old-space-size=512"
    assert gc.isenabled()


def test_nothing_is_left_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NODE_OPTIONS", raising=False)
    with pytest.raises(ZeroDivisionError), fast_imports():
        _ = 1 / 0
    assert "NODE_OPTIONS" not in os.environ
    assert gc.isenabled()


def test_a_package_that_is_absent() -> None:
    absent = pytest.raises(ModuleNotFoundError, match="no package cdktf_nothing: run `make install`")
    with absent, fast_imports("cdktf_nothing"):
        pass


def run(program: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: others of this session may have imported the bindings in their own way."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_only_what_is_used_is_imported() -> None:
    result = run("""
import os, sys
from infra.cdk import google
google.pubsub_topic.PubsubTopic
modules = [name for name in sys.modules if name.startswith("cdktf_cdktf_provider_google.")]
leaked = "--require" in os.environ.get("NODE_OPTIONS", "")
print(len(modules), "cdktf_cdktf_provider_google.pubsub_topic" in modules, leaked)
""")
    count, used, leaked = result.stdout.split()
    assert int(count) < 150  # of ~1,300
    assert (used, leaked) == ("True", "False")
    assert "end-of-life" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("name=5", "Key 'name': Unable to deserialize"),
        ("name='x', nam='x'", "unexpected keyword argument 'nam'"),
        ("", "missing 1 required keyword-only argument: 'name'"),
        (
            "name='x', message_storage_policy=google.pubsub_topic.PubsubTopicSchemaSettings(schema='x')",
            "does not match expected",
        ),
    ],
)
def test_wrong_arguments_are_still_refused(arguments: str, error: str) -> None:
    result = run(f"""
from infra.cdk import App, TerraformStack, google
stack = TerraformStack(App(outdir="/nowhere"), "stack")
google.pubsub_topic.PubsubTopic(stack, "topic", {arguments})
""")
    assert result.returncode == 1
    assert error in result.stderr


def rules(blocks: str) -> subprocess.CompletedProcess[str]:
    """What is synthesized of a resource with a list of blocks, which have blocks of their own."""
    return run(f"""
from infra.cdk import App, TerraformStack, google
stack = TerraformStack(App(outdir="/nowhere"), "stack")
policy = google.compute_region_security_policy
policy.ComputeRegionSecurityPolicy(stack, "policy", name="x", rules={blocks})
print(stack.to_terraform()["resource"]["google_compute_region_security_policy"]["policy"]["rules"])
""")


def test_blocks_in_lists_are_dicts() -> None:
    typed = rules(
        "[policy.ComputeRegionSecurityPolicyRules(action='allow', priority=1, "
        "match=policy.ComputeRegionSecurityPolicyRulesMatch(versioned_expr='SRC_IPS_V1'))]"
    )
    assert "versioned_expr" in typed.stdout
    block = "{'action': 'allow', 'priority': 1, 'match': {'versioned_expr': 'SRC_IPS_V1'}}"
    assert rules(f"[{block}]").stdout == rules(f"({block},)").stdout == typed.stdout


@pytest.mark.parametrize(
    ("block", "error"),
    [
        ("{'action': 'allow', 'priority': 1, 'preveiw': True}", "unexpected keyword argument 'preveiw'"),
        ("{'action': 'allow'}", "missing 1 required keyword-only argument: 'priority'"),
        ("{'action': 'allow', 'priority': 'first'}", "Unable to deserialize"),
        ("{'action': 'allow', 'priority': 1, 'match': {'expr_': {}}}", "unexpected keyword argument 'expr_'"),
    ],
)
def test_wrong_arguments_of_blocks_are_refused(block: str, error: str) -> None:
    result = rules(f"[{block}]")
    assert result.returncode == 1
    assert error in result.stderr
