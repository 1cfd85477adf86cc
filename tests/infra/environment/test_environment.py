"""Environment files: what is read, and every way in which one is refused."""

import contextlib
import json
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from infra.environment import UPSTREAM, Environment, InvalidEnvironmentError, load, load_all, names
from infra.environment.cluster import ClusterSettings
from infra.environment.orchestration import BatchSection
from infra.environment.value_types import Section
from tests.conftest import EXISTING

GOOD = """\
cloud          = "simulated"
project_id     = "sales-forecast-test"
project_number = 123456789012
region         = "europe-west1"
zones          = ["europe-west1-b", "europe-west1-c"]
stacks = [
  "foundation",
  "data",
  "messaging",
]
deletion_protection = false
alerting            = { email = "somebody@example.com" }
network             = "10.0.0.0/16"
cluster = {
  general = {
    machine_type = "e2-standard-2"
    min_nodes    = 1
    max_nodes    = 3
  }
}
prediction = {
  port         = 8780
  min_replicas = 1
  max_replicas = 2
  cpu          = "500m"
  memory       = "512Mi"
}
streaming = {
  port         = 8781
  min_replicas = 1
  max_replicas = 2
  cpu          = "1"
  memory       = "1Gi"
}
"""
ALL_STACKS = "foundation, registry, cluster, data, messaging, orchestration, services, observability"


def read(folder: Path, text: str, name: str = "test") -> Environment:
    (folder / f"{name}.tfvars").write_text(text, encoding="utf-8")
    return load(name, directory=folder)


def faults(folder: Path, text: str) -> list[str]:
    """The messages for a file, each as `line: key: message`."""
    with pytest.raises(InvalidEnvironmentError) as caught:
        read(folder, text)
    messages = str(caught.value).splitlines()
    assert all(message.startswith(f"{folder / 'test.tfvars'}:") for message in messages)
    return [message.removeprefix(f"{folder / 'test.tfvars'}:") for message in messages]


def changed(line: str) -> str:
    """The good file with the line of that key replaced."""
    key = line.split("=")[0].strip()
    text, count = re.subn(rf"(?m)^( *){key} *=.*$", lambda found: found[1] + line, GOOD, count=1)
    assert count == 1
    return text


def test_a_good_file(tmp_path: Path) -> None:
    environment = read(tmp_path, GOOD)
    assert environment.name == "test"
    assert environment.simulated
    assert environment.zones == ("europe-west1-b", "europe-west1-c")
    assert environment.streaming.memory == "1Gi"
    assert str(environment.addresses.pods) == "10.0.128.0/17"


