"""The process that owns one instance: starts its programs, watches over them, and stops them in the right order.

``python -m sandbox.supervisor FOLDER ASSETS [--audit LEVEL] [--one-account] [--remove]``; :mod:`sandbox.plane` starts
it.

It reads commands, a line each, from standard input and writes events, a JSON object a line, to standard output. The
end of its input means that whoever asked for the instance is gone, so the instance stops, however the asker died;
``detach`` lifts that. Should the supervisor itself be killed, the kernel kills its children (Linux).
"""

import argparse
import contextlib
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sandbox import credentials, process, programs, ready
from sandbox.errors import SandboxError
from sandbox.programs import Layout, Ports

START_SECONDS = 90.0  # for one program, on a busy machine; about 5 s for all of them on a quiet one
STOP_SECONDS = 5.0  # until SIGKILL
OUTAGE_STOP_SECONDS = 1.0  # the same for an outage on purpose: with watches open it never ends of itself in time
# Below the range that the system gives to outgoing connections: a port that is free for a moment, while the API
# server is stopped on purpose, is not taken by a passing client.
PORT_RANGE = range(20000, 30000)
API_SERVER = "kube-apiserver"


class StopAskedError(Exception):
    """Somebody wants the instance to end; raised out of any waiting."""


@dataclass(slots=True)
class Instance:
    """The supervisor's whole state."""

    layout: Layout
    assets: Path
    audit: str | None
    one_account: bool
    ports: Ports
    user_tokens: dict[str, str]
    wake: int
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    expected_down: set[str] = field(default_factory=set)
    is_ready: bool = False
    attached: bool = True
    buffer: bytes = b""
    stop_signal: list[int] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.ports.apiserver}"


def main() -> int:
    """Run one instance until told to stop; 0 after a clean stop, 1 when it could not start."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.supervisor")
    parser.add_argument("folder", type=Path)
    parser.add_argument("assets", type=Path)
    parser.add_argument("--audit", choices=["Metadata", "RequestResponse"])
    parser.add_argument("--one-account", action="store_true", help="one account for all of Kubernetes' controllers")
    parser.add_argument("--remove", action="store_true", help="remove the folder at the end")
    arguments = parser.parse_args()
    layout = Layout(arguments.folder)
    lock = process.try_lock(layout.lock)
    if lock is None:
        emit("failed", message=f"another instance runs in {layout.folder}")
        return 1
    os.ftruncate(sys.stderr.fileno(), 0)  # the log of the one before; only now is it surely over
    wake, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    given = arguments.assets, arguments.audit, arguments.one_account
    instance = Instance(layout, *given, free_ports(), credentials.tokens(), wake)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: instance.stop_signal.append(received))
    signal.signal(signal.SIGCHLD, lambda *_: None)  # only so that it wakes the loop
    code = 0
    try:
        start(instance)
        serve(instance)
    except StopAskedError:
        log("asked to stop")
    except SandboxError as error:
        log(f"failed: {error}")
        emit("failed", message=str(error))
        code = 1
    finally:
        stop(instance)
        layout.state.unlink(missing_ok=True)
        shutil.rmtree(layout.etcd_data, ignore_errors=True)
        if arguments.remove and code == 0:
            shutil.rmtree(layout.folder, ignore_errors=True)
    with contextlib.suppress(StopAskedError):
        emit("stopped")
    return code


# --- starting


def start(instance: Instance) -> None:
    """Start everything and wait until it serves. A port that somebody took in between is no failure: try others."""
    for attempt in range(3):
        prepare(instance)
        try:
            start_programs(instance)
            break
        except SandboxError as error:
            if attempt == 2 or "address already in use" not in str(error):
                raise
            log("a port was taken in between; starting again with others")
            stop(instance)
            instance.ports = free_ports()
    instance.is_ready = True
    save(instance)
    emit("ready", **describe(instance))


def prepare(instance: Instance) -> None:
    """Make the instance's files anew; what a killed instance left behind is removed."""
    layout = instance.layout
    for leftover in (layout.etcd_data, layout.certificates, layout.home):
        shutil.rmtree(leftover, ignore_errors=True)
    for folder in (layout.home, layout.certificates, layout.log("etcd").parent):
        folder.mkdir(parents=True, exist_ok=True)
    layout.audit_log.unlink(missing_ok=True)
    credentials.write_secret(layout.service_account_key, credentials.service_account_key())
    credentials.write_secret(layout.token_file, credentials.token_file(instance.user_tokens))
    if instance.audit:
        layout.audit_policy.write_text(programs.AUDIT_POLICY.format(level=instance.audit))


