"""The pictures of `reach`: what is in them, what they leave out, and that nothing in them is active."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from securetenant.cli.main import app
from tests.support.estates import estate

BANK = Path(__file__).parents[2] / "examples" / "bank"
SVG = "{http://www.w3.org/2000/svg}"
ELEMENTS = {"svg", "title", "defs", "marker", "path", "rect", "text", "g"}


def drawn(*args: object) -> ElementTree.Element:
    result = CliRunner().invoke(app, ["reach", *map(str, args), "-o", "svg"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return ElementTree.fromstring(result.stdout)


def texts(root: ElementTree.Element) -> list[str]:
    return [one.text or "" for one in root.iter(f"{SVG}text")]


def lines(root: ElementTree.Element) -> dict[str, list[str]]:
    """The tooltips of lines, by the style that their arrow has."""
    found: dict[str, list[str]] = {}
    for group in root.iter(f"{SVG}g"):
        path = group.find(f"{SVG}path[@marker-end]")
        title = group.find(f"{SVG}title")
        if path is not None and title is not None:
            style = path.get("marker-end", "").removeprefix("url(#").removesuffix(")")
            found.setdefault(style, []).append(title.text or "")
    return found


def size(root: ElementTree.Element) -> tuple[float, float]:
    return float(root.get("width", "0")), float(root.get("height", "0"))


def test_declared_flows_have_ticket_and_end() -> None:
    told = texts(drawn(BANK))
    assert "TCP 8443 · CHG-20931 until 2031-03-31" in told
    assert "app=gateway → app=ledger" in told


def test_undeclared_ones_differ_in_colour_and_shape() -> None:
    root = drawn(BANK)
    found = lines(root)
    assert len(found["undeclared"]) == 6
    assert any("temporary-allow-all" in one for one in found["undeclared"])
    paths = [one for one in root.iter(f"{SVG}path") if one.get("marker-end") == "url(#undeclared)"]
    declared = [one for one in root.iter(f"{SVG}path") if one.get("marker-end") == "url(#declared)"]
    assert all(one.get("stroke-dasharray") for one in paths)
    assert not any(one.get("stroke-dasharray") for one in declared)
    assert {one.get("stroke") for one in paths}.isdisjoint({one.get("stroke") for one in declared})


def test_one_tenant_is_in_the_middle_and_its_neighbours_beside_it() -> None:
    root = drawn(BANK, "--tenant", "payments")
    told = texts(root)
    assert "Who reaches payments, and whom it reaches" in told
    assert {"Reaches payments", "Reached by payments", "core-banking (2 namespaces)"} <= {*told}
    assert not any("risk" in one or "treasury" in one for one in told)


def test_a_large_one_says_what_it_leaves_out(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    file.write_text(estate(120))
    told = texts(drawn(file))
    (note,) = (one for one in told if one.startswith("Not shown: "))
    assert "tenants that team-000 does not meet" in note
    assert "--tenant NAME draws another tenant, --all everything." in note
    whole = drawn(file, "--all")
    assert not any(one.startswith("Not shown") for one in texts(whole))
    assert {f"team-{index:03} (4 namespaces)" for index in range(30)} <= {*texts(whole)}
    assert any(one.startswith("to team-0") for one in texts(whole)), "each line says where it leads"


def boxes(root: ElementTree.Element) -> list[tuple[float, float, float, float]]:
    found = []
    for one in root.iter(f"{SVG}rect"):
        if one.get("rx"):
            x, y = float(one.get("x", "")), float(one.get("y", ""))
            found.append((x, y, x + float(one.get("width", "")), y + float(one.get("height", ""))))
    return found


@pytest.mark.parametrize("namespaces", [5, 50, 200])
@pytest.mark.parametrize("args", [(), ("--all",), ("--tenant", "team-000")])
def test_nothing_overlaps_and_everything_is_on_the_page(tmp_path: Path, namespaces: int, args: Any) -> None:
    file = tmp_path / "estate.yaml"
    file.write_text(estate(namespaces))
    root = drawn(file, *args)
    width, height = size(root)
    found = boxes(root)
    assert found
    for left, top, right, bottom in found:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
    for one, other in combinations(found, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    places = [(one.get("x"), one.get("y")) for one in root.iter(f"{SVG}text")]
    assert len(places) == len({*places})


def test_what_is_in_names_is_text_and_nothing_else(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>&\"'\u202e"
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": evil, "namespace": "shop"},
        "spec": {"podSelector": {"matchLabels": {"app": evil}}, "ingress": [{}]},
    }
    space = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "shop", "labels": {"securetenant.dev/tenant": evil}},
    }
    file = tmp_path / "evil.yaml"
    file.write_text(f"{json.dumps(policy)}\n---\n{json.dumps(space)}\n")
    root = drawn(file)
    assert {one.tag.removeprefix(SVG) for one in root.iter()} <= ELEMENTS
    assert not any(key.startswith("on") or key.endswith("href") for one in root.iter() for key in one.attrib)
    assert "\u202e" not in "".join(root.itertext())
    assert any("<script>" in text for text in root.itertext())


def test_dot_quotes_names(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["reach", str(BANK), "-o", "dot"], catch_exceptions=False)
    lines_ = result.stdout.splitlines()
    assert (lines_[0], lines_[-1]) == ("digraph reach {", "}")
    assert (
        '  "payments-prod" -> "ledger-prod" [label="TCP 8443\\nCHG-20931 until 2031-03-31", color="#0072b2"];' in lines_
    )


def test_what_opens_is_drawn(tmp_path: Path) -> None:
    debug = BANK.parent / "reach" / "debug.yaml"
    result = CliRunner().invoke(app, ["reach", str(BANK), str(debug), "--against", str(BANK), "-o", "svg"])
    assert result.exit_code == 1
    told = texts(ElementTree.fromstring(result.stdout))
    assert "What opens, and what closes" in told
    assert "opens: TCP 9090" in told
