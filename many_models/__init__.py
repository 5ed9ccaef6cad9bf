"""One AutoML model for each group of a table, by the million: `run(table, by, task, store=...)` -> forecasts, results.

Everything is kept in a store on disk, from which a run that was cut short goes on. Names are loaded when first used,
so that importing the package stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from many_models.backtesting import Backtested, backtest
    from many_models.boards import Leaderboard, leaderboard
    from many_models.execution import Summary
    from many_models.forecasts import forecast
    from many_models.results_table import results
    from many_models.runner import resume, retrain, run, update
    from many_models.serving import rollback
    from many_models.settings import Settings
    from many_models.standing import Status, status
    from many_models.store import Store

_HOMES = {
    "Backtested": "many_models.backtesting",
    "Leaderboard": "many_models.boards",
    "Settings": "many_models.settings",
    "Status": "many_models.standing",
    "Store": "many_models.store",
    "Summary": "many_models.execution",
    "backtest": "many_models.backtesting",
    "forecast": "many_models.forecasts",
    "leaderboard": "many_models.boards",
    "results": "many_models.results_table",
    "resume": "many_models.runner",
    "retrain": "many_models.runner",
    "rollback": "many_models.serving",
    "run": "many_models.runner",
    "status": "many_models.standing",
    "update": "many_models.runner",
}

__all__ = [
    "Backtested",
    "Leaderboard",
    "Settings",
    "Status",
    "Store",
    "Summary",
    "backtest",
    "forecast",
    "leaderboard",
    "results",
    "resume",
    "retrain",
    "rollback",
    "run",
    "status",
    "update",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
