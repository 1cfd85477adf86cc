"""A cluster that is asked over real TLS, programs that only note what they are told, synthesized stacks."""

import datetime
import http.server
import ipaddress
import json
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import google.auth
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.auth.credentials import AnonymousCredentials
from google.cloud.container_v1 import ClusterManagerClient
from google.cloud.container_v1.services.cluster_manager.transports import ClusterManagerRestTransport

from scripts.deployment import rollout
from scripts.deployment.terraform import Synthesis, synthesized
from tests.stacks.synthesized import committed

_NAMESPACE = "namespaces/sales-forecast"
CLUSTER = "/v1/projects/sales-forecast-staging/locations/europe-west1/clusters/sales-forecast"
DEPLOYMENTS = f"/apis/apps/v1/{_NAMESPACE}/deployments"
GATEWAY = f"/apis/gateway.networking.k8s.io/v1/{_NAMESPACE}/gateways/gateway"


class Cluster:
    """Google's API and the cluster's: answers from a table, for each path a list, the last of which stays."""

    def __init__(self, folder: Path) -> None:
        self.answers: dict[str, list[dict[str, Any]]] = {}
        self.tokens: set[str] = set()
        self.authority = folder / "authority.pem"
        cluster = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                cluster.tokens.add(self.headers.get("Authorization", ""))
                answers = cluster.answers.get(self.path.partition("?")[0], [])
                answer = answers.pop(0) if len(answers) > 1 else next(iter(answers), None)
                body = json.dumps(answer or {}).encode()
                self.send_response(200 if answer else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate(folder))
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _certificate(self, folder: Path) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
        now = datetime.datetime.now(datetime.UTC)
        host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(host, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        public = certificate.public_bytes(serialization.Encoding.PEM)
        self.authority.write_bytes(public)
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        file = folder / "server.pem"
        file.write_bytes(public + key.private_bytes(serialization.Encoding.PEM, *form))
        return file

    def runs(self, status: str = "RUNNING") -> None:
        """GKE knows the cluster."""
        endpoint = {"dnsEndpointConfig": {"endpoint": self.address}}
        self.answers[CLUSTER] = [{"status": status, "controlPlaneEndpointsConfig": endpoint}]

    @property
    def manager(self) -> ClusterManagerClient:
        transport = ClusterManagerRestTransport(host=self.address, credentials=AnonymousCredentials())
        return ClusterManagerClient(transport=transport)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    server = Cluster(tmp_path)
    for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(variable, str(server.authority))
    monkeypatch.setattr(httpx.get, "__kwdefaults__", {**(httpx.get.__kwdefaults__ or {}), "verify": True})
    monkeypatch.setattr(rollout, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(rollout, "_POLL_SECONDS", 0.01)
    caller = mock.Mock(token="token-of-the-caller")  # noqa: S106
    with mock.patch.object(google.auth, "default", return_value=(caller, None)):
        yield server
    server.server.shutdown()
    server.server.server_close()


def deployment(*, updated: int, available: int, reason: str = "ReplicaSetUpdated") -> dict[str, Any]:
    """Two pods are wanted."""
    progress = {"type": "Progressing", "status": "True", "reason": reason, "message": "ImagePullBackOff"}
    return {
        "metadata": {"generation": 3},
        "spec": {"replicas": 2, "selector": {}, "template": {}},
        "status": {
            "observedGeneration": 3,
            "replicas": 2,
            "updatedReplicas": updated,
            "availableReplicas": available,
            "conditions": [progress],
        },
    }


PROGRAMMED = {
    "status": {
        "addresses": [{"value": "203.0.113.7"}],
        "conditions": [{"type": "Programmed", "status": "True"}],
    }
}
"""A Gateway with its load balancer."""


_TOOL = """#!{python}
import json, sys
with open({log!r}, "a") as log:
    log.write(json.dumps([{name!r}, *sys.argv[1:]]) + "\\n")
for beginning, (status, answer) in {answers!r}.items():
    if " ".join(sys.argv[1:]).startswith(beginning):
        print(answer, file=sys.stderr if status else sys.stdout)
        sys.exit(status)
"""


class Tools:
    """The only programs on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log = folder / "log"

    def add(self, name: str, answers: Mapping[str, tuple[int, str]] | None = None) -> None:
        """A program that knows some commands by how they begin: exit status, and what it prints."""
        file = self.folder / name
        file.write_text(
            _TOOL.format(python=sys.executable, log=str(self._log), name=name, answers=dict(answers or {}))
        )
        file.chmod(0o755)

    def calls(self) -> list[list[str]]:
        """All commands so far."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for variable in ("CONTAINER_ENGINE", "PIP_CERT", "SSL_CERT_FILE"):
        monkeypatch.delenv(variable, raising=False)
    return Tools(folder)


@pytest.fixture(scope="session")
def synthesize(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Path], Synthesis]:
    """To replace the function of this name: takes what is synthesized once for all tests."""

    def take(environment: str, _: Path) -> Synthesis:
        return synthesized(environment, committed(tmp_path_factory).folder)

    return take
