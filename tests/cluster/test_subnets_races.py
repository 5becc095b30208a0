"""Many at once, deaths at every write, lost statuses, and a plug-in that goes and comes back: no address is given
twice, and no block is ever moved. By Calico, whose API server side takes whatever is written.
"""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from sandbox.cni import crds
from tests.support import life, pools, strangers
from tests.support.fault import When
from tests.support.life import NAMESPACES, TENANTS
from tests.support.pools import CALICO, PREFIX, entry, spec
from tests.support.sandbox import Admin, Plane, wait_for
from tests.support.strangers import Stage

pytestmark = pytest.mark.cluster
EVERY: Final = os.environ.get("SECURETENANT_TEST_EVERY_WRITE", "") not in ("", "0")
ENV: Final = {"SECURETENANT_SUBNET_RELEASE_DELAY": "0"}


@pytest_asyncio.fixture
async def stage(plane: Plane, admin: Admin, manifests: None, tmp_path: Path) -> AsyncIterator[Stage]:
    """An operator behind a proxy, with the component `subnets`, on a cluster with Calico's CRD."""
    async with _stage(plane, admin, tmp_path) as stage:
        yield stage


@asynccontextmanager
async def _stage(plane: Plane, admin: Admin, folder: Path) -> AsyncIterator[Stage]:
    async with pools.served(admin, crds.CALICO), strangers.stage(plane, admin, folder, env=ENV) as stage:
        try:
            yield stage
        finally:
            await stage.kill()
            await pools.remove_pools(admin)


def blocks(tape: pools.Tape) -> dict[str, list[str]]:
    """Every block that each IPPool ever had."""
    found: dict[str, list[str]] = {}
    for _, item in tape.events:
        if item["kind"] == "IPPool":
            cidrs = found.setdefault(item["metadata"]["name"], [])
            if item["spec"]["cidr"] not in cidrs:
                cidrs.append(item["spec"]["cidr"])
    return found


def never_twice(tape: pools.Tape) -> None:
    """At no moment did two IPPools overlap, and none was ever moved."""
    standing: dict[str, str] = {}
    events = [(pools.version(item), what, item) for what, item in tape.events if item["kind"] == "IPPool"]
    for _, what, item in sorted(events, key=lambda event: event[0]):
        name, cidr = item["metadata"]["name"], item["spec"]["cidr"]
        if what == "DELETED":
            standing.pop(name, None)
            continue
        assert standing.get(name, cidr) == cidr, f"{name} was moved from {standing[name]} to {cidr}"
        standing[name] = cidr
        assert pools.apart(standing.values()), standing
    assert all(len(cidrs) == 1 for cidrs in blocks(tape).values()), blocks(tape)


async def ready(admin: Admin, names: Iterable[str], deadline: float = 60.0) -> None:
    await asyncio.gather(*(life.ready(admin, name, deadline) for name in names))


async def agrees(admin: Admin, names: Iterable[str]) -> list[str]:
    """What the statuses say was given is what the IPPools have; all of it."""
    all_: list[str] = []
    for name in names:
        for namespace, (cidr,) in (await pools.subnets(admin, name)).items():
            assert (await admin.get(f"{CALICO}/{PREFIX}{namespace}"))["spec"]["cidr"] == cidr
            all_.append(cidr)
    assert pools.apart(all_), sorted(all_)
    return all_


async def test_many_at_once_get_different_blocks(stage: Stage) -> None:
    """Forty tenants with two namespaces each, all in one moment, of three sizes; the pool is just large enough."""
    admin, names = stage.admin, [f"race-many-{number}" for number in range(40)]
    await pools.pool(admin, "race-many", "10.91.0.0/20", "10.91.16.0/22", reserved=["10.91.4.0/22"])
    await stage.start()
    stage.names += names
    async with pools.recorded(admin, NAMESPACES, CALICO) as tape:
        await strangers.each(
            names,
            lambda name: life.create(
                admin,
                name,
                spec(
                    entry(f"{name}-a", pool="race-many", prefixLength=26 + int(name[-1]) % 3),
                    entry(f"{name}-b", pool="race-many", prefixLength=28),
                ),
            ),
        )
        await ready(admin, names)
    never_twice(tape)
    given = await agrees(admin, names)
    assert len(given) == 80
    allocated = sum(2 ** (32 - int(cidr.rpartition("/")[2])) for cidr in given)
    status = await pools.pool_status(
        admin, "race-many", subnets=80, allocated=str(allocated), reserved="1024", free=str(4096 - allocated)
    )
    assert status["conditions"][0]["status"] == "True"
    for name in names:
        assert await life.drift(stage.running, name) == {}


