"""A real Prometheus with promtool: of the system, or built once into the cache. For tests and the demo."""

import json
import os
import platform
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from sandbox import build, process
from sandbox.build import Program
from sandbox.cni import crds
from sandbox.supervisor import free_port

MODULE: Final = "github.com/prometheus/prometheus"
VERSION: Final = "v0.316.0"
#: The quick one first.
PACKAGES: Final = {"promtool": "./cmd/promtool", "prometheus": "./cmd/prometheus"}


def find(name: str) -> Path | None:
    """A program that is on PATH or in the cache; None if it would have to be built."""
    if (found := shutil.which(name)) is not None:
        return Path(found)
    kept = _kept(name)
    return kept if kept.exists() else None


def ensure(name: str) -> Path:
    """The same, built where it is not there: minutes, and 3.4 GB of memory. Raises :class:`SandboxError`."""
    if (found := find(name)) is not None:
        return found
    # Absolute: the module is the program's own, in Go's cache.
    return build.once(
        _kept(name), lambda: Program(name, PACKAGES[name], str(crds.module(MODULE, VERSION)), flags="-s -w")
    )


def _kept(name: str) -> Path:
    return build.cache_folder() / "prometheus" / f"{VERSION}-{platform.system()}-{platform.machine()}" / name


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that runs."""

    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of its API. Raises ``urllib.error.URLError``."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as answer:  # noqa: S310  ours
            return json.load(answer)["data"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an expression now."""
        return list(self.ask("query", query=expr)["result"])

    def firing(self) -> set[tuple[str, str]]:
        """Alert and tenant ("" if it is about none) of what fires."""
        alerts = self.ask("alerts")["alerts"]
        return {(a["labels"]["alertname"], a["labels"].get("tenant", "")) for a in alerts if a["state"] == "firing"}


@contextmanager
def running(folder: Path, targets: Mapping[str, str], rules: Path, interval: str = "1s") -> Iterator[Prometheus]:
    """Scrape these targets, by cluster, and evaluate these rules; it stops with the block."""
    port = free_port()
    config = {
        "global": {"scrape_interval": interval, "evaluation_interval": interval, "scrape_timeout": interval},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {
                "job_name": "securetenant",
                "static_configs": [
                    {"targets": [at], "labels": {"cluster": cluster}} for cluster, at in targets.items()
                ],
            }
        ],
    }
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [
        str(ensure("prometheus")),
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        child = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, env=dict(os.environ), preexec_fn=process.die_with_parent()
        )
    try:
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        child.terminate()
        child.wait(20)
