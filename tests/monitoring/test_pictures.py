"""The pages that the pictures in the docs are made of: every panel, what is unknown as unknown, the worst first."""

import math
import re
import struct
import zlib
from typing import Final

import pytest

from monitoring.boards import DASHBOARDS
from monitoring.operator import OPERATOR
from monitoring.panels import BAD, Dashboard, Panel, Query, Unit
from monitoring.pictures import page, png
from monitoring.pictures.answers import Answers, Series, named
from monitoring.pictures.chart import chart
from monitoring.pictures.values import runs, shown, ticks
from monitoring.tenants import TENANTS

NOW: Final = 1_800_000_000.0
LINES: Final = Panel("Lines", "timeseries", (Query("up", "{{job}}"),), "", unit="bytes")


def nothing(board: Dashboard) -> dict[str, list[list[Series]]]:
    return {panel.title: [[] for _ in panel.queries] for _, row in board.rows for panel in row}


def one(value: float, **labels: str) -> Series:
    return Series(labels, labels.get("job", ""), ((NOW, value),))


def drawn(board: Dashboard, answers: Answers) -> str:
    return page.drawn(board, answers, NOW, "light")


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.uid)
@pytest.mark.parametrize("theme", page.THEMES)
def test_each_panel_is_there_and_what_is_unknown_says_so(board: Dashboard, theme: page.Theme) -> None:
    text = page.drawn(board, nothing(board), NOW, theme)
    titles = [panel.title for _, row in board.rows for panel in row]
    assert re.findall(r"<h3>(.*?)</h3>", text) == titles
    assert text.count("No data") == len(titles)
    assert "drawn by monitoring/pictures from Prometheus, not by Grafana" in text
    assert "<script" not in text


def test_a_number_is_on_the_ground_of_its_level() -> None:
    answers = nothing(TENANTS)
    answers["Drifted"], answers["Contested"] = [[one(1)]], [[one(0)]]
    text = drawn(TENANTS, answers)
    assert f'background: {BAD};"><h3>Drifted</h3><b>1</b>' in text
    assert re.search(r'style="grid-column: span 4;"><h3>Contested</h3><b>0</b>', text)


def test_as_it_should_be_is_no_alarm() -> None:
    answers = nothing(OPERATOR)
    answers["Leaders"] = [[one(1, cluster="a"), one(1, cluster="b")]]
    assert "background:" not in re.findall(r"<body>.*<h3>Leaders", drawn(OPERATOR, answers))[0].split("</style>")[-1]
    answers["Leaders"] = [[one(1, cluster="a"), one(2, cluster="b")]]
    assert f'background: {BAD};"><h3>Leaders</h3><b>2</b>' in drawn(OPERATOR, answers)


def test_the_worst_line_is_first_and_the_unknown_last() -> None:
    answers = nothing(TENANTS)
    names = [query.legend for query in TENANTS.rows[1][1][0].queries]
    lines = answers["Tenants, worst first"]
    lines[names.index("Drift")] = [one(0, tenant="fine"), one(2, tenant="bad"), one(7, tenant="worse")]
    lines[names.index("Exemptions")] = [one(1, tenant="paused"), one(1, tenant="fine-but-one")]
    lines[names.index("Drift")].append(one(0, tenant="fine-but-one"))
    text = drawn(TENANTS, answers)
    cells = re.findall(r'<td class="label">(.*?)</td>', text)
    assert [cell for cell in cells if cell] == ["worse", "bad", "fine-but-one", "fine", "paused"]
    assert "–" in text.partition("paused")[2].partition("</tr>")[0]


def test_the_first_to_end_is_first() -> None:
    answers = nothing(TENANTS)
    ends = {"in-9": 9, "in-2": 2, "in-1": 1}
    answers["What ends next"] = [[one((NOW + days * 86400) * 1000, tenant=name) for name, days in ends.items()]]
    text = drawn(TENANTS, answers)
    assert re.findall(r">(in-\d|in \d+ days?)<", text) == [
        "in-1", "in 1 day", "in-2", "in 2 days", "in-9", "in 9 days",
    ]  # fmt: skip


def test_names_are_text() -> None:
    answers = nothing(TENANTS)
    answers["Tenants, worst first"][0] = [one(1, tenant="<b>&")]
    answers["Drift found"] = [[Series({}, "<i>", ((NOW, 1.0),))]]
    assert "&lt;b&gt;&amp;" in drawn(TENANTS, answers)
    assert "<i>" not in drawn(TENANTS, answers)


def test_lines_have_a_legend_with_the_highest_first() -> None:
    series = [Series({}, f"job-{n}", ((NOW, 0.0), (NOW + 1, n * 1024.0), (NOW + 2, math.nan))) for n in range(9)]
    text = chart(LINES, series)
    assert re.findall(r"job-\d <b>(.*?)</b>", text) == [f"{n} KiB" for n in (8, 7, 6, 5, 4, 3, 2)]
    assert "2 more" in text
    assert text.count("<polyline") == 9
    assert "nan" not in text


