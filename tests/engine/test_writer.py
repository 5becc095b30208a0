"""The order of a pass's writes, and what goes on when one of them fails."""

import asyncio
from collections.abc import Collection
from pathlib import Path

import pytest
from aiohttp import web

from securetenant.controls.lookup import CACHED
from securetenant.drift.judge import Finding
from securetenant.engine.inflight import WritesInFlight
from securetenant.engine.writer import Outcome, Writer
from securetenant.model import names
from securetenant.model.kinds import NAMESPACE, NETWORK_POLICY
from securetenant.model.objects import Desired, Observed, Ref, Superseded
from securetenant.model.record import annotation
from tests.support.fakeapi import serving, status
from tests.support.kube import transport_to
from tests.support.world import CREATED, namespace, observe, tenant

PAY = tenant("pay", namespaces=["pay"])
SPACE = Desired(Ref(NAMESPACE, "", "pay"), "namespaces", labels={"team": "payments"})


class Unheard:
    """A cache that nobody looks at."""

    def store(self, observed: Observed) -> None: ...

    def forget(self, ref: Ref, uid: str) -> None: ...


def policy(name: str, place: str = "pay", *, closing: bool = False) -> Desired:
    return Desired(Ref(NETWORK_POLICY, place, name), "network", {"spec": {"podSelector": {}}}, closing=closing)


def recorded(want: Desired) -> str:
    return annotation(want, "pay", "uid")


def created(name: str, place: str = "pay", *, closing: bool = False) -> Finding:
    want = policy(name, place, closing=closing)
    return Finding(want.ref, "network", "Missing", "Create", rollout=True, desired=want, record=recorded(want))


def deleted(name: str, superseded: Superseded = "", *, rollout: bool = True) -> Finding:
    have = observe(policy(name), PAY)
    return Finding(have.ref, "network", "Stale", "Delete", rollout, observed=have, superseded=superseded)


def space(have: Observed | None, *, rollout: bool) -> Finding:
    """The namespace is missing, or is not as it is wanted."""
    if have is None:
        return Finding(SPACE.ref, "namespaces", "Missing", "Create", rollout, desired=SPACE, record=recorded(SPACE))
    return Finding(
        SPACE.ref, "namespaces", "Changed", "Patch", rollout, desired=SPACE, record=recorded(SPACE), observed=have
    )


async def sent(
    folder: Path,
    findings: list[Finding],
    *refused: str,
    altered: Collection[str] = (),
    refusal: tuple[int, str] = (403, "Forbidden"),
    entering: Collection[str] = (),
) -> tuple[list[str], Outcome]:
    """What the server carried out, in the order in which it was done with it: it takes its time, and most to delete."""
    done: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        body = await request.json()
        name = body.get("metadata", {}).get("name") or request.path.rpartition("/")[2]
        if name in refused:
            return status(*refusal)
        await asyncio.sleep(0.1 if request.method == "DELETE" else 0.05)  # sleep: the server takes its time
        if request.method == "DELETE":
            done.append(f"-{name}")
            return web.json_response({"kind": "Status"})
        done.append(f"+{name}")
        set_by_server = {"uid": "1", "resourceVersion": "1", "creationTimestamp": CREATED}
        spec = {"podSelector": {}, "policyTypes": ["Ingress"]} if name in altered else body["spec"]
        return web.json_response({**body, "metadata": {**body["metadata"], **set_by_server}, "spec": spec})

    async with serving(handler, folder) as path, transport_to(path) as transport:
        writer = Writer(transport, {kind: Unheard() for kind in CACHED}, WritesInFlight())
        return done, await writer.undo(findings, "pay", "uid", entering=entering)


@pytest.mark.parametrize("how", ["Wholly", "Partly"])
async def test_what_others_supersede_goes_after_them_and_the_rest_at_once(tmp_path: Path, how: Superseded) -> None:
    findings = [deleted("old", how), deleted("gone"), created("new"), created("deny", closing=True)]
    done, outcome = await sent(tmp_path, findings)
    assert done == ["+deny", "-gone", "+new", "-old"]
    assert len(outcome.done) == 4


@pytest.mark.parametrize(
    ("refused", "done"),
    [
        pytest.param("new", {"+deny", "-gone", "-part"}, id="one that opens"),
        pytest.param("deny", {"-gone", "-part"}, id="one that closes"),
    ],
)
async def test_a_failed_write_keeps_only_what_is_declared_still(tmp_path: Path, refused: str, done: set[str]) -> None:
    findings = [
        created("deny", closing=True),
        created("new"),
        deleted("gone"),
        deleted("whole", "Wholly"),
        deleted("part", "Partly"),
    ]
    found, outcome = await sent(tmp_path, findings, refused)
    assert set(found) == done
    assert [finding.ref.name for finding, _ in outcome.failed] == [refused]


