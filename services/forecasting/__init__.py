"""The sales forecast: data contract, model, backtest, artifact, registry.

Services import `forecast`, `artifact`, `model_registry` and `follower`, which of numeric libraries need
NumPy alone; training needs the packages of services/batch (Polars, LightGBM).
"""
