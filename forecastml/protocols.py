"""The architecture on one page: what the parts are, what they hand to each other, and nothing of how.

    data = task.read(table)                        a Dataset: `Panel` or `Table`
    folds = task.cut(data, most).folds             Fold: train, inputs, truth; oldest first
    trial = evaluate(candidate, folds, metric)     out-of-fold Prediction and losses of one Candidate
    weights = ensemble.select(oof, truth, metric)  by predictions alone, never by models
    model = members refitted on all of data        Fitted: predict, append, take, stack, state

Values are frozen. Fitting returns another type. `predict` mutates nothing. A loss is a float, lower is better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from forecastml.budget import Deadline
from forecastml.data.checks import Reading

Params = Mapping[str, Any]
T = TypeVar("T")
R = TypeVar("R")


@runtime_checkable
class Dataset(Protocol):
    """What every task learns from: items (series or rows) that belong to groups.

    separable: items are fitted apart from each other, and those of a fold's `train` are those of its `inputs` (series);
    rows are not: what is learned from some predicts others. keys: object (items, key columns), of the item's group or
    finer; size: number of values, by which learners state their cost; signature: what two of them must share to be read
    and served alike.
    """

    group: np.ndarray
    keys: np.ndarray
    n_groups: int
    size: int
    signature: tuple[Any, ...]
    separable: bool

    def __len__(self) -> int: ...
    def select(self, index: np.ndarray) -> Dataset: ...
    def take(self, groups: np.ndarray) -> Dataset: ...
    def filled(self) -> Dataset:
        """The same data without missing targets, for learners that cannot take them."""
        ...


@dataclass(frozen=True, eq=False)
class Prediction:
    """Values for rows: one column per output.

    values: float64 (rows, outputs); outputs: ("mean", "0.1", ...) for forecasting and regression, class labels for
    classification. Rows of a forecast are series-major, step-minor. A NaN row says that this learner could not.
    """

    values: np.ndarray
    outputs: tuple[str, ...] = ("mean",)

    @property
    def mean(self) -> np.ndarray:
        """The first output: float64 (rows,)."""
        return self.values[:, 0]


@dataclass(frozen=True, eq=False)
class Truth:
    """What the predictions of folds are judged by; held by the evaluator alone. All arrays have one row per value.

    y, weight: float64; a NaN in y is not scored. series, group, fold, step: int64 (step counts from 0).
    scales: per-row denominators and references by name, taken from the fold's train rows, except `range` and
    `log_range`, which come from the full training target: "seasonal_error", "seasonal_squared_error", "range",
    "log_range", "naive2" (see metrics.py).
    """

    y: np.ndarray
    weight: np.ndarray
    series: np.ndarray
    group: np.ndarray
    fold: np.ndarray
    step: np.ndarray
    scales: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, index: np.ndarray) -> Truth:
        """These rows alone (positions or mask)."""
        parts = {name: getattr(self, name)[index] for name in ("y", "weight", "series", "group", "fold", "step")}
        return replace(self, **parts, scales={name: scale[index] for name, scale in self.scales.items()})

    @staticmethod
    def stack(truths: Sequence[Truth]) -> Truth:
        """The rows of several folds one after the other."""
        return Truth(
            **{
                name: np.concatenate([getattr(t, name) for t in truths])
                for name in ("y", "weight", "series", "group", "fold", "step")
            },
            scales={name: np.concatenate([t.scales[name] for t in truths]) for name in truths[0].scales},
        )


@dataclass(frozen=True, eq=False)
class Fold:
    """One rolling origin or one cross-validation split.

    index: 0 is the oldest; items: positions in the whole dataset of the items that take part, int64;
    cutoff: position of the last known value per item (length of its train part); train: to learn from;
    inputs: what is known at the origin (history and known covariates); truth: for the evaluator alone.
    """

    index: int
    items: np.ndarray
    cutoff: np.ndarray
    train: Dataset
    inputs: Dataset
    truth: Truth


class Splitter(Protocol):
    """A value object that cuts a dataset into folds, ignorant of learners and losses."""

    def folds(self, data: Any) -> list[Fold]: ...


@dataclass(frozen=True, eq=False)
class Cut:
    """How a dataset is cut for validation: the splitter with every choice made explicit, its folds (oldest first), and
    the season lengths found in the earliest of them, primary first."""

    splitter: Splitter
    folds: tuple[Fold, ...]
    seasons: tuple[int, ...] = ()


@dataclass(frozen=True)
class Capabilities:
    """What a learner can do. Some of it the search and the model go by, all of it the contract suite holds it to.

    scope: "series" fits each series alone (but vectorised over the panel), "pooled" learns across series;
    covariates: the kinds it uses ("known", "past", "static"); quantiles: predicts levels itself; missing: takes NaN
    in the target; weights: honours row weights; append: `Fitted.append` works; native_state: state is arrays and JSON;
    minimum_length: shortest series it can fit; cost, item_cost: seconds on one core of a fit, roughly, per 1,000 values
    and on top of it per item; interruptible: checks `context.deadline` in its loops (otherwise it runs in a child when
    time is limited).
    """

    tasks: frozenset[str] = frozenset({"forecasting"})
    scope: str = "series"
    covariates: frozenset[str] = frozenset()
    quantiles: bool = False
    missing: bool = False
    weights: bool = False
    append: bool = True
    native_state: bool = True
    minimum_length: int = 1
    cost: float = 0.001
    item_cost: float = 0.0
    interruptible: bool = True


@dataclass(frozen=True)
class FitContext:
    """Everything a fit may know beside its data.

    horizon: steps to predict per item (1 for tables); gap: how many of them, at the start, are not scored; outputs:
    columns of the prediction; seasons: season lengths in steps, primary first, () when none; metric: name of the
    metric in use; holidays: countries, or countries with a subdivision, whose holidays count ("US", "DE-BY");
    threads: how many the learner may use.
    """

    horizon: int = 1
    gap: int = 0
    outputs: tuple[str, ...] = ("mean",)
    seasons: tuple[int, ...] = ()
    metric: str = "mase"
    holidays: tuple[str, ...] = ()
    deadline: Deadline = field(default_factory=Deadline)
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True)
class Facts:
    """What a learner may look at to state its space; taken from the earliest training window.

    items: number of series (or rows); shortest, longest: values per series (rows); seasons as in `FitContext`;
    natural: the season length that the calendar suggests, 1 for none; positive, nonnegative: all known targets are
    above zero, or not below it;
    covariates: kinds that the data has; separable: as in `Dataset`; demand: share of the series in each class of demand
    ("smooth", "erratic", "intermittent", "lumpy"), of those that have one.
    """

    task: str
    horizon: int
    items: int
    shortest: int
    longest: int
    seasons: tuple[int, ...] = ()
    natural: int = 1
    positive: bool = False
    nonnegative: bool = False
    covariates: frozenset[str] = frozenset()
    separable: bool = True
    demand: Mapping[str, float] = field(default_factory=dict)


class Fitted(Protocol):
    """What fitting returns: frozen, complete, with an origin. Its items are series, or groups of rows.

    status: one entry per item, "ok" or the reason why there is no forecast. A forecaster whose `predict` reads history
    from `inputs` also has `lookback`, the number of values it reads; the model keeps no more. One that gives up its own
    forecast of an item for a simpler one says so in `replaced`, bool (items,).
    """

    status: tuple[str, ...]

    def predict(self, inputs: Any, horizon: int, outputs: tuple[str, ...]) -> Prediction:
        """Forecast `horizon` steps after the last value of `inputs`, which lies at this object's origin."""
        ...

    def append(self, data: Any) -> Fitted:
        """Move the origin: `data` is the whole history including new rows; parameters are kept."""
        ...

    def take(self, items: np.ndarray) -> Fitted:
        """The part for these items (positions)."""
        ...

    def stack(self, others: Sequence[Fitted]) -> Fitted:
        """This and others of the same kind in one, items in order."""
        ...

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and JSON values from which `Learner.restore` makes an equal object."""
        ...


class Learner(Protocol):
    """A family of models: stateless, all methods pure."""

    name: str
    capabilities: Capabilities

    def space(self, facts: Facts) -> Sequence[Params]:
        """Parameter sets to try, best guess first; a single empty one when there is nothing to choose."""
        ...

    def fit(self, train: Any, params: Params, context: FitContext) -> Fitted:
        """Fit every item of `train`; an item that cannot be fitted is marked in `status`, never raised."""
        ...

    def restore(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> Fitted:
        """The inverse of `Fitted.state`."""
        ...


@runtime_checkable
class Refittable(Protocol):
    """A learner that can start from what an earlier cutoff found."""

    def refit(self, previous: Any, train: Any, context: FitContext) -> Fitted:
        """Fit `train`, which holds the items of `previous` (from an earlier cutoff) in the same order."""
        ...


@runtime_checkable
class Combination(Protocol):
    """A learner made of others. Where their results are there it needs no fit of its own, and the search makes none."""

    def parts(self, params: Params) -> Sequence[Candidate]:
        """The candidates that it is made of."""
        ...

    def among(self, learners: Sequence[str], params: Params) -> Params | None:
        """Its parameters with those of its parts alone that are among these learners; None when they are too few."""
        ...

    def combined(self, values: np.ndarray) -> np.ndarray:
        """Predictions of the parts (parts, rows, outputs), a row NaN where there is none -> (rows, outputs)."""
        ...

    def joined(self, params: Params, fitted: Sequence[Fitted]) -> Fitted:
        """What a fit would return, from the fitted parts in order; all serve the same items."""
        ...


@runtime_checkable
class Selective(Protocol):
    """A learner some of whose parameters make sense for some data alone."""

    def suits(self, params: Params, facts: Facts) -> bool:
        """Whether these parameters are worth a trial."""
        ...


class Metric(Protocol):
    """A loss. `name` and `report` belong to reports; everything inside uses `loss`, lower is better."""

    name: str
    needs_quantiles: bool
    mergeable: bool

    def loss(self, values: np.ndarray, outputs: tuple[str, ...], truth: Truth, groups: int | None = None) -> np.ndarray:
        """Loss of each stacked prediction: values (..., rows, outputs) -> (...,), or (..., groups) when given."""
        ...

    def bind(
        self, truth: Truth, outputs: tuple[str, ...], groups: int | None = None
    ) -> Callable[[np.ndarray], np.ndarray]:
        """`loss` for one truth, prepared for many calls: a function values (..., rows, outputs) -> (..., groups)."""
        ...

    def by_fold(self, values: np.ndarray, outputs: tuple[str, ...], truth: Truth) -> np.ndarray:
        """Loss of each stacked prediction in each fold: values (..., rows, outputs) -> (..., folds)."""
        ...

    def report(self, loss: float) -> float:
        """The value as users know it (sign, percent)."""
        ...


@dataclass(frozen=True)
class Candidate:
    """A learner with parameters: one thing to try."""

    learner: str
    params: Params = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`seasonal_naive(season_length=24)`; the bare learner name without parameters."""
        inner = ", ".join(f"{key}={value}" for key, value in self.params.items())
        return f"{self.learner}({inner})" if inner else self.learner