async def test_what_closes_waits_for_no_failed_write(tmp_path: Path) -> None:
    """A policy that was widened is put right although the closing one is refused; one that is missing waits for it."""
    wide = observe(policy("wide"), PAY, spec={"podSelector": {}, "ingress": [{}]})
    narrowed = Finding(wide.ref, "network", "Changed", "Replace", rollout=False, desired=policy("wide"), observed=wide)
    found, outcome = await sent(tmp_path, [created("deny", closing=True), created("new"), narrowed], "deny")
    assert found == ["+wide"]
    assert [finding.ref.name for finding, _ in outcome.failed] == ["deny"]


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "somebody else's"])
async def test_nothing_opens_while_what_it_replaces_cannot_be_closed(tmp_path: Path, ours: bool) -> None:
    """What somebody else made is no part of the edit, and nobody may hold up a tenant's flows by it."""
    found, outcome = await sent(tmp_path, [created("new"), deleted("gone", rollout=ours)], "gone")
    assert found == ([] if ours else ["+new"])
    assert [finding.ref.name for finding, _ in outcome.failed] == ["gone"]


async def test_a_page_of_a_gateway_is_no_proof_that_it_is_gone(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=404, text="<html>no such page</html>", content_type="text/html")

    async with serving(handler, tmp_path) as path, transport_to(path) as transport:
        cache = Unheard()
        cache.forget = lambda ref, uid: pytest.fail("forgotten")  # type: ignore[method-assign]
        outcome = await Writer(transport, dict.fromkeys(CACHED, cache), WritesInFlight()).undo(
            [deleted("open")], "pay", "u"
        )
    assert [finding.ref.name for finding, _ in outcome.failed] == ["open"]


async def test_one_that_came_back_otherwise_supersedes_nothing(tmp_path: Path) -> None:
    findings = [created("new"), deleted("gone"), deleted("whole", "Wholly"), deleted("part", "Partly")]
    found, outcome = await sent(tmp_path, findings, altered=["new"])
    assert set(found) == {"+new", "-gone", "-part"}
    assert [(item.finding.ref.name, item.path) for item in outcome.altered] == [("new", "spec.policyTypes")]


@pytest.mark.parametrize("refusal", [(403, "Forbidden"), (500, "InternalError")], ids=["forbidden", "a-failed-webhook"])
@pytest.mark.parametrize(
    "bringing",
    [
        pytest.param(space(None, rollout=True), id="created"),
        pytest.param(space(None, rollout=False), id="made-anew"),
        pytest.param(space(namespace("pay"), rollout=True), id="adopted"),
        pytest.param(space(observe(SPACE, tenant("gone")), rollout=True), id="adopted-from-one-that-is-gone"),
        pytest.param(space(observe(SPACE, PAY, labels={"team": "cards"}), rollout=True), id="adopted-with-its-mark"),
    ],
)
async def test_nothing_is_written_into_a_namespace_that_could_not_be_made_the_tenants(
    tmp_path: Path, bringing: Finding, refusal: tuple[int, str]
) -> None:
    """It is another's yet, or nobody's, and what closes would close it to whoever uses it. The others go on."""
    contents = [created("deny", closing=True), created("new"), deleted("gone"), deleted("part", "Partly")]
    elsewhere = created("elsewhere", "pay-b", closing=True)
    found, outcome = await sent(tmp_path, [*contents, elsewhere, bringing], "pay", refusal=refusal, entering=["pay"])
    assert found == ["+elsewhere"]
    assert [finding for finding, _ in outcome.failed] == [bringing]


@pytest.mark.parametrize(
    "correction",
    [
        pytest.param(space(observe(SPACE, PAY, labels={"team": "cards"}), rollout=False), id="a-label"),
        pytest.param(space(observe(SPACE, PAY, labels={"team": "cards"}), rollout=True), id="a-label-of-the-spec"),
        # Whoever may patch a namespace could keep it open by that, if the mark told whose it is.
        pytest.param(space(namespace("pay"), rollout=False), id="its-mark"),
    ],
)
async def test_what_closes_waits_for_no_label_of_a_namespace_that_is_the_tenants(
    tmp_path: Path, correction: Finding
) -> None:
    contents = [created("deny", closing=True), created("new"), deleted("gone")]
    found, outcome = await sent(tmp_path, [*contents, correction], "pay")
    assert sorted(found) == ["+deny", "-gone"]
    assert [finding for finding, _ in outcome.failed] == [correction]


# --- what the policy on our own account refuses while the API server has not seen the mark on the namespace yet


@pytest.mark.parametrize(("times", "by", "asked"), [(3, names.RESTRAINT, 4), (9, names.RESTRAINT, 6), (3, "theirs", 1)])
async def test_a_write_that_our_own_restraint_refuses_is_sent_again_for_a_moment(
    tmp_path: Path, times: int, by: str, asked: int
) -> None:
    tried: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        body = await request.json()
        tried.append(body["metadata"]["name"])
        if len(tried) <= times:
            message = (
                f"... is forbidden: ValidatingAdmissionPolicy '{by}' with binding 'b' denied request: restrained: x"
            )
            return status(403, "Forbidden", message)
        set_by_server = {"uid": "1", "resourceVersion": "1", "creationTimestamp": CREATED}
        return web.json_response({**body, "metadata": {**body["metadata"], **set_by_server}})

    async with serving(handler, tmp_path) as path, transport_to(path) as transport:
        writer = Writer(transport, {kind: Unheard() for kind in CACHED}, WritesInFlight())
        outcome = await writer.undo([created("a")], "pay", "uid")
    assert len(tried) == asked
    assert bool(outcome.failed) is (times >= asked)
