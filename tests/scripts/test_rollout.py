"""Waiting for a rollout, against a server that speaks as GKE's API and a cluster do, over real TLS."""

import datetime
import http.server
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import google.auth
import kubernetes.client
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.auth.credentials import AnonymousCredentials
from google.cloud.container_v1 import ClusterManagerClient
from google.cloud.container_v1.services.cluster_manager.transports import ClusterManagerRestTransport

from infra import environment
from scripts import rollout
from scripts.rollout import RolloutError

STAGING = environment.load("staging")
CLUSTER = "/v1/projects/sales-forecast-staging/locations/europe-west1/clusters/sales-forecast"
DEPLOYMENT = "/apis/apps/v1/namespaces/sales-forecast/deployments/prediction"
GATEWAY = "/apis/gateway.networking.k8s.io/v1/namespaces/sales-forecast/gateways/gateway"


class Cluster:
    """Answers from a table: for each path a list, the last of which stays."""

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


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    server = Cluster(tmp_path)
    for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(variable, str(server.authority))
    monkeypatch.setattr(rollout, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(rollout, "_POLL_SECONDS", 0.01)
    yield server
    server.server.shutdown()
    server.server.server_close()


def connect(cluster: Cluster) -> kubernetes.client.ApiClient:
    transport = ClusterManagerRestTransport(host=cluster.address, credentials=AnonymousCredentials())
    credentials = mock.Mock(token="token-of-the-caller")  # noqa: S106
    with mock.patch.object(google.auth, "default", return_value=(credentials, None)):
        return rollout.connect(STAGING, ClusterManagerClient(transport=transport))


@pytest.fixture
def client(cluster: Cluster) -> kubernetes.client.ApiClient:
    cluster.answers[CLUSTER] = [described(cluster)]
    return connect(cluster)


def described(cluster: Cluster, status: str = "RUNNING") -> dict[str, Any]:
    endpoint = {"dnsEndpointConfig": {"endpoint": cluster.address}}
    return {"name": "sales-forecast", "status": status, "controlPlaneEndpointsConfig": endpoint}


def deployment(*, updated: int, available: int, reason: str = "ReplicaSetUpdated") -> dict[str, Any]:
    return {
        "metadata": {"name": "prediction", "generation": 3},
        "spec": {"replicas": 2, "selector": {}, "template": {}},
        "status": {
            "observedGeneration": 3,
            "replicas": 2,
            "updatedReplicas": updated,
            "availableReplicas": available,
            "conditions": [
                {"type": "Progressing", "status": "True", "reason": reason, "message": "ImagePullBackOff"}
            ],
        },
    }


def test_waits_until_every_pod_is_new_and_available(
    cluster: Cluster, client: kubernetes.client.ApiClient
) -> None:
    steps = [(0, 2), (1, 2), (2, 1), (2, 2)]
    cluster.answers[DEPLOYMENT] = [deployment(updated=new, available=up) for new, up in steps]
    assert rollout.wait_rolled_out(client, "prediction") == "2 available"
    assert len(cluster.answers[DEPLOYMENT]) == 1, "all four states were seen"
    assert "Bearer token-of-the-caller" in cluster.tokens


def test_rollout_that_is_stuck(cluster: Cluster, client: kubernetes.client.ApiClient) -> None:
    cluster.answers[DEPLOYMENT] = [deployment(updated=1, available=2, reason="ProgressDeadlineExceeded")]
    with pytest.raises(RolloutError, match=r"does not progress: ImagePullBackOff; look at `kubectl"):
        rollout.wait_rolled_out(client, "prediction")


def test_rollout_that_takes_too_long(cluster: Cluster, client: kubernetes.client.ApiClient) -> None:
    cluster.answers[DEPLOYMENT] = [deployment(updated=1, available=2)]
    with pytest.raises(RolloutError, match="1 of 2 pods updated, 2 available"):
        rollout.wait_rolled_out(client, "prediction")


def test_service_that_was_never_deployed(client: kubernetes.client.ApiClient) -> None:
    with pytest.raises(RolloutError, match="deployment prediction: 404"):
        rollout.wait_rolled_out(client, "prediction")


def test_waits_for_the_address_of_the_gateway(cluster: Cluster, client: kubernetes.client.ApiClient) -> None:
    programmed = {"type": "Programmed", "status": "True"}
    ready = {"status": {"addresses": [{"value": "203.0.113.7"}], "conditions": [programmed]}}
    cluster.answers[GATEWAY] = [{"metadata": {}}, {"status": {"conditions": []}}, ready]
    assert rollout.wait_address(client, "gateway") == "203.0.113.7"


def test_gateway_without_an_address(cluster: Cluster, client: kubernetes.client.ApiClient) -> None:
    waiting = {"type": "Programmed", "status": "False", "message": "certificate is pending"}
    cluster.answers[GATEWAY] = [{"status": {"conditions": [waiting]}}]
    with pytest.raises(RolloutError, match="not programmed: certificate is pending"):
        rollout.wait_address(client, "gateway")


def test_cluster_that_does_not_run(cluster: Cluster) -> None:
    cluster.answers[CLUSTER] = [described(cluster, "PROVISIONING")]
    with pytest.raises(RolloutError, match="is PROVISIONING, not RUNNING"):
        connect(cluster)


def test_cluster_that_is_not_there(cluster: Cluster) -> None:
    with pytest.raises(RolloutError, match=r"clusters/sales-forecast: 404.*deploy staging-cluster"):
        connect(cluster)
