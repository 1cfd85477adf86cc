"""Deployments as local processes: reads the manifest, `kubelet` runs it.

What a process on this machine cannot do is refused, never left out silently, if the program inside would
notice: secrets, config maps, mounts, init containers, postStart hooks. What only a cluster would notice is
ignored: replicas, resources, security contexts, affinity, tolerations, liveness probes.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from infra.simulator import kubelet
from infra.simulator.kubelet import Container, KubeletError, Pod, Probe
from infra.simulator.resources import Handler, ResourceError, Values, emulated

_IMAGE: Final = re.compile(r"(?:\S+/)?[a-z0-9][a-z0-9._-]*(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?")
_REFERENCE: Final = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
_POD_REFUSED: Final = ("init_container", "host_aliases", "dns_config", "active_deadline_seconds")
_CONTAINER_REFUSED: Final = ("env_from", "volume_device", "working_dir", "stdin", "tty")
_TMP: Final = "/tmp"  # noqa: S108 -- the one mount whose place a process can choose: by $TMPDIR


class Deployment:
    """`kubernetes_deployment_v1`."""

    def replaces(self, prior: Values, planned: Values) -> list[str]:
        """The selector of its pods."""
        return ["spec"] if _selector(prior) != _selector(planned) else []

    def create(self, planned: Values) -> Values:
        """Start the containers and wait for their readiness."""
        pod = _pod(planned)
        if pod.containers and kubelet.runs(pod, emulated.endpoints()):
            raise ResourceError(
                f"Deployment {pod.deployment} already exists",
                "it runs, and Terraform's state does not know it. If it is left over from an interrupted "
                "command, `make down` stops it",
                "metadata",
            )
        self._start(pod, planned)
        return planned | {"id": pod.deployment}

    def read(self, state: Values) -> Values | None:
        """The state, or None unless every container runs and knows where the emulators are now."""
        return state if kubelet.runs(_pod(state), emulated.endpoints()) else None

    def update(self, prior: Values, planned: Values) -> Values:
        """Restart the containers if the pod's template has changed, as a rollout does."""
        pod = _pod(planned)
        if _template(prior) != _template(planned) or pod.containers != _pod(prior).containers:
            self._start(pod, planned)
        return planned

    def delete(self, state: Values) -> None:
        """Stop the containers."""
        kubelet.stop(_deployment(state))

    def _start(self, pod: Pod, values: Values) -> None:
        try:
            kubelet.start(pod, emulated.endpoints(), wait=values.get("wait_for_rollout") is not False)
        except KubeletError as error:
            raise ResourceError(f"Deployment {pod.deployment} does not run", str(error)) from error


def _deployment(values: Values) -> str:
    metadata = values["metadata"][0]
    if not metadata.get("name"):
        raise ResourceError("Not simulated", "a Deployment needs metadata.name", "metadata")
    return f"{metadata.get('namespace') or 'default'}/{metadata['name']}"


def _selector(values: Values) -> Any:
    return values["spec"][0].get("selector")


def _template(values: Values) -> Values:
    return values["spec"][0]["template"][0]


def _pod(values: Values) -> Pod:
    """The pod that a Deployment's values describe.

    Raises:
        ResourceError: they ask for something that a process on this machine cannot do.
    """
    template = _template(values)
    spec = template["spec"][0]
    _refuse("pod", spec, _POD_REFUSED)
    temporary = set(_empty_volumes(spec))
    fields = _fields(values, template)
    containers = [_container(container, fields, temporary) for container in spec["container"]]
    grace = spec.get("termination_grace_period_seconds")
    return Pod(
        deployment=_deployment(values),
        containers=() if values["spec"][0].get("replicas") == "0" else tuple(containers),
        grace_seconds=30.0 if grace is None else float(grace),
    )


def _refuse(what: str, values: Values, names: tuple[str, ...]) -> None:
    for name in names:
        if values.get(name):
            raise ResourceError("Not simulated", f"{what}: {name} has no counterpart on a laptop", "spec")


def _empty_volumes(spec: Values) -> Iterator[str]:
    for volume in spec.get("volume") or []:
        kinds = [kind for kind, value in volume.items() if isinstance(value, list) and value]
        if kinds != ["empty_dir"]:
            raise ResourceError(
                "Not simulated",
                f"volume {volume['name']}: on a laptop there is only empty_dir, not {', '.join(kinds)}",
                "spec",
            )
        yield volume["name"]


