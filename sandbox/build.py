"""The control plane's programs: taken from ``KUBEBUILDER_ASSETS``, else built once into a cache outside the checkout.

The cache has a folder per key, a hash of everything that the programs are built from, so an old folder is never wrong
and two checkouts share one. What one Go has built is used whatever Go is there later. A build that is broken off keeps
the programs that were ready.
"""

import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox import process, progress, toolchain, versions
from sandbox.errors import SandboxError
from sandbox.toolchain import Go

_HERE = Path(__file__).resolve().parent
STAGES = "kwok-stages.yaml"
_VERSION = "k8s.io/component-base/version"
#: kwok has no stages built in; these make Nodes Ready, Pods run, Jobs complete and deletions quick.
_STAGE_FILES = (
    "kustomize/stage/node/fast/node-initialize.yaml",
    "kustomize/stage/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "kustomize/stage/pod/fast/pod-ready.yaml",
    "kustomize/stage/pod/fast/pod-complete.yaml",
    "kustomize/stage/pod/fast/pod-delete.yaml",
)
_NEEDED_BYTES = 5 * 2**30  # Go's build and module caches, cold, and the programs


@dataclass(frozen=True, slots=True)
class Program:
    """One program: its Go package, the module (a folder here) that pins it, and the linker's flags."""

    name: str
    package: str
    module: str
    flags: str


#: name -> Go package. The quick ones first, so that something is seen to get ready.
KUBERNETES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
}
_KWOK = Program("kwok", "sigs.k8s.io/kwok/cmd/kwok", module="kwok", flags="-s -w")
ARTEFACTS = (*KUBERNETES, _KWOK.name, STAGES)


def programs(version: str) -> tuple[Program, ...]:
    """The programs of a control plane of that version of Kubernetes."""
    major, minor, _ = version.split(".")
    # Without them the server calls itself v0.0.0-master.
    flags = (
        f"-s -w -X {_VERSION}.gitVersion=v{version} -X {_VERSION}.gitMajor={major} -X {_VERSION}.gitMinor={minor}"
        f" -X {_VERSION}.gitTreeState=clean"
    )
    module = versions.module(version)
    return (*(Program(name, package, module, flags) for name, package in KUBERNETES.items()), _KWOK)


def ensure() -> Path:
    """The folder with all of :data:`ARTEFACTS`; builds what is missing, with progress on standard error.

    ``SANDBOX_KUBERNETES`` chooses the version of what is built. Raises :class:`SandboxError` when that cannot be done.
    """
    version, given = versions.chosen(), _given()
    if given is not None and not (missing := [name for name in ARTEFACTS if not (given / name).exists()]):
        return given
    missing = missing if given is not None else list(ARTEFACTS)
    cache = cache_folder()
    if given is None and (known := _recall(cache, version)):
        return known
    go = toolchain.find(cache)
    folder = cache / "controlplane" / key(version, go.version)
    folder.mkdir(parents=True, exist_ok=True)
    with process.locked(folder / ".lock", lambda: progress.shown("waiting for another process's build")):
        for name in missing:
            if not (folder / name).exists():
                _make(name, version, folder, go)
    if given is not None:
        return _joined(given, folder, cache)
    _remember(cache, version, folder)
    return folder


def cache_folder() -> Path:
    """``SECURETENANT_CACHE``, else ``securetenant`` in the user's cache folder."""
    if chosen := os.environ.get("SECURETENANT_CACHE"):
        return Path(chosen).expanduser().resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").resolve() / "securetenant"


def key(version: str, go_version: str) -> str:
    """A hash of what the programs are made from: pinned modules, flags, Go's version and the platform."""
    digest = hashlib.sha256(f"{go_version}|{_platform()}|{programs(version)}|{_STAGE_FILES}".encode())
    for path in _module_files(version):
        digest.update(path.read_bytes())
    return f"v{version}-{digest.hexdigest()[:12]}"


def _platform() -> str:
    return f"{platform.system()}-{platform.machine()}-{os.environ.get('CGO_ENABLED', '')}"


def _module_files(version: str) -> list[Path]:
    return [_HERE / module / name for module in (versions.module(version), "kwok") for name in ("go.mod", "go.sum")]


