"""Every exception and warning of the package, as one tree.

Messages name the series, the column, the learner or the fold they speak of, and end with the remedy.
"""

from __future__ import annotations

from typing import Any


class ForecastMLError(Exception):
    """Root of all errors raised on purpose by this package."""


class DataError(ForecastMLError, ValueError):
    """The table cannot be used as it is: a column is missing, a date does not parse, rows are duplicated."""


class FrequencyError(DataError):
    """The time column has no usable frequency."""


class FutureError(DataError):
    """The rows given to `forecast` do not continue the training rows or lack known covariates.

    missing: in the latter case a table of all rows that lack some: series columns, the time column, and "missing", the
    names of the covariates without a value; else None.
    """

    def __init__(self, message: str = "", missing: Any = None) -> None:
        super().__init__(message)
        self.missing = missing


class NothingToCompare(FutureError):
    """No row follows an origin, so that there is nothing that a forecast could be compared with or moved over."""


class ConfigError(ForecastMLError, ValueError):
    """A task, preset, learner, metric or option has a value that cannot work."""


class NothingToJudge(ConfigError):
    """No series is long enough for a fold, so that nothing can be learned from comparing forecasts with what came."""


class DeadlineExceeded(ForecastMLError, TimeoutError):
    """The time allowed for a fit is over."""


class LearnerError(ForecastMLError, RuntimeError):
    """A learner could not be fitted on any series."""


class ModelFormatError(ForecastMLError, ValueError):
    """The folder is not a saved model that this version can read."""


class CorruptModelError(ModelFormatError):
    """A file of a saved model is missing or its content does not match the manifest."""


class NewerFormatError(ModelFormatError):
    """The model was saved by a newer version of the package."""


class MissingExtra(ForecastMLError, ImportError):
    """An optional library is needed; the message has the pip line that installs it."""


class ForecastWarning(UserWarning):
    """A forecast rests on less than usual, for example beyond the trained horizon."""
