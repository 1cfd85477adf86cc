"""For `fork_server`: imports what steps do, and finds out what is the same for all of them."""

import datetime
import importlib
import pkgutil

from services import batch
from services.forecasting import closed_days, training

for each in pkgutil.iter_modules(batch.__path__, f"{batch.__name__}."):
    importlib.import_module(each.name)
# What they import when they need it.
for name in ("apache_beam.runners.portability.fn_api_runner", "google_crc32c", "numpy.ma"):
    importlib.import_module(name)

training.code_version()
# The holidays of every country in the years of the tests' sales.
YEARS = (datetime.date(2023, 12, 31), datetime.date(2024, 1, 1))
closed_days.likely_country(YEARS, lambda days: 0.0, 1.0)
