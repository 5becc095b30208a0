"""The commands of `securetenant`."""

import typer

from securetenant.cli import run

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
run.register(app)


@app.command()
def version() -> None:
    """Print the version."""
    from securetenant import __version__

    typer.echo(f"securetenant {__version__}")


def main() -> None:
    """The entry point of the `securetenant` command."""
    app()
