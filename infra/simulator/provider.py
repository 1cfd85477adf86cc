"""The simulated provider: a server of Terraform's plugin protocol 6.

    python -m infra.simulator.provider google|kubernetes

Terraform starts one process per walk of a plan or apply. The protocol:
https://developer.hashicorp.com/terraform/plugin/terraform-plugin-protocol
"""

import json
import os
import sys
import threading
import time
from pathlib import Path as FilePath
from typing import Final

from tf.gen import tfplugin_pb2 as pb
from tf.gen import tfplugin_pb2_grpc

from infra.simulator import inventory, plan, plugin, rules, terraform
from infra.simulator.computed import ComputedValues
from infra.simulator.home import home, locked, write_atomic
from infra.simulator.resources import ResourceError, Values, handler, refusing
from infra.simulator.terraform import Path, attribute_path, conform, decode, encode

_LOST: Final = {
    "google_bigquery_table": "its rows and the grants on it",
    "google_pubsub_subscription": "its unacknowledged messages and the grants on it",
    "google_pubsub_topic": "the messages that it retains, the grants on it and its link to subscriptions",
}
"""What goes with a resource that is replaced."""


def _error(summary: str, detail: str, path: Path = ()) -> pb.Diagnostic:
    where = attribute_path(path) if path else None
    return pb.Diagnostic(severity=pb.Diagnostic.ERROR, summary=summary, detail=detail, attribute=where)


def _warning(summary: str, detail: str) -> pb.Diagnostic:
    return pb.Diagnostic(severity=pb.Diagnostic.WARNING, summary=summary, detail=detail)


_SIMULATION: Final = _warning(
    "This is a simulation",
    "It proves wiring, order and contracts, not that Google Cloud accepts a value. Topics, tables, buckets "
    "and Deployments are real on this machine; everything else is only recorded in Terraform's state.",
)


def _refusal(error: ResourceError) -> pb.Diagnostic:
    return _error(error.summary, error.detail, (error.attribute,) if error.attribute else ())


class Provider(tfplugin_pb2_grpc.ProviderServicer):
    """The methods of the plugin protocol; Terraform calls them from several threads."""

    # ruff: noqa: N802, D102 -- names and meaning are those of the protocol

    def __init__(self, name: str) -> None:
        """Serve the resource types of a provider that are in this stack."""
        self._blocks = terraform.read(name, _used_types())
        self._defaults: Values = {}
        self._lock = threading.Lock()
        self._warned = False
        self._emulators_run = False

    def GetProviderSchema(
        self, request: pb.GetProviderSchema.Request, context: object
    ) -> pb.GetProviderSchema.Response:
        response = pb.GetProviderSchema.Response(
            server_capabilities=pb.ServerCapabilities(get_provider_schema_optional=True)
        )
        for name, block in self._blocks.items():
            target = response.provider if name == "provider" else response.resource_schemas[name]
            target.CopyFrom(pb.Schema(block=terraform.schema(block)))
        return response

    def ValidateProviderConfig(
        self, request: pb.ValidateProviderConfig.Request, context: object
    ) -> pb.ValidateProviderConfig.Response:
        return pb.ValidateProviderConfig.Response()

    def ValidateResourceConfig(
        self, request: pb.ValidateResourceConfig.Request, context: object
    ) -> pb.ValidateResourceConfig.Response:
        block = self._blocks[request.type_name]
        return pb.ValidateResourceConfig.Response(
            diagnostics=[_error(*problem) for problem in plan.problems(block, decode(request.config))]
        )

    def ConfigureProvider(
        self, request: pb.ConfigureProvider.Request, context: object
    ) -> pb.ConfigureProvider.Response:
        self._defaults = decode(request.config)
        return pb.ConfigureProvider.Response()

    def UpgradeResourceState(
        self, request: pb.UpgradeResourceState.Request, context: object
    ) -> pb.UpgradeResourceState.Response:
        block = self._blocks[request.type_name]
        state = json.dumps(conform(json.loads(request.raw_state.json), block)).encode()
        return pb.UpgradeResourceState.Response(upgraded_state=pb.DynamicValue(json=state))

    def ReadResource(self, request: pb.ReadResource.Request, context: object) -> pb.ReadResource.Response:
        prior = state = decode(request.current_state)
        if request.type_name.startswith("kubernetes_"):
            inventory.controllers_catch_up()
        response = pb.ReadResource.Response(new_state=request.current_state, private=request.private)
        try:
            if real := handler(request.type_name):
                response.diagnostics.extend(self._start_emulators())
                state = real.read(prior)
            elif inventory.has_vanished(request.type_name, prior):
                response.new_state.CopyFrom(encode(None))
                return response
            else:
                state = inventory.as_stored(request.type_name, prior)
            response.new_state.CopyFrom(encode(state))
            inventory.update(request.type_name, prior, state)
        except ResourceError as error:
            response.diagnostics.append(_refusal(error))
        return response

    def PlanResourceChange(
        self, request: pb.PlanResourceChange.Request, context: object
    ) -> pb.PlanResourceChange.Response:
        proposed, prior = decode(request.proposed_new_state), decode(request.prior_state)
        response = pb.PlanResourceChange.Response(
            planned_state=request.proposed_new_state, legacy_type_system=True
        )
        if proposed is None:
            return response
        block = self._blocks[request.type_name]
        try:
            config = decode(request.config)
            planned = plan.plan(block, prior, proposed, config, self._defaults)
            real = handler(request.type_name)
            if real:
                planned = real.plan(prior, planned)
            response.planned_state.CopyFrom(encode(planned))
            if prior is not None:
                paths = [*plan.replacements(block, prior, planned)]
                if real:
                    paths += [(name,) for name in real.replaces(prior, planned)]
                response.requires_replace.extend(map(attribute_path, paths))
                if response.requires_replace and (lost := _LOST.get(request.type_name)):
                    detail = f"{prior['id']} is made anew: {lost} are lost."
                    response.diagnostics.append(_warning("A replacement loses data", detail))
        except ResourceError as error:
            response.diagnostics.append(_refusal(error))
        return response

    def ApplyResourceChange(
        self, request: pb.ApplyResourceChange.Request, context: object
    ) -> pb.ApplyResourceChange.Response:
        prior, planned = decode(request.prior_state), decode(request.planned_state)
        response = pb.ApplyResourceChange.Response(new_state=request.prior_state, legacy_type_system=True)
        block = self._blocks[request.type_name]
        if planned is not None:
            planned = plan.resolve(block, planned, ComputedValues(request.type_name, planned))
            with self._lock:
                if not self._warned:
                    response.diagnostics.append(_SIMULATION)
                self._warned = True
        try:
            if not prior:
                _inject_fault(request.type_name)
            rules.check(request.type_name, prior, planned, decode(request.config), self._defaults)
            if real := handler(request.type_name):
                response.diagnostics.extend(self._start_emulators())
                if planned is None:
                    real.delete(prior)
                else:
                    planned = real.update(prior, planned) if prior else real.create(planned)
            inventory.update(request.type_name, prior, planned)
            if planned is None:
                rules.remove_grants(request.type_name, prior.get("id") or "")
            response.new_state.CopyFrom(encode(planned))
            if rules.decides_dead_letters(request.type_name):
                from infra.simulator.resources import pubsub  # most stacks have no subscription

                response.diagnostics.extend(self._start_emulators())
                pubsub.settle_dead_letters()
        except ResourceError as error:
            if error.created is not None:
                inventory.record(request.type_name, error.created)
                response.new_state.CopyFrom(encode(error.created))
            response.diagnostics.append(_refusal(error))
        return response

    def _start_emulators(self) -> list[pb.Diagnostic]:
        """Start the emulators that do not run, at the first call; a warning names them."""
        from infra.simulator import emulators  # most stacks do not need it

        with self._lock:
            if self._emulators_run:
                return []
            with refusing("An emulator does not run"):
                started = emulators.ensure()
            self._emulators_run = True
        if not started:
            return []
        detail = (
            f"They were not running: {', '.join(started)}. The Pub/Sub emulator stores nothing on disk: its "
            "messages are lost, and an apply creates its topics and subscriptions again."
        )
        return [_warning("Emulators were started", detail)]

    def ImportResourceState(
        self, request: pb.ImportResourceState.Request, context: object
    ) -> pb.ImportResourceState.Response:
        found = next((each for each in inventory.all_of(request.type_name) if each["id"] == request.id), None)
        if found is None:
            error = _error("Cannot import non-existent remote object", f"There is no {request.id}.")
            return pb.ImportResourceState.Response(diagnostics=[error])
        state = encode(conform(found, self._blocks[request.type_name]))
        imported = pb.ImportResourceState.ImportedResource(type_name=request.type_name, state=state)
        return pb.ImportResourceState.Response(imported_resources=[imported])

    def StopProvider(self, request: pb.StopProvider.Request, context: object) -> pb.StopProvider.Response:
        return pb.StopProvider.Response()


