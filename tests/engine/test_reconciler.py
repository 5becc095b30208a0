"""Passes over one tenant of which a part fails, against an API that fails on demand: what closes is not held up."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest

from securetenant.api.status import SecureTenantStatus
from securetenant.api.tenant import SecureTenant
from securetenant.cache.tenants import Tenants
from securetenant.cache.world import World
from securetenant.drift.writes import Request
from securetenant.engine.contention import CLOSING_BURST
from securetenant.engine.following import Following
from securetenant.engine.inflight import WritesInFlight
from securetenant.engine.inspection import Inspector
from securetenant.engine.neighbours import Neighbours
from securetenant.engine.reconciler import Reconciler
from securetenant.engine.reporter import Reporter
from securetenant.engine.status import Pass
from securetenant.engine.writer import Writer
from securetenant.kube.errors import ApiError, Conflict, NotFound, Unreachable
from securetenant.kube.transport import Transport
from securetenant.model import names
from securetenant.model.kinds import NAMESPACE, NETWORK_POLICY, Kind
from securetenant.model.objects import Desired, Json, JsonValue, Observed, Ref, marks
from tests.support.world import CREATED, StaticWorld, namespace, observe, observed, tenant

DENY = Ref(NETWORK_POLICY, "pay-a", "securetenant-default-deny")
RULE = Ref(NETWORK_POLICY, "pay-a", "securetenant-ingress-office")


@dataclass
class Api:
    """The SecureTenant on its server. `fail`: what a write of "" or "status" is answered instead."""

    body: dict[str, Any]
    fail: dict[str, ApiError] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None

    async def patch(
        self, kind: Kind, ref: Ref, body: Any, content_type: str = "", subresource: str = "", params: Any = None
    ) -> bytes:
        self.before()
        if error := self.fail.get(subresource):
            raise error
        if subresource == "status":
            self.body["status"] = body[1]["value"]
        else:
            metadata = body["metadata"]
            self.body["metadata"].setdefault("annotations", {}).update(metadata.get("annotations", {}))
            self.body["metadata"]["finalizers"] = metadata.get("finalizers", self.body["metadata"].get("finalizers"))
        self.body["metadata"]["resourceVersion"] = str(int(self.body["metadata"]["resourceVersion"]) + 1)
        return msgspec.json.encode(self.body)

    async def get(self, kind: Kind, ref: Ref) -> bytes:
        raise NotFound(404, "NotFound", "")


class Objects(Writer):
    """Writes into the world, but for what is refused."""

    def __init__(self, world: StaticWorld, refusal: Callable[[Request], ApiError | None]) -> None:
        super().__init__(cast(Transport, None), {}, WritesInFlight())
        self.world, self.refusal, self.number = world, refusal, 100

    async def send(self, request: Request) -> Observed | None:
        if error := self.refusal(request):
            raise error
        if request.verb == "delete":
            self.world.drop(request.ref)
            return None
        self.number += 1
        body, have = cast(dict[str, Any], request.body), self.world.get(request.ref)
        metadata = body["metadata"]
        texts: dict[str, Any] = {key: {**metadata.get(key, {})} for key in ("labels", "annotations")}
        if request.verb == "merge" and have is not None:
            kept = {**have.annotations, **({names.ANNOTATION_APPLIED: have.record} if have.record else {})}
            texts = {"labels": {**have.labels, **texts["labels"]}, "annotations": {**kept, **texts["annotations"]}}
        texts = {key: {k: v for k, v in of.items() if v is not None} for key, of in texts.items()}
        fields = {key: value for key, value in body.items() if key not in ("metadata", "apiVersion", "kind")}
        uid = have.uid if have is not None else f"uid-{self.number}"
        ref = request.ref
        made = observed(ref.kind, ref.name, ref.namespace, uid=uid, **texts, **fields)
        self.world.put(made)
        return made


@dataclass
class Told:
    """What was reported, instead of metrics and Events."""

    passes: list[tuple[Pass, SecureTenantStatus]] = field(default_factory=list)
    gone_with: list[int] = field(default_factory=list)

    def report(self, result: Pass, computed: SecureTenantStatus, seconds: float) -> None:
        self.passes.append((result, computed))

    def gone(self, tenant: SecureTenant, released: int) -> None:
        self.gone_with.append(released)

    def departed(self, tenant: SecureTenant, done: Any) -> None: ...

    def deleting(self, tenant: SecureTenant, condition: Any) -> None: ...

    def forget(self, name: str) -> None: ...

    @property
    def ready(self) -> tuple[str, str]:
        return next((c.status, c.reason) for c in self.passes[-1][1].conditions if c.type == "Ready")


class Stage:
    def __init__(self, refuses: Callable[[Request], bool] = lambda request: False, **spec: Any) -> None:
        self.now, self.at = 1000.0, datetime(2026, 1, 2, tzinfo=UTC)
        self.refuses, self.error = refuses, ApiError(403, "Forbidden", "no")
        metadata = {"name": "pay", "uid": "uid-pay", "resourceVersion": "5", "generation": 1}
        body = {
            "apiVersion": "securetenant.dev/v1alpha1",
            "kind": "SecureTenant",
            "metadata": {**metadata, "creationTimestamp": CREATED},
            "spec": {"namespaces": [{"name": "pay-a"}], **spec},
            "status": {},
        }
        self.tenants = Tenants()
        self.tenants.observe("ADDED", body)
        parsed = self.tenants.get("pay")
        assert parsed is not None
        self.world, self.api, self.told = StaticWorld([parsed]), Api(body), Told()
        self.reconciler = Reconciler(
            cast(Transport, self.api),
            Objects(self.world, lambda request: self.error if self.refuses(request) else None),
            self.tenants,
            cast(World, self.world),
            cast(Reporter, self.told),
            lambda names: None,
            WritesInFlight(),
            Following(),
            Inspector(cast(Transport, self.api), lambda names: None, interval=None),
            Neighbours(lambda names: None),
            monotonic=lambda: self.now,
            now=lambda: self.at,
        )

    async def look(self, times: int = 1) -> Any:
        again = None
        for _ in range(times):
            parsed = self.tenants.get("pay")
            assert parsed is not None
            self.world.put(parsed)
            again = await self.reconciler.reconcile("pay", self.now)
        return again

    def edit(self, **metadata: JsonValue) -> None:
        """A change of the SecureTenant, and its event."""
        self.api.body["metadata"].update(resourceVersion="50", generation=2, **metadata)
        self.tenants.observe("MODIFIED", msgspec.json.decode(msgspec.json.encode(self.api.body)))


def is_quota(request: Request) -> bool:
    return request.ref.kind.name == "ResourceQuota"


@pytest.mark.parametrize("spec", [{}, {"quota": {"namespace": {"pods": "5"}}}], ids=["all-well", "a-failing-write"])
async def test_a_closing_correction_that_waits_is_due_in_a_moment(spec: dict[str, Any]) -> None:
    """Beside a write that never succeeds too, and never with Ready True meanwhile."""
    stage = Stage(is_quota, **spec)
    await stage.look(3)
    for number in range(CLOSING_BURST + 1):
        stage.world.drop(DENY)
        stage.now += 0.01
        again = await stage.look()
        assert (stage.world.get(DENY) is not None) == (number < CLOSING_BURST)
    assert again.after is not None
    assert 0.0 < again.after <= 0.1
    assert again.retry == bool(spec)
    assert stage.told.ready[0] == "False"
    stage.now += again.after
    await stage.look()
    assert stage.world.get(DENY) is not None


async def test_what_became_due_while_the_status_was_written_is_due_at_once() -> None:
    stage = Stage()
    await stage.look(3)
    for _ in range(CLOSING_BURST):
        stage.world.drop(DENY)
        await stage.look()
    stage.world.drop(DENY)
    stage.api.before = lambda: setattr(stage, "now", stage.now + 1.0)
    again = await stage.look()
    assert stage.world.get(DENY) is None
    assert again.after == 0.0


async def test_what_others_made_and_is_only_reported_has_nobody_look_again() -> None:
    stage = Stage()
    await stage.look(3)
    stage.world.put(observed("NetworkPolicy", "open", "pay-a", spec={"podSelector": {}, "ingress": [{}]}))
    again = await stage.look()
    assert stage.told.passes[-1][0].outstanding
    assert again.after is None


async def test_a_correction_that_meets_a_conflict_each_time_has_its_back_off() -> None:
    stage = Stage()
    await stage.look(3)
    stage.world.drop(DENY)
    stage.refuses = lambda request: request.ref == DENY
    stage.error = Conflict(409, "Conflict", "changed meanwhile")
    for _ in range(10):
        again = await stage.look()
        assert again.retry or again.waiting
        assert again.waiting or again.after is None or again.after > 1.0
        stage.now += 0.03


async def test_a_fight_writes_the_status_no_more_often_than_it_changes() -> None:
    stage = Stage()
    await stage.look(3)
    written = 0

    def count() -> None:
        nonlocal written
        written += 1

    for number in range(60):
        if number == 20:
            stage.api.before = count
        stage.world.drop(DENY)
        stage.now += 0.01
        await stage.look()
    assert stage.told.ready == ("False", "Contested")
    assert written <= 10


async def test_a_status_that_cannot_be_written_keeps_nothing_open() -> None:
    rule = {"name": "office", "from": [{"cidr": "10.8.0.0/16"}], "expires": "2026-01-03T00:00:00Z"}
    stage = Stage(network={"ingress": [rule]})
    await stage.look(3)
    assert stage.world.get(RULE) is not None
    stage.world.drop(DENY)
    stage.at = datetime(2026, 1, 4, tzinfo=UTC)
    stage.api.fail = {"status": ApiError(500, "InternalError", "no")}
    again = await stage.look()
    assert again.retry
    assert stage.world.get(RULE) is None
    assert stage.world.get(DENY) is not None


async def test_a_label_of_the_namespace_that_is_refused_holds_no_closing_up() -> None:
    stage = Stage(lambda request: request.verb == "merge" and request.ref.kind.name == "Namespace")
    await stage.look(3)
    space = stage.world.get(Ref(NAMESPACE, "", "pay-a"))
    assert space is not None
    stage.world.put(msgspec.structs.replace(space, labels={}))
    stage.world.drop(DENY)
    await stage.look()
    assert stage.world.get(DENY) is not None


@pytest.mark.parametrize("mark", [{}, marks("pay", "namespaces")], ids=["unmarked", "with-its-mark"])
async def test_a_namespace_whose_adoption_is_refused_is_not_the_tenants(mark: dict[str, str]) -> None:
    """Recorded as its own it would go with the tenant; and nothing is written into it."""
    stage = Stage(lambda request: request.verb == "merge", namespaces=[{"name": "pay-a", "adopt": True}])
    stage.world.put(observed("Namespace", "pay-a", uid="theirs", labels=mark))
    await stage.look(3)
    assert stage.told.ready == ("False", "WriteFailed")
    assert [entry["name"] for entry in stage.api.body["status"]["namespaces"]] == ["pay-a"]
    assert not stage.api.body["status"]["namespaces"][0].get("uid")
    assert stage.world.get(DENY) is None
    stage.refuses = lambda request: False
    await stage.look(2)
    assert stage.api.body["status"]["namespaces"][0]["uid"] == "theirs"
    assert stage.world.get(DENY) is not None


async def test_what_has_our_mark_and_a_record_that_anybody_can_compute_is_drift() -> None:
    """At the first look it is what a pass left that broke off; later it is somebody's."""
    stage = Stage()
    for number in range(2):
        spec: Json = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}
        want = Desired(Ref(NETWORK_POLICY, "pay-a", f"open-{number}"), "network", {"spec": spec})
        if number == 1:
            await stage.look(3)
        stage.world.put(observe(want, tenant("pay", uid="uid-pay", namespaces=["pay-a"])))
    await stage.look()
    result, _ = stage.told.passes[-1]
    assert [item.ref.name for item in result.corrected] == ["open-1"]
    assert stage.world.get(Ref(NETWORK_POLICY, "pay-a", "open-1")) is None


