"""How much work a run does: presets as data, and the choices a user makes on top of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from forecastml.budget import Budget
from forecastml.data.schema import names
from forecastml.errors import ConfigError
from forecastml.features.automatic import FeatureOptions
from forecastml.learners.registry import check_names, checked, get_learner, named
from forecastml.protocols import Candidate, Combination, Facts, Params, Selective
from forecastml.search.ensemble import Greedy

BASELINES = ("naive", "seasonal_naive", "average", "seasonal_average", "drift")
WINDOWED = ("window_average", "seasonal_window_average", "seasonal_median")
#: They have candidates where enough series are of intermittent demand.
INTERMITTENT = ("croston", "sba", "tsb", "adida", "imapa")
#: Models of single series that differ in kind; `median` combines some of them, so it comes after.
CLASSICAL = ("theta", "dynamic_optimized_theta", "mstl", "ces", "exponential_smoothing")
#: What learns across series or rows, and takes no time.
LINEAR = ("dummy", "ridge", "logistic")

#: From this many series on, the other series' residuals make up for few folds.
MANY_SERIES = 30

#: Candidates of learners across series, as the leaderboard writes them: in this order those of a learner that suit the
#: data. At most 12 in `balanced`.
POOLED: dict[str, tuple[str, ...]] = {
    "fast": (
        "ridge(transform=scale)",
        "ridge(transform=auto_difference, steps=direct)",
        "ridge(transform=log, steps=direct)",
    ),
    "balanced": (
        "ridge(transform=scale)",
        "ridge(transform=auto_difference, steps=direct)",
        "ridge(transform=log, steps=direct)",
        "light_gbm(transform=mean)",
        "light_gbm(transform=mean, steps=direct)",
        "light_gbm(transform=auto_difference)",
        "light_gbm(transform=log, steps=direct)",
        "light_gbm(transform=scale, steps=direct)",
        "light_gbm(transform=mean, objective=tweedie)",
        "light_gbm(transform=seasonal_difference, steps=direct)",
    ),
    "best": (),
}
POOLED["best"] = (
    *POOLED["balanced"],
    "light_gbm(transform=scale)",
    "light_gbm(transform=detrend)",
    "light_gbm(transform=box_cox, steps=direct)",
    "elastic_net(transform=scale, steps=direct)",
    "extreme_random_trees(transform=mean)",
    "random_forest(transform=auto_difference)",
    "gradient_boosting(transform=scale, steps=direct)",
)
#: Learners of many trees.
FORESTS = ("random_forest", "extreme_random_trees", "gradient_boosting")

#: preset -> learners in the order of trial (a task takes those that know it), parameter sets per learner, folds (with
#: many series, with few), and how early a bad candidate stops.
PRESETS: dict[str, dict[str, Any]] = {
    "fast": {
        "learners": (*BASELINES, *WINDOWED, *INTERMITTENT, *CLASSICAL, "median", *LINEAR),
        "pooled": POOLED["fast"],
        "per_learner": 1,
        "folds": 2,
        "few_series_folds": 4,
        "prune": 3.0,
        "patience": 5.0,
    },
    "balanced": {
        "learners": (
            *BASELINES,
            *WINDOWED,
            *INTERMITTENT,
            *CLASSICAL,
            "auto_arima",
            "median",
            *LINEAR,
            "arimax",
            "light_gbm",
            *FORESTS,
            "prophet",
        ),
        "pooled": POOLED["balanced"],
        "per_learner": 2,
        "folds": 3,
        "few_series_folds": 6,
        "prune": 3.0,
        "patience": 30.0,
    },
    "best": {
        "learners": (
            *BASELINES,
            *WINDOWED,
            *INTERMITTENT,
            *CLASSICAL,
            "optimized_theta",
            "auto_ets",
            "auto_arima",
            "median",
            *LINEAR,
            "elastic_net",
            "arimax",
            "light_gbm",
            *FORESTS,
            "knn",
            "prophet",
        ),
        "pooled": POOLED["best"],
        "search": 24,
        "per_learner": 6,
        "folds": 5,
        "few_series_folds": 10,
        "prune": None,
        "patience": 300.0,
    },
}


@dataclass(frozen=True)
class Config:
    """A run's settings; make one with `Config.preset`.

    learners: names in the order of trial; per_learner: how many parameter sets of each; folds, few_series_folds: at
    most so many where the task says "auto", with many and with few series; prune: a candidate stops between folds once
    its mean loss exceeds this multiple of the best; patience: seconds that one candidate may need by its learner's
    declared cost per series (if that is above 0.1), when there is no limit of time; share: of the time, when there is
    one (neither holds for learners allowed by name); budget: limits of time and trials; greedy: the ensemble's
    settings; scope: "group"
    (weights per group, shrunk towards the pooled ones) or "global" (one set of weights); round_size: candidates asked
    at a time; workers: processes that evaluate candidates; threads: for a learner, when workers is 1 (more than one
    may stall where other programs keep the cores busy); insisted: what was allowed by name, and is tried even where the
    learner sees nothing to try; with the parameters given there, if any; pooled: candidates of learners across series,
    in place of their own parameter sets; features: what all of these are told about series, where their own parameters
    do not say it: {"lags": [1, 7], "windows": [7, 28]} (see `features.automatic.FeatureOptions`); search: the most
    candidates that are tried beyond these, with other hyper-parameters of the best.
    """

    name: str
    learners: tuple[str, ...]
    per_learner: int = 1
    folds: int = 3
    few_series_folds: int = 6
    prune: float | None = 3.0
    patience: float | None = None
    share: float | None = 0.4
    budget: Budget = field(default_factory=Budget)
    greedy: Greedy = field(default_factory=Greedy)
    scope: str = "group"
    round_size: int = 6
    workers: int = 1
    threads: int = 1
    insisted: tuple[Candidate, ...] = ()
    pooled: tuple[str, ...] = ()
    features: Params = field(default_factory=dict)
    search: int = 0

    @classmethod
    def preset(cls, name: str = "balanced", **choices: Any) -> Config:
        """A preset with choices on top.

        seconds, trials, trial_seconds, exit_score, seed: of the budget; allow, block: learner names to use alone, or
        to leave out (allow also brings registered learners, and takes parameters as the leaderboard writes them:
        "auto_arima(engine=pmdarima)"); features: as text too: "lags=[1,7], windows=[28]"; every other field of `Config`
        by its name.
        """
        if name not in PRESETS:
            raise ConfigError(f"preset {name!r} is unknown; use {', '.join(PRESETS)}")
        if "features" in choices:
            choices["features"] = _features(choices["features"] or {})
        limits = {key: choices.pop(key) for key in Budget.__dataclass_fields__ if key in choices}
        allow = tuple(checked(named(text)) for text in names(choices.pop("allow", ())))
        block = check_names(names(choices.pop("block", ())))
        unknown = set(choices) - set(cls.__dataclass_fields__)
        if unknown:
            raise ConfigError(f"option {sorted(unknown)[0]!r} is unknown; see Config.preset")
        config = replace(cls(name=name, **{**PRESETS[name]}), **choices)
        if limits:
            config = replace(config, budget=replace(config.budget, **limits))
        if allow:
            # Who names a learner wants it, whatever it costs.
            learners = dict.fromkeys(candidate.learner for candidate in allow)
            # A combination comes after what it is made of.
            learners = tuple(sorted(learners, key=lambda name: isinstance(get_learner(name), Combination)))
            limits = {"patience": choices.get("patience"), "share": choices.get("share")}
            config = replace(config, learners=learners, insisted=allow, **limits)
        if config.features:
            checked(Candidate("ridge", config.features))
        return replace(config, learners=tuple(name for name in config.learners if name not in block))

    def __post_init__(self) -> None:
        if not self.learners:
            raise ConfigError("no learner is left; allow one or block fewer")
        if self.search < 0:
            raise ConfigError(f"search is {self.search}; give a whole number of 0 or more")
        if self.scope not in ("group", "global"):
            raise ConfigError(f"scope {self.scope!r} is unknown; use 'group' or 'global'")
        for name in ("workers", "threads", "round_size", "folds", "few_series_folds", "per_learner"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give a whole number of 1 or more")

    def folds_for(self, series: int) -> int:
        """The most folds for this number of series: more for few, which have no others to learn errors from."""
        return self.folds if series >= MANY_SERIES else self.few_series_folds

    def candidates(self, facts: Facts) -> tuple[Candidate, ...]:
        """The portfolio: every learner's first parameter sets, cheap and simple learners first."""
        if self.features and not facts.separable:
            raise ConfigError("features are of series, and rows have columns alone: leave features out")
        if self.features and not any(isinstance(get_learner(name), Selective) for name in self.learners):
            ways = "allow one that learns across series, such as light_gbm, or leave features out"
            raise ConfigError(f"features: none of the learners uses them ({', '.join(self.learners)}); {ways}")
        chosen: list[Candidate] = []
        for name in self.learners:
            learner = get_learner(name)
            if facts.task in learner.capabilities.tasks and facts.longest >= learner.capabilities.minimum_length:
                chosen += [Candidate(name, dict(params)) for params in self._space(name, facts)]
        return tuple(chosen)

    def _space(self, name: str, facts: Facts) -> Sequence[Params]:
        """Parameter sets of a learner: those insisted on, else the first ones of its own."""
        learner = get_learner(name)
        given = [candidate.params for candidate in self.insisted if candidate.learner == name]
        features = self.features if isinstance(learner, Selective) and facts.separable else {}
        if any(given):
            return [{**features, **params} for params in given]
        if facts.separable and self.pooled and isinstance(learner, Selective):
            # What is not listed takes part where rows are learned from, or by name.
            own = [candidate.params for candidate in map(named, self.pooled) if candidate.learner == name]
            own = own or (learner.space(facts)[: self.per_learner] if given else [])
            return [{**features, **params} for params in own if learner.suits(params, facts)] or given
        if isinstance(learner, Combination):
            made_of = learner.among(self.learners, {})
            return given if made_of is None else [made_of]
        limit = len(facts.seasons) if name in BASELINES else self.per_learner
        return [{**features, **params} for params in learner.space(facts)[: max(limit, 1)] or given]


def _features(given: Params | str) -> Params:
    """The choices of `FeatureOptions` in a mapping or a text."""
    if isinstance(given, str):
        try:
            given = named(f"ridge({given})").params
        except ConfigError:
            raise ConfigError(f"features {given!r} cannot be read; write such as lags=[1,7], windows=[28]") from None
    return FeatureOptions.written(given)


def as_config(config: Config | str) -> Config:
    """A preset's name or a config, as a config."""
    return Config.preset(config) if isinstance(config, str) else config


def config_to_json(config: Config) -> dict[str, Any]:
    """All fields of a config as JSON values."""
    return asdict(config)


def config_from_json(values: Mapping[str, Any]) -> Config:
    """The inverse of `config_to_json`."""
    parts = {
        "learners": tuple(values["learners"]),
        "budget": Budget(**values["budget"]),
        "greedy": Greedy(**values["greedy"]),
        "insisted": tuple(Candidate(**candidate) for candidate in values["insisted"]),
        "pooled": tuple(values.get("pooled", ())),
    }
    return Config(**{**values, **parts})