def test_a_limit_that_is_near_is_drawn_and_named() -> None:
    panel = Panel("Lines", "timeseries", (), "", limits=((0.9, BAD),))
    assert ">limit<" in chart(panel, [one(0.5)])
    assert ">limit<" not in chart(panel, [one(0.01)])


def test_lines_of_no_number_are_no_data() -> None:
    assert "No data" in chart(LINES, [Series({}, "a", ((NOW, math.nan),))])


def test_a_line_is_cut_where_points_are_missing() -> None:
    points = ((0.0, 1.0), (1.0, 2.0), (2.0, math.nan), (3.0, math.nan), (4.0, 3.0))
    assert runs(points, 1.0) == [[(0.0, 1.0), (1.0, 2.0)], [(4.0, 3.0)]]
    assert runs(((0.0, math.nan),), 1.0) == []


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "short", "0"),
        (1234, "short", "1234"),
        (25_000, "short", "25 k"),
        (0.95, "percentunit", "95 %"),
        (0.0231, "s", "23.1 ms"),
        (0, "s", "0 s"),
        (5.4, "s", "5.4 s"),
        (300, "s", "300 s"),
        (900, "s", "15 min"),
        (1.5 * 2**20, "bytes", "1.5 MiB"),
        (0, "bytes", "0 B"),
        (0.25, "reqps", "0.25/s"),
        ((NOW - 7200) * 1000, "dateTimeFromNow", "2 hours ago"),
        (math.nan, "short", "–"),
    ],
)
def test_values_as_people_read_them(value: float, unit: Unit, text: str) -> None:
    assert shown(value, unit, NOW) == text


def test_ticks_are_round() -> None:
    assert ticks(0.21, "reqps") == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.25])
    assert ticks(0, "short") == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert [shown(tick, "bytes") for tick in ticks(99 * 2**20, "bytes")] == [
        "0 B", "20 MiB", "40 MiB", "60 MiB", "80 MiB", "100 MiB",
    ]  # fmt: skip


def test_legends_are_filled_in() -> None:
    assert named("{{tenant}} {{ resource }}", {"tenant": "a", "resource": "pods"}) == "a pods"
    assert named("{{cluster}}", {}) == ""


def picture(rows: list[bytes], filters: list[int]) -> bytes:
    """A PNG of these rows, which are filtered already."""
    data = zlib.compress(b"".join(bytes([f]) + row for f, row in zip(filters, rows, strict=True)))
    header = struct.pack(">IIBBBBB", len(rows[0]) // 3, len(rows), 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data[:9]), (b"IDAT", data[9:]), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks
    )


def pixels(indexed: bytes) -> list[bytes]:
    """The colours of a PNG with a palette and no filters, from left to right and from top to bottom."""
    chunks = {}
    at = 8
    while at < len(indexed):
        length, kind = struct.unpack(">I4s", indexed[at : at + 8])
        chunks[kind] = indexed[at + 8 : at + 8 + length]
        at += 12 + length
    width, height, depth, colour, *_ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, colour) == (8, 3)
    data = zlib.decompress(chunks[b"IDAT"])
    rows = [data[y * (width + 1) + 1 : (y + 1) * (width + 1)] for y in range(height)]
    return [chunks[b"PLTE"][3 * i : 3 * i + 3] for row in rows for i in row]


def test_a_palette_keeps_the_colours_whatever_the_filter() -> None:
    """The same three rows by each filter: none, left, above, average, Paeth."""
    a, b = b"\x0a\x14\x1e", b"\x0b\x16\x21"
    wanted = [a, b] * 5
    difference = bytes(y - x & 255 for x, y in zip(a, b, strict=True))
    average = bytes(x - (x >> 1) & 255 for x in a) + bytes(y - (x + y >> 1) & 255 for x, y in zip(a, b, strict=True))
    rows = [a + b, a + difference, bytes(6), average, bytes(3) + bytes(3)]
    assert pixels(png.indexed(picture(rows, [0, 1, 2, 3, 4]))) == wanted


def test_of_too_many_colours_the_rare_ones_become_near_ones() -> None:
    row = b"".join(bytes([n, 0, 0]) * 2 for n in range(256)) + b"\x10\x01\x00"
    shown = pixels(png.indexed(picture([row], [0])))
    assert shown[-1] == b"\x10\x00\x00"
    assert len(set(shown)) == 256


def test_another_form_of_png_is_refused() -> None:
    with pytest.raises(ValueError, match="no 8-bit RGB"):
        png.indexed(png.indexed(picture([b"\x00\x00\x00"], [0])))
