"""`securetenant plan`: what would change on the cluster, and what has drifted. It only reads."""

import asyncio
import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer
from typer.core import TyperCommand

from securetenant.cli.output import Form, NoColor, Output, console, fail
from securetenant.cli.validate import located, note_others

if TYPE_CHECKING:
    from securetenant.api.tenant import SecureTenant
    from securetenant.cache.world import World
    from securetenant.cli.plan_changes import Forecast
    from securetenant.cli.validate_checks import Given
    from securetenant.controls.control import Deviation
    from securetenant.kube.transport import ApiError, Transport
    from securetenant.settings import Settings

    # By name; each with the reason why the models refuse its spec, "" if they accept it.
    _Tenants: TypeAlias = dict[str, tuple[SecureTenant, str]]


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
    kubeconfig: Annotated[
        str | None,
        typer.Option("--kubeconfig", metavar="PATH", help="Default: KUBECONFIG, the pod's account, ~/.kube/config."),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option("--context", metavar="NAME", help="Context of the kubeconfig; default: its current one."),
    ] = None,
    output: Output = Form.text,
    no_color: NoColor = False,
) -> None:
    """Show what the operator would change on the cluster, and what has drifted. Writes nothing.

    Without files: the SecureTenants of the cluster as they are. With files: as if these were applied; those of the
    cluster that no file contains stay as they are, and count as peers. It needs the right to list the kinds that the
    operator reads, cluster-wide. The platform's settings (SECURETENANT_DNS_..., as for `securetenant run`) come from
    the environment, and should be the same as the operator's.

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
        given = _given(files or [], settings)
        forecasts, cluster = asyncio.run(_forecasts(settings, given, tenant))
    except (PlanError, ConfigError, ValueError) as error:
        fail(str(error), 1)
    if output is Form.json:
        plan_output.print_as_json(forecasts, cluster)
    else:
        plan_output.print_as_text(console(ctx, no_color), forecasts, cluster)
    raise typer.Exit(sums(forecasts, cluster).exit_code)


def _given(files: Sequence[str], settings: "Settings") -> "list[Given]":
    """The tenants in the files. Raises PlanError with all their errors."""
    if not files:
        return []
    from securetenant.cli.documents import Unreadable, read
    from securetenant.cli.validate_checks import check

    try:
        found = read(files)
        checked = check(found, settings.platform(), datetime.now(UTC))
    except Unreadable as error:
        raise PlanError(str(error)) from error
    if checked.errors:
        raise PlanError("\n".join(located(issue) for issue in checked.errors))
    note_others(found, "plan")
    return checked.tenants


async def _forecasts(
    settings: "Settings", given: "Sequence[Given]", only: str | None
) -> "tuple[list[Forecast], list[Deviation]]":
    """Read the cluster once; forecast each tenant (or `only` one), and without `only` also the cluster's deviations."""
    from securetenant.cache import snapshot
    from securetenant.controls.registry import CONTROLS
    from securetenant.kube.config import load
    from securetenant.kube.transport import ApiError, Transport

    config = await load(settings.kubeconfig, settings.context)
    async with Transport(config, in_flight=settings.requests_in_flight, connect_timeout=5.0) as transport:
        transport.before_write = _refuse
        try:
            standing = await _standing(transport, bool(given))
            objects = await snapshot.fetch(transport)
        except snapshot.ListError as error:
            raise PlanError(_unlisted(error.errors, config.server)) from error
        except ApiError as error:
            raise PlanError(_explained(error, config.server)) from error
        tenants = _tenants(standing, given)
        world = snapshot.world_of(objects, (tenant for tenant, _ in tenants.values()), settings.platform())
        if only is not None and only not in tenants:
            raise PlanError(f"there is no SecureTenant {only}, neither in the cluster nor in the files")
        sources = {one.tenant.name: one.document.source for one in given}
        now = datetime.now(UTC)
        forecasts = [
            await _forecast(*tenants[name], world, now, transport, sources.get(name, ""), name in standing)
            for name in (sorted(tenants) if only is None else [only])
        ]
        wide = [control.cluster for control in CONTROLS if control.cluster is not None and only is None]
        return forecasts, [deviation for judged in wide for deviation in judged.deviations(world)]


