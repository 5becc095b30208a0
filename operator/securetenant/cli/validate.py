"""`securetenant validate`: what is wrong with the tenants in some files, before they are applied."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from securetenant.cli.output import Form, NoColor, Output, console, count, fail, print_json, printable

if TYPE_CHECKING:
    from securetenant.cli.documents import Found
    from securetenant.cli.validate_checks import Checked, Issue

Files = Annotated[
    list[str],
    typer.Argument(metavar="FILE", help="Files, folders (all *.yaml, *.yml, *.json below), or - for stdin."),
]


def validate(
    ctx: typer.Context,
    files: Files,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too, and more things are warned of.")] = False,
    output: Output = Form.text,
    no_color: NoColor = False,
) -> None:
    """Check SecureTenants in files; needs no cluster.

    Every error of every document is reported with file, line and field; documents of other kinds are skipped. Conflicts
    between the given tenants are found too: names, namespaces and nodes claimed twice are errors; an expired rule, or a
    flow that the other tenant does not declare, is a warning. With --strict, so is a platform namespace that a rule
    names and no file declares: give the Namespaces too.

    \b
    Examples:
      securetenant validate tenants/
      securetenant validate --strict tenants/payments.yaml tenants/core-banking.yaml
      kustomize build . | securetenant validate -
      kubectl get namespaces -o yaml | securetenant validate --strict tenants/ -

    \b
    Exit codes:
      0  nothing is wrong (there may be warnings, unless --strict)
      1  errors were found
      2  wrong usage, or a file that cannot be read
    """
    from datetime import UTC, datetime

    from securetenant.cli.documents import Unreadable, read
    from securetenant.cli.validate_checks import check
    from securetenant.settings import Settings

    try:
        platform = Settings.load().platform()
        found = read(files)
    except (Unreadable, ValueError) as error:
        fail(str(error), 2)
    checked = check(found, platform, datetime.now(UTC), strict=strict)
    if output is Form.json:
        _print_json(found, checked)
    else:
        _print_text(ctx, found, checked, no_color)
    if checked.errors or (strict and checked.warnings):
        raise typer.Exit(1)


def located(issue: "Issue") -> str:
    """One line: file:line: name: field: message."""
    parts = [f"{issue.file}:{issue.line}", issue.name, issue.path, issue.message]
    return printable(": ".join(part for part in parts if part))


def note_others(found: "Found", doing: str) -> None:
    """Say on stderr how many of the documents are not SecureTenants: there is nothing to do for them but to check."""
    for kind, number in found.others.items():
        what = count(number, kind.name, kind.plural_name)
        print(f"note: {what} checked: there is nothing to {doing}", file=sys.stderr)


def _print_json(found: "Found", checked: "Checked") -> None:
    print_json(
        {
            "files": found.files,
            "tenants": found.tenants,
            **{kind.plural: number for kind, number in found.others.items()},
            "skipped": found.skipped,
            "errors": len(checked.errors),
            "warnings": len(checked.warnings),
            "problems": [{**asdict(issue), "tenant": issue.tenant} for issue in checked.issues],
        }
    )


def _print_text(ctx: typer.Context, found: "Found", checked: "Checked", no_color: bool) -> None:
    from rich.text import Text

    out = console(ctx, no_color)
    for issue in checked.issues:
        style = "bold red" if issue.severity == "error" else "yellow"
        out.print(Text.assemble((issue.severity, style), " ", located(issue)))
    errors, warnings = count(len(checked.errors), "error"), count(len(checked.warnings), "warning")
    skipped = f", {count(found.skipped, 'other document')} skipped" if found.skipped else ""
    style = "bold red" if checked.errors else "yellow" if checked.warnings else "green"
    ours = [count(found.tenants, "tenant")]
    ours += [count(number, kind.name, kind.plural_name) for kind, number in found.others.items()]
    out.print(f"{', '.join(ours)} in {count(found.files, 'file')}: {errors}, {warnings}{skipped}", style=style)
