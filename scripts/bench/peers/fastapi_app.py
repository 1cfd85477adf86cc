"""FastAPI, for uvicorn with uvloop and httptools."""

from typing import Annotated, Any

import seed_model
from fastapi import FastAPI, Query

app = FastAPI()
forecast = seed_model.load()


@app.get("/predict")
async def predict(days: Annotated[int, Query(alias="range", ge=1, le=60)]) -> dict[str, Any]:
    """As ours, for one series."""
    return {"success": True, "prediction": forecast(days)}
