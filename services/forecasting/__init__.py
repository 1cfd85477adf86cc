"""The sales forecast: data contract, model, backtest, artifact, registry.

Services import `forecast`, `artifact` and `registry`, which need NumPy alone; training needs the
packages of services/batch (Polars, LightGBM).
"""
