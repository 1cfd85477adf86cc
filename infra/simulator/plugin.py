"""Serves a provider to Terraform: gRPC on a socket, whose address a handshake on stdout contains.

The handshake is that of https://github.com/hashicorp/go-plugin (docs/internals.md).
"""

import datetime
import json
import signal
import tempfile
import threading
import time
from concurrent import futures
from pathlib import Path
from typing import Any, Final

import grpc
from tf.gen import grpc_controller_pb2, grpc_controller_pb2_grpc, tfplugin_pb2_grpc

from infra.simulator import processes
from infra.simulator.home import home, locked, write_atomic
from infra.simulator.launcher import CHECKOUT

_CORE_PROTOCOL: Final = 1
_PLUGIN_PROTOCOL: Final = 6
_WORKERS: Final = 16  # above Terraform's parallelism of 10: slow applies do not block other calls
_RENEW_SECONDS: Final = 12 * 3600
_FORK_SERVER: Final = f"simulator.providers-{CHECKOUT}"
_GRACE_SECONDS: Final = 5.0
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"


class _Controller(grpc_controller_pb2_grpc.GRPCControllerServicer):
    def __init__(self) -> None:
        self.shutdown = threading.Event()

    def Shutdown(self, request: Any, context: grpc.ServicerContext) -> grpc_controller_pb2.Empty:  # noqa: N802
        self.shutdown.set()
        return grpc_controller_pb2.Empty()


def _credentials() -> tuple[str, grpc.ServerCredentials]:
    """A certificate: as the handshake has it, and with its key for the server."""
    # The providers of a day share it: to make one takes a third of the time in which a provider starts.
    file = home() / "provider.pem"
    if not file.exists() or time.time() - file.stat().st_mtime > _RENEW_SECONDS:
        write_atomic(file, _key_and_certificate())
    key, begin, rest = file.read_text().partition(_BEGIN)
    encoded = "".join(rest.splitlines()[:-1]).rstrip("=")
    return encoded, grpc.ssl_server_credentials([(key.encode(), (begin + rest).encode())])


def _key_and_certificate() -> str:
    """Both in PEM form; clocks may be a day apart."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (pem + certificate.public_bytes(serialization.Encoding.PEM)).decode()


def ensure_fork_server() -> None:
    """Start the fork server if it does not run. It serves from the next provider on."""
    with locked("fork-server"):
        former = processes.find(_FORK_SERVER)
        if former is None or not former.alive:
            command = processes.module("infra.simulator.fork_server")
            variables = processes.base_environment()
            processes.start(_FORK_SERVER, command, variables, grace_seconds=_GRACE_SECONDS)


def configuration() -> dict[str, Any]:
    """The configuration of the stack in whose folder Terraform started this process."""
    return json.loads(Path("cdk.tf.json").read_bytes())


def serve(provider: tfplugin_pb2_grpc.ProviderServicer) -> None:
    """Serve a provider until Terraform shuts it down."""
    # Ctrl-C reaches the whole process group, but Terraform waits for changes that have begun. SIG_IGN would
    # be inherited by the processes that a provider starts; a handler is not.
    signal.signal(signal.SIGINT, lambda _number, _frame: None)
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(_WORKERS), options=unlimited)
    controller = _Controller()
    tfplugin_pb2_grpc.add_ProviderServicer_to_server(provider, server)
    grpc_controller_pb2_grpc.add_GRPCControllerServicer_to_server(controller, server)
    certificate, credentials = _credentials()
    with tempfile.TemporaryDirectory(prefix="simulator-") as folder:
        socket = f"{folder}/plugin"
        server.add_secure_port(f"unix://{socket}", credentials)
        server.start()
        print(_CORE_PROTOCOL, _PLUGIN_PROTOCOL, "unix", socket, "grpc", certificate, sep="|", flush=True)  # noqa: T201
        controller.shutdown.wait()
        server.stop(grace=0.5).wait()