def _used_types() -> set[str] | None:
    """Resource types in the configuration and state of the present stack; None while Terraform writes these.

    Terraform spends a fifth of a plan on the schemas if it gets those of all 1,400 types.
    """
    configuration = plugin.configuration()
    backend: Values = configuration["terraform"].get("backend", {}).get("local", {})
    state = FilePath(backend.get("path", "terraform.tfstate"))
    content = state.read_bytes() if state.exists() else b""
    # Terraform makes an empty file to lock a new state; of one that it writes anew it has a backup.
    if not content and not FilePath(f"{state}.backup").exists():
        content = b'{"resources": []}'
    try:
        resources: list[Values] = json.loads(content)["resources"]
    except ValueError:
        return None
    return {"provider", *configuration.get("resource", {}), *(each["type"] for each in resources)}


def _inject_fault(type_name: str) -> None:
    """Delay or fail a creation, for tests, if `faults.json` in the folder of the simulated cloud says so.

        [{"type": "google_container_cluster", "seconds": 3},
         {"type": "google_pubsub_topic", "skip": 1, "error": "Error 503: backendError"}]

    An entry with `seconds` delays every creation of its type. An entry with `error` fails one creation, after
    `skip` others, and is then removed from the list.
    """
    file = home() / "faults.json"
    if not file.exists():
        return
    with locked("faults"):
        faults: list[Values] = json.loads(file.read_text())
        own = [fault for fault in faults if fault["type"] == type_name]
        failing = next((fault for fault in own if "error" in fault), None)
        if failing is not None:
            fails = not failing.get("skip")
            if fails:
                faults.remove(failing)
            else:
                failing["skip"] -= 1
            write_atomic(file, json.dumps(faults))
            if fails:
                raise ResourceError(failing["error"], "an injected fault")
    time.sleep(sum(fault["seconds"] for fault in own if "seconds" in fault))


def main(arguments: list[str]) -> int:
    """Serve the provider named; returns the exit status."""
    if arguments not in (["google"], ["kubernetes"]):
        print("usage: python -m infra.simulator.provider google|kubernetes", file=sys.stderr)  # noqa: T201
        return 2
    if "TF_PLUGIN_MAGIC_COOKIE" not in os.environ:
        print("This is a Terraform provider: only Terraform can start it.", file=sys.stderr)  # noqa: T201
        return 2
    plugin.serve(Provider(arguments[0]))
    return 0


if __name__ == "__main__":
    plugin.ensure_fork_server()
    sys.exit(main(sys.argv[1:]))