def kubernetes(folder: Path) -> str:
    """The version of the API server in ``folder``, such as 1.37.2, as it says itself."""
    command = [str(folder / "kube-apiserver"), "--version"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SandboxError(f"{command[0]} does not run: {error}") from error
    return shown.stdout.strip().removeprefix("Kubernetes v")


def _given() -> Path | None:
    """``KUBEBUILDER_ASSETS``, the convention for a folder that has at least etcd and kube-apiserver."""
    chosen = os.environ.get("KUBEBUILDER_ASSETS")
    if not chosen:
        return None
    folder = Path(chosen).expanduser().resolve()
    if absent := [name for name in ("etcd", "kube-apiserver") if not os.access(folder / name, os.X_OK)]:
        raise SandboxError(f"KUBEBUILDER_ASSETS={chosen} has no {' and no '.join(absent)}; correct it or unset it")
    versions.check(lambda: kubernetes(folder), f"KUBEBUILDER_ASSETS={chosen}", "unset one of the two")
    return folder


def _joined(given: Path, built: Path, cache: Path) -> Path:
    """A folder of links to what was given and, for the rest, to what was built."""
    name = hashlib.sha256(f"{given}|{built}".encode()).hexdigest()[:12]
    folder = cache / "controlplane" / f"joined-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    for artefact in ARTEFACTS:
        target = given / artefact if (given / artefact).exists() else built / artefact
        draft = folder / f".{artefact}.{os.getpid()}"
        draft.unlink(missing_ok=True)
        draft.symlink_to(target)
        draft.replace(folder / artefact)
    return folder


def _make(name: str, version: str, folder: Path, go: Go) -> None:
    with drafted(folder / name) as draft:
        if name == STAGES:
            draft.write_text(_stages(go))
        else:
            program = next(program for program in programs(version) if program.name == name)
            compiled(program, draft, go)


@contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """Make one artefact under another name, then rename: a half-made file is never taken for a whole one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield draft
        draft.replace(path)
    except OSError as error:
        raise SandboxError(f"{path.name}: {error}") from error
    finally:
        draft.unlink(missing_ok=True)


def once(path: Path, program: Callable[[], Program]) -> Path:
    """A program of the tests in the cache, built where it is not there yet. Raises :class:`SandboxError`."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with process.locked(path.parent / ".lock", lambda: progress.shown("waiting for another process's build")):
        if not path.exists():
            with drafted(path) as draft:
                compiled(program(), draft, toolchain.find(cache_folder()))
    return path


def compiled(program: Program, output: Path, go: Go) -> None:
    """Build a program. Raises :class:`SandboxError` that says why it cannot be built."""
    free = shutil.disk_usage(output.parent).free
    note = "" if free > _NEEDED_BYTES else f" (only {free / 2**30:.1f} GiB free; a first build needs about 5)"
    arguments = [
        str(go.command),
        "build",
        "-v",
        "-trimpath",
        "-ldflags",
        program.flags,
        "-o",
        str(output),
        program.package,
    ]
    result = progress.run(f"building {program.name}{note}", arguments, _HERE / program.module, toolchain.environment())
    if result.code != 0:
        raise SandboxError(explain(program.name, result.output, output.parent))


def explain(name: str, output: str, folder: Path) -> str:
    """What a failed ``go`` command means for the reader, with the end of what it said."""
    said = "\n".join(f"  {line}" for line in output.splitlines()[-15:])
    lower = output.lower()
    if "no space left on device" in lower:
        advice = f"The disk is full: a first build needs about 5 GiB ({folder}, Go's build and module caches)."
    elif any(
        sign in lower
        for sign in ("dial tcp", "no such host", "i/o timeout", "connection refused", "module lookup disabled")
    ):
        advice = "The Go module proxy was not reached: a first build needs the network (or GOPROXY set to one that is)."
    elif "killed" in lower or "cannot allocate memory" in lower:
        advice = "Memory ran out: linking kube-apiserver needs about 2.5 GiB."
    elif "checksum mismatch" in lower:
        advice = "A downloaded module is not the pinned one; nothing was built from it."
    else:
        advice = "go build failed."
    return f"{name} could not be built. {advice}\n{said}"


def _stages(go: Go) -> str:
    """kwok's stages, joined, from the very module that kwok is built from."""
    module, name = _HERE / "kwok", "sigs.k8s.io/kwok"
    download = [str(go.command), "mod", "download", name]
    result = progress.run("fetching kwok's stages", download, module, toolchain.environment())
    if result.code != 0:
        raise SandboxError(explain(STAGES, result.output, module))
    where = [str(go.command), "list", "-m", "-f", "{{.Dir}}", name]
    shown = subprocess.run(where, cwd=module, env=toolchain.environment(), capture_output=True, text=True, check=True)
    source = Path(shown.stdout.strip())
    return "---\n".join((source / file).read_text() for file in _STAGE_FILES)


def _remember(cache: Path, version: str, folder: Path) -> None:
    """Note which folder the modules as they are now lead to, so that the next time needs no Go at all."""
    name = _recollection(version)
    draft = cache / f".{name}.{os.getpid()}"
    draft.write_text(folder.name)
    draft.replace(cache / "controlplane" / name)


def _recall(cache: Path, version: str) -> Path | None:
    note = cache / "controlplane" / _recollection(version)
    if not note.exists():
        return None
    folder = cache / "controlplane" / note.read_text()
    return folder if all((folder / name).exists() for name in ARTEFACTS) else None


def _recollection(version: str) -> str:
    """The note's name: changes with the modules, and not with the Go on PATH, or another shell would build anew."""
    return "known-" + key(version, "").rpartition("-")[2]