def _refuse() -> None:
    raise AssertionError("plan must not write")


async def _standing(transport: "Transport", may_be_absent: bool) -> "_Tenants":
    """The SecureTenants of the cluster."""
    import msgspec

    from securetenant.api.refused import parse
    from securetenant.kube.transport import NotFound
    from securetenant.model.kinds import SECURE_TENANT

    try:
        async with contextlib.aclosing(transport.pages(SECURE_TENANT)) as pages:
            bodies = (body async for page in pages for body in msgspec.json.decode(page)["items"])
            return {body["metadata"]["name"]: parse(body) async for body in bodies}
    except NotFound as error:
        if may_be_absent:
            return {}  # not installed yet: a plan for the first tenants is still useful
        raise PlanError(
            "the cluster does not know SecureTenants: apply the CRD first (kubectl apply -k crds/), "
            "or give files to plan"
        ) from error


def _tenants(standing: "_Tenants", given: "Sequence[Given]") -> "_Tenants":
    """The cluster's tenants, with those of the files as if they were applied. One that does not exist in the cluster
    yet gets a new UID, and loses the metadata that a file may carry from another cluster."""
    import uuid

    from securetenant.api.tenant import Metadata, SecureTenant

    tenants = dict(standing)
    for one in given:
        name, spec = one.tenant.name, one.tenant.spec
        if name in standing:
            tenants[name] = standing[name][0].model_copy(update={"spec": spec}), ""
        else:
            tenants[name] = SecureTenant(metadata=Metadata(name=name, uid=str(uuid.uuid4())), spec=spec), ""
    return tenants


async def _forecast(
    tenant: "SecureTenant",
    problem: str,
    world: "World",
    now: datetime,
    transport: "Transport",
    source: str,
    applied: bool,
) -> "Forecast":
    from securetenant.cli.plan_changes import Forecast, changes, unmet_conditions
    from securetenant.drift.assess import assess
    from securetenant.engine.attribution import attributed

    name, mode = tenant.name, tenant.spec.mode
    if tenant.metadata.deletion_timestamp is not None:
        return Forecast(name, mode, "deleting", source, applied)
    if problem:
        return Forecast(name, mode, "invalid", source, applied, problem)
    if mode == "Paused":
        return Forecast(name, mode, "paused", source, applied)
    found = assess(tenant, world, now)
    found = replace(found, findings=await attributed(transport, found.findings))
    return Forecast(name, mode, "judged", source, applied, "", changes(found), unmet_conditions(found))


def _unlisted(errors: "Mapping[str, ApiError]", server: str) -> str:
    """One sentence about the kinds that could not be listed."""
    from securetenant.kube.transport import Forbidden, Unreachable

    unreachable = next((error for error in errors.values() if isinstance(error, Unreachable)), None)
    if unreachable is not None:
        return _explained(unreachable, server)
    forbidden = sorted(kind for kind, error in errors.items() if isinstance(error, Forbidden))
    if forbidden:
        return f"no right to list {', '.join(forbidden)}: a plan needs get and list on them, cluster-wide"
    return "; ".join(sorted({_explained(error, server) for error in errors.values()}))


def _explained(error: "ApiError", server: str) -> str:
    from securetenant.kube.transport import Forbidden, Unauthorized, Unreachable

    if isinstance(error, Unreachable):
        return f"cannot reach the API server at {server}: {_cause(error)}"
    if isinstance(error, Unauthorized):
        return f"the API server at {server} does not accept the kubeconfig's credentials: {error.message}"
    if isinstance(error, Forbidden):
        return f"the API server at {server} forbids it: {error.message}"
    return f"the API server at {server}: {error}"


def _cause(error: "ApiError") -> str:
    """The system's error text, such as "Connection refused"; if there is none, the whole message."""
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 1:
        return os.strerror(cause.errno)
    return error.message
