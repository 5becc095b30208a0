"""`securetenant plan`: what would change on the cluster, and what has drifted. It only reads."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from securetenant.cli.cluster import Context, Kubeconfig, explained, read_tenants, refuse_writes
from securetenant.cli.issues import located
from securetenant.cli.output import Form, NoColor, Output, console, fail
from securetenant.cli.validate import note_others

if TYPE_CHECKING:
    from securetenant.api.tenant import SecureTenant
    from securetenant.cache.world import World
    from securetenant.cli.cluster import Tenants
    from securetenant.cli.plan_changes import Forecast
    from securetenant.cli.plan_flows import Flows
    from securetenant.cli.validate_tenants import Given
    from securetenant.controls.control import Deviation
    from securetenant.drift.assess import Assessment
    from securetenant.kube.transport import ApiError, Transport
    from securetenant.model.objects import Observed
    from securetenant.settings import Settings


class PlanCommand(TyperCommand):
    """Wrong usage exits with 1: with 2, as in the other commands, a pipeline would see it as changes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            error.exit_code = 1
            raise


class PlanError(Exception):
    """No plan is possible; the message says why and what to do."""


def plan(
    ctx: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="Tenants that replace or are added to those of the cluster."),
    ] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", metavar="NAME", help="Show only this one.")] = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Output = Form.text,
    no_color: NoColor = False,
) -> None:
    """Show what the operator would change on the cluster, and what has drifted. Writes nothing.

    Without files: the SecureTenants of the cluster as they are. With files: as if these were applied; those of the
    cluster that no file contains stay as they are, and count as peers. It needs the right to list the kinds that the
    operator reads, cluster-wide. The platform's settings (SECURETENANT_DNS_..., as for `securetenant run`) come from
    the environment, and should be the same as the operator's.

    A NetworkTemplate or a SubnetPool in the files counts as applied too: with a changed template, the tenants that use
    it are shown with the policies that change.

    Where the rules for workloads would change, it lists what runs in these namespaces and would be refused by the new
    rules (with the right to list it), by check, with what to write instead. It runs on until it is created again.
    Where policies would change, it lists the flows that this opens and closes.

    Deviations of the cluster that belong to no single tenant are shown at the end, unless --tenant is given.

    \b
    What the signs mean:
      + create    ~ update    - delete    a rollout: the desired state changed
      !           drift: others changed it, with their field manager if known, and what the operator does about it
      ?           foreign: an object of others that widens access beyond what the tenant declares

    \b
    Examples:
      securetenant plan
      securetenant plan tenants/ --tenant payments
      securetenant plan --context prod --output json | jq .summary

    \b
    Exit codes:
      0  nothing to do: the cluster is as declared
      1  an error: no plan (wrong usage included), or a tenant whose spec is invalid
      2  something would change, has drifted, or is blocked
    """
    from securetenant.cli import plan_output
    from securetenant.cli.plan_changes import sums
    from securetenant.kube.config import ConfigError
    from securetenant.settings import Settings

    try:
        settings = Settings.load(kubeconfig=kubeconfig, context=context)
        given, others = _given(files or [], settings)
        forecasts, cluster = asyncio.run(_forecasts(settings, given, others, tenant))
    except (PlanError, ConfigError, ValueError) as error:
        fail(str(error), 1)
    if output is Form.json:
        plan_output.print_as_json(forecasts, cluster)
    else:
        plan_output.print_as_text(console(ctx, no_color), forecasts, cluster)
    raise typer.Exit(sums(forecasts, cluster).exit_code)


def _given(files: Sequence[str], settings: "Settings") -> "tuple[list[Given], list[Observed]]":
    """The tenants in the files, and the other resources of ours. Raises PlanError with all their errors."""
    if not files:
        return [], []
    from securetenant.cli.documents import Unreadable, read
    from securetenant.cli.validate_tenants import check

    try:
        found = read(files)
        checked = check(found, settings.platform(), datetime.now(UTC), is_whole=False)
    except Unreadable as error:
        raise PlanError(str(error)) from error
    if checked.errors:
        raise PlanError("\n".join(located(issue) for issue in checked.errors))
    note_others(found, "plan")
    return checked.tenants, checked.others


