"""Writes that the API server carries out, and of which the answer is lost: what is seen then is our own doing."""

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.support import life
from tests.support.fault import Front, Seen, front, run_behind
from tests.support.life import Json
from tests.support.sandbox import Admin, Operator, Plane, wait_for
from tests.support.tenants import POLICIES, Tenant

pytestmark = pytest.mark.cluster

ROUNDS: Final = 12


@pytest_asyncio.fixture
async def behind(plane: Plane, manifests: None, tmp_path: Path) -> AsyncIterator[tuple[Front, Operator]]:
    async with front(plane) as proxy, run_behind(proxy, tmp_path) as operator:
        yield proxy, operator


def cidrs(*blocks: str) -> Json:
    return {"network": {"ingress": [life.cidr_rule("office", block) for block in blocks]}}


async def test_an_edit_after_a_lost_answer_is_no_drift(behind: tuple[Front, Operator], admin: Admin) -> None:
    """The PUT of one edit is carried out and cut; before the next look comes another edit."""
    (proxy, operator), name = behind, "doubt"
    lost: list[Seen] = []

    def loses(seen: Seen) -> bool:
        if seen.method == "PUT" and "ingress-office" in seen.path and not lost:
            lost.append(seen)
            return True
        return False

    try:
        await life.create(admin, name, life.spec(f"{name}-a"))
        await life.ready(admin, name)
        for number in range(ROUNDS):
            lost.clear()
            proxy.loses = loses
            await life.edit(admin, name, cidrs(f"10.1.{number}.0/24"))
            await wait_for(lambda: lost, 10, "an answer to be lost", 0.001)
            await life.edit(admin, name, cidrs(f"10.2.{number}.0/24"))
            await life.ready(admin, name)
        assert await life.drift(operator, name) == {}
        assert life.condition(await life.get(admin, name), "Contested") == {}
    finally:
        await life.remove(admin, name)


async def test_a_correction_of_which_no_answer_came_counts_once(behind: tuple[Front, Operator], admin: Admin) -> None:
    (proxy, operator), name = behind, "doubt-heal"
    lost: list[Seen] = []

    def loses(seen: Seen) -> bool:
        if "/networkpolicies" in seen.path and "default-deny" in seen.path + seen.body and not lost:
            lost.append(seen)
            return True
        return False

    path = f"{POLICIES.format(f'{name}-a')}/securetenant-default-deny"
    try:
        await life.create(admin, name, life.spec(f"{name}-a"))
        await life.ready(admin, name)
        proxy.loses = loses
        await admin.patch(path, {"spec": {"ingress": [{}]}})
        await wait_for(lambda: lost, 10, "an answer to be lost")
        await wait_for(lambda: life.drift(operator, name, "corrected_total"), 20, "the next look to count it")
        await life.ready(admin, name)
        lost.clear()
        await admin.delete(path)
        await wait_for(lambda: lost, 10, "an answer to be lost")
        await life.ready(admin, name)
        counted = {("network", "Changed"): 1, ("network", "Missing"): 1}
        assert await life.drift(operator, name) == counted
        assert await life.drift(operator, name, "corrected_total") == counted
    finally:
        await life.remove(admin, name)


async def test_a_flow_that_a_lost_answer_opened_or_closed_is_on_record(
    behind: tuple[Front, Operator], admin: Admin
) -> None:
    (proxy, operator), name = behind, "doubt-flow"
    lost: list[Seen] = []

    def loses(seen: Seen) -> bool:
        if seen.is_write and "ingress-extra" in seen.path + seen.body and not lost:
            lost.append(seen)
            return True
        return False

    office, extra = (life.cidr_rule(rule, "10.8.0.0/16") for rule in ("office", "extra"))
    tenant = Tenant(admin, operator, name)
    try:
        await life.create(admin, name, life.spec(f"{name}-a"))
        await life.ready(admin, name)
        for event, rules in (("flow opened", [office, extra | {"ticket": "CHG-2"}]), ("flow closed", [office])):
            lost.clear()
            proxy.loses = loses
            await life.edit(admin, name, {"network": {"ingress": rules}})
            await wait_for(lambda: lost, 10, "an answer to be lost")
            await life.ready(admin, name)
            (line,) = [line for line in tenant.told(event) if line["rule"] == "extra"]
            assert line["flows"] == ["ingress to all pods from 10.8.0.0/16 on TCP 8443"]
        assert await life.drift(operator, name) == {}
    finally:
        await life.remove(admin, name)


async def test_under_a_bad_proxy_nothing_is_counted_that_nobody_did(
    behind: tuple[Front, Operator], admin: Admin
) -> None:
    """A third of all answers to writes are lost, through creations, edits and a change of namespaces."""
    (proxy, operator), names = behind, [f"doubt-{number}" for number in range(4)]
    chance = random.Random(7)
    try:
        proxy.loses = lambda seen: chance.random() < 0.3
        for name in names:
            await life.create(admin, name, life.spec(f"{name}-a", f"{name}-b"))
        for number in range(ROUNDS):
            for name in names:
                # What was let go in between is not the tenant's any more: it takes it over again.
                places = [{"name": f"{name}-{part}", "adopt": True} for part in ("a", "b", "c")[: 2 + number % 2]]
                await life.edit(admin, name, {"namespaces": places, **cidrs(f"10.3.{number}.0/24")})
        for name in names:
            await life.ready(admin, name, 60)
        proxy.loses = lambda seen: False
        for name in names:
            assert await life.drift(operator, name) == {}
            assert life.condition(await life.get(admin, name), "Contested") == {}
    finally:
        await life.remove(admin, *names)
