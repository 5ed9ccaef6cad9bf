"""What can go wrong with a store or a run, beside the errors of forecastml."""

from __future__ import annotations

from forecastml.errors import ForecastMLError


class StoreError(ForecastMLError):
    """The run store cannot be used as it is: it is none, it is damaged, or the call does not fit its state."""


class StoreInUse(StoreError):
    """Another process writes to the store."""


class StoreFull(StoreError):
    """The disk of the store is full: the run pauses, and goes on by `resume` when there is room."""


class CorruptStoreError(StoreError):
    """A file of the store is missing, or its content is not what was written."""


class NewerStoreError(StoreError):
    """The store was written by a newer version of the package."""


class RunFailed(ForecastMLError):
    """More groups failed than are allowed, or the run could not begin."""
