"""Start and use an instance from a program.

``start`` returns once the control plane serves. The instance ends with the context, with :meth:`Plane.stop`, and with
the process that started it, however that ends (kill -9 included). Everything here blocks: from a coroutine call it
with ``asyncio.to_thread``, which is safe, as no thread owns the processes.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from sandbox import build, process
from sandbox.errors import SandboxError
from sandbox.programs import ORDER, Layout

AuditLevel = Literal["Metadata", "RequestResponse"]
Report = Callable[[str], None]
_ROOT = Path(__file__).resolve().parent.parent


def _say_nothing(_text: str) -> None:
    return


@dataclass(slots=True)
class Plane:
    """A control plane that serves. ``owned`` is False for a cluster that the sandbox did not start."""

    folder: Path
    url: str
    kubeconfig: Path
    ca_file: Path
    #: The administrator's token; empty when an existing cluster's kubeconfig has none.
    admin_token: str
    #: The folder of kubectl and the rest.
    assets: Path
    audit_log: Path | None = None
    owned: bool = True
    #: Certificate and key, where an existing cluster's kubeconfig has these instead of a token.
    client_certificate: tuple[Path, Path] | None = None
    _supervisor: subprocess.Popen[str] | None = field(default=None, repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the instance and wait for it; nothing happens if it has ended or is not ours."""
        if self._supervisor is None:
            return
        child, self._supervisor = self._supervisor, None
        _wait(child)

    def stop_apiserver(self) -> None:
        """Take the API server away; its data and port stay. Raises :class:`SandboxError` when it is not ours."""
        self._ask("stop-apiserver", "apiserver-stopped")

    def start_apiserver(self) -> None:
        """Bring the API server back on the same port and wait until it is ready."""
        self._ask("start-apiserver", "apiserver-ready")

    def pid(self, program: str) -> int:
        """The process id of one of the five programs, for a test that stops or kills it (SIGSTOP, SIGKILL)."""
        state = read_state(self.folder)
        if state is None or program not in state["programs"]:
            raise SandboxError(f"{program} does not run in {self.folder}")
        return int(state["programs"][program]["pid"])

    def detach(self) -> None:
        """Let the instance outlive this process; ``python -m sandbox down`` ends it."""
        self._ask("detach", "detached")
        self._supervisor = None

    def _ask(self, command: str, answer: str) -> None:
        if self._supervisor is None:
            raise SandboxError(f"{command}: the control plane in {self.folder} does not belong to this process")
        assert self._supervisor.stdin is not None
        self._supervisor.stdin.write(f"{command}\n")
        self._supervisor.stdin.flush()
        _await_event(self._supervisor, answer, self.folder, _say_nothing)


def start(
    folder: Path | None = None,
    *,
    audit: AuditLevel | bool = False,
    one_account: bool = False,
    assets: Path | None = None,
    report: Report = _say_nothing,
) -> Plane:
    """Start an instance in ``folder`` (a temporary one, removed at the end, if None) and wait until it serves.

    ``audit=True`` means ``"Metadata"``; the log is at :attr:`Plane.audit_log`. ``one_account``: Kubernetes' controllers
    share the account ``system:kube-controller-manager``, which then needs their rights. ``assets`` defaults to
    :func:`sandbox.build.ensure`, which builds what is missing. ``report`` gets a line per step. Raises
    :class:`SandboxError`.
    """
    assets = assets or build.ensure()
    temporary = folder is None
    folder = Path(tempfile.mkdtemp(prefix="securetenant-sandbox-")) if folder is None else folder.resolve()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "logs").mkdir(exist_ok=True)
    level = ("Metadata" if audit is True else audit) or None
    options = (["--audit", level] if level else []) + (["--remove"] if temporary else [])
    options += ["--one-account"] if one_account else []
    with (folder / "logs" / "supervisor.log").open("a") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "sandbox.supervisor", str(folder), str(assets), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            env=os.environ | {"PYTHONPATH": str(_ROOT)},
            start_new_session=True,  # Ctrl-C on the terminal is for us; the supervisor then stops in the right order
        )
    try:
        state = _await_event(child, "ready", folder, report)
    except BaseException:  # Ctrl-C included: end what has begun
        _wait(child)
        raise
    return _plane(folder, state, child)


