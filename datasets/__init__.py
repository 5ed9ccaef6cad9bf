"""Data to try the package with; installed as `forecastml.datasets`."""

from forecastml.datasets.catalogue import Description, describe, load, names
from forecastml.datasets.store_sales import store_sales, store_sales_future

__all__ = ["Description", "describe", "load", "names", "store_sales", "store_sales_future"]
