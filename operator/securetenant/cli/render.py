"""`securetenant render`: what would be created for the tenants in some files, as YAML, without any cluster."""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import typer

from securetenant.cli.issues import located
from securetenant.cli.output import fail, printable
from securetenant.cli.validate import Files, note_others

if TYPE_CHECKING:
    from datetime import datetime

    from securetenant.api.tenant import SecureTenant
    from securetenant.controls.control import Plan
    from securetenant.controls.world import World
    from securetenant.model.objects import Desired, Json


def render(
    files: Files,
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", metavar="NAME", help="Only this one.")] = None,
) -> None:
    """Print what would be created for the tenants in files, as YAML; needs no cluster.

    The cluster is assumed to be empty except for the given tenants, which count as each other's peers: give all of
    them, with the NetworkTemplates that they use, and select one with --tenant. Namespaces come first, then the
    policies that deny, then what allows. What depends on a real cluster (its nodes, the API server's addresses) is
    listed on stderr instead. The platform's settings (SECURETENANT_DNS_..., as for `securetenant run`) come from the
    environment.

    \b
    Examples:
      securetenant render tenants/ | less
      securetenant render tenants/ --tenant payments > payments-objects.yaml
      git diff --no-index <(securetenant render old/) <(securetenant render new/)

    \b
    Exit codes:
      0  printed
      1  the files have errors (see `securetenant validate`), or there is no such tenant
      2  wrong usage, or a file that cannot be read
    """
    import sys
    from datetime import UTC, datetime

    from securetenant.cache.snapshot import world_without_cluster
    from securetenant.cli.documents import Unreadable, read
    from securetenant.cli.validate_tenants import check
    from securetenant.settings import Settings

    now = datetime.now(UTC)
    try:
        platform = Settings.load().platform()
        found = read(files)
    except (Unreadable, ValueError) as error:
        fail(str(error), 2)
    checked = check(found, platform, now)
    if checked.errors:
        fail("\n".join(located(issue) for issue in checked.errors), 1)
    note_others(found, "render")
    tenants = {given.tenant.name: given.tenant for given in checked.tenants}
    if tenant is not None and tenant not in tenants:
        fail(f"no SecureTenant {tenant} in these files; there are: {', '.join(sorted(tenants)) or 'none'}", 1)
    world = world_without_cluster(tenants.values(), platform, checked.others)
    for name in sorted(tenants) if tenant is None else [tenant]:
        one = world.tenant(name)
        assert one is not None
        plans = _plans(one, world, now)
        for note in _notes(one, plans):
            print(f"note: {name}: {printable(note)}", file=sys.stderr)
        for text in objects(one, plans):
            print(text, end="")


def _plans(tenant: "SecureTenant", world: "World", now: "datetime") -> "list[Plan]":
    """Every control's plan; none while the tenant is Paused."""
    from securetenant.controls.registry import CONTROLS

    return [control.plan(tenant, world, now) for control in CONTROLS if tenant.spec.mode != "Paused"]


def objects(tenant: "SecureTenant", plans: "Iterable[Plan]") -> Iterator[str]:
    """The tenant's objects as YAML documents, each with a line that says what it is."""
    from securetenant.drift.merge import merged

    for want in sorted(merged(want for plan in plans for want in plan.desired), key=_order):
        closing = ", closes" if want.closing else ""
        yield f"---\n# {tenant.name}: {want.control}{closing}\n{to_yaml(_body(want, tenant))}"


def _order(want: "Desired") -> tuple[int, str, str, str]:
    return want.step, want.ref.namespace, want.ref.kind.name, want.ref.name


def _body(want: "Desired", tenant: "SecureTenant") -> "Json":
    """The object as the operator writes it, but without the record unless the file has the SecureTenant's UID, from
    which the record is computed."""
    from securetenant.drift import writes
    from securetenant.model import names
    from securetenant.model.record import annotation

    body = writes.body(want, tenant.name, annotation(want, tenant.name, tenant.metadata.uid))
    metadata = body["metadata"]
    assert isinstance(metadata, dict)
    annotations = metadata["annotations"]
    assert isinstance(annotations, dict)
    if not tenant.metadata.uid:
        del annotations[names.ANNOTATION_APPLIED]
    # Names first, as is usual.
    order = ("name", "namespace", "labels", "annotations")
    return {**body, "metadata": {key: metadata[key] for key in order if metadata.get(key)}}


def _notes(tenant: "SecureTenant", plans: "Iterable[Plan]") -> Iterator[str]:
    """What is not in the output, and why."""
    from securetenant.controls.control import NO_CLUSTER

    if tenant.spec.mode == "Paused":
        yield "mode is Paused: the operator writes nothing for it"
    if tenant.spec.mode == "Audit":
        yield "mode is Audit: the operator only compares with these, and writes nothing"
    for plan in plans:
        for condition in plan.conditions:
            if condition.status == "False" or condition.reason == NO_CLUSTER:
                yield condition.message


def to_yaml(value: Any) -> str:
    """YAML that every parser reads as the same JSON: whatever one of them could misread is in quotes."""
    import yaml

    text: str = yaml.dump(value, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=120)
    return text


@cache
def _dumper() -> Any:
    import yaml

    from securetenant.cli.scalars import is_safe_unquoted

    base: Any = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper

    class Dumper(base):  # type: ignore[misc]
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        style = None if is_safe_unquoted(value) else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return Dumper
