"""The simulated provider: a server of Terraform's plugin protocol 6.

    python -m infra.simulator.provider google|kubernetes

Terraform starts one process per walk of a plan or apply. The protocol:
https://developer.hashicorp.com/terraform/plugin/terraform-plugin-protocol
"""

import json
import sys
import threading
from collections.abc import Iterable
from pathlib import Path as FilePath
from typing import Final, Protocol

import grpc
from tf.gen import tfplugin_pb2 as pb
from tf.gen import tfplugin_pb2_grpc

from infra.simulator import facts, faults, inventory, plugin, rules, validation
from infra.simulator import planned_state as planning
from infra.simulator.computed import Namer
from infra.simulator.resources import Handler, ResourceError, Values, handler
from infra.simulator.schema import Kind, SchemaError, Schemas
from infra.simulator.values import Path, attribute_path, conform, decode, encode

_CONFIGURATION: Final = FilePath("cdk.tf.json")
"""What cdktf writes into the folder of a stack, which is the one that Terraform starts providers in."""

_SIMULATION: Final = pb.Diagnostic(
    severity=pb.Diagnostic.WARNING,
    summary="This is a simulation",
    detail=(
        "It proves wiring, order and contracts, not that Google Cloud accepts a value. Topics, tables, "
        "buckets and Deployments are real on this machine; all else is only recorded in Terraform's state."
    ),
)


class _Configuration(Protocol):
    type_name: str
    config: pb.DynamicValue


def _error(summary: str, detail: str, path: Path = ()) -> pb.Diagnostic:
    where = attribute_path(path) if path else None
    return pb.Diagnostic(severity=pb.Diagnostic.ERROR, summary=summary, detail=detail, attribute=where)


def _refusal(error: ResourceError) -> pb.Diagnostic:
    return _error(error.summary, error.detail, (error.attribute,) if error.attribute else ())


_MISSING_PROJECT: Final = _error(
    "Missing project", "Neither the block nor the provider is configured with a project.", ("project",)
)