def running(folder: Path) -> Plane | None:
    """The instance that ``python -m sandbox up`` left running in ``folder``, or None."""
    state = read_state(folder)
    return _plane(folder.resolve(), state, None) if state and state["ready"] else None


def read_state(folder: Path) -> dict[str, Any] | None:
    """The state of the instance whose supervisor runs in ``folder``, or None: a stale file counts as none."""
    try:
        state: dict[str, Any] = json.loads(Layout(folder.resolve()).state.read_text())
    except FileNotFoundError:
        return None
    supervisor = state["supervisor"]
    return state if process.alive(supervisor["pid"], supervisor["since"]) else None


def alive_programs(state: dict[str, Any]) -> dict[str, int]:
    """name -> pid of the programs of ``state`` that run, in the order of starting."""
    programs = state["programs"]
    return {
        n: programs[n]["pid"]
        for n in ORDER
        if n in programs and process.alive(programs[n]["pid"], programs[n]["since"])
    }


def end_detached(folder: Path, seconds: float = 40.0) -> bool:
    """End the instance in ``folder`` and wait for it; False if none runs. Nothing else gets a signal."""
    try:
        state: dict[str, Any] = json.loads(Layout(folder.resolve()).state.read_text())
    except FileNotFoundError:
        return False
    supervisor = state["supervisor"]
    if not process.alive(supervisor["pid"], supervisor["since"]):
        return _end_orphans(folder, state)
    os.kill(supervisor["pid"], signal.SIGTERM)
    end = time.monotonic() + seconds
    while process.alive(supervisor["pid"], supervisor["since"]):
        if time.monotonic() > end:
            raise SandboxError(f"the supervisor ({supervisor['pid']}) of {folder} did not end in {seconds:.0f} s")
        time.sleep(0.05)
    return True


def _end_orphans(folder: Path, state: dict[str, Any]) -> bool:
    """Programs whose supervisor was killed where the kernel does not end them with it (not Linux)."""
    left = alive_programs(state)
    for pid in reversed(left.values()):
        os.kill(pid, signal.SIGKILL)
    Layout(folder.resolve()).state.unlink(missing_ok=True)
    return bool(left)


def _plane(folder: Path, state: dict[str, Any], child: subprocess.Popen[str] | None) -> Plane:
    return Plane(
        folder=folder,
        url=state["url"],
        kubeconfig=Path(state["kubeconfig"]),
        ca_file=Path(state["ca_file"]),
        admin_token=state["token"],
        assets=Path(state["assets"]),
        audit_log=Path(state["audit_log"]) if state["audit_log"] else None,
        _supervisor=child,
    )


def _await_event(child: subprocess.Popen[str], wanted: str, folder: Path, report: Report) -> dict[str, Any]:
    assert child.stdout is not None
    for line in child.stdout:
        event: dict[str, Any] = json.loads(line)
        if event["event"] == wanted:
            return event
        if event["event"] == "starting":
            report(f"starting {event['program']}")
        if event["event"] == "failed":
            raise SandboxError(event["message"])
        if event["event"] == "died":
            log = Layout(folder).log(event["program"])
            raise SandboxError(f"{event['program']} ended on its own (exit {event['code']}); its log: {log}")
    raise SandboxError(f"the supervisor ended; its log: {folder}/logs/supervisor.log")


def _wait(child: subprocess.Popen[str], seconds: float = 40.0) -> None:
    """Close a supervisor's input, which ends it, and wait; it is killed, and its children with it, if it hangs."""
    try:
        child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
