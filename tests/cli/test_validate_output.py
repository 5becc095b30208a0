"""The forms in which `securetenant validate` tells what it found.

tests/cli/golden has tenants, workloads and the output in each form. After a change of the output on purpose, write it
anew: `cd tests/cli/golden; securetenant validate --tenant tenants.yaml workloads.yaml -o FORM > expected.FORM`.
"""

import json
import re
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import pytest

from securetenant.controls.registry import CHECKS
from tests.support.workloads import pod, tenant, text_of, told, validate

GOLDEN: Final = Path(__file__).parent / "golden"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text(text_of(tenant()))
    return path


@pytest.mark.parametrize("form", ["text", "json", "sarif", "junit"])
def test_output(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.chdir(GOLDEN)
    result = validate("--tenant", "tenants.yaml", "workloads.yaml", "-o", form)
    assert result.exit_code == 1
    output, expected = result.stdout, (GOLDEN / f"expected.{form}").read_text()
    if form == "sarif":
        # What describes the tool changes with its version and its checks.
        output, expected = (json.dumps(json.loads(text)["runs"][0]["results"]) for text in (output, expected))
        output, expected = (re.sub(r'"ruleIndex": \d+, ', "", text) for text in (output, expected))
    assert output == expected


def test_each_line_is_that_of_what_is_named() -> None:
    lines = (GOLDEN / "workloads.yaml").read_text().splitlines()
    problems = told("--tenant", GOLDEN / "tenants.yaml", GOLDEN / "workloads.yaml")["problems"]
    at = {(one["name"], one["rule"]): lines[one["line"] - 1].strip().removeprefix("- ") for one in problems}
    assert at["web", "images/registries"].startswith("image: docker.io/vendor/migrate")
    assert at["night", "runtime/hostNamespaces"] == "hostNetwork: true"
    assert at["night", "runtime/hostPaths"] == "name: logs"
    assert at["night", "runtime/readOnlyRootFilesystem"] == "securityContext:"
    assert at["windows", "runtime/hostProcess"] == "hostProcess: true"
    assert at["audited", "runtime/nodeName"] == "nodeName: node-1"
    assert at["malformed", "malformed"] == "image: 7"
    assert at["stray", "notJudged"] == "apiVersion: v1"


def test_sarif_is_as_the_standard_asks() -> None:
    """SARIF 2.1.0, 3.13 to 3.28: what is required, and what GitHub's code scanning needs beyond it."""
    log = json.loads(validate("--tenant", GOLDEN / "tenants.yaml", GOLDEN / "workloads.yaml", "-o", "sarif").stdout)
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "securetenant"
    known = {one.identifier(check): check for one in CHECKS for check in one.checks}
    assert {rule["id"] for rule in driver["rules"]} == {*known, "document", "malformed", "notJudged"}
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"]
        assert rule["help"]["text"]
        if check := known.get(rule["id"]):
            assert rule["properties"]["severity"] == check.severity
            assert 0 < float(rule["properties"]["security-severity"]) <= 10
            assert set(check.frameworks) <= set(rule["properties"]["tags"])
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        assert result["message"]["text"]
        (location,) = result["locations"]
        assert location["physicalLocation"]["artifactLocation"]["uri"].startswith("file:///")
        assert location["physicalLocation"]["region"]["startLine"] >= 1
        assert ("suppressions" in result) == (result["level"] == "note")


def test_junit_has_a_suite_for_each_file_and_a_case_for_each_document(shop: Path) -> None:
    text = text_of(pod(), pod("else"), pod(hostPID=True))
    root = ElementTree.fromstring(validate(shop, "-", "-o", "junit", text=text).stdout)
    suites = {suite.get("name"): suite for suite in root}
    assert list(suites) == [str(shop), "stdin"]
    assert [case.get("name") for case in suites["stdin"]] == [
        "Pod shop-prod/web",
        "Pod else/web",
        "Pod shop-prod/web",
    ]
    assert [[part.tag for part in case] for case in suites["stdin"]] == [[], ["skipped", "system-out"], ["failure"]]
    assert {name: root.get(name) for name in ("tests", "failures", "skipped")} == {
        "tests": "4",
        "failures": "1",
        "skipped": "1",
    }
    strict = ElementTree.fromstring(validate("--strict", shop, "-", "-o", "junit", text=text).stdout)
    assert strict.get("failures") == "2"


@pytest.mark.parametrize("form", ["text", "json", "sarif", "junit"])
def test_no_character_of_a_file_breaks_the_output(shop: Path, form: str) -> None:
    body = pod(hostPID=True)
    body["metadata"]["name"] = 'a\x1b]0;x\x07<&">\ud800'
    result = validate(shop, "-", "-o", form, text=json.dumps(body))
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == 1
    assert not {"\x1b", "\x07"} & set(result.stdout)
    result.stdout.encode()
    if form == "junit":
        ElementTree.fromstring(result.stdout)
