"""kill -9 at every write of a rollout: the next instance ends where an undisturbed one would, and counts no drift."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from sandbox import nodes
from tests.support import life, strangers
from tests.support.fault import Seen, When
from tests.support.life import NAMESPACES, TENANTS, Json
from tests.support.sandbox import JSON_PATCH, Admin, Plane, wait_for
from tests.support.strangers import Stage

pytestmark = pytest.mark.cluster

#: SECURETENANT_TEST_EVERY_WRITE=1 kills on both sides of each write. Else the first rollout is killed at each of its
#: writes, on one side in turn; what follows at some, spread over all.
EVERY: Final = os.environ.get("SECURETENANT_TEST_EVERY_WRITE", "") not in ("", "0")
ENV: Final = {"SECURETENANT_LEASE_DURATION": "3"}

NODES: Final = "/api/v1/nodes"
LABEL: Final = "securetenant.node-restriction.kubernetes.io/tenant"

Act = Callable[[str], Awaitable[Any]]


@pytest_asyncio.fixture
async def stage(plane: Plane, admin: Admin, manifests: None, tmp_path: Path) -> AsyncIterator[Stage]:
    async with strangers.stage(plane, admin, tmp_path, env=ENV) as stage:
        yield stage


@pytest_asyncio.fixture
async def pool(plane: Plane, admin: Admin, node_rights: None) -> AsyncIterator[list[str]]:
    """Nodes, each for the tenant of its name, and the operator's right to them."""
    names = await asyncio.to_thread(nodes.create, plane, 60 if EVERY else 30, prefix="crash-new")
    try:
        yield names
    finally:
        for name in names:
            await admin.delete(f"{NODES}/{name}")


def namespaces(name: str) -> list[str]:
    return [f"{name}-a", f"{name}-b"]


async def create(stage: Stage, name: str, **other: Any) -> None:
    """A tenant with something of every control."""
    stage.names.append(name)
    await life.create(stage.admin, name, life.spec(*namespaces(name), **other))


