"""Regression with seasonal ARIMA errors on one series, by pmdarima (Hyndman & Athanasopoulos, fpp3, chapter 10):
y = X beta + n, phi(B) Phi(B^m) (1 - B)^d (1 - B^m)^D n = theta(B) Theta(B^m) e.

The ARMA parameters maximise the exact likelihood of the differenced errors (statsmodels' Kalman filter); beta is their
generalised least squares estimate: the innovations of y and of every column of X under the same filter, regressed on
each other. The two take turns. Missing values stay missing throughout, except in the search for the order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from forecastml.learners.regressors import FLAT, Choice, chosen_columns

#: Orders that the search may reach.
MOST_AR, MOST_MA, MOST_SEASONAL, MOST_TERMS = 3, 3, 1, 5
#: Plain differences at most.
MOST_DIFFERENCES = 1
#: Values, the most recent ones, from which the order is chosen: with a season in the model, and without.
SEARCHED_SEASONAL, SEARCHED = 240, 1000
#: Steps of the optimiser: for a candidate of the search, for a chosen order, for a refit.
SEARCH_STEPS, STEPS, REFIT_STEPS = 10, 50, 15
#: Values that one more ARMA parameter takes.
VALUES_PER_TERM = 8
#: Turns of ARMA parameters and regression coefficients.
TURNS = 2
#: Fewer known values than this are a random walk: there is nothing to choose an order by.
SHORTEST = 10
#: Below this share of known differences the gaps are bridged before differencing.
ENOUGH_DIFFERENCES = 0.5


@dataclass(frozen=True)
class Order:
    """(p, d, q) (P, D, Q) of season m; m is 1 without a season."""

    p: int = 0
    d: int = 0
    q: int = 0
    seasonal_p: int = 0
    seasonal_d: int = 0
    seasonal_q: int = 0
    season: int = 1

    @property
    def terms(self) -> int:
        """Number of ARMA parameters."""
        return self.p + self.q + self.seasonal_p + self.seasonal_q

    @property
    def differences(self) -> int:
        """Differences taken, seasonal ones too."""
        return self.d + self.seasonal_d

    def as_tuple(self) -> tuple[int, ...]:
        """p, d, q, P, D, Q, m."""
        return self.p, self.d, self.q, self.seasonal_p, self.seasonal_d, self.seasonal_q, self.season

    def without_differences(self) -> Order:
        """The ARMA part alone."""
        return replace(self, d=0, seasonal_d=0)

    def difference(self, values: np.ndarray) -> np.ndarray:
        """Differences along the first axis: d + D m rows fewer."""
        for _ in range(self.seasonal_d):
            values = values[self.season :] - values[: -self.season]
        return np.diff(values, n=self.d, axis=0)

    def state_space(self, errors: np.ndarray) -> Any:
        """The state-space model of `errors` (float64, NaN where missing), scaled to innovations of variance 1."""
        from statsmodels.tsa.statespace.sarimax import SARIMAX

        seasonal = (self.seasonal_p, self.seasonal_d, self.seasonal_q, self.season if self.season > 1 else 0)
        return SARIMAX(errors, order=(self.p, self.d, self.q), seasonal_order=seasonal, concentrate_scale=True)


@dataclass(frozen=True, eq=False)
class Estimate:
    """What is known of one series: arma (terms,); beta (columns,), NaN for a column that is not used, the first of
    them the mean or the drift; searched: the order was chosen by a search and holds for later cutoffs."""

    order: Order
    arma: np.ndarray
    beta: np.ndarray
    searched: bool


def estimate(y: np.ndarray, x: np.ndarray, season: int, choice: Choice) -> Estimate:
    """Choose order and columns, and estimate both.

    y: float64 (rows,), NaN where missing, of mean 0 and variance 1; x: float64 (rows, columns), the first one blank for
    mean or drift; season: length of an exact season, 1 for none.
    """
    known = np.flatnonzero(~np.isnan(y))
    blank = np.full(x.shape[1], np.nan)
    if not np.ptp(y[known]) > 0:
        return Estimate(Order(), np.empty(0), blank, False)
    if len(known) < SHORTEST:
        return Estimate(Order(d=1), np.empty(0), blank, False)
    filled = np.interp(np.arange(len(y)), known, y[known])
    if min(len(known), len(y)) < 2 * season + 2:
        season = 1
    used = chosen_columns(filled, x, len(known), choice)
    order, drift, arma = _search(filled, x, used, season)
    used = [0, *used] if drift else used
    return _estimated(y, x, Estimate(order, arma, _flags(x, used), True), TURNS, STEPS)


def reestimate(y: np.ndarray, x: np.ndarray, previous: Estimate) -> Estimate:
    """The same order and columns with parameters of this series, from those of an earlier cutoff on."""
    return _estimated(y, x, previous, 1, REFIT_STEPS)


def drift_column(order: Order, time: np.ndarray) -> np.ndarray:
    """The first column of a regression: 1 without differences, else time in steps."""
    return time if order.differences else np.ones_like(time)


def _flags(x: np.ndarray, used: list[int]) -> np.ndarray:
    beta = np.full(x.shape[1], np.nan)
    beta[used] = 0.0
    return beta


def _estimated(y: np.ndarray, x: np.ndarray, start: Estimate, turns: int, steps: int) -> Estimate:
    """Both sets of parameters from `start` on, which also says which columns are used."""
    order, arma, beta = start.order, start.arma, start.beta.copy()
    used = np.flatnonzero(~np.isnan(beta))
    table = np.column_stack([drift_column(order, np.arange(len(y), dtype=np.float64)), x[:, 1:]])[:, used]
    w = order.difference(y)
    if np.mean(np.isnan(w)) > 1 - ENOUGH_DIFFERENCES:
        at = np.flatnonzero(~np.isnan(y))
        w = order.difference(np.interp(np.arange(len(y)), at, y[at]))
    z = order.difference(table)
    beta[used] = _least_squares(z, w)
    for turn in range(turns):
        rest = w - z @ beta[used]
        if order.terms and np.nanstd(rest) > FLAT:
            arma = _maximum_likelihood(order, rest, arma, steps if turn == 0 else REFIT_STEPS)
            beta[used] = _generalised_least_squares(order, arma, w, z)
    return Estimate(order, arma, beta, start.searched)


def _maximum_likelihood(order: Order, w: np.ndarray, start: np.ndarray, steps: int) -> np.ndarray:
    """ARMA parameters that maximise the likelihood of w; the start where the optimiser ends nowhere."""
    scale = np.nanstd(w)
    model = order.without_differences().state_space(w / scale)
    first = start if len(start) == order.terms else None
    found = model.fit(start_params=first, maxiter=steps, disp=0, cov_type="none", return_params=True)
    found = np.asarray(found, dtype=np.float64)
    if not np.isfinite(found).all():
        found = start if first is not None else np.zeros(order.terms)
    return found


def _generalised_least_squares(order: Order, arma: np.ndarray, w: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Coefficients of w on the columns of z when their errors follow the ARMA."""
    if not z.shape[1]:
        return np.empty(0)
    bare = order.without_differences()

    def innovations(column: np.ndarray) -> Any:
        model = bare.state_space(np.where(np.isnan(w), np.nan, column))
        return model.filter(arma, return_ssm=True)

    told = innovations(w)
    weight = 1.0 / np.sqrt(told.forecasts_error_cov[0, 0])
    columns = np.column_stack([innovations(column).forecasts_error[0] * weight for column in z.T])
    return _least_squares(columns, np.where(np.isnan(w), np.nan, told.forecasts_error[0] * weight))


