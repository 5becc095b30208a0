"""What the reader sees. Everything goes to stdout; legible without colours as well."""

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from demo.scenes import Scene

console = Console(highlight=False)

_COLOURS = {"healed": "green", "removed": "green", "reported": "yellow"}


@dataclass(frozen=True, slots=True)
class Played:
    """How a scene went: what the operator said it found and who did it, and milliseconds to the end of it."""

    scene: Scene
    found: str
    manager: str
    milliseconds: float


def heading(text: str) -> None:
    console.print()
    console.rule(f"[bold]{text}", align="left")


def say(text: str) -> None:
    console.print(text, soft_wrap=True)  # what is to be copied must stay one line


def tell(text: str) -> None:
    console.print(text)


def tenants(found: Iterable[Mapping[str, Any]], seconds: Mapping[str, float]) -> None:
    """The tenants as `kubectl get stn` shows them, with what each says of itself."""
    table = Table("tenant", "mode", "namespaces", "ready", "after", "drift", box=None, pad_edge=False)
    remarks = []
    for tenant in found:
        name, status = tenant["metadata"]["name"], tenant["status"]
        conditions = {c["type"]: c for c in status["conditions"]}
        table.add_row(
            f"[bold]{name}",
            tenant["spec"]["mode"],
            ", ".join(entry["name"] for entry in tenant["spec"]["namespaces"]),
            conditions["Ready"]["status"],
            f"{seconds[name] * 1000:.0f} ms" if name in seconds else "",
            str(status.get("drift", {}).get("total", "")),
        )
        remarks += [
            f"  {name}: {c['type']}={c['status']}: {c['message']}"
            for c in (conditions.get(kind) for kind in ("Ready", "WhitelistAgreed", "NodesReady"))
            if c is not None and c.get("message")
        ]
    console.print(table)
    console.print()
    for remark in remarks:
        console.print(remark, markup=False)


def opening(title: str, number: int, of: int) -> None:
    console.print(f"\n[bold]{number}/{of}[/bold] {title}")


def played(result: Played) -> None:
    scene = result.scene
    by = f" as the field manager [cyan]{result.manager}[/cyan]" if result.manager else ""
    colour = _COLOURS[scene.outcome]
    console.print(
        f"    found: {scene.reason} {scene.object}{by}{f' at {result.found}' if result.found else ''}\n"
        f"    [{colour}]{scene.outcome}[/{colour}] after [bold]{result.milliseconds:.0f} ms[/bold]"
    )


def intruded(condition: Mapping[str, Any], milliseconds: float) -> None:
    console.print(f"    [yellow]reported[/yellow] after [bold]{milliseconds:.0f} ms[/bold], in status as")
    _below(f"{condition['type']}={condition['status']}: {condition['message']}")


def admitted(when: str) -> None:
    console.print(f"    [yellow]admitted[/yellow] {when}")


def refused(status: int, message: str, when: str = "") -> None:
    """The API server's refusal, in its own words."""
    console.print(f"    [green]refused[/green] {when}{status}:")
    _below(message)


def command(line: str, output: str, code: int) -> None:
    """A command as one would type it, what it printed, and its exit code."""
    say(f"$ {line}")
    for printed in output.splitlines():
        _below(printed)
    console.print(f"    exit code [bold]{code}[/bold]")


def _below(text: str) -> None:
    """Somebody else's words, set in below what is said of them."""
    indent = " " * 6
    wrapped = textwrap.fill(
        text, console.width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    say(escape(wrapped))


def metrics(lines: Iterable[str]) -> None:
    for line in lines:
        console.print(f"  {line}", markup=False, soft_wrap=True)


def alerts(found: Iterable[tuple[str, str, str, str]]) -> None:
    """Name, tenant, severity and state of each."""
    table = Table("alert", "tenant", "severity", "state", box=None, pad_edge=False)
    for name, tenant, severity, state in found:
        table.add_row(f"[bold]{name}", tenant, severity, state)
    console.print(table)


def panel(title: str, value: str, expr: str) -> None:
    say(f"  {escape(title)}: [bold]{escape(value)}[/bold]")
    _below(expr)


def failed(problems: Iterable[str]) -> None:
    console.print()
    for problem in problems:
        console.print(f"[bold red]did not happen as told:[/bold red] {problem}", markup=True, soft_wrap=True)