def start_programs(instance: Instance) -> None:
    """etcd, the API server, then its clients; raises :class:`SandboxError` if one ends or takes too long."""
    ports = instance.ports
    spawn(instance, "etcd")
    wait(instance, "etcd", lambda: ready.listens(ports.etcd))
    start_apiserver(instance)
    for user, token in instance.user_tokens.items():
        credentials.write_kubeconfig(
            instance.layout.kubeconfig(user), url=instance.url, ca_file=instance.layout.ca_file, token=token, user=user
        )
    for program in ("kube-controller-manager", "kube-scheduler", "kwok"):
        spawn(instance, program)
    own_ports = (ports.controller_manager, ports.scheduler, ports.kwok)
    wait(instance, "its clients", lambda: all(map(ready.listens, own_ports)) and has_default_objects(instance))


def start_apiserver(instance: Instance) -> None:
    """Start the API server and wait until /readyz is ok, which includes the built-in roles."""
    spawn(instance, API_SERVER)
    wait(instance, API_SERVER, lambda: answers(instance, "/readyz"))


def answers(instance: Instance, path: str) -> bool:
    """Whether the API server has an answer 200 for the administrator's GET of ``path``."""
    ca_file = instance.layout.ca_file
    return ready.status(instance.ports.apiserver, ca_file, instance.user_tokens["admin"], path) == 200


def has_default_objects(instance: Instance) -> bool:
    """Whether what a user takes for granted is there: without it the first Pods of a namespace are refused."""
    paths = ("/api/v1/namespaces/kube-system", "/api/v1/namespaces/default/serviceaccounts/default")
    return all(answers(instance, path) for path in paths)


def spawn(instance: Instance, program: str) -> None:
    """Start ``program`` with its log file; it dies with the supervisor."""
    emit("starting", program=program)
    arguments = programs.command(
        program,
        instance.assets,
        instance.layout,
        instance.ports,
        audit=bool(instance.audit),
        one_account=instance.one_account,
    )
    path = instance.layout.log(program)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(instance.layout.home)}
    with path.open("ab" if program in instance.expected_down else "wb") as output:
        instance.running[program] = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=instance.layout.folder,
            env=environment,
            preexec_fn=process.die_with_parent(),
        )
    instance.expected_down.discard(program)
    save(instance)


def wait(instance: Instance, what: str, condition: Callable[[], bool]) -> None:
    """Poll ``condition`` until it holds; a program that ended, or the time, makes it a :class:`SandboxError`."""
    end = time.monotonic() + START_SECONDS
    while not condition():
        if dead := ended(instance):
            raise SandboxError("; ".join(f"{name} ended ({code})\n{tail(instance, name)}" for name, code in dead))
        if time.monotonic() > end:
            raise SandboxError(f"{what} not ready after {START_SECONDS:.0f} s; logs in {instance.layout.folder}/logs")
        for command in commands(instance, 0.05):
            if command == "stop":
                raise StopAskedError


def ended(instance: Instance) -> list[tuple[str, int]]:
    """The programs that should run and do not, with their exit codes."""
    codes = ((name, child.poll()) for name, child in instance.running.items() if name not in instance.expected_down)
    return [(name, code) for name, code in codes if code is not None]


def tail(instance: Instance, program: str, lines: int = 12) -> str:
    """The end of a program's log."""
    text = instance.layout.log(program).read_text(errors="replace").splitlines()
    return "\n".join(f"  {program}: {line}" for line in text[-lines:])


def free_ports() -> Ports:
    """Six ports that nobody listens on now."""
    return Ports(*(free_port() for _ in range(6)))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    while True:
        port = random.choice(PORT_RANGE)  # noqa: S311 - no secret
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


# --- serving