async def test_the_same_addresses_are_had_by_one(stage: Stage) -> None:
    """Of ten that declare the same block, or parts of it, in one moment."""
    admin, names = stage.admin, [f"race-same-{number}" for number in range(10)]
    await stage.start()
    stage.names += names
    async with pools.recorded(admin, NAMESPACES, CALICO) as tape:
        await strangers.each(
            names,
            lambda name: life.create(admin, name, spec(entry(f"{name}-a", cidr=f"10.92.0.0/{20 + int(name[-1]) % 2}"))),
        )

        async def is_settled() -> list[str]:
            found = [life.condition(await life.get(admin, name), "SubnetsReady") for name in names]
            assert sorted(one.get("reason", "") for one in found) == ["Given", *["Overlap"] * 9], found
            return [name for name, one in zip(names, found, strict=True) if one["reason"] == "Given"]

        (winner,) = await wait_for(is_settled, 30, "one to have it")
        await life.ready(admin, winner)
    assert list(blocks(tape)) == [f"{PREFIX}{winner}-a"]
    assert [name for name in names if await admin.find(f"{NAMESPACES}/{name}-a") is not None] == [winner]


async def test_a_pool_that_is_exhausted_and_freed(stage: Stage) -> None:
    """Four blocks for six; who came too late gets what is given up. What is left is told throughout."""
    admin, names = stage.admin, [f"race-full-{number}" for number in range(6)]
    await pools.pool(admin, "race-full", "10.93.0.0/24", prefixLength=26)
    await stage.start()
    await pools.pool_status(
        admin, "race-full", subnets=0, free="256", allocated="0", largestFree="/24", fragmentation=0
    )
    stage.names += names
    async with pools.recorded(admin, NAMESPACES, CALICO) as tape:
        for name in names:
            await life.create(admin, name, spec(entry(f"{name}-a", pool="race-full"), deletionPolicy="Delete"))
            if name in names[:4]:
                await life.ready(admin, name)
            else:
                await _told(admin, name, "PoolExhausted")
            given = min(names.index(name) + 1, 4)
            largest = ["/25", "/25", "/26", ""][given - 1]
            await pools.pool_status(admin, "race-full", subnets=given, free=str(256 - 64 * given), largestFree=largest)
        await admin.delete(f"{TENANTS}/{names[1]}")
        await life.gone(admin, f"{CALICO}/{PREFIX}{names[1]}-a", 30)
        await wait_for(partial(_one_of, admin, names[4:]), 45, "one of those that wait to get the block")
        # Two that are not neighbours: half is free, and no more than a /26 in one piece.
        for name in (names[0], names[2]):
            await admin.delete(f"{TENANTS}/{name}")
        await ready(admin, names[4:], 60)
        await pools.pool_status(
            admin, "race-full", subnets=3, free="64", allocated="192", largestFree="/26", fragmentation=0
        )
        await life.create(admin, "race-full-7", spec(entry("race-full-7-a", pool="race-full", prefixLength=27)))
        stage.names.append("race-full-7")
        await life.ready(admin, "race-full-7")
        await pools.pool_status(admin, "race-full", subnets=4, free="32", largestFree="/27")
        await admin.delete(f"{TENANTS}/{names[3]}")
        await pools.pool_status(admin, "race-full", subnets=3, free="96", largestFree="/26", fragmentation=33)
    never_twice(tape)


async def _told(admin: Admin, name: str, reason: str) -> None:
    async def is_told() -> bool:
        return bool(life.condition(await life.get(admin, name), "SubnetsReady").get("reason") == reason)

    await wait_for(is_told, 20, f"{name}: {reason}")


async def _one_of(admin: Admin, names: Iterable[str]) -> bool:
    return any([await pools.subnets(admin, name) for name in names])


def points() -> Iterator[tuple[int, When]]:
    """One write after the other, without end: on one side of each in turn; or of each other one, unless all are asked
    for as in test_crash.py."""
    for index, nth in enumerate(itertools.count(1, 1 if EVERY else 2)):
        yield nth, "before" if index % 2 else "after"