class Provider(tfplugin_pb2_grpc.ProviderServicer):
    """The methods of the protocol. Terraform calls them from several threads."""

    # ruff: noqa: N802, D102 -- the protocol's names, described there

    def __init__(self, name: str, schema: Schemas) -> None:
        """Serve the types of a schema."""
        self._name = name
        self._schema = schema
        self._defaults: Values = {}
        self._lock = threading.Lock()
        self._warned = False
        self._emulators_run = False

    def GetProviderSchema(
        self, request: pb.GetProviderSchema.Request, context: grpc.ServicerContext
    ) -> pb.GetProviderSchema.Response:
        response = pb.GetProviderSchema.Response(
            server_capabilities=pb.ServerCapabilities(get_provider_schema_optional=True)
        )
        response.provider.block.CopyFrom(self._schema.block("provider", self._name))
        known: dict[Kind, dict[str, bytes]] = {
            "resource": dict(self._schema.serialized("resource")),
            "data": dict(self._schema.serialized("data")),
        }
        everything = {kind: set(schemas) for kind, schemas in known.items()}
        wanted = _in_use(self._name) or everything
        if any(wanted[kind] - known[kind].keys() for kind in known):
            wanted = everything  # Terraform proposes other names for one that it does not find
        for name in wanted["resource"]:
            response.resource_schemas[name].ParseFromString(known["resource"][name])
        for name in wanted["data"]:
            response.data_source_schemas[name].ParseFromString(known["data"][name])
        return response

    def ValidateProviderConfig(
        self, request: pb.ValidateProviderConfig.Request, context: grpc.ServicerContext
    ) -> pb.ValidateProviderConfig.Response:
        return pb.ValidateProviderConfig.Response()

    def ValidateResourceConfig(
        self, request: pb.ValidateResourceConfig.Request, context: grpc.ServicerContext
    ) -> pb.ValidateResourceConfig.Response:
        return pb.ValidateResourceConfig.Response(diagnostics=self._faults("resource", request))

    def ValidateDataResourceConfig(
        self, request: pb.ValidateDataResourceConfig.Request, context: grpc.ServicerContext
    ) -> pb.ValidateDataResourceConfig.Response:
        return pb.ValidateDataResourceConfig.Response(diagnostics=self._faults("data", request))

    def _faults(self, kind: Kind, request: _Configuration) -> list[pb.Diagnostic]:
        block = self._schema.block(kind, request.type_name)
        return [
            _error(fault.summary, fault.detail, fault.path)
            for fault in validation.faults(block, decode(request.config))
        ]

    def ConfigureProvider(
        self, request: pb.ConfigureProvider.Request, context: grpc.ServicerContext
    ) -> pb.ConfigureProvider.Response:
        self._defaults = decode(request.config)
        return pb.ConfigureProvider.Response()

    def UpgradeResourceState(
        self, request: pb.UpgradeResourceState.Request, context: grpc.ServicerContext
    ) -> pb.UpgradeResourceState.Response:
        block = self._schema.block("resource", request.type_name)
        state = json.dumps(conform(json.loads(request.raw_state.json), block)).encode()
        return pb.UpgradeResourceState.Response(upgraded_state=pb.DynamicValue(json=state))

    def ReadResource(
        self, request: pb.ReadResource.Request, context: grpc.ServicerContext
    ) -> pb.ReadResource.Response:
        real = handler(request.type_name)
        response = pb.ReadResource.Response(new_state=request.current_state, private=request.private)
        if real is not None:
            try:
                response.diagnostics.extend(self._start_emulators())
                state = real.read(decode(request.current_state))
                block = self._schema.block("resource", request.type_name)
                response.new_state.CopyFrom(encode(state and conform(state, block)))
            except ResourceError as error:
                response.diagnostics.append(_refusal(error))
                return response
        # What an earlier version of the simulation applied is not in the inventory yet.
        _take_stock(request.type_name, decode(request.current_state), decode(response.new_state))
        return response

    def PlanResourceChange(
        self, request: pb.PlanResourceChange.Request, context: grpc.ServicerContext
    ) -> pb.PlanResourceChange.Response:
        proposed, prior = decode(request.proposed_new_state), decode(request.prior_state)
        response = pb.PlanResourceChange.Response(
            planned_state=request.proposed_new_state, legacy_type_system=True
        )
        if proposed is None:
            return response
        block = self._schema.block("resource", request.type_name)
        try:
            config = decode(request.config)
            planned = planning.plan(request.type_name, block, prior, proposed, config, self._defaults)
        except planning.MissingProjectError:
            response.diagnostics.append(_MISSING_PROJECT)
            return response
        response.planned_state.CopyFrom(encode(planned))
        if prior is not None:
            real = handler(request.type_name)
            paths: Iterable[Path] = (
                planning.replacements(request.type_name, block, prior, planned)
                if real is None
                else ((name,) for name in real.replaces(prior, planned))
            )
            response.requires_replace.extend(map(attribute_path, paths))
        return response

    def ApplyResourceChange(
        self, request: pb.ApplyResourceChange.Request, context: grpc.ServicerContext
    ) -> pb.ApplyResourceChange.Response:
        prior, planned = decode(request.prior_state), decode(request.planned_state)
        response = pb.ApplyResourceChange.Response(new_state=request.prior_state, legacy_type_system=True)
        block = self._schema.block("resource", request.type_name)
        if planned is not None:
            planned = planning.resolve(block, planned, Namer(request.type_name, planned))
            response.diagnostics.extend(self._simulation())
        try:
            _check(request.type_name, prior, planned, decode(request.config))
            if real := handler(request.type_name):
                response.diagnostics.extend(self._start_emulators())
                planned = _apply(real, prior, planned)
            elif planned is None and facts.is_protected(block, prior):
                raise ResourceError(
                    "Deletion protection", "Apply deletion_protection = false first.", "deletion_protection"
                )
            _take_stock(request.type_name, prior, planned)
            response.new_state.CopyFrom(encode(planned))
            if rules.decides_dead_letters(request.type_name):
                from infra.simulator.resources import pubsub  # most stacks have no subscription

                response.diagnostics.extend(self._start_emulators())
                pubsub.settle_dead_letters()
        except ResourceError as error:
            response.diagnostics.append(_refusal(error))
        return response

    def _simulation(self) -> list[pb.Diagnostic]:
        """The warning of every apply, when first asked for."""
        with self._lock:
            told, self._warned = self._warned, True
        return [] if told else [_SIMULATION]

    def _start_emulators(self) -> list[pb.Diagnostic]:
        """Start emulators that do not run, before the first use of one; a warning that names them."""
        from infra.simulator import emulators  # most stacks need none

        with self._lock:
            if self._emulators_run:
                return []
            try:
                started = emulators.ensure()
            except emulators.EmulatorError as error:
                raise ResourceError("An emulator does not run", str(error)) from error
            self._emulators_run = True
        if not started:
            return []
        detail = (
            f"They were not running: {', '.join(started)}. The Pub/Sub emulator keeps nothing on disk: its "
            "messages are lost, an apply creates its topics and subscriptions anew."
        )
        return [
            pb.Diagnostic(severity=pb.Diagnostic.WARNING, summary="Emulators were started", detail=detail)
        ]

    def ReadDataSource(
        self, request: pb.ReadDataSource.Request, context: grpc.ServicerContext
    ) -> pb.ReadDataSource.Response:
        block, config = self._schema.block("data", request.type_name), decode(request.config)
        try:
            planned = planning.plan(request.type_name, block, None, config, config, self._defaults)
        except planning.MissingProjectError:
            return pb.ReadDataSource.Response(diagnostics=[_MISSING_PROJECT])
        state = planning.resolve(block, planned, Namer(request.type_name, planned))
        return pb.ReadDataSource.Response(state=encode(state))

    def ImportResourceState(
        self, request: pb.ImportResourceState.Request, context: grpc.ServicerContext
    ) -> pb.ImportResourceState.Response:
        detail = f"There is no {request.type_name} outside Terraform's state that could be imported."
        return pb.ImportResourceState.Response(diagnostics=[_error("Import is not simulated", detail)])

    def GetFunctions(
        self, request: pb.GetFunctions.Request, context: grpc.ServicerContext
    ) -> pb.GetFunctions.Response:
        return pb.GetFunctions.Response()

    def StopProvider(
        self, request: pb.StopProvider.Request, context: grpc.ServicerContext
    ) -> pb.StopProvider.Response:
        return pb.StopProvider.Response()