def test_the_committed_environments() -> None:
    environments = {each.name: each for each in load_all()}
    assert {"local", "dev", "staging", "prod"} <= set(environments)
    assert {name for name, each in environments.items() if each.simulated} == {"local"}
    assert all(environments[name].deletion_protection for name in ("staging", "prod"))
    assert "orchestration" not in environments["dev"].stacks
    for attribute in ("project_id", "project_number", "network"):
        assert len({getattr(each, attribute) for each in environments.values()}) == len(environments)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('cloud = "aws"', '1: cloud: expected google or simulated, found "aws"'),
        (
            'cloud = "simulate"',
            '1: cloud: expected google or simulated, found "simulate"; did you mean simulated?',
        ),
        (
            'project_id = "Sales"',
            (
                "2: project_id: expected a project id: 6 to 30 lower-case letters, digits and hyphens; "
                'first a letter, last no hyphen, found "Sales"'
            ),
        ),
        ('project_number = "123"', '3: project_number: expected an integer, found "123"'),
        ("project_number = 0", "3: project_number: expected a number of at least 1, found 0"),
        (
            'region = "europe-west1-b"',
            '4: region: expected a region, such as europe-west1, found "europe-west1-b"',
        ),
        ('zones = "europe-west1-b"', '5: zones: expected a list, found "europe-west1-b"'),
        ("zones = []", "5: zones: expected a list of at least 1, found []"),
        ('zones = ["us-east1-b"]', "5: zones.0: expected a zone of europe-west1, found us-east1-b"),
        (
            'zones = ["europe-west1"]',
            '5: zones.0: expected a zone, such as europe-west1-b, found "europe-west1"',
        ),
        ('zones = ["europe-west1-b", "europe-west1-b"]', "5: zones.1: europe-west1-b is listed twice"),
        ('deletion_protection = "no"', '11: deletion_protection: expected true or false, found "no"'),
        ("deletion_protection = null", "11: deletion_protection: expected true or false, found null"),
        (
            'alerting = { email = "somebody" }',
            '12: alerting.email: expected a mail address, found "somebody"',
        ),
        ("network = 3", "13: network: expected a block, such as 10.0.0.0/16, found 3"),
        ('network = "10.0.0.0"', "13: network: expected a block of at least /19, found 10.0.0.0/32"),
        ('network = "10.0.0.1/16"', "13: network: 10.0.0.1/16 has host bits set"),
        ('network = "8.0.0.0/16"', "13: network: expected a private block (RFC 1918), found 8.0.0.0/16"),
        ('network = "10.0.0.0/20"', "13: network: expected a block of at least /19, found 10.0.0.0/20"),
        (
            "max_nodes = 300",
            (
                "13: network: 10.0.0.0/16 has room for 128 nodes and their pods; the cluster may reach 302, "
                "upgrades included. Take a larger block or lower limits of the node pools"
            ),
        ),
        ("max_nodes = 0", "18: cluster.general.max_nodes: expected a number of at least 1, found 0"),
        ("min_nodes = 4", "18: cluster.general.max_nodes: expected at least min_nodes, which is 4, found 3"),
        ("min_nodes = 1.5", "17: cluster.general.min_nodes: expected an integer, found 1.5"),
        ("general = 3 \n  pool = {", "15: cluster.general: expected an object, found 3"),
        ("port = 80", "22: prediction.port: expected a number of at least 1024, found 80"),
        ("port = 70000", "22: prediction.port: expected a number of at most 65535, found 70000"),
        (
            "port = 8781",
            "29: streaming.port: 8781 is the prediction service's port; simulated services share a machine",
        ),
        (
            'cpu = "0.5"',
            '25: prediction.cpu: expected CPUs as Kubernetes writes them: "2" or "500m", found "0.5"',
        ),
        (
            'memory = "512MB"',
            '26: prediction.memory: expected memory as Kubernetes writes it: "512Mi" or "2Gi", found "512MB"',
        ),
        (
            'cpu = "500m"\n  autoscaling = { by = "traffic" }',
            (
                "26: prediction.autoscaling.by: traffic is counted at the Gateway: "
                "add gateway = { hostname = ... }, or take cpu"
            ),
        ),
        (
            'cpu = "500m"\n  drain_seconds = -1',
            "26: prediction.drain_seconds: expected a number of at least 0, found -1",
        ),
        (
            'cloud = "simulated"\ngateway = { hostname = "localhost", public = true }',
            (
                "2: gateway.hostname: expected a full host name in lower case, such as forecast.example.com, "
                'found "localhost"'
            ),
        ),
        (
            'cloud = "simulated"\ngateway = { hostname = "a.example.com", iap_members = ["allUsers"] }',
            (
                "2: gateway.iap_members.0: expected an IAM member, such as group:sales@example.com, "
                'found "allUsers"'
            ),
        ),
        (
            'cloud = "simulated"\ngateway = { hostname = "a.example.com" }',
            "2: gateway.public: say who may call: either list iap_members, or set public = true",
        ),
        (
            'cloud = "simulated"\ngateway = { hostname = "a.b", public = true, iap_members = ["domain:b"] }',
            "2: gateway.public: say who may call: either list iap_members, or set public = true",
        ),
        (
            'cloud = "simulated"\nbudget = { billing_account = "0123", amount = 100 }',
            '2: budget.billing_account: expected a billing account: 012345-6789AB-CDEF01, found "0123"',
        ),
        ("region = var.region", "4: region: expected a plain value, found the expression ${var.region}"),
        (
            'region = "${var.region}"',
            "4: region: expected a plain value, found the expression ${var.region}",
        ),
        (
            "project_number = 1 + 2",
            "3: project_number: expected a plain value, found the expression ${1 + 2}",
        ),
        (
            'zones = ["europe-west1-b", lower("X")]',
            '5: zones.1: expected a plain value, found the expression ${lower("X")}',
        ),
        ('region = "europe-west1"\nregion = "europe-west2"', "5: region: given twice; first on line 4"),
        ("port = 8780\n  port = 8790", "23: prediction.port: given twice; first on line 22"),
        ('cloud = "simulated"\nname = "x"', "2: name: unknown key; it is not set in this file"),
        ('cloud = "simulated"\nprojectid = "x"', "2: projectid: unknown key; did you mean project_id?"),
        (
            "max_nodes = 3\n  maxnodes = 3",
            "19: cluster.general.maxnodes: unknown key; did you mean max_nodes?",
        ),
        (
            "max_nodes = 3\n  colour = 3",
            (
                "19: cluster.general.colour: unknown key; "
                "there are machine_type, min_nodes, max_nodes, upgrade"
            ),
        ),
        ('cloud = "simulated"\nfoo { a = 1 }', "2: foo: a block; expected a value: foo = { ... }"),
    ],
)
def test_a_fault(tmp_path: Path, line: str, fault: str) -> None:
    text = changed(line)
    if "\n  pool" in line:  # what was the node pool must go, to leave one fault
        text = re.sub(r"  pool = \{.*?^  \}\n", "", text, flags=re.S | re.M)
    assert faults(tmp_path, text) == [fault]


