"""Draws a picture of flows as SVG: boxes in columns, one line for each flow, straight where it is read.

Ours, and no library: graphviz is a program of its own, and its labels overlap. No script, no font, no reference to
anything else is in it; every text is escaped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from unicodedata import east_asian_width
from xml.sax.saxutils import escape

from securetenant.cli.output import printable
from securetenant.cli.reach_picture import Edge, Key, Picture, Port

# In pixels.
_BOX: Final = 270  # width of a box
_LABEL: Final = 360  # of the straight part of a line, with its text
_BEND: Final = 130  # of the part where lines cross
_SLOT: Final = 42  # height of a line with its text
_HEAD: Final = 30  # of the title of a box
_ROW: Final = 20  # of a line of text in a box
_GAP: Final = 18  # between boxes
_MARGIN: Final = 28
_TOP: Final = 112

# Okabe and Ito's colours, which nearly everybody tells apart; the shape of the line says the same once more.
_STYLES: Final[Mapping[str, tuple[str, str, str]]] = {
    "declared": ("#0072b2", "", "declared by a SecureTenant, by both sides where two are concerned"),
    "undeclared": ("#c44e00", "9 5", "open, and no SecureTenant declares it"),
    "missing": ("#6b6b6b", "2 5", "declared, and not open"),
    "closed": ("#6b6b6b", "2 5", "closes"),
    "other": ("#8c8c8c", "", "open, and no end of it is a tenant's"),
}
_WIDTHS: Final = {"declared": 1.8, "undeclared": 2.8, "missing": 2.0, "closed": 2.0, "other": 1.0}
_FILLS: Final = {"tenant": "#eef5fb", "none": "#f4f4f4", "outside": "#fff8e5"}
_TITLES: Final = {"none": "Namespaces of no tenant", "outside": "Outside the cluster"}


class _Slot(NamedTuple):
    edge: Edge
    y: float


@dataclass(slots=True)
class _Box:
    """`ports`: where its lines are, from top to bottom, with the number of slots that each takes."""

    key: Key
    title: str
    ports: dict[str, int] = field(default_factory=dict)
    within: Sequence[str] = ()
    y: float = 0.0

    @property
    def height(self) -> float:
        return _HEAD + sum(max(n * _SLOT, _ROW + 6) for n in self.ports.values()) + len(self.within) * _ROW + 10

    def at(self, text: str) -> float:
        """The middle of a line's first slot."""
        y = self.y + _HEAD
        for port, slots in self.ports.items():
            if port == text:
                return y + (_SLOT / 2 if slots else (_ROW + 6) / 2)
            y += max(slots * _SLOT, _ROW + 6)
        raise KeyError(text)


def drawn(picture: Picture) -> str:
    columns: list[tuple[float, list[_Box]]] = []
    gaps: list[tuple[float, bool, list[_Slot]]] = []
    if picture.focus is None:
        _both_sides(picture, columns, gaps)
    else:
        _around(picture, picture.focus, columns, gaps)
    height = max([box.y + box.height for _, boxes in columns for box in boxes], default=_TOP)
    width = max(x + _BOX for x, _ in columns) + _MARGIN
    used = {"declared", "undeclared", *(edge.style for edge in picture.edges)}
    styles = [style for style in _STYLES if style in used]
    down = 20 * len(picture.notes)
    whole = height + 30 + 24 * len(styles) + down + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{whole:.0f}" '
        f'viewBox="0 0 {width:.0f} {whole:.0f}" font-family="DejaVu Sans, Verdana, Arial, sans-serif" role="img">',
        f"<title>{_text(picture.title)}</title>",
        "<defs>",
        *(_arrowhead(style) for style in _STYLES),
        "</defs>",
        f'<rect width="{width:.0f}" height="{whole:.0f}" fill="#ffffff"/>',
        _words(_MARGIN, 40, picture.title, 20, bold=True),
        _words(_MARGIN, 62, _cut(picture.subtitle, width - 2 * _MARGIN, 12), 12, "#444444"),
        *_notes(picture.notes, width),
        f'<g transform="translate(0 {down})">',
        *_heads(picture, columns),
    ]
    for (x, mirrored, slots), at in zip(gaps, range(len(gaps)), strict=True):
        parts += _lines(x, mirrored, slots, columns[at][1], columns[at + 1][1])
    for x, boxes in columns:
        for box in boxes:
            parts += _boxed(x, box)
    parts += _legend(height + 30, styles)
    return "\n".join([*parts, "</g>", "</svg>"])


# --- where everything is