async def test_a_release_is_told_once_though_its_last_answer_is_lost() -> None:
    stage = Stage()
    await stage.look(3)
    stage.edit(deletionTimestamp="2026-01-02T00:00:00Z")
    stage.api.fail = {"": Unreachable(0, "Unreachable", "cut")}
    with pytest.raises(Unreachable):
        await stage.look()
    stage.api.fail = {"": NotFound(404, "NotFound", "")}
    with pytest.raises(NotFound):  # by which the operator looks for it
        await stage.look()
    assert len(stage.told.gone_with) == 1
    assert stage.told.gone_with[0] > 0


async def test_one_made_anew_is_another() -> None:
    """No pass came between: its deviations are told anew."""
    stage = Stage(mode="Audit", namespaces=[{"name": "pay-a", "adopt": True}])
    stage.world.put(namespace("pay-a"))
    await stage.look()
    first = stage.told.passes[-1][0].detected
    assert first
    stage.tenants.observe("DELETED", msgspec.json.decode(msgspec.json.encode(stage.api.body)))
    stage.api.body["status"] = {}
    stage.edit(uid="uid-anew")
    await stage.look()
    assert len(stage.told.passes[-1][0].detected) == len(first)


async def test_a_status_of_a_tenant_that_is_not_there_has_it_looked_for() -> None:
    stage = Stage()
    await stage.look(3)
    stage.world.drop(DENY)
    stage.api.fail = {"status": NotFound(404, "NotFound", "")}
    again = await stage.look()
    assert (again.retry, again.missing) == (True, True)
    assert stage.world.get(DENY) is not None