def test_what_streaming_cannot_do_without_a_gateway(tmp_path: Path) -> None:
    pushed = GOOD.replace("port         = 8781", 'port = 8781\n  delivery = "push"')
    assert faults(tmp_path, pushed) == [
        (
            "30: streaming.delivery: Pub/Sub pushes through the Gateway: add gateway = { hostname = ... }, "
            "or take pull"
        ),
        "30: streaming.delivery: there is nobody to push to: list the stack services, or take pull",
    ]
    balanced = GOOD.replace("port         = 8781", 'port = 8781\n  autoscaling = { by = "traffic" }')
    gateway = 'gateway = { hostname = "forecast.example.com", public = true }\n'
    assert faults(tmp_path, balanced + gateway) == [
        (
            "30: streaming.autoscaling.by: no traffic reaches it through the Gateway: take cpu, "
            'or delivery = "push"'
        )
    ]
    served = pushed.replace('  "data",', '  "registry", "cluster", "services", "data",') + gateway
    assert read(tmp_path, served).streaming.delivery == "push"


@pytest.mark.parametrize(
    ("sections", "fault"),
    [
        (
            "data = { soft_delete_days = 3 }",
            "35: data.soft_delete_days: Cloud Storage takes 0 or 7 to 90, found 3",
        ),
        (
            "cpu_caps = { CPUS = 1 }",
            "35: cpu_caps.CPUS: node pools, upgrades included, and a Dataflow job may reach 10, found 1",
        ),
        (
            "cpu_caps = { GPUS = 1 }",
            (
                "35: cpu_caps.GPUS.[key]: expected a quota of CPUs: CPUS (of E2 and N1), N2_CPUS ..., "
                'found "GPUS"'
            ),
        ),
        (
            'data = { second_region = "us-east1" }',
            "35: data.second_region: expected another region of europe-west1's continent, found us-east1",
        ),
        (
            'data = { readers = ["everybody"] }',
            (
                "35: data.readers.0: expected an IAM member, such as group:sales@example.com, "
                'found "everybody"'
            ),
        ),
        (
            "messaging = { retention_days = 32 }",
            "35: messaging.retention_days: expected a number of at most 31, found 32",
        ),
    ],
)
def test_a_fault_of_an_optional_section(tmp_path: Path, sections: str, fault: str) -> None:
    assert faults(tmp_path, GOOD + sections + "\n") == [fault]


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ("worker = { min_count = 4 }", "worker.max_count: expected at least min_count, which is 4, found 3"),
        (
            "high_resilience = true\n dag_processor = { count = 2 }",
            (
                "worker: high_resilience needs two of each in two zones: "
                "raise scheduler.count, triggerer.count"
            ),
        ),
        (
            'packages = { pandas = ">=2" }',
            'packages.pandas: expected one version, such as "==1.2.3", found ">=2"',
        ),
        ('web_access = ["10.0.0.1/8"]', "web_access.0: 10.0.0.1/8 has host bits set"),
    ],
)
def test_a_fault_of_composer(tmp_path: Path, section: str, fault: str) -> None:
    (found,) = faults(tmp_path, f"{GOOD}composer = {{\n {section}\n}}\n")
    assert re.sub(r"^\d+: composer\.", "", found) == fault


