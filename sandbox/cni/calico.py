"""Calico's own CNI plug-in with its IPAM, and the CustomResourceDefinitions that it keeps its state in.

The tests run it as a kubelet's runtime does, to see which addresses it hands out by what the operator wrote. Two Go
modules make it: the second fills a folder that the first leaves empty.
"""

import platform
import shutil
from pathlib import Path
from typing import Final

from sandbox import build, process, progress, toolchain
from sandbox.build import Program
from sandbox.cni import crds

_API: Final = ("github.com/projectcalico/api", "v0.0.0-20240708202104-e3f70b269c2c")
_PACKAGE: Final = "./cni-plugin/cmd/calico"
#: By what the program is called it is the plug-in or its IPAM.
NAMES: Final = ("calico", "calico-ipam")
#: What both read and write.
KINDS: Final = (
    "ippools",
    "ipamblocks",
    "blockaffinities",
    "ipamhandles",
    "ipamconfigs",
    "ipreservations",
    "clusterinformations",
)


def ensure() -> Path:
    """The folder with both names in the cache; built the first time, with progress on standard error. Raises
    :class:`SandboxError`."""
    folder = build.cache_folder() / "calico" / f"{crds.CALICO.version}-{platform.system()}-{platform.machine()}"
    if all((folder / name).exists() for name in NAMES):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with process.locked(folder / ".lock", lambda: progress.shown("waiting for another process's build")):
        if not (folder / NAMES[0]).exists():
            source = folder / "source"
            _copy(crds.module(crds.CALICO.module, crds.CALICO.version), source)
            _copy(crds.module(*_API), source / "api")
            program = Program(NAMES[0], _PACKAGE, module=str(source), flags="-s -w")
            with build.drafted(folder / NAMES[0]) as draft:
                build.compiled(program, draft, toolchain.find(build.cache_folder()))
            shutil.rmtree(source)
        for name in NAMES[1:]:
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(NAMES[0])
    return folder


def _copy(module: Path, to: Path) -> None:
    """Go's cache is read-only, and the copies are written to."""
    shutil.copytree(module, to, dirs_exist_ok=True)
    for path in (to, *to.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | 0o200)


def definitions() -> list[Path]:
    """The files of the definitions, in Go's cache."""
    folder = crds.module(crds.CALICO.module, crds.CALICO.version) / Path(crds.CALICO.path).parent
    return [folder / f"{crds.CALICO.group}_{kind}.yaml" for kind in KINDS]
