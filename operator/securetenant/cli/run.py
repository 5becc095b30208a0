"""`securetenant run`: the operator itself. Its flags are made from the fields of Settings."""

import inspect
import sys
from typing import Annotated, Any

import typer

from securetenant.settings import Settings, flag, variable


def register(app: typer.Typer) -> None:
    app.command("run")(_command())


def _command() -> Any:
    def run(**flags: Any) -> None:
        from securetenant import app

        try:
            settings = Settings.load(**flags)
        except ValueError as error:
            print(error, file=sys.stderr)
            raise typer.Exit(2) from None
        raise typer.Exit(app.main(settings))

    run.__doc__ = "Run the operator."
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[
                    str | None,
                    typer.Option(flag(name), help=f"{info.description} [{variable(name)}]"),
                ],
            )
            for name, info in Settings.model_fields.items()
        ]
    )
    run.__annotations__ = {p.name: p.annotation for p in run.__signature__.parameters.values()}  # type: ignore[attr-defined]
    return run