async def _forecasts(
    settings: "Settings", given: "Sequence[Given]", others: "Iterable[Observed]", only: str | None
) -> "tuple[list[Forecast], list[Deviation]]":
    """Read the cluster once; forecast each tenant (or `only` one), and without `only` also the cluster's deviations."""
    from securetenant.cache import snapshot
    from securetenant.cli.plan_flows import peers, planned
    from securetenant.controls.registry import CONTROLS
    from securetenant.drift.assess import assess
    from securetenant.kube.config import load
    from securetenant.kube.transport import ApiError, Transport

    config = await load(settings.kubeconfig, settings.context)
    async with Transport(config, in_flight=settings.requests_in_flight, connect_timeout=5.0) as transport:
        transport.before_write = refuse_writes
        try:
            standing = await _standing(transport, bool(given))
            objects = await snapshot.fetch(transport)
        except snapshot.ListError as error:
            raise PlanError(_unlisted(error.errors, config.server)) from error
        except ApiError as error:
            raise PlanError(explained(error, config.server)) from error
        for one in others:
            kept = [have for have in objects.get(one.ref.kind, ()) if have.ref != one.ref]
            objects[one.ref.kind] = [*kept, one]
        tenants = _tenants(standing, given)
        world = snapshot.world_of(objects, (tenant for tenant, _ in tenants.values()), settings.platform())
        if only is not None and only not in tenants:
            raise PlanError(f"there is no SecureTenant {only}, neither in the cluster nor in the files")
        sources = {one.tenant.name: one.document.source for one in given}
        now = datetime.now(UTC)
        # With the rules of the templates that they use.
        tenants = {name: (world.tenant(name) or one, problem) for name, (one, problem) in tenants.items()}
        chosen = [
            _outline(*tenants[name], sources.get(name, ""), name in standing)
            for name in (sorted(tenants) if only is None else [only])
        ]
        found = {one.tenant: assess(tenants[one.tenant][0], world, now) for one in chosen if one.state == "judged"}
        # Of a flow between two tenants both ends may change, also where only one of them is shown.
        near = [
            assess(peer, world, now)
            for peer in (peers(tenants[only][0], world) if only is not None and only in found else ())
            if _outline(*tenants[peer.name]).state == "judged"
        ]
        flows = planned([*found.values(), *near], world)
        try:
            forecasts = [
                await _forecast(one, found[one.tenant], flows, world, now, transport) if one.tenant in found else one
                for one in chosen
            ]
        except ApiError as error:
            raise PlanError(explained(error, config.server)) from error
        wide = [control.cluster for control in CONTROLS if control.cluster is not None and only is None]
        return forecasts, [deviation for judged in wide for deviation in judged.deviations(world)]


async def _standing(transport: "Transport", may_be_absent: bool) -> "Tenants":
    """The SecureTenants of the cluster."""
    from securetenant.kube.transport import NotFound

    try:
        return await read_tenants(transport)
    except NotFound as error:
        if may_be_absent:
            return {}  # not installed yet: a plan for the first tenants is still useful
        raise PlanError(
            "the cluster does not know SecureTenants: apply the CRD first (kubectl apply -k crds/), "
            "or give files to plan"
        ) from error


def _tenants(standing: "Tenants", given: "Sequence[Given]") -> "Tenants":
    """The cluster's tenants, with those of the files as if they were applied, each with why the API server refuses it.
    One that does not exist in the cluster yet gets a new UID, and loses the metadata that a file may carry from another
    cluster."""
    import uuid

    from securetenant.api.definitions import TENANT
    from securetenant.api.tenant import Metadata, SecureTenant

    tenants = dict(standing)
    for one in given:
        name, spec = one.tenant.name, one.tenant.spec
        if name in standing:
            before = standing[name][0]
            after = before.model_copy(update={"spec": spec})
            refused = [
                f"{rule.path.removeprefix('.')}: {rule.message}"
                for rule in TENANT.transitions
                if not rule.holds(before, after)
            ]
            tenants[name] = after, "; ".join(refused)
        else:
            tenants[name] = SecureTenant(metadata=Metadata(name=name, uid=str(uuid.uuid4())), spec=spec), ""
    return tenants


def _outline(tenant: "SecureTenant", problem: str, source: str = "", applied: bool = True) -> "Forecast":
    """The plan for a tenant, as far as it is known before the tenant is judged."""
    from securetenant.cli.plan_changes import Forecast

    name, mode = tenant.name, tenant.spec.mode
    if tenant.metadata.deletion_timestamp is not None:
        return Forecast(name, mode, "deleting", source, applied)
    if problem:
        return Forecast(name, mode, "invalid", source, applied, problem)
    return Forecast(name, mode, "paused" if mode == "Paused" else "judged", source, applied)


async def _forecast(
    outline: "Forecast",
    found: "Assessment",
    flows: "Mapping[str, Flows]",
    world: "World",
    now: datetime,
    transport: "Transport",
) -> "Forecast":
    from securetenant.cli.plan_changes import changes, unmet_conditions
    from securetenant.cli.plan_running import running
    from securetenant.engine.attribution import attributed

    found = replace(found, findings=await attributed(transport, found.findings))
    return replace(
        outline,
        changes=changes(found),
        unmet=unmet_conditions(found),
        running=await running(transport, found, world, now),
        flows=flows.get(outline.tenant, outline.flows),
    )


def _unlisted(errors: "Mapping[str, ApiError]", server: str) -> str:
    """One sentence about the kinds that could not be listed."""
    from securetenant.kube.transport import Forbidden, Unreachable

    unreachable = next((error for error in errors.values() if isinstance(error, Unreachable)), None)
    if unreachable is not None:
        return explained(unreachable, server)
    forbidden = sorted(kind for kind, error in errors.items() if isinstance(error, Forbidden))
    if forbidden:
        return f"no right to list {', '.join(forbidden)}: a plan needs get and list on them, cluster-wide"
    return "; ".join(sorted({explained(error, server) for error in errors.values()}))
