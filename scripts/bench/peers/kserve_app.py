"""A model server of KServe."""

from typing import Any

import kserve
import seed_model


class Sales(kserve.Model):
    """As ours, for one series; the number of days is the only input."""

    def __init__(self) -> None:
        super().__init__("sales")
        self._forecast = seed_model.load()
        self.ready = True

    async def predict(self, payload: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        """Called for each request."""
        return {"predictions": self._forecast(payload["instances"][0]["range"])}


if __name__ == "__main__":
    # The port is that of the command line.
    kserve.ModelServer(enable_grpc=False, workers=1, access_log_format=None).start([Sales()])
