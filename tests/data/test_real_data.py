"""The data doctor on public data sets: it finds everything that is there, and nothing that is not."""

from __future__ import annotations

import pytest

from forecastml.task import Forecasting

STATIC = tuple(
    ["age60", "educ", "ethnic", "income", "hhlarge", "workwom", "hval150", "sstrdist", "sstrvol", "cpdist5", "cpwvol5"]
)
WEATHER = ("weathersit", "temp", "atemp", "hum", "windspeed")


@pytest.mark.parametrize(
    ("name", "task", "expected"),
    [
        (
            "orange_juice",
            Forecasting(horizon=8, series=("store", "brand"), known=("advert", "deal", "price"), static=STATIC),
            {"gaps"},
        ),
        ("bike_share", Forecasting(horizon=14, known=WEATHER), {"outliers"}),
        ("bike_share", Forecasting(horizon=14, known=(*WEATHER, "casual", "registered")), {"outliers", "leak"}),
        ("victoria_electricity", Forecasting(horizon=336, known=("temperature", "holiday")), set()),
        (
            "victoria_electricity",
            Forecasting(horizon=336, known=("temperature", "holiday"), timezone="UTC>Australia/Melbourne"),
            set(),
        ),
    ],
    ids=["orange_juice", "bike_share", "bike_share with its parts", "victoria", "victoria in local time"],
)
def test_what_is_found(shared_data, name, task, expected):
    path, _ = shared_data(name)
    reading = task.check(path)
    assert {finding.code for finding in reading.findings} == expected
    for finding in reading.findings:
        assert finding.remedy or finding.severity == "fixed"
    if "leak" in expected:
        (leak,) = [finding for finding in reading.findings if finding.code == "leak"]
        assert "'casual'" in leak.message and "'registered'" in leak.message
