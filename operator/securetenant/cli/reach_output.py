"""What `reach` prints: lists and tables for people, JSON and CSV for programs, pictures."""

import csv
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from securetenant.cli import reach_json, reach_rows
from securetenant.cli.output import count, printable
from securetenant.cli.reach_rows import SEVERAL, Place, Row, Rows, described, place_of, ports_of, why
from securetenant.cli.reach_states import State
from securetenant.sets import ports
from securetenant.sets.ports import Ports

if TYPE_CHECKING:
    from rich.console import Console

    from securetenant.cli.reach_answer import Answer

_SIGNS: Final = {"undeclared": ("!", "bold red"), "missing": ("-", "yellow"), "declared": (" ", ""), "other": (" ", "")}
_CHANGES: Final = {"opened": ("+", "bold red"), "closed": ("~", "green")}
_LINES: Final = 12  # flows of a tenant, and
_TENANTS: Final = 20  # tenants that are shown without --all
_COLUMNS: Final = 8  # of a matrix as a table; with more it is a list
_WIDEST: Final = 24  # characters of a cell
_NOBODY: Final = "(no tenant)"
_OUTSIDE: Final = "(outside)"


class Asks(NamedTuple):
    """What is asked for. `matrix`: by what, "" for none."""

    tenant: str = ""
    everything: bool = False
    undeclared: bool = False
    matrix: str = ""


def show(out: "Console", form: str, found: Rows, state: State, before: State | None, asks: Asks) -> None:
    if form == "svg":
        from securetenant.cli import reach_picture

        print(reach_picture.svg(found, state, asks.tenant, everything=asks.everything, before=before))
    elif form == "dot":
        from securetenant.cli import reach_dot

        print(reach_dot.dot(found, state, before))
    elif asks.matrix:
        _matrix(out, form, found, asks)
    elif form == "json":
        reach_json.print_rows(found, state, before)
    elif form == "csv":
        _csv(found, state, before)
    elif before is not None:
        _changes(out, found, state, before, asks)
    else:
        _list(out, found, state, asks)


def _state_of(row: Row, state: State, before: State | None) -> State:
    return before if before is not None and row.change == "closed" else state


# --- lists


def _list(out: "Console", found: Rows, state: State, asks: Asks) -> None:
    by_tenant: dict[str, list[Row]] = {}
    for row in found.rows:
        for name in row.tenants or {""}:
            by_tenant.setdefault(name, []).append(row)
    names = [asks.tenant] if asks.tenant else sorted(by_tenant, key=lambda name: (_worst(by_tenant[name]), name))
    shown = names if asks.everything else names[:_TENANTS]
    for name in shown:
        listed = by_tenant.get(name, [])
        out.print(printable(_title(name, state)), style="bold")
        _print(out, listed, state, None, asks)
        if not listed:
            out.print("  no flows")
        out.print()
    if len(names) > len(shown):
        out.print(f"and {count(len(names) - len(shown), 'more tenant')}: name one with --tenant, or see --all\n")
    _unknown(out, found.unknown)
    out.print(
        _summary(found.rows), style="bold red" if any(row.kind == "undeclared" for row in found.rows) else "green"
    )


def _title(name: str, state: State) -> str:
    if name in ("", SEVERAL):
        return "Between namespaces of no tenant" if not name else "Several tenants, which no policy tells apart"
    spaces = sorted(space for space, owner in state.owner.items() if owner == name)
    return f"SecureTenant {name} ({', '.join(spaces[:4])}{f' and {len(spaces) - 4} more' if len(spaces) > 4 else ''})"


def _worst(rows: Iterable[Row]) -> int:
    return min((0 if row.kind == "undeclared" else 1 if row.kind == "missing" else 2 for row in rows), default=3)


