"""The `securetenant` command: its subcommands, each in a file of its own that imports what it needs when it runs."""

from typing import Annotated

import typer

from securetenant.cli import plan, render, run, validate, version

app = typer.Typer(
    name="securetenant",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: the same in a pipe, a log and a terminal, and rich is not loaded for it
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


@app.callback()
def root(
    ctx: typer.Context,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours, as with NO_COLOR in the environment.")] = False,
) -> None:
    """Tenant security for Kubernetes: declare a tenant's posture once, have it made, kept and measured.

    \b
    On a laptop or in a pipeline, without a cluster:
      securetenant validate tenants/       what is wrong with the files
      securetenant render tenants/         what would be created
    With a cluster:
      securetenant plan tenants/           what would change, and what has drifted
      securetenant run                     the operator itself
    """
    ctx.obj = no_color


app.command("validate", no_args_is_help=True)(validate.validate)
app.command("render", no_args_is_help=True)(render.render)
app.command("plan")(plan.plan)
app.command("run")(run.command())
app.command("version")(version.version)


def main() -> None:
    """The entry point of the `securetenant` command."""
    app()
