"""Another training, the mean of each weekday, that fills the same artifact."""

import pytest

from tests.changes.conftest import Checkout

pytestmark = pytest.mark.slow

TRAINING = "services/forecasting/training.py"
PROGRAM = """
import sys
from pathlib import Path
from services.forecasting import artifact, training
from services.forecasting.panel import Panel
from tests.forecasting.conftest import make_sales
sales = Panel.from_frame(make_sales())
training.train(sales, Path(sys.argv[1]))
manifest, files = artifact.read(Path(sys.argv[1]))
model = artifact.load_model(manifest, files)
print(manifest.version, manifest.code_version, len(model.forecast.rows(7, [0])), model.forecast.sales.max())
"""


def train(checkout: Checkout, name: str) -> list[str]:
    return checkout.python("-c", PROGRAM, str(checkout.folder / name)).split()


def test_the_artifact_is_served_the_same_way_under_another_version(checkout: Checkout) -> None:
    before = train(checkout, "before")
    checkout.edit(
        TRAINING,
        "    raw = choice",
        "    own = np.nan_to_num(sales.sales[:, -28:]).reshape(-1, 4, 7).mean(axis=1)\n    raw = choice",
    )
    checkout.edit(
        TRAINING,
        "choice.pick(list(forecasts.values()), chosen)",
        "own[:, np.arange(HORIZON_DAYS) % 7]",
    )
    after = train(checkout, "after")
    assert before[2] == after[2] == "7"
    assert all(old != new for old, new in zip(before[:2], after[:2], strict=True))
    assert before[3] != after[3]