def _changes(out: "Console", found: Rows, state: State, before: State, asks: Asks) -> None:
    for change, title in (("opened", "Opens"), ("closed", "Closes")):
        rows = [row for row in found.rows if row.change == change]
        if rows:
            out.print(title, style="bold")
            _print(out, rows, state, before, asks)
            out.print()
    _unknown(out, found.unknown)
    opened, closed = (sum(row.change == change for row in found.rows) for change in ("opened", "closed"))
    bad = sum(row.change == "opened" and row.kind == "undeclared" for row in found.rows)
    told = f"{count(opened, 'flow opens', 'flows open')}, {count(closed, 'flow closes', 'flows close')}"
    if bad:
        told += f"; no SecureTenant declares {bad} of those that open"
    out.print(told, style="bold red" if bad else "yellow" if opened else "green")


def _print(out: "Console", rows: Sequence[Row], state: State, before: State | None, asks: Asks) -> None:
    from rich.text import Text

    most = len(rows) if asks.everything else _LINES
    for row in rows[:most]:
        sign, style = _CHANGES[row.change] if row.change else _SIGNS[row.kind]
        note = "not declared, " if row.change and row.kind == "undeclared" else ""
        reason = why(row, _state_of(row, state, before))
        out.print(
            Text.assemble(
                f"  {sign} ",
                printable(f"{_arrow(row)}: {ports_of(row)}"),
                *([(printable(f"  ({note}{reason})"), "" if style else "dim")] if note or reason else []),
                style=style,
            )
        )
    if len(rows) > most:
        out.print(f"    and {len(rows) - most} more: see --all")


def _arrow(row: Row) -> str:
    most = 8
    return f"{place_of(row.source, most)} -> {place_of(row.target, most)}"


def _unknown(out: "Console", unknown: Mapping[str, Sequence[str]]) -> None:
    if not unknown:
        return
    out.print("Unknown: there may be more, or less", style="bold magenta")
    reasons: dict[tuple[str, ...], list[str]] = {}
    for name, listed in unknown.items():
        reasons.setdefault(tuple(listed), []).append(name)
    for listed_, names in reasons.items():
        more = f" and {len(names) - 4} more namespaces" if len(names) > 4 else ""
        out.print(printable(f"  ? {', '.join(names[:4])}{more}: {'; '.join(listed_)}"), style="magenta")
    out.print()


def _summary(rows: Sequence[Row]) -> str:
    kinds = [row.kind for row in rows]
    told = [f"{count(len(rows), 'flow')}: {kinds.count('declared')} declared, {kinds.count('undeclared')} undeclared"]
    if "missing" in kinds:
        told.append(f"{kinds.count('missing')} declared and not open")
    if "other" in kinds:
        told.append(f"{kinds.count('other')} between namespaces of no tenant")
    return ", ".join(told)


# --- a matrix


def _matrix(out: "Console", form: str, found: Rows, asks: Asks) -> None:
    cells = cells_of(found.rows, asks.matrix)
    if form == "json":
        listed = ((one, other, *cell) for (one, other), cell in sorted(cells.items()))
        reach_json.print_matrix(asks.matrix, listed, found)
        return
    names = sorted({name for pair in cells for name in pair}, key=lambda name: (name.startswith("("), name))
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(["from \\ to", *names])
        writer.writerows([source, *(_cell(cells.get((source, to))) for to in names)] for source in names)
        return
    if len(names) > _COLUMNS:
        for source in names:
            out.print(printable(source), style="bold")
            for to in (to for to in names if (source, to) in cells):
                out.print(printable(f"  -> {to}: {_cell(cells[source, to])}"))
    else:
        _table(out, names, cells)
    out.print()
    _unknown(out, found.unknown)
    out.print("Rows: from; columns: to. ! marks what no SecureTenant declares.")


class Cell(NamedTuple):
    """What passes from one to another: what is declared or no tenant's affair, and what is neither."""

    allowed: Ports = ports.NONE
    undeclared: Ports = ports.NONE


