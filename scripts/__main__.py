"""Start a command of this project: `python -m scripts NAME ...`, as `scripts/NAME` and `make` do."""

import importlib
import sys

# An older Python must be able to read this file and `install`, which names the version that is needed.
COMMANDS = {
    "airflow": "laptop.airflow",
    "apply": "deployment.apply",
    "audit": "deployment.audit",
    "backtest": "laptop.compare_forecasters",
    "bench-batch": "bench.batch",
    "bench-load": "bench.load",
    "bench-scale": "bench.scale",
    "bench-serving": "bench.serving",
    "bench-streaming": "bench.streaming",
    "bench-synth": "bench.synth",
    "bootstrap": "deployment.bootstrap",
    "checkov": "deployment.checkov_scan",
    "composer-packages": "deployment.composer_packages",
    "cost": "deployment.cost",
    "deploy": "deployment.deploy",
    "destroy": "deployment.destroy",
    "diff": "deployment.diff",
    "drain_time": "messages.drain_time",
    "first_model": "deployment.first_model",
    "install": "laptop.install",
    "preflight": "deployment.preflight",
    "promote": "images.promote",
    "publish": "messages.publish",
    "push_image": "images.push_image",
    "replay": "messages.replay",
    "sql": "laptop.sql",
    "status": "laptop.status",
    "step": "deployment.step",
    "validate": "deployment.validate",
    "verify": "deployment.verify",
    "watch": "messages.watch",
}

if __name__ == "__main__":
    if not COMMANDS.keys() & set(sys.argv[1:2]):
        sys.exit("usage: python -m scripts NAME ..., where NAME is one of: " + ", ".join(COMMANDS))
    del sys.argv[0]
    sys.exit(importlib.import_module("scripts." + COMMANDS[sys.argv[0]]).main())
