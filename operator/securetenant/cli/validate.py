"""`securetenant validate`: what is wrong with the tenants and the workloads in some files, before they are applied."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from securetenant.cli.cluster import Context, Kubeconfig
from securetenant.cli.output import NoColor, Report, count, fail

if TYPE_CHECKING:
    from securetenant.api.tenant import SecureTenant
    from securetenant.cli.cluster import Tenants
    from securetenant.cli.documents import Found
    from securetenant.model.objects import Observed
    from securetenant.settings import Settings

Files = Annotated[
    list[str],
    typer.Argument(metavar="FILE", help="Files, folders (all *.yaml, *.yml, *.json below), or - for stdin."),
]


def validate(
    ctx: typer.Context,
    files: Files,
    tenant: Annotated[
        list[str] | None,
        typer.Option("--tenant", "-t", metavar="PATH", help="File or folder of SecureTenants to judge workloads by."),
    ] = None,
    cluster: Annotated[
        bool,
        typer.Option("--cluster", help="Judge by the SecureTenants and NetworkTemplates of the cluster as well."),
    ] = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", metavar="NAME", help="Where workloads go that name no namespace.")
    ] = "",
    injection: Annotated[
        bool,
        typer.Option("--injection", help="The cluster injects into pods: what it adds need not stand in the files."),
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too, and more things are warned of.")] = False,
    output: Annotated[
        Report,
        typer.Option("--output", "-o", help="text for people; json; sarif and junit for the tools that read them."),
    ] = Report.text,
    no_color: NoColor = False,
) -> None:
    """Check SecureTenants and workloads in files; needs no cluster.

    Every error of every document is reported with file, line and field; documents of other kinds are skipped. Conflicts
    between the given tenants are found too: names, namespaces and nodes claimed twice are errors; an expired rule, or a
    flow that the other tenant does not declare, is a warning. A tenant that uses a NetworkTemplate needs its file as
    well, or --cluster. With --strict, so is a platform namespace that a rule
    names and no file declares: give the Namespaces too.

    Workloads (Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, ReplicationControllers, Jobs, CronJobs) are
    judged as the API server would judge their pods, by the tenant that their namespace belongs to: one of those in
    the files, of --tenant, or of the cluster (--cluster, or --kubeconfig or --context, which say which). What it would
    refuse is an error; what it would admit, since admission is Warn or the mode is not Enforce, is a warning. An
    exemption that is used is noted. What manifests/components/injection adds to pods (the selection of dedicated nodes,
    the pull policy) must stand in the files, unless --injection says that the cluster has it. A workload in a
    namespace of no known tenant is not judged: a warning, with --strict an error.

    \b
    Examples:
      securetenant validate tenants/
      securetenant validate --strict tenants/payments.yaml tenants/core-banking.yaml
      kustomize build . | securetenant validate --tenant tenants/ -
      helm template web chart/ | securetenant validate --cluster --namespace payments-prod -
      securetenant validate --tenant tenants/ --output sarif manifests/ > securetenant.sarif
      kubectl get namespaces -o yaml | securetenant validate --strict tenants/ -

    \b
    Exit codes:
      0  nothing is wrong (there may be warnings, unless --strict)
      1  errors were found
      2  wrong usage, a file that cannot be read, or a cluster that cannot be reached
    """
    from datetime import UTC, datetime

    from securetenant import memory
    from securetenant.cache.snapshot import world_without_cluster
    from securetenant.cli import validate_output
    from securetenant.cli.documents import Unreadable, read
    from securetenant.cli.validate_tenants import check
    from securetenant.cli.validate_workloads import Judge
    from securetenant.settings import Settings

    memory.prepare()
    now = datetime.now(UTC)
    try:
        settings = Settings.load(kubeconfig=kubeconfig, context=context)
        platform = settings.platform()
        found, aside = read(files), read(tenant or [])
        standing, others = _standing(settings) if cluster or kubeconfig or context else ({}, [])
    except (Unreadable, ValueError) as error:
        fail(str(error), 2)
    # Workloads are not judged by rules of the network.
    rules = check(aside, platform, now, standing=others, is_whole=False)
    checked = check(found, platform, now, strict=strict, standing=[*others, *rules.others])
    tenants: dict[str, SecureTenant] = {name: one for name, (one, _) in standing.items()}
    tenants |= {one.tenant.name: one.tenant for one in (*rules.tenants, *checked.tenants)}
    refused = {name: problem for name, (one, problem) in standing.items() if problem and tenants[name] is one}
    judge = Judge(world_without_cluster(tenants.values(), platform), now, refused, injection=injection)
    judged = judge.judge(found.workloads, namespace)
    issues = [
        *checked.issues,
        *rules.errors,
        *judged.issues,
        *judge.unjudged(judged.others, namespace, strict=strict),
    ]
    issues.sort(key=lambda issue: (issue.file, issue.line, issue.path, issue.message))
    result = validate_output.Result(found, issues, judged.workloads, judged.others, strict)
    validate_output.show(ctx, result, output, no_color)
    if result.failing:
        raise typer.Exit(1)


def _standing(settings: "Settings") -> "tuple[Tenants, list[Observed]]":
    """The SecureTenants and NetworkTemplates of the cluster. Raises ValueError if they cannot be read."""
    import asyncio

    from securetenant.kube.config import ConfigError

    try:
        return asyncio.run(_read(settings))
    except ConfigError as error:
        raise ValueError(str(error)) from error


async def _read(settings: "Settings") -> "tuple[Tenants, list[Observed]]":
    from securetenant.cache.snapshot import listed
    from securetenant.cli.cluster import explained, read_tenants, refuse_writes
    from securetenant.kube.config import load
    from securetenant.kube.transport import ApiError, NotFound, Transport
    from securetenant.model.kinds import NETWORK_TEMPLATE

    config = await load(settings.kubeconfig, settings.context)
    async with Transport(config, in_flight=settings.requests_in_flight, connect_timeout=5.0) as transport:
        transport.before_write = refuse_writes
        try:
            return await read_tenants(transport), await listed(transport, NETWORK_TEMPLATE) or []
        except NotFound as error:
            message = "the cluster does not know SecureTenants: apply the CRD first (kubectl apply -k crds/)"
            raise ValueError(message) from error
        except ApiError as error:
            raise ValueError(explained(error, config.server)) from error


def note_others(found: "Found", doing: str) -> None:
    """Say on stderr how many of the documents are not SecureTenants: there is nothing to do for them but to check."""
    from securetenant.model.kinds import NETWORK_TEMPLATE

    for kind, number in found.resources.items():
        if kind is NETWORK_TEMPLATE:  # its rules are those of the tenants that use it
            continue
        what = count(number, kind.name, kind.plural_name)
        print(f"note: {what} checked: there is nothing to {doing}", file=sys.stderr)
