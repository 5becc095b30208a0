"""The command line: ``python -m sandbox build | oracles | up | down | status``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sandbox import build, enforcer, oracles, plane, process, progress, versions
from sandbox.errors import SandboxError
from sandbox.plane import AuditLevel, Plane
from sandbox.programs import ORDER, Layout

_DEFAULT = Path(__file__).resolve().parent.parent / ".sandbox"
_FOLDER = typer.Option("--dir", help="Where the instance keeps its files.", show_default=".sandbox in the checkout")
Folder = Annotated[Path, _FOLDER]

app = typer.Typer(
    help="A real Kubernetes control plane on 127.0.0.1, with kwok playing the nodes. No root, no containers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; what the reader must know comes without a traceback."""
    try:
        app()
    except SandboxError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        sys.exit(1)


@app.command("build")
def build_command(
    packets: Annotated[bool, typer.Option("--packets", help="Build the enforcer of policies too.")] = False,
) -> None:
    """Build what is missing (minutes, once) and print the folder of the programs as the last line.

    KUBEBUILDER_ASSETS, a folder that has at least etcd and kube-apiserver, is taken first.
    SANDBOX_KUBERNETES=1.34 builds another minor of Kubernetes. SECURETENANT_CACHE moves the cache.
    """
    if packets:
        enforcer.ensure()
    print(build.ensure())


@app.command("oracles")
def oracles_command() -> None:
    """Build what is missing of the programs that judge NetworkPolicies, for the tests, and print where they are.

    Exit code 1 if one of them cannot be had: the tests that need it are then skipped, but in CI they fail.
    """
    missing = 0
    for name in oracles.NAMES:
        try:
            print(oracles.ensure(name))
        except SandboxError as error:
            _say(f"sandbox: {error}")
            missing += 1
    raise typer.Exit(1 if missing else 0)


@app.command()
def up(
    folder: Folder = _DEFAULT,
    audit: Annotated[bool, typer.Option("--audit", help="Write an audit log.")] = False,
    audit_level: Annotated[str, typer.Option(help="Metadata, or RequestResponse with the bodies.")] = "Metadata",
) -> None:
    """Start the control plane, unless it runs already, and print the line that points kubectl at it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with process.locked(folder / "up.lock", lambda: progress.shown("waiting for another start in this folder")):
        here = plane.running(folder) or _start(folder, audit=audit, level=audit_level)
    kubernetes = build.kubernetes(here.assets)
    advice = f"stop it (python -m sandbox down --dir {folder}), or name another --dir"
    versions.check(lambda: kubernetes, f"what runs in {folder}", advice)
    _say(f"Kubernetes {kubernetes} at {here.url}, kubectl in {here.assets}")
    if here.audit_log:
        _say(f"audit log: {here.audit_log}")
    print(f"export KUBECONFIG={here.kubeconfig}")


def _start(folder: Path, *, audit: bool, level: str) -> Plane:
    if level not in ("Metadata", "RequestResponse"):
        raise SandboxError(f"--audit-level {level}: must be Metadata or RequestResponse")
    chosen: AuditLevel = "RequestResponse" if level == "RequestResponse" else "Metadata"
    started = plane.start(folder, audit=chosen if audit else False, report=_say)
    started.detach()
    return started


@app.command()
def down(folder: Folder = _DEFAULT) -> None:
    """Stop the control plane and throw its data away; its logs stay."""
    _say("stopped" if plane.end_detached(folder) else "nothing runs")


@app.command()
def status(folder: Folder = _DEFAULT) -> None:
    """Say what runs. Exit code: 0 all of it, 1 some of it, 3 nothing."""
    state = plane.read_state(folder)
    if state is None:
        print(f"nothing runs in {folder}")
        raise typer.Exit(3)
    alive = plane.alive_programs(state)
    for name in ORDER:
        print(f"{name:<24} {alive.get(name, 'not running')}")
    shown = {"supervisor": state["supervisor"]["pid"], "url": state["url"], "kubeconfig": state["kubeconfig"]}
    shown |= {"audit log": state["audit_log"], "logs": Layout(folder.resolve()).log(ORDER[0]).parent}
    for label, value in shown.items():
        if value:
            print(f"{label:<24} {value}")
    raise typer.Exit(0 if len(alive) == len(ORDER) and state["ready"] else 1)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
