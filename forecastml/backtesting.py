"""`backtest`: the whole of `fit` at several cutoffs, each forecast compared with what came true."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from forecastml.automl import fit
from forecastml.config import Config, as_config
from forecastml.data.checks import Finding
from forecastml.data.frames import to_frame, write_table
from forecastml.data.panel import Panel, ragged_rows
from forecastml.errors import ConfigError, DataError, ForecastMLError, ForecastWarning, NothingToCompare, NothingToJudge
from forecastml.forecaster import Forecaster, grid_values
from forecastml.future_covariates import at_origin
from forecastml.learners.registry import get_learner
from forecastml.preparation import prepare
from forecastml.prior import Prior
from forecastml.protocols import Candidate, Cut, Fold, Metric
from forecastml.rolling import Rolled, with_known
from forecastml.scoring import checked_metrics, cutoff_texts, joined, score_columns
from forecastml.search.evaluate import fit_guarded, predict_scored
from forecastml.search.log import ENSEMBLE
from forecastml.search.trial import INTERRUPT
from forecastml.splits import RollingOrigin
from forecastml.task import Forecasting

if TYPE_CHECKING:
    import pandas as pd

Listener = Callable[[dict[str, Any]], None]
_TOO_SHORT = (
    "no series has rows before a horizon of {} periods at its end: there is nothing to backtest; give longer series or "
    "a shorter horizon"
)
#: Files that `Backtest.save` writes.
FORECASTS, SCORES = "forecasts.parquet", "scores.csv"


@dataclass(frozen=True, eq=False)
class Backtest:
    """What models trained at earlier cutoffs would have forecast, and how good that was.

    forecasts: series columns, `cutoff`, the time column, the target column (truth), "mean", a column per level;
    scores: model ("ensemble", or the best seasonal naive by its name), set ("all", "cutoff", "series"), cutoff, series
    columns, metric, score, rows; findings: what was found when the data was read.
    """

    forecasts: pd.DataFrame
    scores: pd.DataFrame
    findings: tuple[Finding, ...]

    def overall(self) -> pd.DataFrame:
        """The scores over all rows: a row per metric, a column per model."""
        whole = self.scores[self.scores["set"] == "all"]
        return whole.pivot(index="metric", columns="model", values="score").reset_index().rename_axis(columns=None)

    def save(self, folder: str | Path) -> Path:
        """Write `forecasts.parquet` and `scores.csv` into the folder, which is made if it is not there."""
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{folder} is a file; name a folder for the backtest")
        folder.mkdir(parents=True, exist_ok=True)
        write_table(self.forecasts, folder / FORECASTS)
        write_table(self.scores, folder / SCORES)
        return folder


@dataclass(frozen=True, eq=False)
class SharedOrigins:
    """What groups share when each is backtested apart: data without items, as in `Prior`, cutoffs, and their priors.

    splitter: with every choice made explicit; priors: by the index of the fold; None at a cutoff before which no series
    of the sample was long enough to learn one.
    """

    like: Panel
    splitter: RollingOrigin
    priors: tuple[Prior | None, ...]


def shared_origins(
    data: Any,
    task: Forecasting,
    config: Config | str = "balanced",
    folds: int = 3,
    step: int | None = None,
    of: int = 1,
) -> SharedOrigins:
    """Cutoffs for all groups, and the prior that each of them would have had there; arguments as for `backtest`.

    data: rows of some groups, as a table or as they come from `task.read`; of: number of groups that it is for. Raises
    as `backtest`.
    """
    panel = data if isinstance(data, Panel) else task.read(data).data
    cut = _cut(panel, task, folds, step)
    priors: list[Prior | None] = [None] * cut.splitter.n_folds
    for fold in cut.folds:
        with contextlib.suppress(NothingToJudge):
            priors[fold.index] = prepare(_before(fold, task), task, config, of=of)
    like = replace(panel.select(np.empty(0, np.int64)), newest=int(panel.last_ordinal[panel.lengths > 0].max()))
    return SharedOrigins(like, cut.splitter, tuple(priors))


def backtest(
    data: Any,
    task: Forecasting,
    config: Config | str = "balanced",
    folds: int | SharedOrigins = 3,
    step: int | None = None,
    listener: Listener | None = None,
) -> Backtest:
    """Run `fit` on the rows up to each of some cutoffs and compare its forecasts with the rows after them.

    data, task, config, listener: as for `fit`; limits of time count for each cutoff, and events also have `fold` and
    `cutoff`. folds: number of cutoffs, the newest one horizon (and gap) before the end, or what `shared_origins` gave:
    then the result of a group depends on its own rows alone; step: periods between them, None: the horizon. At a cutoff
    nothing after it is known but the known covariates of the horizon; series too short there take no part. Beside the
    ensemble the scores have the best of the seasonal naives of the calendar's season lengths (best in hindsight, by the
    task's metric). Raises `ConfigError` for a task that is not forecasting, `DataError` when no series is long enough,
    or when `fit` fails at a cutoff, which is then named. An interrupt by the user ends it: a fit that was cut short is
    no backtest.

    >>> found = backtest(table, Forecasting(horizon=12, series="store"), "fast", folds=4)  # doctest: +SKIP
    """
    if not isinstance(task, Forecasting):
        raise ConfigError("backtest is for forecasting: rows without time have no cutoff; see the leaderboard of `fit`")
    config = as_config(config)
    origins = folds if isinstance(folds, SharedOrigins) else None
    panel, findings = data, ()
    if not isinstance(data, Panel):
        reading = task.read(data, like=origins.like if origins else None)
        panel, findings = reading.data, reading.findings
    if origins:
        cut = Cut(origins.splitter, tuple(origins.splitter.folds(panel)))
        if not cut.folds:
            raise NothingToCompare(_TOO_SHORT.format(_after(task)))
    else:
        cut = _cut(panel, task, folds, step)
    metrics = checked_metrics(None, task.name)
    fits = _Fits(panel, task, config, listener, origins)
    forecast = Rolled.stack([fits.forecast(fold) for fold in cut.folds])
    name, naive = _naive(panel, cut, task)
    scores = [_scored(ENSEMBLE, forecast, metrics), _scored(name, naive, metrics)]
    return Backtest(forecast.frame(), to_frame(joined(scores)), findings)


def _after(task: Forecasting) -> str:
    return f"{task.horizon}{f' and a gap of {task.gap}' if task.gap else ''}"


def _cut(panel: Panel, task: Forecasting, folds: int, step: int | None) -> Cut:
    """The cutoffs, in the way in which `fit` validates, with the season of MASE from the earliest window."""
    for name, value in {"folds": folds, "step": task.horizon if step is None else step}.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ConfigError(f"{name} is {value!r}; give a whole number of 1 or more")
    plan = replace(task, n_folds=int(folds), step=int(step or task.horizon))
    cut = plan.cut(panel, lambda items: folds)
    if not cut.folds:
        raise DataError(_TOO_SHORT.format(_after(task)))
    if len(cut.folds) < folds:
        text = f"only {len(cut.folds)} of {folds} folds: no series is long enough for more"
        warnings.warn(f"{text}; give longer series or fewer folds", ForecastWarning, stacklevel=3)
    return cut


def _before(fold: Fold, task: Forecasting) -> Panel:
    """A fold's training rows and the known covariates of its horizon; a copy, in which nothing else is left."""
    return with_known(fold.train, task.gap + task.horizon).compact()


