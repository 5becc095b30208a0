"""The order of a pass's writes, and what goes on when one of them fails."""

import asyncio
from collections.abc import Collection
from pathlib import Path

import pytest
from aiohttp import web

from securetenant.drift.judge import Finding
from securetenant.engine.inflight import Echoes
from securetenant.engine.writer import Outcome, Writer
from securetenant.model.kinds import KINDS
from securetenant.model.objects import Desired, Observed, Ref, Superseded
from tests.support.fakeapi import serving, status
from tests.support.kube import transport_to
from tests.support.world import CREATED, observe, tenant

PAY = tenant("pay", namespaces=["pay"])


class Unheard:
    """A cache that nobody looks at."""

    def store(self, observed: Observed) -> None: ...

    def forget(self, ref: Ref, uid: str) -> None: ...


def policy(name: str, *, closing: bool = False) -> Desired:
    return Desired(Ref("NetworkPolicy", "pay", name), "network", {"spec": {"podSelector": {}}}, closing=closing)


def created(name: str, *, closing: bool = False) -> Finding:
    want = policy(name, closing=closing)
    return Finding(want.ref, "network", "Missing", "Create", rollout=True, desired=want)


def deleted(name: str, superseded: Superseded = "") -> Finding:
    have = observe(policy(name), PAY)
    return Finding(have.ref, "network", "Stale", "Delete", rollout=True, observed=have, superseded=superseded)


async def sent(
    folder: Path, findings: list[Finding], *refused: str, altered: Collection[str] = ()
) -> tuple[list[str], Outcome]:
    """What the server carried out, in the order in which it was done with it: it takes its time to create."""
    done: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        body = await request.json()
        name = body.get("metadata", {}).get("name") or request.path.rpartition("/")[2]
        if name in refused:
            return status(403, "Forbidden")
        if request.method == "DELETE":
            done.append(f"-{name}")
            return web.json_response({"kind": "Status"})
        await asyncio.sleep(0.05)  # sleep: the server takes its time
        done.append(f"+{name}")
        set_by_server = {"uid": "1", "resourceVersion": "1", "creationTimestamp": CREATED}
        spec = {"podSelector": {}, "policyTypes": ["Ingress"]} if name in altered else body["spec"]
        return web.json_response({**body, "metadata": {**body["metadata"], **set_by_server}, "spec": spec})

    async with serving(handler, folder) as path, transport_to(path) as transport:
        writer = Writer(transport, {kind: Unheard() for kind in KINDS}, Echoes())
        return done, await writer.undo(findings, "pay", "uid")


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


async def test_a_page_of_a_gateway_is_no_proof_that_it_is_gone(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=404, text="<html>no such page</html>", content_type="text/html")

    async with serving(handler, tmp_path) as path, transport_to(path) as transport:
        cache = Unheard()
        cache.forget = lambda ref, uid: pytest.fail("forgotten")  # type: ignore[method-assign]
        outcome = await Writer(transport, dict.fromkeys(KINDS, cache), Echoes()).undo([deleted("open")], "pay", "u")
    assert [finding.ref.name for finding, _ in outcome.failed] == ["open"]


async def test_one_that_came_back_otherwise_supersedes_nothing(tmp_path: Path) -> None:
    findings = [created("new"), deleted("gone"), deleted("whole", "Wholly"), deleted("part", "Partly")]
    found, outcome = await sent(tmp_path, findings, altered=["new"])
    assert set(found) == {"+new", "-gone", "-part"}
    assert [(item.finding.ref.name, item.path) for item in outcome.altered] == [("new", "spec.policyTypes")]
