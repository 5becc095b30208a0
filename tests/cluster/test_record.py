"""Every change leaves a record: log lines and Events say what was rolled out and why, which flows opened and closed,
and what became of the tenant itself; and in a tenant's namespace, what was undone there."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from securetenant.controls.lookup import NAMES
from tests.support import life
from tests.support.life import NAMESPACES
from tests.support.sandbox import APPLY, Admin, wait_for
from tests.support.tenants import BINDINGS, POLICIES, Stage, Tenant, peer_rule

pytestmark = pytest.mark.cluster
EVENTS: Final = "/api/v1/namespaces/{}/events"
Json = dict[str, Any]


async def events(admin: Admin, reason: str, *, about: str, namespace: str = "default") -> list[Json]:
    """The Events with that reason about the object with the UID `about`."""
    selector = f"involvedObject.uid={about},reason={reason}"
    listed = await admin.get(EVENTS.format(namespace), params={"fieldSelector": selector})
    return list(listed["items"])


class Told:
    """What was told of a tenant."""

    def __init__(self, tenant: Tenant, uid: str) -> None:
        self.tenant, self.uid = tenant, uid

    @classmethod
    async def of(cls, tenant: Tenant) -> "Told":
        return cls(tenant, (await tenant.get())["metadata"]["uid"])

    async def line(self, event: str, **fields: Any) -> Json:
        """Wait for the one line with these fields."""

        async def found() -> Json:
            lines = [line for line in self.tenant.told(event) if fields.items() <= line.items()]
            assert len(lines) == 1, self.tenant.told(event)
            return lines[0]

        return await wait_for(found, 15, f"the line {event!r} of {self.tenant.name}")

    async def event(self, reason: str, *words: str) -> Json:
        """Wait for the one Event with that reason and these words in its message."""

        async def found() -> Json:
            listed = await events(self.tenant.admin, reason, about=self.uid)
            told = [event for event in listed if all(word in event["message"] for word in words)]
            assert len(told) == 1, [event["message"] for event in listed]
            return told[0]

        return await wait_for(found, 15, f"the Event {reason} of {self.tenant.name}")


def spec(*namespaces: str, **network: Any) -> Json:
    return {"namespaces": [{"name": name} for name in namespaces], "network": network}


def seconds_ahead(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


async def test_when_was_chg_2_open(stage: Stage) -> None:
    """A rule opens when the peer agrees and closes at its end: both are told with rule, peer, ports and ticket."""
    end = seconds_ahead(9)
    rule = peer_rule("out", "egress", {"tenant": "rec-b"}, ports=[8443], ticket="CHG-2", expires=end)
    a = await stage.tenant("rec-a", spec("rec-a1", egress=[rule]))
    told = await Told.of(a)
    await told.line("tenant created", mode="Enforce", namespaces=["rec-a1"])
    await told.event("Created", "rec-a1", "Retain")
    made = await told.line("rolled out", cause="created, generation 1")
    assert made["controls"] == {"namespaces": 1, "network": 3}
    assert made["actions"] == {"created": 4}
    await told.event("RolledOut", "created, generation 1: 4 created (namespaces 1, network 3)")
    assert a.told("flow opened") == [], "the other side has not declared it yet"
    warned = await told.line("rule expires soon", rule="out", ticket="CHG-2", expires=end, within="1d")
    assert warned["level"] == "warning"
    event = await told.event("ExpiresSoon", "egress out (CHG-2)", end)
    assert event["type"] == "Warning"
    assert (await a.get())["status"]["whitelist"]["expiring"] == [
        {"direction": "egress", "rule": "out", "expires": end, "within": "1d"}
    ]

    accepting = peer_rule("in", "ingress", {"tenant": "rec-a"}, ports=[8443], ticket="CHG-7")
    b = await stage.tenant("rec-b", spec("rec-b1", ingress=[accepting]))
    opened = await told.line("flow opened", rule="out", direction="egress", namespace="rec-a1", ticket="CHG-2")
    assert opened["flows"] == ["egress from all pods to namespace rec-b1 on TCP 8443"]
    assert opened["cause"] == "agreed: tenant/rec-b declares it too"
    await told.event("FlowOpened", "egress out (CHG-2) opened in rec-a1", "namespace rec-b1 on TCP 8443", "agreed")
    theirs = await Told.of(b)
    await theirs.line("flow opened", rule="in", ticket="CHG-7", cause="declared")
    await theirs.event("FlowOpened", "ingress in (CHG-7) opened in rec-b1", "namespace rec-a1")

    closed = await told.line("flow expired", rule="out", namespace="rec-a1", ticket="CHG-2")
    assert closed["flows"] == opened["flows"]
    assert opened["timestamp"] < end.rstrip("Z") < closed["timestamp"]
    await told.event("FlowExpired", "egress out (CHG-2) expired in rec-a1", end)
    await told.line("rolled out", cause="expiry of egress out (CHG-2)", actions={"deleted": 1})
    await theirs.line("flow closed", rule="in", ticket="CHG-7")
    await theirs.event("FlowClosed", "ingress in (CHG-7) closed in rec-b1", "which expired")
    await theirs.line("rolled out", cause="what tenant/rec-a declares", actions={"deleted": 1})
    for tenant, written in ((a, 6), (b, 6)):
        await tenant.agrees("none of it to be drift")
        await wait_for(_counts(tenant, written), 10, f"the objects rolled out for {tenant.name}")


def _counts(tenant: Tenant, written: int) -> Callable[[], Any]:
    async def is_counted() -> bool:
        found = {
            dict(labels)["control"]: value
            for (metric, labels), value in (await tenant.operator.metrics()).items()
            if metric == "securetenant_rollout_objects_total" and dict(labels)["tenant"] == tenant.name
        }
        assert found == {**dict.fromkeys(NAMES, 0), "namespaces": 1, "network": written - 1}
        return True

    return is_counted


async def test_a_change_of_mode_is_told_once(stage: Stage) -> None:
    tenant = await stage.tenant("rec-mode", spec("rec-mode-a"))
    told = await Told.of(tenant)
    await life.edit(stage.admin, tenant.name, {"mode": "Paused"})
    line = await told.line("mode changed", before="Enforce", mode="Paused")
    assert line["level"] == "warning"
    event = await told.event("ModeChanged", "mode is Paused and was Enforce (generation 2)")
    assert event["type"] == "Warning"
    await tenant.admin.delete(POLICIES.format("rec-mode-a") + "/securetenant-dns")  # nobody's business while Paused
    await life.edit(stage.admin, tenant.name, {"mode": "Enforce"})
    await told.line("mode changed", before="Paused", mode="Enforce", generation=3)
    await tenant.healed(("network", "Missing"))
    await told.event("ModeChanged", "mode is Enforce and was Paused (generation 3)")
    assert len(tenant.told("mode changed")) == 2


async def test_a_generation_that_writes_nothing_is_told_in_the_log(stage: Stage) -> None:
    tenant = await stage.tenant("rec-idle", spec("rec-idle-a"))
    await tenant.edit({"displayName": "Idle"})
    told = await Told.of(tenant)
    await told.line("nothing written", generation=2, mode="Enforce")
    assert len(tenant.told("rolled out")) == 1


async def test_adoption_and_release(stage: Stage) -> None:
    theirs = await stage.namespace("rec-theirs")
    given = spec("rec-own")
    given["namespaces"].append({"name": "rec-theirs", "adopt": True})
    tenant = await stage.tenant("rec-adopt", given)
    told = await Told.of(tenant)
    uid = theirs["metadata"]["uid"]
    await told.line("namespace adopted", namespace="rec-theirs", uid=uid)
    await told.event("NamespaceAdopted", "rec-theirs", uid)
    assert len(tenant.told("namespace adopted")) == 1, "rec-own is its own"
    await tenant.edit({"namespaces": given["namespaces"][:1]})
    await told.line("object released", object="Namespace/rec-theirs")
    await told.event("Released", "Namespace/rec-theirs")
    await told.line("rolled out", generation=2, cause="generation 2", actions={"released": 4})
    assert tenant.told("namespace adopted")[1:] == []


async def test_deletion_tells_what_stays_and_what_goes(stage: Stage) -> None:
    rule = life.cidr_rule("office", "10.8.0.0/16") | {"expires": "2099-01-01T00:00:00Z"}
    kept = await stage.tenant("rec-kept", spec("rec-kept-a", ingress=[rule]))
    doomed = await stage.tenant("rec-doomed", spec("rec-doomed-a") | {"deletionPolicy": "Delete"})
    of_kept, of_doomed = await Told.of(kept), await Told.of(doomed)
    await kept.delete()
    await of_kept.line("tenant released", policy="Retain", objects=5, unending=["ingress office"])
    await of_kept.event("Released", "5 objects released", "ingress office")
    await doomed.delete()
    await of_doomed.line("namespace deleted", namespace="rec-doomed-a")
    await of_doomed.event("NamespaceDeleted", "rec-doomed-a")
    await of_doomed.line("tenant released", policy="Delete", objects=0, unending=[])


async def test_the_tenants_people_see_what_was_undone_in_their_namespace(stage: Stage) -> None:
    """What was removed is told beside where it stood, about the object itself, with the manager as what it is."""
    network, access = {"foreign": "Remove"}, {"foreign": "Remove"}
    tenant = await stage.tenant(
        "rec-seen", {"namespaces": [{"name": "rec-seen-a"}], "network": network, "access": access}
    )
    admin, here = stage.admin, "rec-seen-a"
    policy: Json = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "theirs"}}
    policy["spec"] = {"podSelector": {}, "ingress": [{}]}
    where = f"{POLICIES.format(here)}/theirs"
    theirs = await admin.patch(where, policy, APPLY, params={"fieldManager": "mallory"})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    binding = {
        "metadata": {"name": "sys:theirs"},
        "roleRef": role,
        "subjects": [{"kind": "User", "name": "eve", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    bound = await admin.create(BINDINGS.format(here), binding)
    await admin.patch(f"{NAMESPACES}/{here}", {"metadata": {"labels": {"securetenant.dev/tenant": "other"}}})
    await tenant.healed(("network", "Foreign"), ("access", "Foreign"), ("namespaces", "Changed"))

    async def told(about: str) -> Json:
        (event,) = await wait_for(
            lambda: events(admin, "DriftCorrected", about=about, namespace=here),
            10,
            f"an Event about {about} in {here}",
        )
        return dict(event)

    event = await told(theirs["metadata"]["uid"])
    assert event["involvedObject"]["kind"] == "NetworkPolicy"
    assert "as the field manager mallory" in event["message"]
    assert "admits ingress from everywhere" in event["message"]
    assert (await told(bound["metadata"]["uid"]))["involvedObject"]["name"] == "sys:theirs"
    own = await admin.get(f"{NAMESPACES}/{here}")
    assert "labels.securetenant.dev/tenant" in (await told(own["metadata"]["uid"]))["message"]
    in_default = await events(admin, "DriftCorrected", about=(await tenant.get())["metadata"]["uid"])
    assert len(in_default) == 3, "and to the platform team, as ever"