def test_replies_have_topics_of_their_own(tmp_path: Path) -> None:
    text = GOOD.replace(
        "  port         = 8781", '  port = 8781\n  reply_topics = ["shop", "sale-range", "x"]'
    )
    assert faults(tmp_path, text) == [
        (
            "30: streaming.reply_topics.2: expected a topic's name: 3 to 255 letters, digits and -._~+%, "
            'from a letter, not starting with goog, found "x"'
        )
    ]
    assert faults(tmp_path, text.replace(', "x"', "")) == [
        "30: streaming.reply_topics.1: sale-range is a topic of the platform; give replies one of their own"
    ]


IN_CLUSTER = """\
cluster = {
  general = { machine_type = "e2-standard-2", min_nodes = 1, max_nodes = 3 }
  %s
}
"""


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (
            'release_channel = "STALE"',
            (
                "16: cluster.release_channel: expected one of RAPID, REGULAR, STABLE, "
                'found "STALE"; did you mean STABLE?'
            ),
        ),
        (
            'spot = { machine_type = "e2-standard-2", min_nodes = 0 }',
            "16: cluster.spot.max_nodes: missing; expected most nodes, in all zones together",
        ),
        (
            'spot = { machine_type = "n1-standard-1", min_nodes = 0, max_nodes = 1 }',
            (
                "16: cluster.spot.machine_type: expected a machine type of at least 2 CPUs, "
                'such as e2-standard-4, found "n1-standard-1"'
            ),
        ),
        (
            'spot = { machine_type = "e2-standard-2", min_nodes = 0, max_nodes = 100 }',
            (
                "13: network: 10.0.0.0/16 has room for 128 nodes and their pods; the cluster may reach 209, "
                "upgrades included. Take a larger block or lower limits of the node pools"
            ),
        ),
        (
            'maintenance = { days = ["SA", "SA"] }',
            "16: cluster.maintenance.days.1: SA is listed twice",
        ),
        (
            'maintenance = { days = ["SAT"] }',
            (
                "16: cluster.maintenance.days.0: expected one of MO, TU, WE, TH, FR, SA, SU, "
                'found "SAT"; did you mean SA?'
            ),
        ),
        (
            "maintenance = { hours = 5 }",
            (
                "16: cluster.maintenance.exclusions: GKE wants 48 hours of maintenance in any 32 days; "
                "there are 40. Give more days or hours, or shorter exclusions"
            ),
        ),
        (
            'maintenance = {\n exclusions = [{ name = "sale", start = "2026-11-20", end = "2026-12-20" }]\n}',
            (
                "17: cluster.maintenance.exclusions: GKE wants 48 hours of maintenance in any 32 days; "
                "there are 0 in those from 2026-11-16. Give more days or hours, or shorter exclusions"
            ),
        ),
        (
            (
                'maintenance = { hours = 8, exclusions = [\n{ name = "a", start = "2026-11-20", end = '
                '"2026-11-21" },\n{ name = "b", start = "2026-12-24", end = "2026-12-24" },\n] }'
            ),
            (
                "18: cluster.maintenance.exclusions.1.end: expected a day after start, which is 2026-12-24, "
                "found 2026-12-24"
            ),
        ),
        (
            'maintenance = { exclusions = [{ name = "a", start = "soon", end = "2026-11-21" }] }',
            ('16: cluster.maintenance.exclusions.0.start: expected a date, such as 2026-11-27, found "soon"'),
        ),
        (
            'maintenance = { exclusions = [{ name = "a", start = 3, end = "2026-11-21" }] }',
            "16: cluster.maintenance.exclusions.0.start: expected a date, such as 2026-11-27, found 3",
        ),
        (
            'maintenance = { exclusions = [{ name = "a", start = "2026-01-01", end = "2026-02-01" }] }',
            "16: cluster.maintenance.exclusions.0.end: GKE excludes at most 30 days, not 31",
        ),
        (
            "backup = { retain_days = 5, lock_days = 7 }",
            "16: cluster.backup.lock_days: expected at most retain_days, which is 5, found 7",
        ),
    ],
)
def test_a_cluster_that_cannot_be(tmp_path: Path, lines: str, fault: str) -> None:
    text = re.sub(r"(?ms)^cluster = \{.*?^\}\n", lambda _: IN_CLUSTER % lines, GOOD)
    assert faults(tmp_path, text) == [fault]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (
            'ci = { repository = "somebody", repository_id = 1 }',
            (
                "35: ci.repository: expected a repository of the issuer: owner/name, up to 80 characters, "
                'found "somebody"'
            ),
        ),
        (
            'ci = { repository = "somebody/something" }',
            (
                "35: ci.repository_id: missing; expected number of that repository, which nobody can take "
                "over with its name: `id` of https://api.github.com/repos/OWNER/NAME, "
                "or the project ID that GitLab shows"
            ),
        ),
        ("encryption = 1", "35: encryption: expected true or false, found 1"),
        ("registry = { scan = 1 }", "35: registry.scan: expected true or false, found 1"),
    ],
)
def test_a_section_that_may_be_left_out(tmp_path: Path, line: str, fault: str) -> None:
    assert faults(tmp_path, GOOD + line + "\n") == [fault]


