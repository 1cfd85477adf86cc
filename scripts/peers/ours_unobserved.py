"""Our service without access log and request metrics: what they cost is the difference."""

import asyncio
import sys

from services import runtime
from services.contracts.settings import PredictionSettings
from services.prediction.__main__ import serve
from services.prediction.application import Application

Application.observe = lambda *_: None  # type: ignore[method-assign]
sys.exit(asyncio.run(serve(runtime.start(PredictionSettings))))
