"""Which candidates next. A strategy is a function of the log; the loop alone watches the clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from forecastml.protocols import Candidate
from forecastml.search.trial import SKIPPED, Trial, usable

#: First step of a search in shares of the bounds, and the smallest one.
FIRST_STEP, LEAST_STEP = 0.15, 0.02


class Bounds(Protocol):
    """A hyper-parameter that is worth a search (see `learners.ranges.Range`)."""

    low: float
    high: float
    start: float
    log: bool
    whole: bool


@dataclass(frozen=True)
class Portfolio:
    """A fixed list of candidates, best guesses first (zero-shot portfolio, as in FLAML and AutoGluon)."""

    candidates: tuple[Candidate, ...]

    def ask(self, log: Sequence[Trial], n: int) -> tuple[Candidate, ...]:
        """The next n candidates; empty when all were asked. The log has one trial for each that was, in order."""
        return self.candidates[len(log) : len(log) + n]


@dataclass(frozen=True)
class LocalSearch:
    """A portfolio, then hyper-parameters around the best of those candidates that have any to search.

    A randomised direct search, frugal in cost (Wu, Wang and Huang 2021, "Frugal optimization for cost-related
    hyperparameters"): from the incumbent one step in a random direction and, in the same round, one in the opposite
    one; the better of them that improves is the next incumbent, and after 2 * dimensions rounds without improvement
    steps are halved. It ends after `most` candidates, with the budget, or when steps are too small to tell apart.

    spaces: learner -> bounds of its hyper-parameters, for the learners that have any; seed: of the directions.
    """

    portfolio: Portfolio
    spaces: Callable[[str], Mapping[str, Bounds]]
    most: int
    seed: int = 0

    def ask(self, log: Sequence[Trial], n: int) -> tuple[Candidate, ...]:
        """The next candidates of the portfolio, then a pair of steps; empty at the end."""
        first = len(self.portfolio.candidates)
        if len(log) < first:
            return self.portfolio.ask(log, n)
        searched = log[first:]
        seeds = [trial for trial in usable(log[:first]) if self.spaces(trial.candidate.learner)]
        if not seeds or len(searched) >= self.most or any(trial.state == SKIPPED for trial in searched):
            return ()
        return self._pair(min(seeds, key=lambda trial: trial.loss), searched)[: self.most - len(searched)]

    def _pair(self, incumbent: Trial, searched: Sequence[Trial]) -> tuple[Candidate, ...]:
        """Replays the search so far, then the next two candidates."""
        space = self.spaces(incumbent.candidate.learner)
        dice = np.random.default_rng([self.seed, 0x5EED])
        step, failed, asked = FIRST_STEP, 0, {incumbent.candidate.name}
        place, at = _place(incumbent.candidate.params, space), 0
        while step >= LEAST_STEP:
            direction = dice.standard_normal(len(space))
            direction *= step * math.sqrt(len(space)) / max(float(np.linalg.norm(direction)), 1e-12)
            pair = [_moved(incumbent.candidate, space, place + sign * direction) for sign in (1.0, -1.0)]
            pair = [c for k, c in enumerate(pair) if c.name not in asked and c not in pair[:k]]
            asked |= {candidate.name for candidate in pair}
            done = searched[at : at + len(pair)]
            if pair and len(done) < len(pair):
                return tuple(pair[len(done) :])
            at += len(pair)
            better = [trial for trial in usable(done) if trial.loss < incumbent.loss]
            if better:
                incumbent, failed = min(better, key=lambda trial: trial.loss), 0
                place = _place(incumbent.candidate.params, space)
            else:
                failed += 1
            if failed >= 2 * len(space):
                step, failed = step / 2, 0
        return ()


def _place(params: Mapping[str, Any], space: Mapping[str, Bounds]) -> np.ndarray:
    """Parameters as shares of their bounds: float64 (dimensions,); those that are not given stand at their start."""
    return np.array([_share(float(params.get(name, bounds.start)), bounds) for name, bounds in space.items()])


def _share(value: float, bounds: Bounds) -> float:
    low, high = float(bounds.low), float(bounds.high)
    value = min(max(value, low), high)
    if low == high:
        return 0.0
    if bounds.log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def _moved(candidate: Candidate, space: Mapping[str, Bounds], place: np.ndarray) -> Candidate:
    """The candidate with the parameters at a place, within their bounds."""
    params = dict(candidate.params)
    for (name, bounds), share in zip(space.items(), np.clip(place, 0.0, 1.0), strict=True):
        low, high = float(bounds.low), float(bounds.high)
        value = low * (high / low) ** share if bounds.log else low + share * (high - low)
        params[name] = round(value) if bounds.whole else float(f"{value:.3g}")
    return Candidate(candidate.learner, params)
