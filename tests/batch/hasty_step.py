"""A step that waits a fourth of the time for an answer: the step server runs it as it runs a step.

Its first argument names the step.
"""

import importlib
import sys
from typing import Final

from google.api_core.retry import Retry

_HASTE: Final = 4


def main() -> int:
    """Run the step with less time for every call of BigQuery and Cloud Storage."""
    step = importlib.import_module(sys.argv.pop(1))
    # A module that imports one of the constants has it as its own.
    for name, module in [*sys.modules.items()]:
        if not name.startswith("services."):
            continue
        for constant, value in [*vars(module).items()]:
            if constant in ("REQUEST_SECONDS", "_TIMEOUT"):
                setattr(module, constant, value / _HASTE)
            elif isinstance(value, Retry) and value.timeout:
                setattr(module, constant, value.with_timeout(value.timeout / _HASTE))
    return step.main()
