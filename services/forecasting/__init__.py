"""The sales forecast: data contract, model, backtest, artifact, registry.

What services import needs NumPy alone; training needs the packages of services/batch (Polars, LightGBM).
"""
