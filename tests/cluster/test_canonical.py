"""What the controls render is what a real API server gives back: a second look at what was written finds nothing.

A difference here would be a hot loop in production, or a false alarm each time.
"""

import json
import re
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import pytest
import pytest_asyncio

from sandbox.plane import Plane
from securetenant.api.tenant import SecureTenant
from securetenant.cache.snapshot import fetch, world_of
from securetenant.controls.lookup import CACHED
from securetenant.drift.applied import grouped
from securetenant.drift.assess import Assessment, assess
from securetenant.drift.judge import Finding
from securetenant.engine.inflight import WritesInFlight
from securetenant.engine.writer import Writer
from securetenant.kube.transport import Transport
from securetenant.model import kinds, names
from securetenant.model.kinds import Kind
from securetenant.model.objects import Observed, Ref
from securetenant.model.platform import Platform
from tests.support import specs
from tests.support.kube import transport_to
from tests.support.sandbox import Admin
from tests.support.specs import TENANTS, Document, documents, drawn
from tests.support.world import NOW

pytestmark = pytest.mark.cluster

GROUPS: Final = 12  # of as many tenants as there are names, who are peers and rivals of each other
NODES: Final = "/api/v1/nodes"
TRIES: Final = 5
# One tenant has a section for each kind: what is drawn may lack one in every group.
EACH_KIND: Final[Document] = {
    "access": {"bindings": [{"role": "Viewer", "subjects": [{"kind": "Group", "name": "oidc:dev"}]}]},
    "quota": {"namespace": {"pods": "10"}},
    "limits": {"container": {"default": {"cpu": "1"}}},
    "nodes": {"selector": {"matchLabels": {"example.com/group": "c0"}}},
}
Objects = dict[Kind, list[Observed]]


class _Unheard:
    """A cache that nobody asks: the answers to the writes are read back from the server."""

    def store(self, observed: Observed) -> None: ...

    def forget(self, ref: Ref, uid: str) -> None: ...


def renamed(group: Iterable[Document], prefix: str) -> list[Document]:
    """The same tenants under names that no other group has, and with nodes of their own."""
    shared = "|".join((*TENANTS, *specs.NAMESPACES))
    text = re.sub(rf'"({shared})"', rf'"{prefix}-\1"', json.dumps(list(group)))
    made: list[Document] = json.loads(text)
    for document in made:
        if "nodes" in document["spec"]:
            document["spec"]["nodes"]["selector"]["matchLabels"]["example.com/group"] = prefix
    return made


def agreed(group: list[Document]) -> list[Document]:
    """With a namespace of its own for each, and a counterpart to each egress to another: they would seldom meet. One
    such egress there is always."""
    by_name = {document["metadata"]["name"]: document["spec"] for document in group}
    first, second = list(by_name)[:2]
    meeting = by_name[first].setdefault("network", {}).setdefault("egress", [])
    meeting.append({"name": "meeting", "to": [{"tenant": second}]})
    for name, spec in by_name.items():
        spec["namespaces"].append({"name": f"{name}-own"})
        for number, rule in enumerate(spec.get("network", {}).get("egress", [])):
            answer = {"name": f"{name}-{number}", "from": [{"tenant": name}], "ports": rule.get("ports", [])}
            for peer in (peer for peer in rule["to"] if peer.get("tenant") in by_name):
                peer.pop("namespaces", None)
                rule.pop("expires", None)
                rule.get("from", {}).pop("namespaces", None)
                rules = by_name[peer["tenant"]].setdefault("network", {}).setdefault("ingress", [])
                rules += [answer] if answer not in rules else []
    return group


@pytest.fixture(scope="module")
def groups() -> list[list[Document]]:
    # Name by name: what is drawn at once shares one budget of entropy, and comes out bare.
    by_name = [drawn(documents(name), GROUPS) for name in TENANTS]
    by_name[0][0]["spec"].update(EACH_KIND)
    return [agreed(renamed(found, f"c{number}")) for number, found in enumerate(zip(*by_name, strict=True))]


