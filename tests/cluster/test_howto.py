"""docs/how-to: each page is run as it stands, from top to bottom, and shows what it says."""

import asyncio
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.cluster.test_cli import COVERAGE
from tests.support import life
from tests.support.markdown import ROOT, Block, blocks
from tests.support.sandbox import Admin, Plane, run_operator, wait_for

pytestmark = pytest.mark.cluster

PAGE: Final = ROOT / "docs" / "how-to" / "what-will-break.md"


def files(page: Path, folder: Path) -> None:
    """Its YAML, each by the name in its first line."""
    for block in blocks(page):
        if block.language == "yaml":
            name = block.text.splitlines()[0].removeprefix("# ")
            (folder / name).write_text(block.text)


def steps(block: Block) -> list[tuple[str, list[str]]]:
    """The commands, each with the lines shown below it."""
    found: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        elif line:
            found[-1][1].append(line)
    return found


async def run(admin: Admin, folder: Path, config: str, command: str) -> tuple[int, str]:
    words = shlex.split(command, comments=True)
    if words[0] == "kubectl":
        words = [str(folder / word) if word.endswith(".yaml") else word for word in words]
        return 0, await admin.kubectl(*words[1:])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "securetenant", *words[1:]),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env={"KUBECONFIG": config, "PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "COLUMNS": "300"} | COVERAGE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode()


def shows(output: str, shown: list[str]) -> None:
    """The lines shown stand in the output, in this order, one after the other up to a line "..."."""
    lines = [line.rstrip() for line in output.splitlines()]
    at = 0
    gap = False
    for line in shown:
        if line == "...":
            gap = True
            continue
        assert line in lines[at:], f"not shown: {line}\n{output}"
        place = lines.index(line, at)
        assert gap or place == at, f"between {lines[at : place + 1]}\n{output}"
        at, gap = place + 1, False


@pytest_asyncio.fixture
async def clean(admin: Admin) -> AsyncIterator[None]:
    yield
    await life.remove(admin, "orders")


async def test_what_will_break(plane: Plane, admin: Admin, policies: None, clean: None, tmp_path: Path) -> None:
    files(PAGE, tmp_path)
    config = str(plane.kubeconfig)
    async with run_operator(plane, tmp_path / "operator"):
        for block in blocks(PAGE):
            if block.language != "console":
                continue
            for command, shown in steps(block):
                wanted = 2 if command.endswith("# exit code 2") else 0
                if (shown and command.startswith("kubectl get")) or "plan" in command:

                    async def as_shown(command: str = command, shown: list[str] = shown, wanted: int = wanted) -> bool:
                        code, output = await run(admin, tmp_path, config, command)
                        shows(output, shown)
                        assert code == wanted, output
                        return True

                    await wait_for(as_shown, 20, command)
                else:
                    code, output = await run(admin, tmp_path, config, command)
                    assert code == wanted, output
        code, output = await run(admin, tmp_path, config, "securetenant plan exempted.yaml --tenant orders")
        assert "running" not in output