async def test_killed_at_every_write_of_a_creation(stage: Stage) -> None:
    """Another tenant that waits takes nothing that was given, wherever the operator dies."""
    admin = stage.admin
    await pools.pool(admin, "race-kill", "10.94.0.0/18", prefixLength=27)
    await stage.start()
    died = 0
    async with pools.recorded(admin, NAMESPACES, CALICO) as tape:
        for nth, when in points():
            name, rival = f"race-kill-{nth:02}", f"race-rival-{nth:02}"
            stage.names.append(name)
            stage.proxy.arm(name, nth, when, stage.running.pid)
            await life.create(
                admin, name, spec(entry(f"{name}-a", pool="race-kill"), entry(f"{name}-b", pool="race-kill"))
            )
            await wait_for(partial(_over, stage, name), 30, f"the kill at write {nth} of {name}")
            stage.proxy.disarm()
            if not stage.proxy.fired:
                break
            died += 1
            # While none runs another asks, and is the first that the next one sees or the second.
            stage.names.append(rival)
            await life.create(admin, rival, spec(entry(f"{rival}-a", pool="race-kill")))
            operator = await stage.restart()
            await ready(admin, (name, rival), 30)
            await life.settled(operator, name)
            assert await life.drift(operator, name) == {}, f"killed {when} write {nth}"
        else:
            pytest.fail("no end of writes")
    never_twice(tape)
    assert died >= (10 if EVERY else 5)
    await agrees(admin, [name for name in stage.names if name.startswith("race-")])
    for name in blocks(tape):
        # The namespace came after it, and bound.
        space = tape.first("Namespace", name.removeprefix(PREFIX))
        assert pools.version(tape.first("IPPool", name)) < pools.version(space)
        assert "cni.projectcalico.org/ipv4pools" in space["metadata"]["annotations"]
    await pools.pool_status(admin, "race-kill", subnets=2 * (died + 1) + died)


async def _over(stage: Stage, name: str) -> bool:
    if stage.proxy.fired:
        return True
    return bool(await life.is_ready(stage.admin, name))


async def test_killed_at_every_write_of_a_deletion(stage: Stage) -> None:
    admin = stage.admin
    await pools.pool(admin, "race-end", "10.95.0.0/18", prefixLength=27)
    await stage.start()
    died = 0
    async with pools.recorded(admin, NAMESPACES, CALICO) as tape:
        for nth, when in points():
            name = f"race-end-{nth:02}"
            stage.names.append(name)
            await life.create(admin, name, spec(entry(f"{name}-a", pool="race-end"), deletionPolicy="Delete"))
            await life.ready(admin, name)
            stage.proxy.arm(name, nth, when, stage.running.pid)
            await admin.delete(f"{TENANTS}/{name}")
            await wait_for(partial(_ended, stage, name), 30, f"the kill at write {nth} of {name}")
            stage.proxy.disarm()
            if not stage.proxy.fired:
                break
            died += 1
            await stage.restart()
            await wait_for(partial(_all_gone, admin, name), 40, f"{name} to be gone after the kill {when} write {nth}")
    never_twice(tape)
    assert died >= (4 if EVERY else 2)
    for name in (name for name in stage.names if name.startswith("race-end")):
        # The addresses are free after the namespace is gone, and not before.
        (gone,) = [pools.version(item) for what, item in tape.of("Namespace", f"{name}-a") if what == "DELETED"]
        (freed,) = [pools.version(item) for what, item in tape.of("IPPool", f"{PREFIX}{name}-a") if what == "DELETED"]
        assert gone < freed
    await pools.pool_status(admin, "race-end", subnets=0, allocated="0", largestFree="/18")


async def _all_gone(admin: Admin, name: str) -> bool:
    paths = (f"{TENANTS}/{name}", f"{NAMESPACES}/{name}-a", f"{CALICO}/{PREFIX}{name}-a")
    return all([await admin.find(path) is None for path in paths])


async def _ended(stage: Stage, name: str) -> bool:
    return stage.proxy.fired or await _all_gone(stage.admin, name)


async def test_a_lost_status_is_read_back_from_the_cluster(stage: Stage) -> None:
    """Of a backup that was restored, for example, without the statuses; and rivals ask at once."""
    admin, names = stage.admin, [f"race-lost-{number}" for number in range(4)]
    await pools.pool(admin, "race-lost", "10.99.0.0/24", prefixLength=27)
    await stage.start()
    stage.names += names
    for name in names:
        await life.create(admin, name, spec(entry(f"{name}-a", pool="race-lost")))
        await life.ready(admin, name)
    before = {name: await pools.subnets(admin, name) for name in names}
    # So that the lowest free block is not where the next one would come.
    await admin.delete(f"{TENANTS}/{names[0]}")
    await life.gone(admin, f"{TENANTS}/{names[0]}")
    async with pools.recorded(admin, NAMESPACES, CALICO) as tape:
        await stage.kill()
        await admin.delete(f"{NAMESPACES}/{names[0]}-a")
        await admin.delete(f"{CALICO}/{PREFIX}{names[0]}-a")
        for name in names[1:]:
            await admin.patch(f"{TENANTS}/{name}/status", {"status": None})
        rivals = [f"race-lost-{number}" for number in (7, 8)]
        stage.names += rivals
        for rival in rivals:
            stage.names.append(rival)
            await life.create(admin, rival, spec(entry(f"{rival}-a", pool="race-lost")))
        await stage.restart()
        await wait_for(partial(_given, admin, [*names[1:], *rivals]), 30, "all to have their blocks")
        await life.settled(stage.running, names[1])
    for name in names[1:]:
        assert await pools.subnets(admin, name) == before[name]
    assert await pools.subnets(admin, rivals[0]) or await pools.subnets(admin, rivals[1])
    never_twice(tape)
    await agrees(admin, [*names[1:], *rivals])
    assert {cidr for name in rivals for (cidr,) in (await pools.subnets(admin, name)).values()} == {
        "10.99.0.0/27",
        "10.99.0.128/27",
    }