def _known_at(fold: Fold, task: Forecasting) -> Panel:
    """`_before`, without a trace of the categories that were still to come."""
    panel = _before(fold, task)
    return replace(panel, **_recoded(panel))


def _recoded(panel: Panel) -> dict[str, Any]:
    """Categories and covariates with codes that count the categories of the training rows alone.

    Codes of the whole table would tell that categories are still to come.
    """
    parts = {kind: getattr(panel, kind).copy() for kind in ("known", "past", "static")}
    seen = {"known": ragged_rows(panel.known_begin, panel.known_begin + panel.lengths)}
    categories = {}
    for kind, part in parts.items():
        for k, column in enumerate(getattr(panel.schema, kind)):
            if column in panel.categories:
                codes = part[:, k].astype(np.int64)
                used = np.unique(codes[seen.get(kind, slice(None))])
                used = used[used >= 0]
                # The last place answers for -1, a category that is not known.
                new = np.full(len(panel.categories[column]) + 1, -1.0)
                new[used] = np.arange(len(used))
                part[:, k] = new[codes]
                categories[column] = tuple(panel.categories[column][code] for code in used)
    return {**parts, "categories": categories}


@dataclass(frozen=True, eq=False)
class _Fits:
    """`fit` at the cutoffs of a panel. origins: what the groups share, None where they are fitted together."""

    panel: Panel
    task: Forecasting
    config: Config
    listener: Listener | None
    origins: SharedOrigins | None

    def forecast(self, fold: Fold) -> Rolled:
        """`fit` at the cutoff and its forecasts."""
        panel, task = self.panel, self.task
        newest = cutoff_texts(panel, fold.train.last_ordinal.max(keepdims=True))[0]

        def tell(event: dict[str, Any]) -> None:
            if self.listener:
                self.listener({**event, "fold": fold.index, "cutoff": newest})

        try:
            model = self._fit(fold, tell)
            if any(INTERRUPT in row.error for row in model.log):
                raise KeyboardInterrupt
            inputs = at_origin(model.panel, task.gap + task.horizon, task.missing_future, model.seasons)
            values = grid_values(model, inputs, task.horizon, task.quantiles)
        except ConfigError:
            raise
        except ForecastMLError as error:
            raise DataError(f"fold {fold.index}, cutoff {newest}: {error}") from error
        return _compared(panel, fold, task, values.reshape(-1, values.shape[2]), task.outputs)

    def _fit(self, fold: Fold, tell: Listener) -> Forecaster:
        prior = self.origins.priors[fold.index] if self.origins else None
        # Under a prior the codes of categories are those that all groups share.
        rows = _before(fold, self.task) if prior else _known_at(fold, self.task)
        return fit(rows, self.task, self.config, prior, listener=tell)