def _in_use(provider: str) -> dict[Kind, set[str]] | None:
    """Types in the configuration and the state of the stack that Terraform works on; None if that is unclear.

    What Terraform makes of the schemas of all 1,500 types is a fifth of what a plan costs.
    """
    try:
        configuration: Values = json.loads(_CONFIGURATION.read_bytes())
        backend: Values = configuration["terraform"].get("backend", {}).get("local", {})
        state = FilePath(backend.get("path", "terraform.tfstate"))
        resources: list[Values] = json.loads(state.read_bytes())["resources"] if state.exists() else []
    except (OSError, ValueError, KeyError):
        return None

    def types(kind: Kind, mode: str) -> set[str]:
        there = {*configuration.get(kind, {}), *(each["type"] for each in resources if each["mode"] == mode)}
        return {name for name in there if name.startswith(f"{provider}_")}

    return {"resource": types("resource", "managed"), "data": types("data", "data")}


def _apply(real: Handler, prior: Values | None, planned: Values | None) -> Values | None:
    if planned is None:
        if prior is not None:
            real.delete(prior)
        return None
    return real.create(planned) if prior is None else real.update(prior, planned)


def _check(type_name: str, prior: Values | None, planned: Values | None, config: Values) -> None:
    """Raises ResourceError if Google would refuse a change, or a fault was ordered."""
    if planned is not None:
        if prior is None:
            faults.strike(type_name)
        rules.check(type_name, planned, config)
    elif prior is not None:
        rules.check_deletion(type_name, prior)


def _take_stock(type_name: str, before: Values | None, after: Values | None) -> None:
    if after is not None:
        inventory.record(type_name, after)
    elif before is not None:
        inventory.forget(type_name, before)


def main(arguments: list[str]) -> int:
    """Serve the provider named; returns the exit status."""
    if arguments not in (["google"], ["kubernetes"]):
        print("usage: python -m infra.simulator.provider google|kubernetes", file=sys.stderr)  # noqa: T201
        return 2
    if not plugin.started_by_terraform():
        print("This is a Terraform provider: Terraform starts it.", file=sys.stderr)  # noqa: T201
        return 2
    (name,) = arguments
    try:
        schema = Schemas(name)
    except SchemaError as error:
        print(error)  # noqa: T201 -- Terraform shows what it reads instead of a handshake, and hides stderr
        return 1
    plugin.serve(Provider(name, schema))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