def serve(instance: Instance) -> None:
    """Carry out commands until told to stop, and tell of programs that end on their own."""
    told: set[str] = set()
    while True:
        for command in commands(instance, 1.0):
            carry_out(instance, command)
        for name, code in ended(instance):
            if name not in told:
                told.add(name)
                log(f"{name} ended on its own ({code})")
                emit("died", program=name, code=code)


def carry_out(instance: Instance, command: str) -> None:
    """One command: ``stop``, ``detach``, ``stop-apiserver`` or ``start-apiserver``."""
    if command == "stop":
        raise StopAskedError
    if command == "detach":
        emit("detached")
        detach(instance)
    elif command == "stop-apiserver":
        instance.expected_down.add(API_SERVER)
        end({API_SERVER: instance.running[API_SERVER]}, OUTAGE_STOP_SECONDS)
        save(instance)
        emit("apiserver-stopped")
    elif command == "start-apiserver":
        if instance.running[API_SERVER].poll() is not None:
            start_apiserver(instance)
        emit("apiserver-ready")
    else:
        log(f"unknown command {command!r}")


def commands(instance: Instance, seconds: float) -> list[str]:
    """The commands that came in within ``seconds``; a signal or the end of input counts as ``stop``."""
    inputs = [instance.wake, sys.stdin.fileno()] if instance.attached else [instance.wake]
    readable, _, _ = select.select(inputs, [], [], seconds)
    if instance.wake in readable:
        os.read(instance.wake, 4096)
    if instance.stop_signal:
        return ["stop"]
    if not instance.attached or sys.stdin.fileno() not in readable:
        return []
    received = os.read(sys.stdin.fileno(), 4096)
    if not received:
        return ["stop"]
    *lines, instance.buffer = (instance.buffer + received).split(b"\n")
    return [line.decode() for line in lines]


def detach(instance: Instance) -> None:
    """Go on without the asker: from here on only signals end the instance."""
    instance.attached = False
    sys.stdout.flush()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(nothing, descriptor)
    os.close(nothing)


# --- stopping


def stop(instance: Instance) -> None:
    """Clients, the API server, then etcd: an API server that lost its etcd first can hang for minutes."""
    for group in (programs.CLIENTS, (API_SERVER,), ("etcd",)):
        end({name: instance.running.pop(name) for name in group if name in instance.running})


def end(children: dict[str, subprocess.Popen[bytes]], seconds: float = STOP_SECONDS) -> None:
    """End ``children`` together and wait for each: SIGTERM, and SIGKILL after ``seconds``."""
    begin = time.monotonic()
    for child in children.values():
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            child.send_signal(signal.SIGCONT)  # a test may have stopped it with SIGSTOP
    for name, child in children.items():
        how = "stopped"
        try:
            child.wait(max(0.0, begin + seconds - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            how = "killed"
        log(f"{name} {how} after {time.monotonic() - begin:.2f} s")


# --- telling


def describe(instance: Instance) -> dict[str, object]:
    """What :mod:`sandbox.plane` must know of a running instance."""
    layout = instance.layout
    return {
        "supervisor": {"pid": os.getpid(), "since": process.started(os.getpid())},
        "url": instance.url,
        "kubeconfig": str(layout.kubeconfig()),
        "ca_file": str(layout.ca_file),
        "token": instance.user_tokens["admin"],
        "assets": str(instance.assets),
        "audit_log": str(layout.audit_log) if instance.audit else None,
        "ready": instance.is_ready,
        "programs": {
            name: {"pid": child.pid, "since": process.started(child.pid), "log": str(layout.log(name))}
            for name, child in instance.running.items()
            if name not in instance.expected_down
        },
    }


def save(instance: Instance) -> None:
    """Write ``state.json`` as a whole or not at all."""
    draft = instance.layout.state.with_suffix(".new")
    credentials.write_secret(draft, json.dumps(describe(instance), indent=1))
    draft.replace(instance.layout.state)


def emit(event: str, **details: object) -> None:
    """Tell the asker; if nobody reads any more, that is its end too."""
    try:
        print(json.dumps({"event": event, **details}), flush=True)
    except BrokenPipeError:
        raise StopAskedError from None


def log(text: str) -> None:
    """One line in the supervisor's own log."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
