"""Injected faults, for tests: creations that are slow or fail.

`faults.json` in the folder of the simulated cloud lists them by resource type:

    [{"type": "google_container_cluster", "seconds": 3},
     {"type": "google_pubsub_topic", "skip": 1, "error": "Error 503: backendError"}]

An entry with `seconds` delays every creation of its type. An entry with `error` fails one creation, after
`skip` others, and is then removed from the list.
"""

import json
import time
from typing import Any

from infra.simulator.home import home, locked, write_atomic
from infra.simulator.resources import ResourceError


def inject(type_name: str) -> None:
    """Delay or fail the creation of a resource of this type, if `faults.json` says so.

    Raises:
        ResourceError: the injected error.
    """
    file = home() / "faults.json"
    if not file.exists():
        return
    with locked("faults"):
        faults: list[dict[str, Any]] = json.loads(file.read_text())
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
