"""Data to try the package with; installed as `forecastml.datasets`."""

from forecastml.datasets.store_sales import store_sales, store_sales_future

__all__ = ["store_sales", "store_sales_future"]