def cells_of(rows: Iterable[Row], by: str) -> dict[tuple[str, str], Cell]:
    cells: dict[tuple[str, str], Cell] = {}
    for row in rows:
        if row.kind == "missing" or row.change == "closed":
            continue
        for source in _named(row.source, by):
            for target in _named(row.target, by):
                have = cells.get((source, target), Cell())
                if row.kind == "undeclared":
                    have = have._replace(undeclared=_union(have.undeclared, row.ports))
                else:
                    have = have._replace(allowed=_union(have.allowed, row.ports))
                cells[source, target] = have
    return cells


def _union(one: Ports, other: Ports) -> Ports:
    return other if one == ports.NONE else ports.union(one, other)


def _named(place: Place, by: str) -> Sequence[str]:
    if place.is_outside:
        return (_OUTSIDE,)
    return place.namespaces if by == "namespace" else (place.tenant or _NOBODY,)


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return ""
    parts = [described(cell.allowed)] if cell.allowed != ports.NONE else []
    parts += [f"! {described(cell.undeclared)}"] if cell.undeclared != ports.NONE else []
    return "; ".join(parts)


def _table(out: "Console", names: Sequence[str], cells: Mapping[tuple[str, str], Cell]) -> None:
    """Columns as wide as what is in them, up to a width; longer cells have several lines."""
    from rich.text import Text

    head = [["from \\ to"], *([printable(name)] for name in names)]
    lines = [[textwrap.wrap(_cell(cells.get((one, to))) or ".", _WIDEST) for to in names] for one in names]
    body = [[[printable(one)], *row] for one, row in zip(names, lines, strict=True)]
    widths = [max(len(text) for row in (head, *body) for text in row[at]) for at in range(len(head))]
    for row in (head, *body):
        for number in range(max(map(len, row))):
            texts = [cell[number] if number < len(cell) else "" for cell in row]
            padded = [text.ljust(width) for text, width in zip(texts, widths, strict=True)]
            parts = [
                (text, "red" if "!" in text else "bold" if row is head or not at else "")
                for at, text in enumerate(padded)
            ]
            out.print(
                Text.assemble(*(each for part in parts for each in (part, "  "))).plain.rstrip()
                if out.color_system is None
                else Text.assemble(*(each for part in parts for each in (part, "  ")))
            )


# --- csv


def _csv(found: Rows, state: State, before: State | None) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n", quoting=csv.QUOTE_ALL)
    columns = [
        "change",
        "kind",
        "fromTenant",
        "from",
        "fromPods",
        "toTenant",
        "to",
        "toPods",
        "ports",
        "tickets",
        "why",
    ]
    writer.writerow(columns)
    for row in found.rows:
        of = _state_of(row, state, before)
        writer.writerow(map(_safe, [row.change, row.kind, *_columns(row.source), *_columns(row.target), ports_of(row),
                                    "; ".join(reach_rows.told(row, of).tickets), why(row, of)]))  # fmt: skip


def _columns(place: Place) -> Iterator[str]:
    most = sys.maxsize
    yield place.tenant
    yield reach_rows.outside(place.blocks, most) if place.is_outside else " ".join(place.namespaces)
    yield "" if place.is_outside else reach_rows.pods_of(place, most)


def _safe(text: str) -> str:
    """A spreadsheet takes what begins so for a formula."""
    text = printable(text)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


# --- an answer


def answered(out: "Console", answers: "Sequence[Answer]", state: State, *, as_json: bool) -> None:
    if as_json:
        reach_json.print_answers(answers, state)
        return
    styles = {"yes": "bold green", "partly": "bold yellow", "no": "bold red", "unknown": "bold magenta"}
    for one in answers:
        about = f"{one.about}: " if one.about else ""
        out.print(printable(f"{about}{one.outcome}: {'; '.join(one.reasons)}"), style=styles[one.outcome])
        for row in one.rows:
            out.print(printable(f"  {_arrow(row)}: {ports_of(row)}"))
        for text in one.unknown:
            out.print(printable(f"  ? {text}"), style="magenta")