def _least_squares(z: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Coefficients of w on the columns of z over the known rows; columns of no use get the smallest ones."""
    rows = ~np.isnan(w)
    if not z.shape[1] or not rows.any():
        return np.zeros(z.shape[1])
    size = np.sqrt(np.mean(np.square(z[rows]), axis=0))
    size = np.where(size > FLAT, size, np.inf)
    return np.linalg.lstsq(z[rows] / size, w[rows], rcond=1e-8)[0] / size


def _search(y: np.ndarray, x: np.ndarray, used: list[int], season: int) -> tuple[Order, bool, np.ndarray]:
    """Order, whether it has a mean or a drift, and its ARMA parameters, by AICc on what the regression leaves of y."""
    from pmdarima.arima import auto_arima, ndiffs

    rest = y - x[:, used] @ _least_squares(x[:, used] - x[:, used].mean(axis=0), y)
    rest = rest[-(SEARCHED_SEASONAL if season > 1 else SEARCHED) :]
    rest = (rest - rest.mean()) / max(rest.std(), FLAT)
    seasonal_d = _seasonal_differences(rest, season) if season > 1 else 0
    seasonally = Order(seasonal_d=seasonal_d, season=season).difference(rest)
    d = ndiffs(seasonally, max_d=MOST_DIFFERENCES, test="kpss") if np.std(seasonally) > FLAT else 0
    order = Order(d=d, seasonal_d=seasonal_d, season=season)
    if np.std(order.difference(rest)) <= FLAT:
        return order, order.differences < 2, np.empty(0)
    terms = min(MOST_TERMS, max(1, len(rest) // VALUES_PER_TERM))
    seasonal = int(season > 1 and terms > 2)
    found = auto_arima(
        rest,
        d=d,
        D=seasonal_d,
        m=season,
        seasonal=season > 1,
        start_p=1,
        start_q=int(terms > 1),
        start_P=seasonal,
        start_Q=seasonal,
        max_p=MOST_AR,
        max_q=MOST_MA,
        max_P=MOST_SEASONAL,
        max_Q=MOST_SEASONAL,
        max_order=terms,
        information_criterion="aicc",
        with_intercept="auto" if order.differences == 1 else False,
        maxiter=SEARCH_STEPS,
        error_action="ignore",
        suppress_warnings=True,
        sarimax_kwargs={"simple_differencing": True},
    )
    (p, _, q), (seasonal_p, _, seasonal_q, _) = found.order, found.seasonal_order
    order = replace(order, p=p, q=q, seasonal_p=seasonal_p, seasonal_q=seasonal_q)
    names = found.arima_res_.model.param_names
    arma = [value for name, value in zip(names, found.params(), strict=True) if name.startswith(("ar.", "ma."))]
    return order, not order.differences or bool(found.with_intercept), np.array(arma)


def _seasonal_differences(y: np.ndarray, season: int) -> int:
    """0 or 1 by the test of Osborn, Chui, Smith & Birchenhall (1988), 0 for a series that is too short for it.

    A pattern that repeats without any noise, which the test cannot judge, is differenced.
    """
    from pmdarima.arima import nsdiffs

    if np.std(y[season:] - y[:-season]) <= FLAT:
        return 1
    try:
        return int(nsdiffs(y, m=season, max_D=1, test="ocsb"))
    except ValueError:
        return 0
