"""A model server of KServe."""

import argparse
from typing import Any

import kserve
import seed_model


class Sales(kserve.Model):
    """As ours, for one series; the number of days is the only input."""

    def __init__(self) -> None:
        super().__init__("sales")
        self._model = seed_model.load()
        self.ready = True

    async def predict(self, payload: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        """Called for each request."""
        return {"predictions": self._model.forecast(payload["instances"][0]["range"])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
    options, _ = parser.parse_known_args()
    kserve.ModelServer(
        http_port=options.http_port, enable_grpc=False, workers=1, access_log_format=None
    ).start([Sales()])
