"""Deployments and Jobs as local processes: reads the manifest, which `kubelet` runs.

What would matter to the program and has no counterpart on a laptop is refused: secrets, config maps, mounts,
several containers, lifecycle hooks. What matters only to a cluster is ignored: replicas, resources, security
contexts, affinity, tolerations, liveness probes.
"""

# ruff: noqa: D102 -- `Handler` says what each method does

import re
from collections.abc import Mapping
from typing import Final

from infra.simulator import kubelet
from infra.simulator.kubelet import Container, Probe
from infra.simulator.resources import Handler, ResourceError, Values, emulated, refusing

_IMAGE: Final = re.compile(r"(?:\S+/)?[a-z0-9][a-z0-9._-]*(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?")
_POD_REFUSED: Final = ("init_container", "host_aliases", "dns_config", "active_deadline_seconds")
_CONTAINER_REFUSED: Final = ("args", "env_from", "lifecycle", "stdin", "tty", "volume_device", "working_dir")
_HTTP_GET_REFUSED: Final = ("host", "http_header")
_TMP: Final = "/tmp"  # noqa: S108 -- the only mount path that a process can have to itself: through $TMPDIR


class Deployment(Handler):
    """`kubernetes_deployment_v1`."""

    def create(self, planned: Values) -> Values:
        container = _container(planned)
        if kubelet.runs(container):
            raise ResourceError(
                f"Deployment {container.deployment} already exists",
                "it runs, but Terraform's state does not have it. If it is left over from an interrupted "
                "command, `make down` stops it",
                "metadata",
            )
        self._start(container, planned if planned.get("wait_for_rollout") else None)
        return planned

    def read(self, state: Values) -> Values | None:
        """The state, if the container runs, or never got ready, with the emulators' present addresses."""
        container = _container(state)
        return state if kubelet.runs(container) or kubelet.never_ready(container) else None

    def update(self, prior: Values, planned: Values) -> Values:
        """Restart the container if the pod template has changed, as a rollout does."""
        container = _container(planned)
        if _template(prior) != _template(planned):
            self._start(container)
        return planned

    def delete(self, state: Values) -> None:
        kubelet.stop(_deployment(state))

    def _start(self, container: Container, created: Values | None = None) -> None:
        """Start the container; one that does not get ready stays if Terraform waits for it (`created`)."""
        try:
            with refusing(f"Deployment {container.deployment} does not run"):
                kubelet.start(container)
        except ResourceError as error:
            error.created = created
            if created is None:
                # A cluster would go on trying, and Terraform would not hear of it: here somebody watches.
                kubelet.stop(container.deployment)
            raise


class Job(Handler):
    """`kubernetes_job_v1`. What has run to its end stays, as in a cluster, and does not run again."""

    def create(self, planned: Values) -> Values:
        container, spec = _container(planned), planned["spec"][0]
        try:
            with refusing(f"job: {container.deployment} is in failed state"):
                kubelet.run(
                    container,
                    tries=1 + int(spec["backoff_limit"]),
                    deadline_seconds=spec.get("active_deadline_seconds"),
                    wait=planned["wait_for_completion"],
                )
        except ResourceError as failed:
            failed.created = planned
            raise
        return planned

    def read(self, state: Values) -> Values | None:
        return state

    def delete(self, state: Values) -> None:
        kubelet.stop(_deployment(state))


def _deployment(values: Values) -> str:
    metadata = values["metadata"][0]
    if not metadata.get("name"):
        raise ResourceError("Not simulated", "a Deployment needs metadata.name", "metadata")
    return f"{metadata.get('namespace') or 'default'}/{metadata['name']}"


def _template(values: Values) -> Values:
    return values["spec"][0]["template"][0]


def _not_simulated(detail: str) -> ResourceError:
    return ResourceError("Not simulated", detail, "spec")


def _container(deployment: Values) -> Container:
    """The container of a Deployment or Job; what is invalid or has no counterpart on a laptop is refused."""
    spec = _template(deployment)["spec"][0]
    emulated.refuse(spec, _POD_REFUSED, "pod: ", "spec")
    if len(spec["container"]) != 1:
        raise _not_simulated("a pod with several containers")
    (values,) = spec["container"]
    what = f"container {values['name']}: "
    emulated.refuse(values, _CONTAINER_REFUSED, what, "spec")
    _check_mounts(spec, values)
    image: str = values.get("image") or ""
    if not _IMAGE.fullmatch(image):
        raise ResourceError("Invalid image", f"{what}{image!r} is no image reference", "spec")
    if not values.get("command"):
        raise _not_simulated(f"{what}set command: a laptop cannot know the image's entry point")
    ports = {port.get("name"): int(port["container_port"]) for port in values.get("port") or []}
    grace = spec.get("termination_grace_period_seconds")
    return Container(
        deployment=_deployment(deployment),
        name=values["name"],
        image=image,
        command=tuple(values["command"]),
        environment=_environment(what, values),
        ports=tuple(ports.values()),
        probes=tuple(
            _probe(f"{what}{kind}: ", probe, ports)
            for kind in ("startup_probe", "readiness_probe")
            if (probe := emulated.block(values, kind))
        ),
        grace_seconds=30.0 if grace is None else float(grace),
    )


def _check_mounts(spec: Values, container: Values) -> None:
    for volume in spec.get("volume") or []:
        kinds = [kind for kind, value in volume.items() if isinstance(value, list) and value]
        if kinds != ["empty_dir"]:
            other = ", ".join(kinds)
            raise _not_simulated(f"volume {volume['name']}: a laptop has only empty_dir, not {other}")
    for mount in container.get("volume_mount") or []:
        if mount["mount_path"] != _TMP or mount.get("sub_path"):
            problem = f"a process has only {_TMP} to itself, not {mount['mount_path']}"
            raise _not_simulated(f"container {container['name']}: {problem}")


def _environment(what: str, container: Values) -> dict[str, str]:
    environment: dict[str, str] = {}
    for variable in container.get("env") or []:
        owner = f"{what}variable {variable['name']}: "
        emulated.refuse(variable, ("value_from",), owner, "spec")
        value = variable.get("value") or ""
        if "$(" in value:
            raise _not_simulated(f"{owner}$(NAME) in value is not expanded")
        environment[variable["name"]] = value
    return environment


def _probe(what: str, values: Values, ports: Mapping[str | None, int]) -> Probe:
    get = emulated.block(values, "http_get")
    if get is None:
        raise _not_simulated(f"{what}only http_get")
    emulated.refuse(get, _HTTP_GET_REFUSED, what, "spec")
    if (get.get("scheme") or "HTTP") != "HTTP":
        raise _not_simulated(f"{what}scheme {get['scheme']} instead of HTTP")
    port = str(get.get("port") or "")
    if port not in ports:
        raise ResourceError("Invalid probe", f"{what}the container has no port named {port!r}", "spec")
    # Kubernetes' defaults.
    failures = int(values.get("failure_threshold") or 3)
    period = float(values.get("period_seconds") or 10)
    timeout = float(values.get("timeout_seconds") or 1)
    return Probe(get.get("path") or "/", ports[port], timeout, allowance_seconds=failures * period)