class Task(Protocol):
    """What kind of problem is solved and how: a value object of the user's choices, with no data in it.

    name: the kind ("forecasting"), as in `Capabilities.tasks`; metric: name of the one that candidates are judged by.
    """

    name: str
    metric: str

    @property
    def scorer(self) -> Metric:
        """The metric by name."""
        ...

    def read(self, source: Any, like: Any = None) -> Reading:
        """A table as a dataset, and what was found; `like`: the dataset that it continues."""
        ...

    def cut(self, data: Any, most_folds: Callable[[int], int]) -> Cut:
        """The validation of these data; most_folds: number of items -> the most folds where the user leaves it open."""
        ...

    def facts(self, data: Any, cut: Cut) -> Facts:
        """What learners may look at to state their spaces."""
        ...

    def context(self, data: Any, seasons: tuple[int, ...]) -> FitContext:
        """What fits may know, without the limits of the run."""
        ...

    def fallback(self, seasons: tuple[int, ...] = ()) -> Candidate:
        """The candidate that always answers."""
        ...


class Strategy(Protocol):
    """Which candidates next: a function of the log (trials in the order of asking), with no clock."""

    def ask(self, log: Sequence[Any], n: int) -> Sequence[Candidate]: ...


class Executor(Protocol):
    """Maps a function over items, results in order of the items; the only thing that knows about processes."""

    workers: int

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]: ...


class Ensemble(Protocol):
    """Turns out-of-fold predictions into weights; never sees a model."""

    def select(self, oof: np.ndarray, outputs: tuple[str, ...], truth: Truth, metric: Metric) -> np.ndarray:
        """oof (models, rows, outputs) -> weights (models,) that sum to 1."""
        ...