def _fields(values: Values, template: Values) -> Mapping[str, str]:
    """What `field_ref` can tell of the pod."""
    namespace, name = _deployment(values).split("/")
    metadata = emulated.block(template, "metadata") or {}
    fields = {
        "metadata.name": f"{name}-0",
        "metadata.namespace": namespace,
        "spec.nodeName": "localhost",
        "spec.serviceAccountName": template["spec"][0].get("service_account_name") or "default",
        "status.podIP": "127.0.0.1",
        "status.hostIP": "127.0.0.1",
    }
    for kind in ("labels", "annotations"):
        fields |= {f"metadata.{kind}['{key}']": text for key, text in (metadata.get(kind) or {}).items()}
    return fields


def _container(values: Values, fields: Mapping[str, str], temporary: set[str]) -> Container:
    name = values["name"]
    what = f"container {name}"
    _refuse(what, values, _CONTAINER_REFUSED)
    hooks = emulated.block(values, "lifecycle") or {}
    _refuse(what, hooks, ("post_start",))
    for mount in values.get("volume_mount") or []:
        if mount["name"] not in temporary or mount["mount_path"] != _TMP or mount.get("sub_path"):
            raise ResourceError(
                "Not simulated",
                f"{what}: a process can have only {_TMP} to itself, not {mount['mount_path']}",
                "spec",
            )
    image: str = values.get("image") or ""
    if not _IMAGE.fullmatch(image):
        raise ResourceError("Invalid image", f"{what}: {image!r} is no image reference", "spec")
    if not values.get("command"):
        raise ResourceError(
            "Not simulated", f"{what}: set command, no image is there whose entry point could run", "spec"
        )
    environment = _environment(what, values, fields)
    ports = {
        port.get("name"): int(port["container_port"])
        for port in values.get("port") or []
        if (port.get("protocol") or "TCP") == "TCP"
    }
    probes = [
        _probe(f"{what}: {kind}", probe, ports)
        for kind in ("startup_probe", "readiness_probe")
        if (probe := emulated.block(values, kind))
    ]
    return Container(
        name=name,
        image=image,
        command=tuple(
            _expand(word, environment) for word in (*values["command"], *(values.get("args") or []))
        ),
        environment=environment,
        ports=tuple(ports.values()),
        probes=tuple(probes),
        pre_stop=_hook(f"{what}: pre_stop", emulated.block(hooks, "pre_stop")),
    )


def _hook(what: str, values: Values | None) -> tuple[str, ...]:
    """The command of a lifecycle hook. Kubernetes expands nothing in it."""
    if values is None:
        return ()
    command = (emulated.block(values, "exec") or {}).get("command")
    if not command:
        raise ResourceError("Not simulated", f"{what}: only exec, with a command, is run on a laptop", "spec")
    return tuple(command)


def _environment(what: str, values: Values, fields: Mapping[str, str]) -> dict[str, str]:
    environment: dict[str, str] = {}
    for variable in values.get("env") or []:
        source = emulated.block(variable, "value_from")
        if source is None:
            environment[variable["name"]] = _expand(variable.get("value") or "", environment)
            continue
        field = emulated.block(source, "field_ref")
        path: str = (field or {}).get("field_path") or ""
        if path not in fields:
            kinds = ", ".join(kind for kind, value in source.items() if value)
            raise ResourceError(
                "Not simulated",
                f"{what}: variable {variable['name']} comes from {path or kinds}, which a laptop lacks",
                "spec",
            )
        environment[variable["name"]] = fields[path]
    return environment


def _expand(text: str, environment: Mapping[str, str]) -> str:
    """Replace `$(NAME)` as Kubernetes does: unknown names stay, `$$` is `$`.

    https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
    """
    return _REFERENCE.sub(
        lambda match: "$" if match[1] is None else environment.get(match[1], match[0]), text
    )


def _probe(what: str, values: Values, ports: Mapping[str | None, int]) -> Probe:
    get = emulated.block(values, "http_get")
    if get is None:
        raise ResourceError("Not simulated", f"{what}: only http_get is asked on a laptop", "spec")
    if (get.get("scheme") or "HTTP") != "HTTP" or get.get("host"):
        raise ResourceError("Not simulated", f"{what}: only plain HTTP to the container itself", "spec")
    port = str(get.get("port") or "")
    if not port.isdecimal() and port not in ports:
        raise ResourceError("Invalid probe", f"{what}: the container has no port named {port!r}", "spec")
    # Kubernetes' defaults.
    failures = int(values.get("failure_threshold") or 3)
    period = float(values.get("period_seconds") or 10)
    return Probe(
        path=get.get("path") or "/",
        port=int(port) if port.isdecimal() else ports[port],
        headers={header["name"]: header["value"] for header in get.get("http_header") or []},
        timeout_seconds=float(values.get("timeout_seconds") or 1),
        allowance_seconds=float(values.get("initial_delay_seconds") or 0) + failures * period,
    )


HANDLERS: Final[Mapping[str, Handler]] = {"kubernetes_deployment_v1": Deployment()}