def test_defaults(tmp_path: Path) -> None:
    environment = read(tmp_path, GOOD)
    assert environment.cluster
    assert environment.ci is None
    assert not environment.encryption
    assert environment.registry.keep_versions == 20
    assert environment.cluster.spot is None
    assert environment.cluster.maintenance.days == ("SA", "SU")


def test_every_key_says_what_it_is() -> None:
    def undescribed(section: type[BaseModel]) -> Iterator[str]:
        for name, field in section.model_fields.items():
            if not field.description and name not in ("name", "images"):
                yield f"{section.__name__}.{name}"

    assert len(sections()) > 8
    assert [each for section in sections() for each in undescribed(section)] == []


def sections() -> set[type[Section]]:
    def below(section: type[Section]) -> set[type[Section]]:
        return {section}.union(*(below(each) for each in section.__subclasses__()))

    return below(Section) - {Section}


def pool(machine_type: str, fewest: int, most: int, upgrade: str = "SURGE") -> dict[str, object]:
    return {"machine_type": machine_type, "min_nodes": fewest, "max_nodes": most, "upgrade": upgrade}


@pytest.mark.parametrize(
    ("settings", "nodes"),
    [
        ({"general": pool("e2-standard-4", 1, 5)}, 5 + 3),
        ({"general": pool("e2-standard-4", 1, 5, "BLUE_GREEN")}, 5 + 5),
        ({"general": pool("e2-standard-4", 1, 5), "spot": pool("e2-medium", 0, 4)}, 5 + 3 + 2 * (4 + 3)),
    ],
)
def test_most_nodes_with_those_that_upgrades_add(settings: dict[str, object], nodes: int) -> None:
    assert ClusterSettings.model_validate_json(json.dumps(settings)).most_nodes(zones=3) == nodes


