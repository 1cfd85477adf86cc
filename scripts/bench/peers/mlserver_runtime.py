"""A runtime of MLServer."""

import numpy as np
import seed_model
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Sales(MLModel):
    """As ours, for one series; the number of days is the only input."""

    async def load(self) -> bool:
        """Called once."""
        self._forecast = seed_model.load()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Called for each request."""
        days = int(NumpyCodec.decode_input(payload.inputs[0])[0])
        output = NumpyCodec.encode_output("sales", np.array(self._forecast(days)))
        return InferenceResponse(model_name=self.name, outputs=[output])
