"""Reading the project's Markdown: fenced blocks, tables, links, headings."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
    *sorted((ROOT / "bench").rglob("*.md")),
)

_FENCE: Final = re.compile(r"^(`{3,})([a-z]*)\s*$")
_CODE: Final = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. `line` is that of its first line of content."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def at(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its column titles, and its rows as cells."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page. An open fence is an AssertionError."""
    fence, language, start, lines = "", "", 0, list[str]()
    for number, line in enumerate(page.read_text().splitlines(), 1):
        match = _FENCE.match(line)
        if not fence and match:
            fence, language, start, lines = match[1], match[2], number + 1, []
        elif fence and line.rstrip() == fence:
            yield Block(page, start, language, "\n".join(lines) + "\n")
            fence = ""
        elif fence:
            lines.append(line)
    assert not fence, f"{page}: the block of line {start} is not closed"


def every_block(*languages: str) -> list[Block]:
    """The blocks of these languages, of all pages."""
    return [block for page in PAGES for block in blocks(page) if block.language in languages]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    text = page.read_text()
    for block in blocks(page):
        text = text.replace(f"```{block.language}\n{block.text}```", "")
    return text


def tables(page: Path) -> list[Table]:
    """All tables of a page."""
    found: list[Table] = []
    lines: list[tuple[str, ...]] = []
    for line in [*prose(page).splitlines(), ""]:
        if line.startswith("|"):
            lines.append(tuple(cell.strip() for cell in line.strip().strip("|").split("|")))
        elif lines:
            found.append(Table(lines[0], tuple(lines[2:])))
            lines = []
    return found


def table(page: Path, *titles: str) -> list[tuple[str, ...]]:
    """The rows of all tables of a page that begin with these titles. AssertionError if there are none."""
    rows = [row for one in tables(page) if one.titles[: len(titles)] == titles for row in one.rows]
    assert rows, f"{page}: no table {titles}"
    return rows


def code(cell: str) -> list[str]:
    """What stands in backticks in a cell."""
    return _CODE.findall(cell)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: Path) -> Iterator[str]:
    """The targets of all links of a page."""
    return (match[1] for match in re.finditer(r"\]\(([^)\s]+)\)", prose(page)))
