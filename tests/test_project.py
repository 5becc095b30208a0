"""The project's own files agree: what ships is what is tested, bounds are those that are tried, versions are told."""

import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any, Final

import securetenant

ROOT: Final = Path(__file__).parents[1]
CATEGORIES: Final = ("Upgrade", "Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
_SECTION: Final = re.compile(r"^## \[(.+?)\](?: - (\S+))?$", re.MULTILINE)


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def bounds() -> dict[str, str]:
    """The lower bound of each dependency, those for development included. Each has one, and nothing else."""
    written = [
        *project()["dependencies"],
        *(each for some in project()["optional-dependencies"].values() for each in some),
    ]
    # The one whose later numbers are older versions is named exactly.
    pairs = [re.split(r">=|==(?=0\.0\.)", each) for each in written]
    assert all(len(pair) == 2 for pair in pairs), "a dependency has a lower bound, and no other"
    return {_canonical(name): version for name, version in pairs}


def pinned(file: str) -> dict[str, str]:
    """The versions in a file of constraints."""
    lines = [line for line in (ROOT / file).read_text().splitlines() if line and not line.startswith("#")]
    return {_canonical(name): version for name, version in (line.split("==") for line in lines)}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def image_python(file: str) -> str:
    """The Python that a Containerfile starts from, as "3.11"."""
    (found,) = re.findall(r"^(?:ARG BASE=|FROM )python:(\d+\.\d+)\b", (ROOT / file).read_text(), re.MULTILINE)
    return str(found)


def pythons() -> list[str]:
    prefix = "Programming Language :: Python :: "
    return [each.removeprefix(prefix) for each in project()["classifiers"] if each.startswith(prefix)]


# --- Pythons and dependencies -----------------------------------------------------------------------------------


def test_the_image_has_the_python_on_which_every_test_runs() -> None:
    """The first of those that are told; `make shipped-python`, in CI, says that the tests ran on it."""
    shipped = image_python("Containerfile")
    assert shipped == pythons()[0] == image_python(".devcontainer/Containerfile")
    assert "make shipped-python" in (ROOT / ".ci" / "run").read_text()
    assert f"`python:{shipped}-slim`" in (ROOT / "docs" / "install.md").read_text()


def test_every_python_that_is_told_is_tried() -> None:
    (loop,) = re.findall(r"for version in ([\d. ]+); do", (ROOT / "Makefile").read_text())
    assert set(pythons()) <= set(loop.split())
    assert project()["requires-python"] == f">={min(pythons(), key=_parts)}"


def test_the_lower_bounds_are_what_is_tried() -> None:
    assert pinned("constraints-min.txt") == bounds()


def test_what_is_installed_is_within_the_bounds() -> None:
    versions = pinned("constraints.txt")
    assert bounds().keys() <= versions.keys()
    for name, bound in bounds().items():
        assert _parts(versions[name]) >= _parts(bound), name


# --- the changelog ----------------------------------------------------------------------------------------------


def test_the_changelog_begins_with_what_is_unreleased_and_then_this_version() -> None:
    sections = _SECTION.findall((ROOT / "CHANGELOG.md").read_text())
    assert sections[0] == ("Unreleased", "")
    assert sections[1][0] == securetenant.__version__
    versions, dates = (
        [_parts(version) for version, _ in sections[1:]],
        [date.fromisoformat(day) for _, day in sections[1:]],
    )
    assert versions == sorted(set(versions), reverse=True)
    assert dates == sorted(dates, reverse=True)


def test_every_entry_of_the_changelog_stands_under_a_category() -> None:
    """Each once per version, in one order."""
    for section in re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1:]:
        before, *parts = re.split(r"^### ", section, flags=re.MULTILINE)
        assert "\n- " not in before, "an entry without a category"
        used = [part.partition("\n")[0] for part in parts]
        assert used == [category for category in CATEGORIES if category in used], section.partition("\n")[0]
