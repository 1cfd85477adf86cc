"""Flask, for `gunicorn --worker-class gthread --threads 4`."""

import seed_model
from flask import Flask, Response, jsonify, request

app = Flask(__name__)
forecast = seed_model.load()


@app.get("/predict")
def predict() -> Response:
    """As ours, for one series."""
    return jsonify(success=True, prediction=forecast(int(request.args["range"])))