@pytest_asyncio.fixture(scope="module")
async def transport(plane: Plane, admin: Admin, groups: list[list[Document]]) -> AsyncIterator[Transport]:
    """The administrator's; what was made is removed after it. There are nodes for the selectors to meet."""
    every = [document for group in groups for document in group]
    nodes = {
        f"canonical-{document['metadata']['name']}": document["spec"]["nodes"]["selector"]["matchLabels"]
        for document in every
        if "nodes" in document["spec"]
    }
    try:
        for name, labels in nodes.items():
            await admin.create(NODES, {"metadata": {"name": name, "labels": labels}})
        async with transport_to(plane.kubeconfig) as transport:
            yield transport
    finally:
        for name in nodes:
            await admin.delete(f"{NODES}/{name}")
        for document in every:
            for entry in document["spec"]["namespaces"]:
                await admin.delete(f"/api/v1/namespaces/{entry['name']}")


def known(
    group: Iterable[Document], surveys: dict[str, Assessment] | None = None, objects: Objects | None = None
) -> list[SecureTenant]:
    """The tenants as the API server would hold them: after a pass (`surveys`), with the status that it leaves."""
    uids = {o.ref.name: o.uid for o in (objects or {}).get(kinds.NAMESPACE, ())}
    tenants = []
    for age, document in enumerate(group):
        name = document["metadata"]["name"]
        metadata = {"name": name, "uid": f"uid-{name}", "generation": 1, "resourceVersion": "2" if surveys else "1"}
        metadata |= {"creationTimestamp": f"2026-01-0{age + 1}T00:00:00Z", "finalizers": [names.FINALIZER]}
        status: dict[str, Any] = {}
        if surveys is not None:
            done = surveys[name]
            status["applied"] = grouped(want.ref for want in done.desired)
            status["namespaces"] = [{"name": place, "uid": uids[place]} for place in sorted(done.held)]
        tenants.append(SecureTenant.model_validate({**document, "metadata": metadata, "status": status}))
    return tenants


def look(group: list[Document], tenants: list[SecureTenant], objects: Objects) -> dict[str, Assessment]:
    world = world_of(objects, tenants, Platform())
    found = {}
    for document in group:
        tenant = world.tenant(document["metadata"]["name"])
        assert tenant is not None
        found[tenant.name] = assess(tenant, world, NOW)
    return found


def told(finding: Finding) -> str:
    got = {name: finding.observed.field(name) for name in finding.observed.fields} if finding.observed else None
    want = finding.desired.body if finding.desired else None
    return f"{finding.reason} {finding.ref} at {finding.path}\n  rendered {want}\n  came back {got}"


async def written(
    transport: Transport, writer: Writer, group: list[Document], objects: Objects
) -> dict[str, Assessment]:
    """A group's first look, all of it written. As in the reconciler, what meets another's write is looked at anew:
    kwok writes the nodes, too."""
    found: dict[str, Assessment] | None = None
    for _ in range(TRIES):
        found = look(group, known(group, found, objects), objects)
        outcomes = [await writer.undo(one.findings, name, one.tenant.metadata.uid) for name, one in found.items()]
        # What the API server answered is what was asked for, to the byte: it defaults and normalizes nothing.
        assert [(one.finding.ref, one.path) for outcome in outcomes for one in outcome.altered] == []
        failed = [(finding.ref, error) for outcome in outcomes for finding, error in outcome.failed]
        if not failed:
            return found
        assert [f"{ref}: {error}" for ref, error in failed if ref.kind is not kinds.NODE] == []
        objects = await fetch(transport)
    raise AssertionError(f"refused {TRIES} times: {failed}")


async def test_a_second_look_finds_nothing(transport: Transport, groups: list[list[Document]]) -> None:
    objects = await fetch(transport)
    writer = Writer(transport, {kind: _Unheard() for kind in CACHED}, WritesInFlight())
    first: list[dict[str, Assessment]] = []
    for group in groups:
        first.append(await written(transport, writer, group, objects))

    objects = await fetch(transport)
    for group, found in zip(groups, first, strict=True):
        again = look(group, known(group, found, objects), objects)
        assert [told(finding) for one in again.values() for finding in one.findings] == []
        assert {name: [*one.held] for name, one in again.items()} == {name: [*one.held] for name, one in found.items()}

    # What this rests on: there was something of each kind, flows that both sides declare among it.
    made = [want for found in first for one in found.values() for want in one.desired]
    for kind in ("Namespace", "NetworkPolicy", "RoleBinding", "ResourceQuota", "LimitRange", "Node"):
        assert any(want.ref.kind.name == kind for want in made), kind
    between = [want for want in made if f'"{names.LABEL_NAMESPACE_NAME}": "c' in json.dumps(want.body)]
    assert len(between) > 3
    assert sum(len(found) for found in first) == GROUPS * len(TENANTS)
