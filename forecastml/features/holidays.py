"""Public holidays by name and local date, from the library `holidays`."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from forecastml.errors import ConfigError

#: Years whose holidays give the names: wide, so that the names do not depend on the data.
YEARS = (1990, 2040)


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


@lru_cache(maxsize=256)
def _calendar(places: tuple[str, ...], first_year: int, last_year: int) -> dict[str, np.ndarray]:
    found: dict[str, set[int]] = {}
    for place in places:
        days = _place(place, range(first_year, last_year + 1))
        for date in days:
            for name in days.get_list(date):
                found.setdefault(name, set()).add((np.datetime64(date) - np.datetime64("1970-01-01")).astype(int))
    return {name: np.array(sorted(found[name]), dtype=np.int64) for name in sorted(found)}


def _place(place: str, years: range):
    """The library's calendar of a place, in English where it has that, so that names do not follow the locale."""
    import holidays

    country, _, subdivision = place.partition("-")
    try:
        kind = holidays.country_holidays(country, subdiv=subdivision or None)
        language = "en_US" if "en_US" in kind.supported_languages else kind.default_language
        return holidays.country_holidays(country, subdiv=subdivision or None, years=years, language=language)
    except NotImplementedError:
        raise ConfigError(
            f"holidays of {place!r} are unknown; give a country code such as 'US', or one with a subdivision: 'DE-BY'"
        ) from None