def points(count: int) -> list[tuple[int, When]]:
    """At which writes of so many to kill, and on which side of them."""
    if EVERY:
        return list(itertools.islice(each_write(), 2 * count))
    some = sorted({1, 3, count // 2, count} & set(range(1, count + 1)))
    return [(nth, "before" if index % 2 else "after") for index, nth in enumerate(some)]


def each_write() -> Iterator[tuple[int, When]]:
    """One write after the other, without end: on one side of each in turn, or on both."""
    for nth in itertools.count(1):
        if EVERY or nth % 2 == 0:
            yield nth, "before"
        if EVERY or nth % 2 == 1:
            yield nth, "after"


async def writes_of(stage: Stage, name: str, act: Act, check: Act) -> int:
    """How many writes it takes undisturbed."""
    mark = stage.proxy.mark()
    await act(name)
    await wait_for(lambda: holds(check, name), 30, f"{name}, undisturbed")
    return len(writes(stage, mark, name))


def writes(stage: Stage, mark: int, name: str) -> list[Seen]:
    """Those that have to do with the tenant since then."""
    return [seen for seen in stage.proxy.since(mark) if seen.is_write and seen.concerns(name)]


async def killed(stage: Stage, name: str, nth: int, when: When, act: Act, check: Act, *, late: bool = False) -> bool:
    """Do it to one tenant, with a kill at its n-th write; False if it was through before. After a restart `check` must
    hold (unless `late`), and nothing may count as drift."""
    mark = stage.proxy.mark()
    stage.proxy.arm(name, nth, when, stage.running.pid)
    await act(name)
    await wait_for(partial(over, stage, check, name), 30, f"the kill at write {nth} of {name}")
    stage.proxy.disarm()
    if not stage.proxy.fired:
        return False
    operator = await stage.restart()
    try:
        if not late:
            await wait_for(partial(holds, check, name), 30, name)
        await life.settled_or_gone(stage.admin, operator, name)
        if not late:
            await check(name)
        assert await life.drift(operator, name) == {}
    except AssertionError as error:
        at = writes(stage, mark, name)[nth - 1]
        raise AssertionError(f"killed {when} write {nth}, {at.method} {at.path}: {error}") from error
    return True


async def kill_at_some(
    stage: Stage, prefix: str, count: int, act: Act, check: Act, prepare: Act | None = None, *, late: bool = False
) -> None:
    """Do it to one tenant after the other, with a kill at another write each time; `check` must hold after a restart
    (`late`: when all have had theirs), and nothing may count as drift."""
    todo = [(f"{prefix}-{index}", *point) for index, point in enumerate(points(count))]
    if prepare is not None:
        for name, _, _ in todo:
            await prepare(name)
        for name, _, _ in todo:
            await life.ready(stage.admin, name)
    # The last one may not be met: what is written in parallel to others is not always the same number.
    died = [await killed(stage, name, nth, when, act, check, late=late) for name, nth, when in todo]
    assert sum(died) >= len(todo) - 2
    for name, nth, when in todo if late else []:
        await wait_for(partial(holds, check, name), 30, f"{name}, killed {when} write {nth} of {count}")


async def holds(check: Act, name: str) -> bool:
    await check(name)
    return True


async def over(stage: Stage, check: Act, name: str) -> bool:
    return stage.proxy.fired or await holds(check, name)


async def test_first_rollout(pool: list[str], stage: Stage) -> None:
    """At each write of it, and every sort of write is in it."""
    expected: dict[str, Json] = {}
    model, *names = pool

    async def act(name: str) -> None:
        quota = {"namespace": {"pods": "10"}, "tenant": {"services": "8"}}
        own = {"selector": {"matchLabels": {"kubernetes.io/hostname": name}}}
        await create(stage, name, quota=quota, nodes=own)

    async def check(name: str) -> None:
        tenant = await life.is_ready(stage.admin, name)
        # Told last of all, when node and quotas are seen to be in order.
        conditions = [life.condition(tenant, kind).get("status") for kind in ("NodesReady", "QuotaHeld")]
        assert conditions == ["True", "True"], tenant["status"]
        found = life.renamed(await posture(stage.admin, name), name, "crash-new-model")
        assert not expected or found == expected
        assert recorded(tenant) == set(found)

    await stage.start()
    count = await writes_of(stage, model, act, check)
    await life.settled(stage.running, model)
    expected |= life.renamed(await posture(stage.admin, model), model, "crash-new-model")
    assert len(expected) == 2 * (1 + 4 + 1 + 1 + 1) + 1
    assert count >= len(expected) + 2
    # Until one is through before its turn comes: what is written in parallel to others is not always the same number.
    for name, (nth, when) in zip(names, each_write(), strict=False):
        if not await killed(stage, name, nth, when, act, check):
            break
    else:
        pytest.fail(f"more writes than the {count} of the first")
    assert nth > len(expected) + 2


async def posture(admin: Admin, name: str) -> dict[str, Json]:
    """All that a tenant with a node of its name holds."""
    node = await admin.get(f"{NODES}/{name}")
    labels, annotations = node["metadata"]["labels"], node["metadata"]["annotations"]
    held = {"label": labels.get(LABEL), "taints": node["spec"].get("taints"), "record": life.APPLIED in annotations}
    return {name: held, **await life.picture(admin, namespaces(name))}


async def test_edit(stage: Stage) -> None:
    """A rule changed and one added, a binding removed, a namespace let go."""
    expected: dict[str, Json] = {}

    async def act(name: str) -> None:
        rules = [life.cidr_rule("office", "10.9.0.0/16"), life.cidr_rule("vpn", "10.7.0.0/16")]
        entries = [{"name": f"{name}-a", "labels": {"env": "test"}}]
        await life.edit(
            stage.admin, name, {"namespaces": entries, "access": {"bindings": []}, "network": {"ingress": rules}}
        )

    async def check(name: str) -> None:
        tenant = await life.is_ready(stage.admin, name)
        found = life.renamed(await life.picture(stage.admin, namespaces(name)), name, "crash-edit-model")
        assert not expected or found == expected
        left = life.renamed(await life.picture(stage.admin, [f"{name}-b"]), name, "crash-edit-model")
        assert life.marked(left) == []
        assert recorded(tenant) == set(found) - set(left)

    await stage.start()
    await create(stage, "crash-edit-model")
    await life.ready(stage.admin, "crash-edit-model")
    before = await life.picture(stage.admin, ["crash-edit-model-b"])
    count = await writes_of(stage, "crash-edit-model", act, check)
    expected |= await life.picture(stage.admin, namespaces("crash-edit-model"))
    # What was let go stands as it was, the marks aside.
    after = await life.picture(stage.admin, ["crash-edit-model-b"])
    assert {path: item.get("spec") for path, item in after.items()} == {p: i.get("spec") for p, i in before.items()}
    await kill_at_some(stage, "crash-edit", count, act, check, partial(create, stage))


async def test_deletion_with_retain(stage: Stage) -> None:
    before: dict[str, Json] = {}

    async def check(name: str) -> None:
        assert await stage.admin.find(f"{TENANTS}/{name}") is None
        found = await life.picture(stage.admin, namespaces(name))
        assert life.marked(found) == []
        assert specs(life.renamed(found, name, "crash-retain-model")) == before

    await stage.start()
    await create(stage, "crash-retain-model")
    await life.ready(stage.admin, "crash-retain-model")
    before |= specs(await life.picture(stage.admin, namespaces("crash-retain-model")))
    count = await writes_of(stage, "crash-retain-model", delete(stage), check)
    assert len(before) + 1 <= count <= len(before) + 4  # a conflict with a quota's status may be tried again
    await kill_at_some(stage, "crash-retain", count, delete(stage), check, partial(create, stage))


async def test_deletion_with_delete(stage: Stage) -> None:
    async def check(name: str) -> None:
        assert await stage.admin.find(f"{TENANTS}/{name}") is None
        assert await life.picture(stage.admin, namespaces(name)) == {}

    async def prepare(name: str) -> None:
        await create(stage, name, deletionPolicy="Delete")

    await stage.start()
    await prepare("crash-delete-model")
    await life.ready(stage.admin, "crash-delete-model")
    count = await writes_of(stage, "crash-delete-model", delete(stage), check)
    assert count >= 4  # two namespaces, what it waits for, the finalizer
    await kill_at_some(stage, "crash-delete", count, delete(stage), check, prepare, late=True)


def delete(stage: Stage) -> Act:
    async def act(name: str) -> None:
        await stage.admin.delete(f"{TENANTS}/{name}")

    return act


def specs(pictured: dict[str, Json]) -> dict[str, Json]:
    """The content alone."""
    aside = ("labels", "annotations")
    return {path: {k: v for k, v in item.items() if k not in aside} for path, item in pictured.items()}


def recorded(tenant: Json) -> set[str]:
    """What the tenant's own record names, as the paths of `life.picture`, under its model's name."""
    model = "-".join(tenant["metadata"]["name"].split("-")[:2]) + "-model"
    paths = set()
    for namespace, entries in tenant["status"]["applied"].items():
        for entry in entries:
            kind, _, name = entry.partition("/")
            collection = {f"{plural}": path for plural, path in life.CHILDREN.items()}
            plural = "networkpolicies" if kind == "NetworkPolicy" else f"{kind.lower()}s"
            paths.add(f"{collection[plural].format(namespace)}/{name}" if namespace else name)
    return set(life.renamed({path: {} for path in paths}, tenant["metadata"]["name"], model))


async def deleted_policy(admin: Admin, name: str) -> None:
    path = life.CHILDREN["networkpolicies"].format(f"{name}-a")
    await admin.delete(f"{path}/securetenant-default-deny")


async def widened_policy(admin: Admin, name: str) -> None:
    path = life.CHILDREN["networkpolicies"].format(f"{name}-a")
    add = [{"op": "add", "path": "/spec/ingress", "value": [{}]}]
    await admin.patch(f"{path}/securetenant-default-deny", add, JSON_PATCH)


async def stripped_namespace(admin: Admin, name: str) -> None:
    labels = dict.fromkeys(("env", *life.MARKS))
    await admin.patch(f"{NAMESPACES}/{name}-a", {"metadata": {"labels": labels, "annotations": {life.APPLIED: None}}})


async def deleted_namespace(admin: Admin, name: str) -> None:
    await admin.delete(f"{NAMESPACES}/{name}-a")


async def test_tampering_while_nobody_looks_is_drift(stage: Stage) -> None:
    """The contrary: what others did in the operator's absence is counted when it is back, once, and undone."""
    done: dict[str, tuple[Callable[[Admin, str], Awaitable[None]], dict[tuple[str, str], int]]] = {
        "crash-down-deleted": (deleted_policy, {("network", "Missing"): 1}),
        "crash-down-widened": (widened_policy, {("network", "Changed"): 1}),
        "crash-down-stripped": (stripped_namespace, {("namespaces", "Changed"): 1}),
        "crash-down-namespace": (deleted_namespace, {("namespaces", "Missing"): 1}),
    }
    await stage.start()
    for name in done:
        await create(stage, name)
    for name in done:
        await life.ready(stage.admin, name)
    expected = {name: await life.picture(stage.admin, namespaces(name)) for name in done}
    await stage.kill()
    for name, (tamper, _) in done.items():
        await tamper(stage.admin, name)
    await life.gone(stage.admin, f"{NAMESPACES}/crash-down-namespace-a")
    operator = await stage.restart()
    for name, (_, drift) in done.items():
        await life.settled(operator, name)
        await life.ready(stage.admin, name)
        assert await life.picture(stage.admin, namespaces(name)) == expected[name]
        assert await life.drift(operator, name) == drift, name
        assert await life.drift(operator, name, "corrected_total") == drift, name


async def test_a_rule_that_expires_while_nobody_looks_is_no_drift(stage: Stage) -> None:
    """It is closed by the first pass of the next instance, as it was declared to be."""
    name = "crash-expiry"
    await stage.start()
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=10)
    visit = life.cidr_rule("visit", "10.9.0.0/16") | {"expires": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}
    opened = [f"{life.CHILDREN['networkpolicies'].format(n)}/securetenant-ingress-visit" for n in namespaces(name)]
    await create(stage, name, network={"ingress": [life.cidr_rule("office", "10.8.0.0/16"), visit]})
    await life.ready(stage.admin, name)
    before = await life.picture(stage.admin, namespaces(name))
    assert before.keys() > set(opened)
    await stage.kill()
    assert datetime.now(UTC) < expires, "the machine was too slow for this test"
    await wait_for(lambda: datetime.now(UTC) > expires, 12, "the rule to expire")
    assert await life.picture(stage.admin, namespaces(name)) == before
    mark = stage.proxy.mark()
    operator = await stage.restart()
    await life.settled(operator, name)
    tenant = await life.is_ready(stage.admin, name)
    for path in opened:
        del before[path]
    assert await life.picture(stage.admin, namespaces(name)) == before
    assert recorded(tenant) == set(life.renamed(before, name, "crash-expiry-model"))
    assert await life.drift(operator, name) == {}
    assert await life.drift(operator, name, "corrected_total") == {}
    status = f"PATCH {TENANTS}/{name}/status"
    first, *closed, last = [f"{seen.method} {seen.path}" for seen in writes(stage, mark, name)]
    assert (first, sorted(closed), last) == (status, [f"DELETE {path}" for path in opened], status)
    whitelist = tenant["status"]["whitelist"]
    assert (whitelist["declared"], whitelist["agreed"], whitelist["expiredCount"]) == (2, 1, 1)
    (expired,) = whitelist["expired"]
    assert (expired["direction"], expired["rule"], expired["peer"]) == ("ingress", "visit", "cidr/10.9.0.0/16")
    assert "expired at" in expired["reason"]
