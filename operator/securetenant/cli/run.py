"""`securetenant run`: the operator itself. Its flags are made from the fields of Settings.

Why not CliApp of pydantic-settings (2.16): a bad value ends in a traceback with exit code 1, which means "start it
again", and the message does not say whether the flag or the variable is bad; the help does not name the variables, and
shows types and defaults in Python's notation (`dict[str,str]`, `{'k8s-app': 'kube-dns'}`, `null`).
"""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from securetenant import memory
from securetenant.cli.output import fail
from securetenant.settings import Settings, flag, variable

_HELP = """Run the operator: create what the tenants declare, correct drift, and report it.

Each setting is a flag or an environment variable; the flag wins. Several instances may run: one is active, the others
are standbys. SIGTERM and SIGINT stop it cleanly.

\b
Examples:
  securetenant run --kubeconfig ~/.kube/config --context kind-securetenant
  securetenant run --http-port 0 --log-format console --log-level debug
  SECURETENANT_DNS_CIDRS=169.254.20.10/32 securetenant run

\b
Exit codes:
  0  stopped cleanly
  1  could not start, lost its Lease to another instance, or could not continue: start it again
  2  a bad setting, or wrong usage
"""


def command() -> Callable[..., None]:
    """The command, with one option per setting."""

    def run(**flags: str | None) -> None:
        try:
            settings = Settings.load(**flags)
        except ValueError as error:
            fail(str(error), 2)
        # The operator, kopf and aiohttp are imported only when the settings are known to be valid.
        memory.leave_out("rich")
        from securetenant import app

        raise typer.Exit(app.main(settings))

    parameters = [_parameter(name, info) for name, info in Settings.model_fields.items()]
    run.__doc__ = _HELP
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameter(name: str, info: FieldInfo) -> inspect.Parameter:
    """One option. All are text: Settings validates flags and environment variables alike."""
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
    """A default as a user would write it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return ",".join(f"{key}={inner}" for key, inner in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
