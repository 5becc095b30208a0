"""`securetenant reach`: who can really reach whom, whether a SecureTenant declares it, and what a change opens."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from securetenant.cli.cluster import Context, Kubeconfig
from securetenant.cli.output import NoColor, console, count, fail, printable, told_if_slow

if TYPE_CHECKING:
    from securetenant.cli.reach_answer import Answer
    from securetenant.cli.reach_rows import Rows
    from securetenant.cli.reach_states import Given, State
    from securetenant.settings import Settings

CLUSTER = "cluster"
_UNKNOWN = 3


class ReachForm(StrEnum):
    """The forms of output."""

    text = "text"
    json = "json"
    csv = "csv"
    dot = "dot"
    svg = "svg"


class By(StrEnum):
    """What a matrix has rows and columns for."""

    tenant = "tenant"
    namespace = "namespace"


def reach(
    ctx: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="Files or folders to look at instead of the cluster; - for stdin."),
    ] = None,
    source: Annotated[str | None, typer.Option("--from", metavar="END", help="Where the connection begins.")] = None,
    target: Annotated[str | None, typer.Option("--to", metavar="END", help="Where it ends.")] = None,
    port: Annotated[str | None, typer.Option("--port", metavar="PORT", help="TCP/8443, UDP/5000-5010.")] = None,
    matrix: Annotated[bool, typer.Option("--matrix", help="A table of who reaches whom on which ports.")] = False,
    by: Annotated[By, typer.Option("--by", help="What the table has rows and columns for.")] = By.tenant,
    against: Annotated[
        list[str] | None,
        typer.Option("--against", metavar="PATH", help='The state before: a file or folder, or "cluster".'),
    ] = None,
    undeclared: Annotated[
        bool, typer.Option("--undeclared", help="Only what no SecureTenant declares; exit with 1 if there is any.")
    ] = False,
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", metavar="NAME", help="Only this one.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything, in full.")] = False,
    pods: Annotated[bool, typer.Option("--pods", help="Only for pods and workloads that are there.")] = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Annotated[
        ReachForm,
        typer.Option("--output", "-o", help="text for people; json and csv for programs; dot and svg are pictures."),
    ] = ReachForm.text,
    no_color: NoColor = False,
) -> None:
    """Show who can really reach whom: all NetworkPolicies together, whoever made them. Only reads.

    Of a cluster, or of files: SecureTenants in them count as if they were applied (those in mode Enforce), other
    objects as they are. A flow is declared if SecureTenants declare it, both sides where two tenants are concerned.
    Without --pods it holds for whatever pods there may be.

    Ends: payments-prod, 'payments-prod{app=web}', payments-prod/deployment/web, 203.0.113.7, 10.8.0.0/16;
    --to also service/NAMESPACE/NAME and ingress/NAMESPACE/NAME.

    --against compares: what opens, and what closes, from that state to the one that is looked at. With files and
    `--against cluster`: what opens if they are applied to the cluster.

    \b
    What the signs mean:
      ! open, and no SecureTenant declares it     - declared by both sides, and not open
      + opens                                     ~ closes

    \b
    Examples:
      securetenant reach tenants/ --from payments-prod --to ledger-prod --port TCP/8443
      securetenant reach --matrix
      securetenant reach new/ --against old/ --undeclared
      securetenant reach tenants/ --against cluster
      securetenant reach --tenant payments --output svg > payments.svg

    \b
    Exit codes:
      0  --from and --to: it reaches. --against: nothing opens. --undeclared: there is none. Otherwise: shown
      1  --from and --to: it does not, or not wholly. --against: something opens. --undeclared: there is some
      2  wrong usage, a file that cannot be read or has errors, a cluster that cannot be read
      3  unknown: no such flow as far as is known, but something that decides on it is not understood
    """
    from securetenant import memory
    from securetenant.cli import reach_ends, reach_output, reach_rows
    from securetenant.cli.reach_states import ReachError
    from securetenant.settings import Settings

    memory.prepare()
    asked = source is not None or target is not None
    if asked and (source is None or target is None):
        fail("--from and --to belong together: give both", 2)
    if port is not None and not asked:
        fail("--port belongs to --from and --to", 2)
    if asked and (against or matrix or undeclared):
        fail("--from and --to ask about one state: leave --against, --matrix and --undeclared out", 2)
    if matrix and output in (ReachForm.dot, ReachForm.svg):
        fail(f"a matrix is text, json or csv: leave --matrix out for {output}", 2)
    if asked and output in (ReachForm.csv, ReachForm.dot, ReachForm.svg):
        fail(f"an answer is text or json, not {output}", 2)
    known = pods or reach_ends.needs_pods(source, target)
    services = reach_ends.needs_services(source, target)
    try:
        settings = Settings.load(kubeconfig=kubeconfig, context=context)
        with told_if_slow(f"reading {' '.join(files or ['the cluster'])}"):
            state, before = _states(files or [], against or [], settings, known, services)
        if tenant is not None and tenant not in {*state.tenants, *(before.tenants if before else ())}:
            raise ReachError(f"there is no tenant {tenant}; there are: {', '.join(state.tenants) or 'none'}")
        if pods:
            state, before = state.with_pods(), before and before.with_pods()
        if not tenant and not asked:
            state, before = state.loosened(), before and before.loosened()
        answers = _answers(source, target, port, state) if source is not None and target is not None else []
    except (ReachError, ValueError) as error:
        fail(str(error), 2)
    for note in dict.fromkeys([*(before.notes if before else ()), *state.notes]):
        print(f"note: {printable(note)}", file=sys.stderr)
    out = console(ctx, no_color)
    if answers:
        reach_output.answered(out, answers, state, as_json=output is ReachForm.json)
        raise typer.Exit(_of_answers(answers))
    policies = sum(map(len, state.cluster.policies.values()))
    with told_if_slow(f"computing {count(len(state.cluster.namespaces), 'namespace')} with {policies} NetworkPolicies"):
        if before is None:
            found = reach_rows.of_state(state, tenant or "", everything=everything)
        else:
            found = reach_rows.between(before, state, tenant or "", everything=everything)
    if undeclared:
        found = found._replace(rows=[row for row in found.rows if row.kind == "undeclared"])
    asks = reach_output.Asks(tenant or "", everything, undeclared, by.value if matrix else "")
    reach_output.show(out, output.value, found, state, before, asks)
    raise typer.Exit(_of_rows(found, before is not None, undeclared))


def _states(
    files: list[str], against: list[str], settings: "Settings", pods: bool, services: bool
) -> "tuple[State, State | None]":
    """The state that is looked at, and the one before. Raises ReachError."""
    from datetime import UTC, datetime

    from securetenant.cli.reach_states import ReachError, given, of_files

    def cluster(over: "Given | None" = None) -> "State":
        from securetenant.cli.reach_cluster import of_cluster

        return of_cluster(settings, over, pods=pods, services=services)

    if CLUSTER in against:
        if len(against) > 1 or not files:
            raise ReachError("--against cluster compares files with the cluster: give the files, and nothing else")
        over = given(files, settings.platform(), datetime.now(UTC))
        return cluster(over), cluster()
    before = of_files(against, settings) if against else None
    return (of_files(files, settings) if files else cluster()), before


def _answers(source: str, target: str, port: str | None, state: "State") -> "list[Answer]":
    from securetenant.cli import reach_ends
    from securetenant.cli.reach_answer import answer

    wanted = reach_ends.port(port) if port is not None else None
    from_ = reach_ends.source(source, state)
    return [answer(from_, one, state) for one in reach_ends.targets(target, wanted, state)]


def _of_answers(answers: "list[Answer]") -> int:
    outcomes = {one.outcome for one in answers}
    return 0 if outcomes == {"yes"} else _UNKNOWN if outcomes == {"unknown"} else 1


def _of_rows(found: "Rows", compares: bool, undeclared: bool) -> int:
    if not (compares or undeclared):
        return 0
    if any(row.change == "opened" if compares else True for row in found.rows):
        return 1
    return _UNKNOWN if found.unknown else 0
