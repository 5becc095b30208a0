"""Who still runs, and who dies with whom."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import process
from tests.support.sandbox import ROOT, wait_for


def test_a_process_is_known_by_its_pid_and_its_start() -> None:
    since = process.started(os.getpid())

    assert since is not None
    assert process.alive(os.getpid(), since)
    assert not process.alive(os.getpid(), "of another process that had this pid before")


def test_a_process_that_ended_is_not_alive_even_before_it_is_waited_for() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        since = process.started(child.pid)
        assert since is not None
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie now

        assert not process.alive(child.pid, since)


def test_a_name_with_brackets_and_blanks_is_read(tmp_path: Path) -> None:
    program = tmp_path / "a) b (c"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as child:
        try:
            assert process.started(child.pid) == process.started(child.pid) is not None
        finally:
            child.kill()


def parent_of_one() -> subprocess.Popen[str]:
    """A process with one child, whose pid it prints."""
    code = (
        "import subprocess, sys; from sandbox import process\n"
        "child = subprocess.Popen(['sleep', '60'], preexec_fn=process.die_with_parent())\n"
        "print(child.pid, flush=True); child.wait()"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's kernel ends children with their parent")
async def test_a_child_dies_with_a_killed_parent() -> None:
    with parent_of_one() as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        since = process.started(child)
        assert since is not None
        parent.kill()

    await wait_for(lambda: not process.alive(child, since), 5, "the child's end")


def test_a_lock_is_held_by_one_and_freed_at_the_end(tmp_path: Path) -> None:
    held = process.try_lock(tmp_path / "lock")

    assert held is not None
    assert process.try_lock(tmp_path / "lock") is None
    held.close()
    again = process.try_lock(tmp_path / "lock")
    assert again is not None
    again.close()