def _both_sides(
    picture: Picture, columns: list[tuple[float, list[_Box]]], gaps: list[tuple[float, bool, list[_Slot]]]
) -> None:
    """Sources on the left, targets on the right."""
    edges = sorted(picture.edges, key=lambda e: (_rank(e.source), _rank(e.target), e.label))
    left, right = _boxes(picture, [e.source for e in edges], True), _boxes(picture, [e.target for e in edges], False)
    shown = {box.key for box in left}
    left += [_Box(key, _title(key, picture), {}, lines) for key, lines in picture.within.items() if key not in shown]
    for box in left:
        box.within = picture.within.get(box.key, ())
    _stack(left)
    slots = _slots(edges, left, lambda edge: edge.source)
    _near(right, slots, lambda edge: edge.target)
    columns += [(_MARGIN, left), (_MARGIN + _BOX + _LABEL + _BEND, right)]
    gaps.append((_MARGIN + _BOX, False, slots))


def _around(
    picture: Picture, focus: Key, columns: list[tuple[float, list[_Box]]], gaps: list[tuple[float, bool, list[_Slot]]]
) -> None:
    """The tenant in the middle: who reaches it on the left, whom it reaches on the right."""
    into = sorted((e for e in picture.edges if e.target.box == focus), key=lambda e: (_rank(e.source), _rank(e.target)))
    out = sorted((e for e in picture.edges if e.source.box == focus), key=lambda e: (_rank(e.target), _rank(e.source)))
    left, right = _boxes(picture, [e.source for e in into], True), _boxes(picture, [e.target for e in out], True)
    _stack(left)
    _stack(right)
    middle = _boxes(picture, sorted({*(e.target for e in into), *(e.source for e in out)}, key=_rank), False)
    middle = middle or [_Box(focus, _title(focus, picture))]
    middle[0].within = picture.within.get(focus, ())
    lowest = max([box.y + box.height for box in (*left, *right)], default=_TOP)
    middle[0].y = max(_TOP, (_TOP + lowest - middle[0].height) / 2)
    x = _MARGIN
    step = _BOX + _LABEL + _BEND
    columns += [(x, left), (x + step, middle), (x + 2 * step, right)]
    gaps.append((x + _BOX, False, _slots(into, left, lambda edge: edge.source)))
    gaps.append((x + step + _BOX, True, _slots(out, right, lambda edge: edge.target)))


def _rank(port: Port) -> tuple[int, str, str]:
    return ("tenant", "none", "outside").index(port.box.kind), port.box.name, port.text


def _title(key: Key, picture: Picture) -> str:
    return picture.titles.get(key) or _TITLES.get(key.kind) or key.name


def _boxes(picture: Picture, ports: Sequence[Port], roomy: bool) -> list[_Box]:
    """`roomy`: each line has as much room as the lines that meet it need."""
    found: dict[Key, _Box] = {}
    for port in ports:
        box = found.setdefault(port.box, _Box(port.box, _title(port.box, picture)))
        box.ports[port.text] = box.ports.get(port.text, 0) + (1 if roomy else 0)
    return list(found.values())


def _stack(boxes: Sequence[_Box]) -> None:
    y = float(_TOP)
    for box in boxes:
        box.y = y
        y += box.height + _GAP


def _near(boxes: list[_Box], slots: Sequence[_Slot], end: Callable[[Edge], Port]) -> None:
    """Each where its lines come from, as far as there is room."""
    middle: dict[Key, list[float]] = {}
    for slot in slots:
        middle.setdefault(end(slot.edge).box, []).append(slot.y)
    boxes.sort(key=lambda box: sum(middle[box.key]) / len(middle[box.key]))
    y = float(_TOP)
    for box in boxes:
        wanted = sum(middle[box.key]) / len(middle[box.key]) - box.height / 2
        box.y = max(y, wanted)
        y = box.y + box.height + _GAP


def _slots(edges: Sequence[Edge], boxes: Sequence[_Box], end: Callable[[Edge], Port]) -> list[_Slot]:
    """Where the straight part of each line is: beside the box that has room for it."""
    by_key = {box.key: box for box in boxes}
    taken: dict[Port, int] = {}
    found = []
    for edge in edges:
        port = end(edge)
        found.append(_Slot(edge, by_key[port.box].at(port.text) + taken.get(port, 0) * _SLOT))
        taken[port] = taken.get(port, 0) + 1
    return found


# --- what it looks like


