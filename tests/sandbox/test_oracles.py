"""The programs that judge NetworkPolicies beside ours: what they are made from, and what is said where they are not."""

import re
from pathlib import Path

import pytest

from sandbox import build, oracles, toolchain
from sandbox.errors import SandboxError
from tests.support.oracles.programs import program
from tests.support.sandbox import ROOT

FOLDER = ROOT / "sandbox" / "oracles"


def test_every_version_is_pinned() -> None:
    lines = [line for line in (FOLDER / "nca.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", line) for line in lines)
    assert "network-config-analyzer==2.1.0" in lines
    for name, module in (
        ("netpolicy", "github.com/np-guard/netpol-analyzer v1.4.4"),
        ("cyclonus", "github.com/mattfenwick/cyclonus v0.5.6"),
    ):
        assert module in (FOLDER / name / "go.mod").read_text()
        assert f"{module} h1:" in (FOLDER / name / "go.sum").read_text()


def test_what_was_made_is_found_without_go_and_without_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECURETENANT_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in oracles.NAMES:
        folder = tmp_path / "oracles" / oracles.key(name)
        folder.mkdir(parents=True)
        (folder / ".ready").touch()
        assert oracles.ensure(name) == folder / ("bin/nca" if name == "nca" else name)


def test_what_was_broken_off_is_made_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECURETENANT_CACHE", str(tmp_path))
    monkeypatch.setattr(toolchain, "find", lambda _: toolchain.Go(Path("/none/go"), ""))
    made: list[Path] = []

    def compiled(_program: build.Program, output: Path, _go: toolchain.Go) -> None:
        made.append(output)
        if len(made) == 1:
            raise SandboxError("broken off")
        output.touch()

    monkeypatch.setattr(build, "compiled", compiled)
    with pytest.raises(SandboxError, match="broken off"):
        oracles.ensure("cyclonus")
    assert oracles.ensure("cyclonus").exists()
    oracles.ensure("cyclonus")
    assert len(made) == 2


def test_a_program_that_cannot_be_had_is_told_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_name: str) -> Path:
        raise SandboxError("The Go module proxy was not reached")

    monkeypatch.setattr(oracles, "ensure", absent)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="cyclonus is not here, and nothing was compared with it: The Go"):
        program("cyclonus")

    monkeypatch.setenv("CI", "true")
    with pytest.raises(SandboxError):
        program("cyclonus")
    assert "export CI=true" in (ROOT / ".ci" / "run").read_text()
