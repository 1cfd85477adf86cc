"""Our service without access log and request metrics: what they cost is the difference."""

import runpy

from services.prediction.application import Application

Application.observe = lambda *_: None  # type: ignore[method-assign]
runpy.run_module("services.prediction", run_name="__main__")
