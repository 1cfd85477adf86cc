"""Faults on order, for tests: operations that are slow, or fail.

`faults.json` in the folder of the simulated cloud lists them, each for the creation of a resource type:

    [{"type": "google_container_cluster", "seconds": 3},
     {"type": "google_pubsub_topic", "skip": 1, "error": "Error 503: backendError"}]

An entry with `error` fails one creation, after `skip` others, and is then taken off the list. One with
`seconds` makes every creation of its type last that long.
"""

import json
import time
from typing import Any, Final

from infra.simulator.home import home, locked, write_atomic
from infra.simulator.resources import ResourceError

FILE: Final = "faults.json"


def strike(type_name: str) -> None:
    """What the creation of a resource of this type meets.

    Raises:
        ResourceError: this one fails.
    """
    file = home() / FILE
    if not file.exists():
        return
    with locked("faults"):
        faults: list[dict[str, Any]] = json.loads(file.read_text())
        own = [fault for fault in faults if fault["type"] == type_name]
        failing = next((fault for fault in own if "error" in fault), None)
        if failing is not None:
            struck = not failing.get("skip")
            if struck:
                faults.remove(failing)
            else:
                failing["skip"] -= 1
            write_atomic(file, json.dumps(faults))
            if struck:
                raise ResourceError(failing["error"], "a fault on order", None)
    time.sleep(sum(fault["seconds"] for fault in own if "seconds" in fault))
