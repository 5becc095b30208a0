"""Which Kubernetes the sandbox builds."""

import re
from pathlib import Path

import pytest

from sandbox import build, modules, versions
from sandbox.errors import SandboxError
from tests.support.markdown import table
from tests.support.sandbox import ROOT


@pytest.mark.parametrize(
    ("asked", "version"),
    [
        pytest.param({}, versions.SUPPORTED[versions.NEWEST], id="nothing"),
        pytest.param({versions.VARIABLE: ""}, versions.SUPPORTED[versions.NEWEST], id="empty"),
        *(pytest.param({versions.VARIABLE: minor}, version, id=minor) for minor, version in versions.SUPPORTED.items()),
        pytest.param({versions.VARIABLE: "v1.34"}, versions.SUPPORTED["1.34"], id="with a v"),
        pytest.param({versions.VARIABLE: versions.SUPPORTED["1.34"]}, versions.SUPPORTED["1.34"], id="with the patch"),
    ],
)
def test_a_minor_is_chosen_by_the_environment(asked: dict[str, str], version: str) -> None:
    assert versions.chosen(asked) == version


@pytest.mark.parametrize("asked", ["1.20", "1.34.99", "1", "34", "newest", "1.3", "1.37.2.1"])
def test_one_that_is_not_supported_is_refused_with_those_that_are(asked: str) -> None:
    with pytest.raises(SandboxError) as refused:
        versions.chosen({versions.VARIABLE: asked})

    listed = ", ".join(versions.SUPPORTED)
    assert str(refused.value) == f"SANDBOX_KUBERNETES={asked}: the sandbox builds {listed}; unset, it is 1.37"


def test_the_newest_is_the_default_and_comes_first() -> None:
    numbers = [tuple(map(int, minor.split("."))) for minor in versions.SUPPORTED]
    assert numbers == sorted(numbers, reverse=True)
    assert all(version.startswith(f"{minor}.") for minor, version in versions.SUPPORTED.items())


@pytest.mark.parametrize("version", versions.SUPPORTED.values())
def test_every_module_of_a_version_is_pinned(version: str) -> None:
    folder = ROOT / "sandbox" / versions.module(version)
    text, sums = (folder / "go.mod").read_text(), (folder / "go.sum").read_text()
    published = version.replace("1.", "v0.", 1)
    required = set(re.findall(r"^\tk8s\.io/kubernetes (\S+) ", text, re.MULTILINE))
    replaced = set(re.findall(r"^\tk8s\.io/([\w-]+) => k8s\.io/\1 (\S+)$", text, re.MULTILINE))
    assert required == {f"v{version}"}
    assert {number for _, number in replaced} == {published}
    assert {f"k8s.io/kubernetes v{version} h1:", f"k8s.io/api {published} h1:"} <= set(
        re.findall(r"^.* h1:", sums, re.M)
    )
    assert re.findall(r"^\t(\S+/server/v3|k8s\.io/kubernetes/cmd/\S+)$", text, re.MULTILINE) == sorted(
        program.package for program in build.programs(version) if program.name != "kwok"
    )


def test_there_is_a_module_for_no_other_minor() -> None:
    there = {path.parent.name for path in (ROOT / "sandbox" / "controlplane").glob("*/go.mod")}
    assert there == versions.SUPPORTED.keys() - {versions.NEWEST}


def test_the_documentation_has_each_with_its_patch() -> None:
    rows = table(ROOT / "docs" / "kubernetes-versions.md", "minor", "sandbox builds")
    assert {minor: version for minor, version, *_ in rows} == versions.SUPPORTED


def test_a_module_is_made_from_what_kubernetes_requires() -> None:
    upstream = """\
module k8s.io/kubernetes

go 1.25.0

godebug default=go1.25

require (
\tk8s.io/api v0.0.0
\tk8s.io/klog/v2 v2.130.1
)

replace (
\tk8s.io/api => ./staging/src/k8s.io/api
\tk8s.io/cri-api => ./staging/src/k8s.io/cri-api
)
"""
    text = modules.text("1.35.1", upstream)

    assert "go 1.25.0\n\ngodebug default=go1.25\n" in text
    assert "\nrequire k8s.io/kubernetes v1.35.1\n" in text
    assert text.endswith(
        "replace (\n\tk8s.io/api => k8s.io/api v0.35.1\n\tk8s.io/cri-api => k8s.io/cri-api v0.35.1\n)\n"
    )


@pytest.mark.parametrize("version", ["1.34", "v1.34.3", "../1.34.3", "latest"])
def test_only_a_whole_version_can_be_pinned(version: str) -> None:
    with pytest.raises(SandboxError, match=r"is no version of Kubernetes such as 1\.34\.3"):
        modules.pin(version)


def _assets(folder: Path, version: str) -> Path:
    for name in ("etcd", "kube-apiserver"):
        (folder / name).write_text(f"#!/bin/sh\necho Kubernetes v{version}\n")
        (folder / name).chmod(0o755)
    return folder


def test_given_programs_of_another_minor_than_asked_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(_assets(tmp_path, "1.36.0")))
    monkeypatch.setenv(versions.VARIABLE, "1.34")

    with pytest.raises(SandboxError, match=r"is Kubernetes 1\.36\.0, and SANDBOX_KUBERNETES asks for 1\.34: unset one"):
        build.ensure()


def test_what_runs_is_compared_with_what_is_asked_for() -> None:
    versions.check(lambda: "1.34.9", "it", "-", {versions.VARIABLE: "1.34"})
    versions.check(pytest.fail, "it", "-", {})
    with pytest.raises(
        SandboxError, match=r"^it is Kubernetes 1\.37\.2, and SANDBOX_KUBERNETES asks for 1\.34: stop it$"
    ):
        versions.check(lambda: "1.37.2", "it", "stop it", {versions.VARIABLE: "1.34"})