def _holds(stage: Stage) -> list[tuple[str, str]]:
    """What each status said."""
    return [
        (c.status, c.reason) for _, told in stage.told.passes for c in told.conditions if c.type == "WhitelistHolds"
    ]


async def test_what_a_pass_puts_right_was_never_open() -> None:
    """The flows are compared after the writes: nothing of a creation, an edit or a correction shows."""
    stage = Stage(network={"ingress": [{"name": "office", "from": [{"cidr": "10.8.0.0/16"}]}]})
    await stage.look(3)
    stage.world.drop(DENY)
    stage.world.drop(RULE)
    await stage.look()
    del stage.api.body["spec"]["network"]
    stage.edit()
    await stage.look()
    assert stage.world.get(RULE) is None
    assert set(_holds(stage)) == {("True", "AsDeclared")}


async def test_where_no_namespace_is_held_nothing_is_said_of_what_is_open() -> None:
    stage = Stage()
    stage.world.put(namespace("pay-a"))  # somebody else's
    await stage.look()
    assert _holds(stage) == [("Unknown", "NotJudged")]
    (told,) = (c for c in stage.told.passes[-1][1].conditions if c.type == "WhitelistHolds")
    assert told.message == "the tenant holds no namespace"


async def test_what_others_open_is_told_once_it_stands() -> None:
    stage = Stage()
    await stage.look(3)
    stage.world.put(observed("NetworkPolicy", "open", "pay-a", spec={"podSelector": {}, "ingress": [{}]}))
    await stage.look()
    result, told = stage.told.passes[-1]
    assert result.holds is not None
    assert told.reachability is not None
    assert (told.reachability.unexpected_count, told.reachability.unexpected[0].policy) == (1, "NetworkPolicy/open")
    stage.world.drop(Ref(NETWORK_POLICY, "pay-a", "open"))
    await stage.look()
    assert stage.told.passes[-1][1].reachability is None
    assert _holds(stage)[-2:] == [("False", "Unexpected"), ("True", "AsDeclared")]


async def test_while_a_write_is_retried_nothing_is_said_of_what_is_open() -> None:
    stage = Stage(
        lambda request: request.ref == RULE,
        network={"ingress": [{"name": "office", "from": [{"cidr": "10.8.0.0/16"}]}]},
    )
    stage.error = Conflict(409, "Conflict", "changed meanwhile")
    await stage.look()
    assert _holds(stage) == [("Unknown", "NotJudged")]
    stage.refuses = lambda request: False
    await stage.look()
    assert _holds(stage)[-1] == ("True", "AsDeclared")


async def test_a_policy_that_cannot_be_written_blocks_its_flow() -> None:
    stage = Stage(
        lambda request: request.ref == RULE,
        network={"ingress": [{"name": "office", "from": [{"cidr": "10.8.0.0/16"}]}]},
    )
    await stage.look()
    assert _holds(stage) == [("False", "Blocked")]