def _compared(panel: Panel, fold: Fold, task: Forecasting, values: np.ndarray, outputs: tuple[str, ...]) -> Rolled:
    """Forecasts (series * horizon, outputs) beside the truth, as far as the rows of the series go."""
    truth = fold.truth
    known = np.repeat(fold.cutoff, task.horizon)
    within = known + task.gap + truth.step < panel.lengths[truth.series]
    cutoff = panel.start[truth.series] + (known - 1) * panel.frequency.step
    return Rolled(panel, truth.rows(within), cutoff[within], task.gap, values[within], outputs)


def _naive(panel: Panel, cut: Cut, task: Forecasting) -> tuple[str, Rolled]:
    """The name and the forecasts of the best seasonal naive among the calendar's (or the user's) season lengths."""
    from forecastml.data.calendar import natural_seasons

    metric = task.scorer if not task.scorer.needs_quantiles else checked_metrics("mase", task.name)[0]
    found = []
    for season in task.season or natural_seasons(panel.frequency) or (1,):
        candidate = Candidate("seasonal_naive", {"season_length": season})
        rolled = Rolled.stack([_of_candidate(panel, fold, task, candidate) for fold in cut.folds])
        loss = float(metric.loss(rolled.values, rolled.outputs, rolled.truth))
        found.append((np.nan_to_num(loss, nan=np.inf), season, candidate.name, rolled))
    return min(found, key=lambda entry: entry[:2])[2:]


def _of_candidate(panel: Panel, fold: Fold, task: Forecasting, candidate: Candidate) -> Rolled:
    context = task.context(fold.train, ())
    outcome = fit_guarded(get_learner(candidate.learner), fold.train, candidate.params, context)
    # A series without a single value before the cutoff has no last season either: 0, as in every trial.
    values = np.nan_to_num(predict_scored(outcome.fitted, fold.inputs, context))
    return _compared(panel, fold, task, values, context.outputs)


def _scored(model: str, rolled: Rolled, metrics: tuple[Metric, ...]) -> dict[str, np.ndarray]:
    chosen = [metric for metric in metrics if len(rolled.outputs) > 1 or not metric.needs_quantiles]
    columns = score_columns(rolled, chosen, scaled_by_fold=True)
    return {"model": np.full(len(columns["set"]), model, dtype=object), **columns}
