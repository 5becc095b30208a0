"""`securetenant run`: the operator itself. Its flags are made from the fields of Settings.

Why not CliApp of pydantic-settings (2.16): a bad value ends in a traceback with exit code 1, which means "start it
again", and does not say whether the flag or the variable is bad; the help names no variable, and shows types and
defaults as Python writes them (`dict[str,str]`, `{'k8s-app': 'kube-dns'}`, `null`).
"""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from securetenant import memory
from securetenant.cli.output import fail
from securetenant.settings import Settings, flag, variable

_HELP = """Run the operator: make the tenants' posture, keep it, report it.

Each setting is a flag or a variable of the environment; the flag wins. Several instances may run: one works, the
others stand by. SIGTERM and SIGINT stop it cleanly.

\b
Examples:
  securetenant run --kubeconfig ~/.kube/config --context kind-securetenant
  securetenant run --http-port 0 --log-format console --log-level debug
  SECURETENANT_DNS_CIDRS=169.254.20.10/32 securetenant run

\b
Exit codes:
  0  stopped cleanly
  1  could not start, lost its Lease to another instance, or could not go on: start it again
  2  a bad setting, or wrong usage
"""


def command() -> Callable[..., None]:
    """The command, with one option per setting."""

    def run(**flags: str | None) -> None:
        try:
            settings = Settings.load(**flags)
        except ValueError as error:
            fail(str(error), 2)
        # The operator, kopf and aiohttp are not loaded before the settings are known to be good.
        memory.leave_out("rich")
        from securetenant import app

        raise typer.Exit(app.main(settings))

    parameters = [_parameter(name, info) for name, info in Settings.model_fields.items()]
    run.__doc__ = _HELP
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameter(name: str, info: FieldInfo) -> inspect.Parameter:
    """One option. All are text: Settings has the rules, for flags and for the environment alike."""
    default = info.default
    known = "" if default is None or default == () or info.default_factory else f"default: {_written(default)}; "
    option = typer.Option(
        flag(name), metavar=_metavar(info), help=f"{info.description} [{known}{variable(name)}]", show_default=False
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]
    )


def _metavar(info: FieldInfo) -> str:
    kind = info.annotation
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    return "NUMBER" if kind in (int, float) else "TEXT"


def _written(value: Any) -> str:
    """A default as it would be given."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return ",".join(f"{key}={inner}" for key, inner in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
