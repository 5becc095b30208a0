"""The `securetenant` command: its subcommands, each in a file of its own that imports what it needs when it runs."""

import typer

from securetenant.cli import plan, reach, render, run, validate, version
from securetenant.cli.output import NoColor

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
    no_color: NoColor = False,
) -> None:
    """Tenant security for Kubernetes: declare a tenant once; the operator creates it, keeps it so, and measures drift.

    \b
    On a laptop or in a pipeline, without a cluster:
      securetenant validate tenants/       what is wrong with tenants and workloads in files
      securetenant render tenants/         what would be created
      securetenant reach tenants/          who reaches whom, declared or not
    With a cluster:
      securetenant plan tenants/           what would change, and what has drifted
      securetenant run                     the operator itself
    """
    ctx.obj = no_color


app.command("validate", no_args_is_help=True, short_help="What is wrong with tenants and workloads.")(validate.validate)
app.command("render", no_args_is_help=True, short_help="What would be created for them, as YAML.")(render.render)
app.command("plan", cls=plan.PlanCommand, short_help="What would change on a cluster, and what has drifted.")(plan.plan)
app.command("reach", short_help="Who can really reach whom, and whether it is declared.")(reach.reach)
app.command("run", short_help="The operator itself.")(run.command())
app.command("version", short_help="Versions.")(version.version)


def main() -> None:
    """The entry point of the `securetenant` command."""
    app()
