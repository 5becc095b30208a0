"""The bank of examples/bank under the running operator: every agreed flow connects, and nothing else does.

Judged by the tenants' specs (tests/support/declared.py), and by two readers of what the operator wrote.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest
import pytest_asyncio
import yaml

from sandbox import nodes
from securetenant.api.tenant import SecureTenant
from securetenant.model.platform import Platform
from tests.support import life, tenants
from tests.support.cni.reading import addresses
from tests.support.cni.values import Call
from tests.support.declared import Declared
from tests.support.packets import calls, judges
from tests.support.packets import rig as rigs
from tests.support.packets.rig import Rig
from tests.support.sandbox import ROOT, Admin, Plane, wait_for

pytestmark = [pytest.mark.full, pytest.mark.packets]
BANK: Final = ROOT / "examples" / "bank"
ENFORCED: Final = ("core-banking", "payments", "risk")
# In Audit nothing is enforced: its namespace is as one of nobody's.
AUDITED: Final = "treasury"
STRANGER: Final = "packets-stranger"
CALLS: Final = (
    *(Call("TCP", port) for port in (53, 8443, 9443)),
    *(Call("TCP", port) for port in (4999, 5000, 5005, 5010, 5011)),  # payments to the card scheme: 5000 to 5010
    *(Call("UDP", port) for port in (53, 5005, 8443)),
)
# From a registry and by a digest, as payments wants it.
IMAGE: Final = f"registry.bank.example/payments/app@sha256:{'0' * 64}"
# On the nodes that are risk's alone.
DEDICATED: Final[dict[str, Any]] = {
    "nodeSelector": {"securetenant.node-restriction.kubernetes.io/tenant": "risk"},
    "tolerations": [{"key": "securetenant.dev/tenant", "value": "risk", "effect": "NoSchedule"}],
}
NODE_RIGHTS: Final = ROOT / "manifests" / "components" / "nodes" / "role.yaml"
_INGRESS: Final = {"app.kubernetes.io/name": "ingress-nginx"}
PODS: Final[tuple[tuple[str, str, dict[str, str]], ...]] = (
    *(("ledger-prod", app, {"app": app}) for app in ("ledger", "other")),
    ("ledger-test", "ledger", {"app": "ledger"}),
    *(("payments-prod", app, {"app": app}) for app in ("gateway", "teller", "clearing", "other")),
    ("payments-test", "gateway", {"app": "gateway"}),
    ("risk-engine", "model", {"app": "model"}),
    ("risk-lab", "notebook", {"app": "notebook"}),
    ("treasury-legacy", "desk", {"app": "ledger"}),
    *(("ingress-nginx", "controller", _INGRESS), ("ingress-nginx", "other", {})),
    *(("kube-system", "dns", {"k8s-app": "kube-dns"}), ("kube-system", "other", {})),
    (STRANGER, "gateway", {"app": "gateway"}),
)
OUTSIDE: Final = addresses(
    # The branch offices (10.8.0.0/16 without 10.8.9.0/24 and 10.8.250.0/23), the card scheme (203.0.113.0/24), others.
    *("10.8.0.1", "10.8.8.255", "10.8.9.1", "10.8.10.1", "10.8.249.255", "10.8.250.1", "10.8.251.254", "10.8.252.1"),
    *("10.7.255.255", "10.9.0.1", "203.0.112.255", "203.0.113.1", "203.0.113.254", "203.0.114.1", "198.51.100.7"),
    "2001:db8:ffff::1",
)


@pytest_asyncio.fixture(scope="module")
async def bank(
    plane: Plane, admin: Admin, manifests: None, rig: Rig, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Declared]:
    """The bank's tenants as the operator makes them, with pods of each kind; and what they declare."""
    found = {name: _tenant(name) for name in (*ENFORCED, AUDITED)}
    owners = {entry.name: name for name in ENFORCED for entry in found[name].spec.namespaces}
    said = Declared({name: found[name] for name in ENFORCED}, owners, Platform(), datetime.now(UTC))
    before = set(rig.places)
    await admin.apply(NODE_RIGHTS)
    await asyncio.to_thread(nodes.create, plane, 1, {"pool": "risk"}, prefix="packets-risk")
    async with tenants.stage(plane, admin, tmp_path_factory.mktemp("bank"), nodes="packets-risk") as stage:
        stage.names += found
        await stage.namespace(STRANGER)
        stage.places += [*owners, "ingress-nginx", "treasury-legacy"]
        await admin.apply(BANK / "00-platform.yaml")
        await admin.apply("---\n".join((BANK / f"{name}.yaml").read_text() for name in found))
        for name in found:
            await life.settled(stage.operator, name)
        for namespace, name, labels in PODS:
            fields = DEDICATED if owners.get(namespace) == "risk" else {}
            await rig.pod(namespace, name, labels, CALLS, None, IMAGE, **fields)
        rig.outside("outside", OUTSIDE, CALLS)
        yield said
        rig.remove([place for name, place in rig.places.items() if name not in before])
        for namespace, name, _ in PODS:
            await admin.delete(f"/api/v1/namespaces/{namespace}/pods/{name}")
    await admin.kubectl("delete", "--ignore-not-found", "-f", str(NODE_RIGHTS))
    for namespace in stage.places:
        await life.gone(admin, f"/api/v1/namespaces/{namespace}", 60)


def _tenant(name: str) -> SecureTenant:
    return SecureTenant.model_validate(yaml.safe_load((BANK / f"{name}.yaml").read_text()))


async def test_every_agreed_flow_connects_and_nothing_else(rig: Rig, admin: Admin, bank: Declared) -> None:
    inside = [place for place in rig.places.values() if place.end.namespace != rigs.CONTROL]
    tried = {
        attempt
        for attempt in calls.between(inside, CALLS)
        if {attempt.source.end.namespace, attempt.target.end.namespace} & bank.owners.keys()
    }
    declared = {one for one in tried if bank.opens(one.source.end, one.target.end, one.call)}

    async def readers_agree() -> bool:
        """What the operator wrote is what is declared, to both readers."""
        for judge in judges.judges(await judges.objects(admin), rig.places.values()):
            other = sorted(map(str, judge.open(tried) ^ declared))
            assert not other, (type(judge).__name__, len(other), other[:20])
        return True

    await wait_for(readers_agree, 30, "what the operator writes to be what is declared", every=1.0)
    print(f"\n{len(tried)} connections between {len(inside)} places, {len(declared)} of them open")
    await calls.check(tried, declared)