async def _given(admin: Admin, names: Iterable[str]) -> bool:
    return all([await pools.subnets(admin, name) for name in names])


async def test_the_plug_in_goes_and_comes_back(stage: Stage) -> None:
    """Its CRD is deleted, and with it every pool; what was given comes back as it was, and nobody else gets it."""
    admin, names = stage.admin, [f"race-crd-{number}" for number in range(3)]
    await pools.pool(admin, "race-crd", "10.97.0.0/24", prefixLength=27)
    operator = await stage.start()
    stage.names += names
    for name in names:
        await life.create(admin, name, spec(entry(f"{name}-a", pool="race-crd")))
        await life.ready(admin, name)
    before = {name: await pools.subnets(admin, name) for name in names}
    bound = {name: await pools.annotations(admin, f"{name}-a") for name in names}
    spaces = {name: (await admin.get(f"{NAMESPACES}/{name}-a"))["metadata"]["uid"] for name in names}
    await crds.remove(admin, crds.CALICO)
    for name in names:
        await _told(admin, name, "NoProvider")
    late = "race-crd-late"
    stage.names.append(late)
    await life.create(admin, late, spec(entry(f"{late}-a", pool="race-crd")))
    await _told(admin, late, "NoProvider")
    assert await admin.find(f"{NAMESPACES}/{late}-a") is None
    for name in names:
        assert await pools.annotations(admin, f"{name}-a") == bound[name]
        assert await pools.subnets(admin, name) == before[name]
    async with pools.recorded(admin, NAMESPACES) as spaces_tape:
        await crds.install(admin, crds.CALICO)
        await ready(admin, [*names, late], 60)
    for name in names:
        assert await pools.subnets(admin, name) == before[name]
        assert (await admin.get(f"{NAMESPACES}/{name}-a"))["metadata"]["uid"] == spaces[name]
        for _, item in spaces_tape.of("Namespace", f"{name}-a"):
            assert item["metadata"]["annotations"].items() >= bound[name].items()
    assert await pools.subnets(admin, late) == {f"{late}-a": ["10.97.0.96/27"]}
    await agrees(admin, [*names, late])
    assert operator.running
    # And in the operator's absence, with the status as all that is left.
    await stage.kill()
    await crds.remove(admin, crds.CALICO)
    await crds.install(admin, crds.CALICO)
    new = [f"race-crb-{number}" for number in range(3)]
    stage.names += new
    for name in new:
        await life.create(admin, name, spec(entry(f"{name}-a", pool="race-crd")))
    await stage.restart()
    await ready(admin, [*names, late, *new], 60)
    for name in names:
        assert await pools.subnets(admin, name) == before[name]
    await agrees(admin, [*names, late, *new])
    await pools.pool_status(admin, "race-crd", subnets=7, free="32")


async def test_restarts_change_nothing(stage: Stage) -> None:
    admin, names = stage.admin, [f"race-calm-{number}" for number in range(5)]
    await pools.pool(admin, "race-calm", "10.98.0.0/22")
    await stage.start()
    stage.names += names
    await strangers.each(names[:3], lambda name: life.create(admin, name, spec(entry(f"{name}-a", pool="race-calm"))))
    await ready(admin, names[:3])
    await pools.pool_status(admin, "race-calm", subnets=3)
    async with pools.recorded(admin, NAMESPACES, CALICO, pools.POOLS) as tape:
        for _ in range(2):
            await stage.kill()
            mark = stage.proxy.mark()
            operator = await stage.restart()
            for name in names[:3]:
                await life.settled(operator, name)
            assert [seen for seen in stage.proxy.since(mark) if seen.is_write and seen.concerns("race-calm")] == []
    assert [item for _, item in tape.events if "race-calm" in item["metadata"]["name"]] == []
