"""Public holidays by name and local date, from the library `holidays`.

A place is a country or a country with a subdivision ("US", "DE-BY"). "column:state" names none itself: it stands for
the place that each series has in that column, and counts for no place here.
"""

from __future__ import annotations

import warnings
from datetime import date
from functools import lru_cache

import numpy as np

from forecastml.errors import ConfigError

#: Years whose holidays give the names: wide, so that the names do not depend on the data.
YEARS = (1990, 2040)
#: What a place of each series begins with.
COLUMN = "column:"
#: Days of the week without work where nothing else is known, 0 = Monday.
WEEKEND = frozenset({5, 6})
_EPOCH = date(1970, 1, 1).toordinal()


def fixed_places(places: tuple[str, ...]) -> tuple[str, ...]:
    """The places that hold for all series."""
    return tuple(place for place in places if not place.startswith(COLUMN))


def place_columns(places: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that hold the place of each series."""
    return tuple(place.removeprefix(COLUMN).strip() for place in places if place.startswith(COLUMN))


@lru_cache(maxsize=64)
def holiday_names(places: tuple[str, ...]) -> tuple[str, ...]:
    """Names of all holidays of these places, in alphabetical order; one that places share is there once.

    places: countries, or countries with a subdivision ("US", "DE-BY"). `ConfigError` for an unknown one.
    """
    return tuple(sorted(_calendar(places, *YEARS)))


def holiday_days(places: tuple[str, ...], first: int, last: int) -> dict[str, np.ndarray]:
    """Name -> days on which some of the places has this holiday, ascending int64 days since 1970-01-01.

    first, last: days that bound the years which are looked at; both years are complete.
    """
    bounds = np.array([first, last], dtype="datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
    return dict(_calendar(places, int(bounds[0]), int(bounds[1])))


def holiday_codes(places: tuple[str, ...], days: np.ndarray) -> np.ndarray:
    """Position in `holiday_names` of the holiday on each day, NaN for none; of several, the first: float64 (days,).

    days: int64 since 1970-01-01.
    """
    codes = np.full(len(days), np.nan)
    if not len(days):
        return codes
    names = {name: i for i, name in enumerate(holiday_names(places))}
    found = holiday_days(places, int(days.min()), int(days.max()))
    for name in sorted(set(found) & set(names), reverse=True):
        codes[np.isin(days, found[name])] = names[name]
    return codes


@lru_cache(maxsize=4096)
def is_place(place: str) -> bool:
    """Whether the library knows the holidays of a place."""
    try:
        _kind(place)
    except ConfigError:
        return False
    return True


@lru_cache(maxsize=4096)
def weekend(place: str) -> frozenset[int]:
    """Days of the week without work, 0 = Monday."""
    return frozenset(_kind(place)[0].weekend)


@lru_cache(maxsize=1024)
def _calendar(places: tuple[str, ...], first_year: int, last_year: int) -> dict[str, np.ndarray]:
    first, end = date(first_year, 1, 1).toordinal() - _EPOCH, date(last_year, 12, 31).toordinal() - _EPOCH + 1
    found: dict[str, set[int]] = {}
    for place in fixed_places(places):
        for decade in range(first_year // 10, last_year // 10 + 1):
            for day, name in _of_decade(place, decade):
                if first <= day < end:
                    found.setdefault(name, set()).add(day)
    return {name: np.array(sorted(found[name]), dtype=np.int64) for name in sorted(found)}


@lru_cache(maxsize=1 << 13)
def _of_decade(place: str, decade: int) -> tuple[tuple[int, str], ...]:
    """The paid holidays of a place in ten years: days since 1970-01-01 and names.

    They are in English where the library has that, so that names do not follow the locale.
    """
    _, language = _kind(place)
    with warnings.catch_warnings():
        # Years that a calendar does not reach have no holidays; the library says so once per call.
        warnings.simplefilter("ignore")
        days = _library(place, years=range(10 * decade, 10 * decade + 10), language=language)
    # A day with two holidays has both names in one text; only the library can tell them apart.
    return tuple((day.toordinal() - _EPOCH, name) for day in sorted(days) for name in days.get_list(day))


@lru_cache(maxsize=4096)
def _kind(place: str):
    """The library's calendar of a place without dates, and the language of its names."""
    kind = _library(place)
    return kind, "en_US" if "en_US" in kind.supported_languages else kind.default_language


def _library(place: str, **options):
    import holidays

    country, _, subdivision = place.partition("-")
    try:
        return holidays.country_holidays(country, subdiv=subdivision or None, **options)
    except NotImplementedError:
        raise ConfigError(
            f"holidays of {place!r} are unknown; give a country code such as 'US', or one with a subdivision: 'DE-BY'"
        ) from None
