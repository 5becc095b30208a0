"""``python -m monitoring.pictures``: make docs/pictures/*.png anew, of an operator and a Prometheus that really run."""

import asyncio
import itertools
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import yaml

from demo import stage
from demo.scenes import scenes
from demo.watching import scraped
from monitoring import rules
from monitoring.boards import DASHBOARDS
from monitoring.pictures import page, png, trouble
from monitoring.pictures.answers import asked
from sandbox import prometheus
from sandbox.client import Admin, wait_for
from sandbox.errors import SandboxError
from sandbox.operator import Operator, run_operator
from sandbox.prometheus import Prometheus

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "pictures"
SECONDS: Final = 180.0  # of activity
_PACE: Final = 4.0  # seconds between two acts: more often, and every object that is put right would be contested
_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")


def main() -> int:
    """0: drawn. 2: a program is missing, or the stage could not be set."""
    try:
        with tempfile.TemporaryDirectory(prefix="securetenant-pictures-") as folder:
            asyncio.run(_made(Path(folder)))
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


async def _made(folder: Path) -> None:
    browser = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise SandboxError("no Chromium is here: install it (on Debian: the package chromium)")
    await asyncio.to_thread(prometheus.ensure, "prometheus")
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(rules.shortened()))
    async with stage.control_plane(folder) as plane, Admin(plane) as admin:
        if not plane.owned:
            raise SandboxError("the pictures are made on a control plane of their own, and of no other cluster")
        async with stage.installed(plane, admin), run_operator(plane, folder) as operator:
            chosen = await stage.dedicated_nodes(plane)
            target = operator.url.removeprefix("http://")
            with prometheus.running(folder, {"bank": target}, path) as running:
                begin = time.time()
                await _happens(admin, operator, running, chosen)
                await asyncio.to_thread(_drawn, running, begin, folder, browser)


async def _happens(admin: Admin, operator: Operator, running: Prometheus, nodes: list[str]) -> None:
    """The tenants, what is wrong with them, and tampering over a while."""
    now = datetime.now(UTC)
    until = time.monotonic() + SECONDS
    await trouble.before(admin)
    await stage.apply_bank(admin)
    await admin.apply(yaml.safe_dump_all(trouble.tenants(now)))

    async def has_all() -> bool:
        return await operator.metric("securetenant_tenant_info") == 16

    await wait_for(has_all, 30, "all tenants to be known")
    await trouble.after(admin, nodes[1])
    acts = scenes(nodes[0])
    for number, act in enumerate(itertools.cycle(trouble.ACTS)):
        if time.monotonic() > until:
            break
        await trouble.rewritten(admin)
        await trouble.edited(admin, number)
        await acts[act].tamper(admin)
        await scraped(running, _PACE)


def _drawn(running: Prometheus, begin: float, folder: Path, browser: str) -> None:
    FOLDER.mkdir(exist_ok=True)
    end = time.time()
    for board in DASHBOARDS:
        answers = asked(running, board, begin, end)
        for theme in page.THEMES:
            source = folder / f"{board.uid}-{theme}.html"
            source.write_text(page.drawn(board, answers, end, theme))
            target = FOLDER / f"{board.uid.removeprefix('securetenant-')}-{theme}.png"
            _photographed(browser, source, target, folder)
            print(f"{target.relative_to(FOLDER.parents[1])}: {target.stat().st_size // 1024} KiB")


def _photographed(browser: str, source: Path, target: Path, folder: Path) -> None:
    """The whole page. How high it is only a browser knows: a copy of it says so in its title."""
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={folder}/b",
    ]
    measured = source.with_suffix(".measured.html")
    measured.write_text(source.read_text() + "<script>document.title = document.body.scrollHeight</script>")
    told = _run(*command, f"--window-size={page.WIDTH},800", "--dump-dom", measured.as_uri())
    height = re.search(r"<title>(\d+)</title>", told)
    if height is None:
        raise SandboxError(f"{browser} does not tell how high the page is: {told[:200]!r}")
    _run(*command, f"--window-size={page.WIDTH},{height[1]}", f"--screenshot={target}", source.as_uri())
    target.write_bytes(png.indexed(target.read_bytes()))


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    except (subprocess.SubprocessError, OSError) as error:
        raise SandboxError(f"{command[0]}: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