def test_a_stack_without_its_upstream(tmp_path: Path) -> None:
    assert faults(tmp_path, GOOD.replace('  "data",\n', "")) == [
        "8: stacks.1: messaging needs the stack data, which is not listed"
    ]


def test_what_exists_is_not_made(tmp_path: Path) -> None:
    both = faults(tmp_path, EXISTING + GOOD.replace('"messaging"', '"registry"'))
    assert both == [
        "21: stacks.2: existing.repository takes the place of the stack registry: remove one of them",
        "25: network: expected either network or existing.network; both are given",
    ]
    own = re.sub(r"(?m)^network .*\n", "", GOOD)
    neither = "1: network: expected either network or existing.network; neither is given"
    assert faults(tmp_path, own) == [neither]
    shared = read(tmp_path, EXISTING + own)
    assert shared.image_repository == "europe-west1-docker.pkg.dev/company-images/forecast"
    assert shared.encrypted
    without = re.sub(r"(?s)cluster = \{.*?\n\}\n", "", own)
    cluster = 'cluster = { name = "shared", dns_name = "gke-1.europe-west1.gke.goog" }'
    reached = read(tmp_path, EXISTING.replace("existing = {", f"existing = {{\n  {cluster}") + without)
    assert (reached.cluster, reached.cluster_name) == (None, "shared")
    bad_key = EXISTING.replace("projects/company-keys/", "")
    [message] = faults(tmp_path, bad_key + own)
    assert message.startswith("11: existing.key: expected a key's full name: projects/P/")


def test_an_unknown_stack(tmp_path: Path) -> None:
    assert faults(tmp_path, GOOD.replace('"messaging"', '"mesaging"')) == [
        f'9: stacks.2: expected one of {ALL_STACKS}, found "mesaging"; did you mean messaging?'
    ]


@pytest.mark.parametrize(
    ("key", "line"), [("cloud", 1), ("region", 1), ("cpu", 21), ("machine_type", 15), ("zones", 1)]
)
def test_a_missing_key(tmp_path: Path, key: str, line: int) -> None:
    (message,) = faults(tmp_path, re.sub(rf"(?m)^ *{key} *=.*\n", "", GOOD, count=1))
    assert re.fullmatch(rf"{line}: (cluster\.general\.|prediction\.)?{key}: missing; expected \w.*", message)


def test_every_fault_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    text = changed("project_number = -1").replace('"10.0.0.0/16"', '"10.0.0.0/33"').replace("cpu ", "cpus ")
    text = text.replace('"messaging",', 'upper("messaging"),')
    assert [fault.split(": ")[:2] for fault in faults(tmp_path, text)] == [
        ["3", "project_number"],
        ["9", "stacks.2"],
        ["13", "network"],
        ["21", "prediction.cpu"],
        ["25", "prediction.cpus"],
        ["28", "streaming.cpu"],
        ["32", "streaming.cpus"],
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a = \nb = 2\n", "1: not HCL: unexpected text at column 5"),
        (GOOD + "last = [1\n", "36: not HCL: unexpected text at column 1"),
        (GOOD.replace("cluster = {", "cluster = ("), "15: not HCL: unexpected text at column 10"),
    ],
)
def test_not_hcl(tmp_path: Path, text: str, fault: str) -> None:
    assert faults(tmp_path, text) == [fault]


