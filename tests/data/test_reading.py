"""Every defect of a table: found in one pass, named with its remedy, and mended as told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastml.data.checks import CODES, Finding, guardrails
from forecastml.data.frames import check_panel, read_panel
from forecastml.data.policies import Policies
from forecastml.data.schema import Schema
from forecastml.errors import ConfigError, DataError, FrequencyError, FutureError
from tests.data.samples import SCHEMA, read, series

WIDE = Schema(
    target="y",
    time="ds",
    series=("id",),
    group=("g",),
    known=("price",),
    static=("region",),
    weight="w",
    mask="closed",
)


def shop(n: int = 60) -> pd.DataFrame:
    """Six healthy daily series with every kind of column; "s1" to "s6"."""
    parts = []
    for k in range(6):
        part = series(f"s{k + 1}", n)
        part = part.assign(y=part["y"] % 7 + k, g="north" if k < 3 else "south", price=1.5 + part["y"] % 5, w=1.0)
        parts.append(part.assign(region=f"r{k}", closed=False))
    frame = pd.concat(parts, ignore_index=True)
    return frame.astype({name: object for name in ("id", "y", "g", "price", "region")} | {"ds": object})


def plant(frame: pd.DataFrame, code: str) -> pd.DataFrame:
    """The table with one more defect; each has rows of its own."""
    frame = frame.copy()
    at = {k: frame.index[frame["id"] == f"s{k}"] for k in range(1, 7)}
    if code == "empty_key":
        frame.loc[at[1][59], "id"] = None
    elif code == "missing_time":
        frame.loc[at[1][58], "ds"] = None
    elif code == "unreadable_time":
        frame["ds"] = frame["ds"].map(str).where(frame["ds"].notna(), None)
        frame.loc[at[1][57], "ds"] = "soon"
    elif code == "text_in_numbers":
        frame.loc[at[2][[3, 4]], "y"] = ["n.v.", "many"]
    elif code == "infinite":
        frame.loc[at[2][10], "price"] = np.inf
    elif code == "unsorted":
        order = np.arange(len(frame))
        order[[at[2][20], at[2][21]]] = order[[at[2][21], at[2][20]]]
        frame = frame.iloc[order].reset_index(drop=True)
    elif code == "mixed_group":
        frame.loc[at[3][5], "g"] = "south"
    elif code == "static_varies":
        frame.loc[at[3][6], "region"] = "elsewhere"
    elif code == "masked":
        frame.loc[at[3][7], "closed"] = True
    elif code == "negative_weight":
        frame.loc[at[3][8], "w"] = -1.0
    elif code == "duplicates":
        frame = pd.concat([frame, frame.loc[[at[4][59]]]], ignore_index=True)
    elif code == "off_grid":
        moved = pd.Timestamp("2024-02-10 13:00")
        frame.loc[at[4][40], "ds"] = str(moved) if isinstance(frame.loc[at[4][40], "ds"], str) else moved
    elif code == "desert":
        wrong = pd.Timestamp("9024-01-01")
        frame.loc[at[5][59], "ds"] = str(wrong) if isinstance(frame.loc[at[5][0], "ds"], str) else wrong
    elif code == "gaps":
        frame = frame.drop(index=at[5][[30, 31]]).reset_index(drop=True)
    elif code == "no_values":
        frame.loc[at[6], "y"] = np.nan
    elif code == "mixed_frequency":
        odd = series("t1", 20, "W").assign(g="south", price=1.5, w=1.0, region="r9", closed=False)
        frame = pd.concat([frame, odd], ignore_index=True)
    return frame


#: Code -> severity, and what the message must name.
PLANTED = {
    "empty_key": ("error", "'id' is empty in 1 rows"),
    "missing_time": ("error", r"'ds' is empty in 1 rows, first row 58 \(id=s1\)"),
    "unreadable_time": ("error", r"'soon' \(row 57, id=s1\)"),
    "text_in_numbers": ("error", r"text in 2 rows, first 'n\.v\.' \(id=s2, row 63\), 'many'"),
    "infinite": ("alert", "'price' has 1 infinite values, taken as missing: id=s2"),
    "unsorted": ("fixed", "in 1 series, they were sorted: id=s2"),
    "mixed_group": ("error", r"several groups \(g\): id=s3"),
    "static_varies": ("alert", "'region' varies within 1 series, first value taken: id=s3"),
    "masked": ("fixed", "1 rows are masked by 'closed', .*: id=s3"),
    "negative_weight": ("error", r"negative or missing in 1 rows: id=s3 \(-1.0\)"),
    "duplicates": ("error", "1 rows repeat a time of their series: id=s4 at 2024-02-29"),
    "off_grid": ("error", "1 rows are off the grid of frequency D: id=s4 at 2024-02-10 13:00"),
    "desert": ("error", "id=s5 runs from 2024-01-01 to 9024-01-01"),
    "gaps": ("fixed", r"2 periods without a row became missing values, in 1 series: id=s5 \(2\)"),
    "no_values": ("alert", "1 series have no value in 'y': id=s6"),
    "mixed_frequency": ("error", r"1 series have another frequency than D, which most have: id=t1 \(W-SUN\)"),
}
#: A row that is left out provisionally leaves a hole behind, unless it was the last of its series.
AFTER = {"missing_time": {"gaps"}, "unreadable_time": {"gaps"}, "off_grid": {"gaps"}}


def test_a_healthy_table_has_no_finding():
    assert check_panel(shop(), WIDE).findings == ()


@pytest.mark.parametrize("code", PLANTED)
def test_a_defect_is_found_alone_and_named(code):
    import re

    reading = check_panel(plant(shop(), code), WIDE)
    severity, says = PLANTED[code]
    assert {finding.code for finding in reading.findings} == {code} | AFTER.get(code, set())
    finding = next(finding for finding in reading.findings if finding.code == code)
    assert finding.severity == severity
    assert re.search(says, finding.message)
    assert finding.remedy
    assert finding.count >= 1
    assert reading.data is not None
    if severity == "error":
        with pytest.raises(DataError, match=re.escape(finding.remedy)):
            read_panel(plant(shop(), code), WIDE)
    else:
        assert read_panel(plant(shop(), code), WIDE).findings == reading.findings


def hostile() -> pd.DataFrame:
    frame = shop()
    for code in PLANTED:
        frame = plant(frame, code)
    return frame


def test_one_look_finds_all_that_is_wrong_and_nothing_else():
    reading = check_panel(hostile(), WIDE)
    # Text of the year 9024 is a time since pandas 3; before, it is one of those that cannot be read.
    planted = set(PLANTED) - ({"desert"} if pd.__version__ < "3" else set())
    assert {finding.code for finding in reading.findings} == planted
    assert len(reading.findings) == len(planted)
    for finding in reading.findings:
        assert finding.severity == PLANTED[finding.code][0]
    assert set(CODES) >= set(PLANTED)
    # What is left is a panel to look at: six series, without the one that has another frequency.
    assert reading.data.keys[:, 0].tolist() == [f"s{k}" for k in range(1, 7)]
    assert reading.data.lengths.tolist() == [57, 60, 60, 60, 59, 0]


def test_the_exception_says_every_error_with_its_remedy():
    errors = [finding for finding in check_panel(hostile(), WIDE).findings if finding.severity == "error"]
    with pytest.raises(DataError) as caught:
        read_panel(hostile(), WIDE)
    text = str(caught.value)
    assert text.startswith(f"{len(errors)} defects:\n1. ")
    for finding in errors:
        assert f"{finding.message}; {finding.remedy}" in text
    assert "several groups" in text
    assert "varies within" not in text


def test_what_cannot_be_read_at_all_is_one_error(tmp_path):
    for source, says in (
        (tmp_path / "none.csv", "there is no file"),
        (shop().drop(columns="w"), "'w' not found"),
        (shop().iloc[:0], "no rows"),
        ({"y": [1]}, "cannot read a table from dict"),
    ):
        reading = check_panel(source, WIDE)
        (finding,) = reading.findings
        assert (reading.data, finding.code, finding.severity) == (None, "unreadable", "error")
        assert says in finding.message
        assert finding.remedy
    reading = check_panel(shop().assign(ds=None), WIDE)
    assert (reading.data, [finding.code for finding in reading.findings]) == (None, ["missing_time"])
    reading = check_panel(shop().assign(ds="soon", y="much"), WIDE)
    assert (reading.data, {finding.code for finding in reading.findings}) == (
        None,
        {"unreadable_time", "text_in_numbers"},
    )
    reading = check_panel(series(n=1), SCHEMA)
    assert (reading.data, [finding.code for finding in reading.findings]) == (None, ["frequency"])
    assert "freq='D'" in reading.findings[0].remedy


def test_the_kind_of_exception():
    with pytest.raises(FrequencyError):
        read_panel(series(n=1), SCHEMA)
    with pytest.raises(DataError) as caught:
        read_panel(series(n=1).astype({"y": object}).assign(y="much"), SCHEMA)
    assert type(caught.value) is DataError
    history = read_panel(series(), SCHEMA).data
    with pytest.raises(FutureError, match="2 defects:"):
        read_panel(pd.concat([series(), series()]).assign(y=["x"] + ["1"] * 39), SCHEMA, like=history)


def test_thousands_of_bad_cells_are_one_finding():
    frame = pd.concat([series(f"{i:03}", 50) for i in range(100)], ignore_index=True).astype({"y": object})
    frame["y"] = [f"about {i % 7}" if i % 2 else str(i) for i in range(5000)]
    (finding,) = check_panel(frame, SCHEMA).findings
    assert finding.count == 2500
    assert "first 'about 1' (id=000, row 1), 'about 3', 'about 5' in id=000, id=001" in finding.message
    assert finding.message.endswith("id=004 and 95 more")


def test_decimal_commas_are_recognised(tmp_path):
    lines = [f"a;2024-01-{d:02};{d},5;{d},25" for d in range(1, 29)]
    (tmp_path / "t.csv").write_text("\n".join(["id;ds;y;price", "a;2023-12-31;1;2,5", *lines]) + "\n")
    schema = Schema(target="y", time="ds", series=("id",), known=("price",))
    target, price = check_panel(tmp_path / "t.csv", schema).findings
    assert (target.code, target.severity, target.count) == ("text_in_numbers", "error", 28)
    assert "first '1,5' (id=a, row 1), '2,5', '3,5'" in target.message
    assert (price.code, price.severity, price.count) == ("text_in_numbers", "alert", 29)
    assert "decimal commas" in target.remedy
    assert "decimal commas" in price.remedy


@pytest.mark.parametrize("bad", ["n.v.", "1,5"])
def test_a_covariate_of_decimals_with_some_text_is_not_silently_a_category(bad):
    frame = series(n=40).assign(x=[bad, *(f"{i}.25" for i in range(39))])
    schema = Schema(target="y", time="ds", series=("id",), known=("x",))
    (finding,) = check_panel(frame, schema).findings
    assert (finding.code, finding.severity, finding.column) == ("text_in_numbers", "alert", "x")
    sizes = series(n=40).assign(x=["S", "M", "L", "0.5"] * 10)
    assert check_panel(sizes, schema).findings == ()


# --- masks ---


def test_a_masked_row_has_no_target_and_no_weight():
    frame = series().assign(w=2.0, closed=[None] + [False] * 4 + [True] + [False] * 14)
    schema = Schema(target="y", time="ds", series=("id",), weight="w", mask="closed")
    panel, (finding,) = read(frame, schema)
    assert np.flatnonzero(np.isnan(panel.target)).tolist() == [5]
    assert panel.weight.tolist() == [2.0] * 5 + [0.0] + [2.0] * 14
    assert (finding.code, finding.severity, finding.count, finding.series) == ("masked", "fixed", 1, "id=a")
    later = series(n=5, start="2024-02-01")
    assert read(later, schema, like=panel)[0].target.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "values", [["false", "true"], [0, 1], [0.0, 1.0], ["0", "1"], ["False", "TRUE"], [False, True]]
)
def test_spellings_of_a_mask(values, tmp_path):
    frame = series().assign(closed=[values[i % 2] for i in range(20)])
    schema = Schema(target="y", time="ds", series=("id",), mask="closed")
    frame.to_csv(tmp_path / "t.csv", index=False)
    for source in (frame, tmp_path / "t.csv"):
        panel, _ = read(source, schema)
        assert panel.lengths.tolist() == [19]
        assert np.flatnonzero(np.isnan(panel.target)).tolist() == list(range(1, 19, 2))


@pytest.mark.parametrize("values", [["yes", "no"], [0, 2], [0.5, 0]])
def test_a_mask_that_is_none(values):
    frame = series().assign(closed=[values[i % 2] for i in range(20)])
    (finding,) = check_panel(frame, Schema(target="y", time="ds", series=("id",), mask="closed")).findings
    assert (finding.code, finding.severity, finding.remedy) == (
        "text_in_numbers",
        "error",
        "a mask is true or false, or 1 or 0",
    )


def test_a_role_is_given_once():
    with pytest.raises(ConfigError, match="as weight and as mask"):
        Schema(target="y", weight="w", mask="w")


# --- series columns that nobody named ---

BARE = Schema(target="y", time="ds")


def brands(n: int = 30) -> pd.DataFrame:
    parts = [
        series(n=n).drop(columns="id").assign(store=f"{store:03}", brand=brand, cases=np.arange(n) % 4)
        for store in (7, 8)
        for brand in range(3)
    ]
    return pd.concat(parts, ignore_index=True)


def test_the_series_columns_are_found(tmp_path):
    brands().to_csv(tmp_path / "t.csv", index=False)
    for source in (brands(), tmp_path / "t.csv"):
        panel, (finding,) = read(source, BARE)
        assert panel.schema.series == ("store", "brand")
        assert panel.keys.tolist() == [[s, b] for s in ("007", "008") for b in "012"]
        assert (finding.code, finding.severity) == ("series_detected", "fixed")
        assert "store, brand" in finding.message
        assert finding.remedy.endswith("give them as series: store, brand")
    later = brands().assign(ds=lambda t: t.ds + pd.Timedelta("30D"))
    assert read(later, BARE, like=panel)[0].keys.tolist() == panel.keys.tolist()


def test_one_column_goes_before_two_and_text_before_numbers():
    frame = pd.concat([series(f"a{i}") for i in range(4)], ignore_index=True)
    frame = frame.assign(number=frame.index // 20, id2=frame["id"])
    assert read(frame, BARE)[0].schema.series == ("id",)
    assert read(frame.drop(columns=["id", "id2"]), BARE)[0].schema.series == ("number",)


def test_no_series_columns_when_none_tells_rows_apart():
    frame = brands().drop(columns="brand")
    with pytest.raises(DataError, match="name the columns that tell the series apart as series"):
        read(frame, BARE)
    # A number of its own for every row is no key.
    with pytest.raises(DataError, match="repeat a time"):
        read(frame.assign(row=np.arange(len(frame)), note=[f"n{i}" for i in range(len(frame))]), BARE)
    with pytest.raises(DataError, match="repeat a time"):
        read(brands(2), BARE)


def test_columns_that_were_forgotten_are_named():
    schema = Schema(target="y", time="ds", series=("store",))
    _, finding = check_panel(brands(), schema).findings
    assert (finding.code, finding.severity) == ("duplicates", "error")
    assert finding.remedy == "name brand as series too, or sum or drop the rows first"
    assert "name all key columns" in check_panel(brands().drop(columns="brand"), schema).findings[1].remedy


@pytest.mark.parametrize(
    ("name", "found"), [("australian_tourism", {"region", "purpose"}), ("orange_juice", {"brand", "store"})]
)
def test_the_series_columns_of_public_sets_are_found(name, found, shared_data):
    frame = pd.read_parquet(shared_data(name)[0]).drop(columns="unique_id")
    panel, findings = read(frame, BARE)
    assert set(panel.schema.series) == found
    assert len(panel) == shared_data(name)[1]["series"]
    assert findings[0].code == "series_detected"


def test_rows_are_summed_over_series_that_nothing_tells_apart():
    panel, findings = read(brands()[["ds", "y"]], BARE, policies=Policies(duplicates="sum"))
    assert panel.target.tolist() == [6.0 * i for i in range(30)]
    assert [finding.code for finding in findings] == ["unsorted", "duplicates"]


# --- rows off a grid that was given ---


def test_few_rows_off_a_given_grid_are_left_out():
    frame = pd.concat([series("a", 40, "MS"), series("b", 40, "MS")], ignore_index=True)
    frame.loc[45, "ds"] += pd.Timedelta("16D")
    reading = read_panel(frame, SCHEMA, freq="MS")
    assert [(f.code, f.severity, f.count) for f in reading.findings] == [("off_grid", "fixed", 1), ("gaps", "fixed", 1)]
    assert np.flatnonzero(np.isnan(reading.data.target)).tolist() == [45]
    assert reading.skipped.tolist() == []
    frame.loc[50:59, "ds"] += pd.Timedelta("3D")
    with pytest.raises(DataError, match=r"11 rows are off the grid of frequency MS.*pass aggregate"):
        read(frame, SCHEMA, freq="MS")


def test_the_first_row_may_be_the_one_off_the_grid():
    frame = series(n=60, freq="W-MON")
    frame.loc[0, "ds"] += pd.Timedelta("2D")
    for freq in ("W", "W-MON"):
        panel, (finding,) = read(frame, SCHEMA, freq=freq)
        assert (finding.code, finding.severity, finding.count) == ("off_grid", "fixed", 1)
        assert panel.target.tolist() == list(range(1, 60))
    with pytest.raises(DataError, match="1 rows are off the grid of frequency W-MON: id=a at 2024-01-03"):
        read(frame, SCHEMA)


def test_a_series_with_no_row_on_the_grid_is_skipped_by_name():
    frame = pd.concat([series("a", 95, "W-MON"), series("b", 5, "W-THU")], ignore_index=True)
    reading = read_panel(frame, SCHEMA, freq="W-MON")
    assert reading.skipped.tolist() == [["b"]]
    assert reading.data.keys.tolist() == [["a"]]
    with pytest.raises(FrequencyError, match="pass freq='W-THU'"):
        read_panel(pd.concat([series("a", 50, "W-MON"), series("b", 50, "W-THU")]), SCHEMA, freq="W-MON")


# --- hostile files ---


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"id,ds,y\na,2024-01-01,1\n\xe9,2024-01-02,2\n", "UTF"),
        (b"id,ds,y\n" + b"a,2024-01-01,\xff\n" * 3, "UTF-8"),
        (b"id,ds,y\n" + b"a,\xff\xfe,1\n" * 3, "binary|UTF"),
        (b"id,ds,y,y\na,2024-01-01,1,2\n", "several columns named 'y'"),
        (b"x" * (5 << 20), "longer than"),
        (b'id,ds,"' + b"y" * 200_000 + b'"\n', "cannot be read"),
        (b"", "not found"),
        (b"id,ds,y\n", "no rows"),
        (b"id,ds,y\na,2024-01-01\n", "Expected 3 columns"),
    ],
)
def test_files_that_are_no_table_are_told_not_crashed_on(content, says, tmp_path):
    (tmp_path / "t.csv").write_bytes(content)
    reading = check_panel(tmp_path / "t.csv", SCHEMA)
    with pytest.raises(DataError, match=says):
        read_panel(tmp_path / "t.csv", SCHEMA)
    assert reading.findings


def test_odd_cells_of_a_file(tmp_path):
    days = [f"2024-01-{d:02}" for d in range(1, 29)]
    values = ["1e400", "NaN", "-Infinity", "1_0", *range(24)]
    odd = ["=cmd()", "<script>", "../../x", "CON", "con", "a\x00b", "k" * 10_000]
    lines = [f"{key},{day},{value}" for key in odd for day, value in zip(days, values, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["id,ds,y", *lines]) + "\n")
    reading = check_panel(tmp_path / "t.csv", SCHEMA)
    assert sorted(reading.data.keys[:, 0]) == sorted(odd)
    assert {finding.code for finding in reading.findings} == {"infinite"}
    dates = ["0000-01-01", "9999-12-31", *days]
    (tmp_path / "t.csv").write_text("\n".join(["id,ds,y", *(f"a,{day},1" for day in dates)]) + "\n")
    reading = check_panel(tmp_path / "t.csv", SCHEMA, freq="D")
    assert {finding.code for finding in reading.findings} == {"unsorted", "desert"}
    assert reading.data.lengths.tolist() == [28]


def test_several_wrong_centuries_are_one_finding():
    frame = pd.concat([series(f"{i}", 50, "min") for i in range(6)], ignore_index=True)
    frame.loc[[49, 150], "ds"] = [pd.Timestamp("2124-01-01"), pd.Timestamp("1924-01-01")]
    reading = check_panel(frame, SCHEMA)
    (finding,) = [finding for finding in reading.findings if finding.code == "desert"]
    assert finding.count == 2
    assert "id=3 runs from 1924-01-01 to 2024-01-01 00:49:00" in finding.message
    assert "1 series more: id=0" in finding.message
    assert reading.data.lengths.tolist() == [49, 50, 50, 49, 50, 50]


# --- guardrails ---


def test_guardrails_say_what_was_looked_at():
    findings = [
        Finding("gaps", "fixed", "two gaps", count=2, remedy="fill them"),
        Finding("infinite", "alert", "one", column="a"),
        Finding("infinite", "fixed", "two", column="b", count=4),
        Finding("duplicates", "error", "three"),
        Finding("of_tomorrow", "alert", "new"),
    ]
    rows = guardrails(findings)
    assert [row.code for row in rows] == [*CODES, "of_tomorrow"]
    state = {row.code: (row.state, row.count, row.text) for row in rows}
    assert state["gaps"] == ("fixed", 2, "two gaps; fill them")
    assert state["infinite"] == ("alerted", 5, "one. two")
    assert state["duplicates"][0] == "alerted"
    assert state["stale"] == ("passed", 0, "")
    assert all(row.title for row in rows)
    assert [row.code for row in guardrails([], ("gaps", "stale"))] == ["gaps", "stale"]


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False), st.sets(st.sampled_from(sorted(PLANTED))))
def test_the_order_of_rows_changes_no_other_finding(random, codes):
    frame = shop()
    for code in PLANTED:
        frame = plant(frame, code) if code in codes else frame
    order = list(range(len(frame)))
    random.shuffle(order)
    straight, mixed = check_panel(frame, WIDE), check_panel(frame.iloc[order], WIDE)
    # Who is first, and so which value of a group or static column is the first, follows time, not rows.
    counts = [{(f.code, f.severity, f.count) for f in r.findings if f.code != "unsorted"} for r in (straight, mixed)]
    assert counts[0] == counts[1]
    np.testing.assert_array_equal(straight.data.target, mixed.data.target)


def test_a_category_that_comes_later_changes_no_code_before():
    frame = pd.DataFrame({"id": "a", "ds": pd.date_range("2024-01-01", periods=6), "y": 1.0, "mood": list("bdbbbb")})
    schema = replace(SCHEMA, past=("mood",))
    early = read_panel(frame, schema).data
    late = read_panel(frame.assign(mood=list("bdbbac")), schema).data
    np.testing.assert_array_equal(early.past[:4], late.past[:4])
    assert early.categories["mood"] == ("b", "d")
    assert late.categories["mood"] == ("b", "d", "a", "c")


def test_series_are_found_beside_a_few_true_duplicates():
    days = pd.date_range("2024-01-01", periods=60)
    frame = pd.concat([pd.DataFrame({"sku": f"s{k}", "ds": days, "y": np.arange(60.0)}) for k in range(5)])
    doubled = pd.concat([frame, frame.iloc[[3, 70]]], ignore_index=True)
    schema = Schema(target="y", time="ds")
    for policy in ("error", "sum"):
        found = check_panel(doubled, schema, policies=Policies(duplicates=policy))
        assert found.data.schema.series == ("sku",)
        (twice,) = [finding for finding in found.findings if finding.code == "duplicates"]
        assert twice.count == 2
    assert read_panel(doubled, schema, policies=Policies(duplicates="sum")).data.values(0)[3] == 6.0


def test_a_doubled_row_of_one_series_is_no_second_series():
    days = pd.date_range("2024-01-01", periods=200)
    frame = pd.DataFrame({"ds": days, "y": 1.0, "promo": np.arange(200) % 2})
    twice = pd.concat([frame, frame.iloc[[7]].assign(promo=0)], ignore_index=True)
    found = check_panel(twice, Schema(target="y", time="ds"))
    assert [finding.code for finding in found.findings if finding.severity == "error"] == ["duplicates"]
    assert len(found.data) == 1