def _lines(
    x: float, mirrored: bool, slots: Sequence[_Slot], left: Sequence[_Box], right: Sequence[_Box]
) -> Iterator[str]:
    """The lines from one column to the next; `mirrored`: the straight part is on the right."""
    sources, targets = ({box.key: box for box in boxes} for boxes in (left, right))
    end = x + _BEND + _LABEL
    for edge, y in slots:
        style = edge.style
        color, dashes, _ = _STYLES[style]
        if mirrored:
            from_ = sources[edge.source.box].at(edge.source.text)
            bend = text = x + _BEND
            way = f"M{x:.0f} {from_:.1f}{_curve(x, from_, bend, y)}H{end - 4:.0f}"
        else:
            to = targets[edge.target.box].at(edge.target.text)
            bend, text = x + _LABEL, x
            way = f"M{x:.0f} {y:.1f}H{bend:.0f}{_curve(bend, y, end - 4, to)}"
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        yield f"<g><title>{_text(edge.whole)}</title>"
        yield (
            f'<path d="{way}" fill="none" stroke="{color}" stroke-width="{_WIDTHS[style]}"{dash} '
            f'marker-end="url(#{style})"/>'
        )
        at = text + 12
        if style == "undeclared":
            yield from _warning(at, y - 10, color)
            at += 20
        room = text + _LABEL - 8 - at
        yield _words(at, y - 5, _cut(edge.label, room, 12, bold=True), 12, color, bold=True)
        yield _words(text + 12, y + 14, _cut(edge.detail, _LABEL - 20, 10.5), 10.5, "#333333")
        yield "</g>"


def _curve(x: float, y: float, to_x: float, to_y: float) -> str:
    half = (x + to_x) / 2
    return f"C{half:.0f} {y:.1f} {half:.0f} {to_y:.1f} {to_x:.0f} {to_y:.1f}"


def _warning(x: float, y: float, color: str) -> Iterator[str]:
    yield f'<path d="M{x:.1f} {y + 6:.1f}l8 -14l8 14z" fill="{color}"/>'
    yield _words(x + 8, y + 4.5, "!", 10, "#ffffff", bold=True, middle=True)


def _boxed(x: float, box: _Box) -> Iterator[str]:
    dash = ' stroke-dasharray="3 3"' if box.key.kind == "outside" else ""
    yield (
        f'<rect x="{x:.0f}" y="{box.y:.1f}" width="{_BOX}" height="{box.height:.1f}" rx="6" '
        f'fill="{_FILLS[box.key.kind]}" stroke="#4d4d4d"{dash}/>'
    )
    yield _words(x + 12, box.y + 20, _cut(box.title, _BOX - 24, 13, bold=True), 13, bold=True)
    for text in box.ports:
        yield f"<g><title>{_text(text)}</title>{_words(x + 12, box.at(text) + 4, _cut(text, _BOX - 24, 12), 12)}</g>"
    y = box.y + box.height - len(box.within) * _ROW - 6
    for text in box.within:
        color = "#c44e00" if text.startswith("!") else "#555555"
        y += _ROW
        yield f"<g><title>{_text(text)}</title>{_words(x + 12, y - 4, _cut(text, _BOX - 24, 10.5), 10.5, color)}</g>"


def _heads(picture: Picture, columns: Sequence[tuple[float, list[_Box]]]) -> Iterator[str]:
    if picture.focus is None:
        titles = ["From", "To"]
    else:
        name = picture.focus.name
        titles = [f"Reaches {name}", "SecureTenant", f"Reached by {name}"]
    for (x, boxes), title in zip(columns, titles, strict=True):
        yield _words(x, _TOP - 14, _cut(title, _BOX, 13), 13, "#444444", bold=True)
        if not boxes:
            yield _words(x, _TOP + 16, "nobody", 12, "#444444")


def _notes(notes: Sequence[str], width: float) -> Iterator[str]:
    for number, note in enumerate(notes):
        yield _words(
            _MARGIN, 84 + 20 * number, _cut(note, width - 2 * _MARGIN, 12, bold=True), 12, "#8a1c00", bold=True
        )


def _legend(y: float, styles: Sequence[str]) -> Iterator[str]:
    for style in styles:
        color, dashes, told = _STYLES[style]
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        yield (
            f'<path d="M{_MARGIN} {y:.1f}h56" stroke="{color}" stroke-width="{_WIDTHS[style]}"{dash} '
            f'marker-end="url(#{style})"/>'
        )
        if style == "undeclared":
            yield from _warning(_MARGIN + 66, y + 2, color)
        yield _words(_MARGIN + 90, y + 4, told, 12)
        y += 24


def _arrowhead(style: str) -> str:
    return (
        f'<marker id="{style}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" markerHeight="9" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L10 5L0 10z" fill="{_STYLES[style][0]}"/></marker>'
    )


def _words(
    x: float, y: float, text: str, size: float, color: str = "#1a1a1a", *, bold: bool = False, middle: bool = False
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    anchor = ' text-anchor="middle"' if middle else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{color}"{weight}{anchor}>{_text(text)}</text>'


def _text(text: str) -> str:
    return escape(printable(text))


def _cut(text: str, room: float, size: float, *, bold: bool = False) -> str:
    """As much of a text as has room. Widths are those of a wide font, so that others fit too."""
    width = 0.67 if bold else 0.59
    used = 0.0
    for index, character in enumerate(text):
        used += size * (1.05 if east_asian_width(character) in "WF" else width)
        if used > room:
            return f"{text[: max(index - 1, 1)]}…"
    return text