def test_not_text(tmp_path: Path) -> None:
    (tmp_path / "test.tfvars").write_bytes(b'cloud = "\xff"')
    with pytest.raises(InvalidEnvironmentError, match=r"test\.tfvars:1: not UTF-8 text: byte 9"):
        load("test", directory=tmp_path)


def test_no_such_environment() -> None:
    with pytest.raises(InvalidEnvironmentError, match=r"prd\.tfvars.*did you mean prod\?"):
        load("prd")
    with pytest.raises(InvalidEnvironmentError, match=f"there are {', '.join(names())}$"):
        load("qqqqqq")


@pytest.mark.parametrize("name", ["../prod", "Prod", "1a", "", "a" * 13])
def test_a_name_that_cannot_be_part_of_a_stack_id(name: str) -> None:
    with pytest.raises(InvalidEnvironmentError, match="lower-case letters and digits"):
        load(name)


def test_an_empty_folder_is_no_platform(tmp_path: Path) -> None:
    with pytest.raises(InvalidEnvironmentError, match="no environment"):
        load_all(directory=tmp_path)


def test_the_faults_of_all_files_are_reported(tmp_path: Path) -> None:
    (tmp_path / "one.tfvars").write_text(changed("project_number = 0"))
    (tmp_path / "two.tfvars").write_text(changed('alerting = { email = "" }'))
    (tmp_path / "three.tfvars").write_text(GOOD)
    with pytest.raises(InvalidEnvironmentError) as caught:
        load_all(directory=tmp_path)
    assert [fault.file.stem for fault in caught.value.faults] == ["one", "two"]


def test_any_environment_can_be_simulated() -> None:
    prod = load("prod", cloud="simulated")
    assert prod.simulated
    assert prod.project_id == load("prod").project_id


def test_upstream_is_an_order() -> None:
    seen: set[str] = set()
    for stack, upstream in UPSTREAM.items():
        assert set(upstream) <= seen, stack
        seen.add(stack)


@given(st.text(st.sampled_from(string.printable + "é\u2028"), max_size=200))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("any")
    with pytest.raises(InvalidEnvironmentError):
        read(folder, text)


@given(st.data())
def test_a_good_file_with_anything_in_one_place_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("changed")
    position = data.draw(st.integers(0, len(GOOD)))
    length = data.draw(st.integers(0, 10))
    inserted = data.draw(st.text(st.sampled_from(string.printable), max_size=10))
    with contextlib.suppress(InvalidEnvironmentError):
        read(folder, GOOD[:position] + inserted + GOOD[position + length :])


def test_images_are_pinned_by_digest(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD).images == {}
    digest = f"sha256:{'0' * 64}"
    (tmp_path / "test.images.json").write_text(f'{{"prediction": "{digest}"}}')
    assert read(tmp_path, GOOD).images == {"prediction": digest}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"prediction": "latest"}', "prediction: expected a digest: sha256: and 64 hexadecimal digits"),
        (
            '{"predicton": "latest"}',
            r"predicton.\[key\]: expected one of batch, prediction, streaming",
        ),
        ("[]", "Input should be a"),
        ("{", "Invalid JSON"),
    ],
)
def test_images_that_are_not_pinned(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "test.images.json").write_text(text)
    with pytest.raises(InvalidEnvironmentError, match=rf"test\.images\.json:1: {fault}"):
        read(tmp_path, GOOD)


@pytest.mark.parametrize(
    ("settings", "accepted"),
    [
        ({}, True),
        ({"runner": "FlinkRunner", "job_endpoint": "flink-job-server.beam:8099"}, True),
        ({"runner": "SparkRunner"}, False),
        ({"job_endpoint": "flink-job-server.beam:8099"}, False),
        ({"runner": "FlinkRunner", "job_endpoint": "flink-job-server"}, False),
    ],
)
def test_a_job_server_has_an_endpoint(settings: dict[str, str], accepted: bool) -> None:
    with contextlib.nullcontext() if accepted else pytest.raises(ValidationError):
        BatchSection.model_validate(settings)
