"""A tenant's namespaces and strangers', while an operator runs: what is committed to, and what is taken back."""

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support import life, strangers
from tests.support.fault import Seen
from tests.support.life import CREATING, CREATION, NAMESPACES, TENANTS, Json
from tests.support.sandbox import Admin, Plane
from tests.support.strangers import Stage, remade, untouched
from tests.support.tenants import BINDINGS

pytestmark = pytest.mark.cluster


@pytest_asyncio.fixture(scope="module")
async def stage(
    plane: Plane, admin: Admin, manifests: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    async with strangers.stage(plane, admin, tmp_path_factory.mktemp("operator")) as stage:
        await stage.start()
        yield stage


async def test_a_commitment_stands_before_each_creation(stage: Stage) -> None:
    """With the finalizer for the first ones, in a request of its own for one that comes later."""
    name = "commit"
    mark = stage.proxy.mark()
    await stage.create(name, f"{name}-a", f"{name}-b")
    await life.ready(stage.admin, name)
    await life.edit(stage.admin, name, {"namespaces": [{"name": f"{name}-{n}"} for n in "abc"]})
    await life.ready(stage.admin, name)
    uid = (await life.get(stage.admin, name))["metadata"]["uid"]
    commitments: dict[str, Any] = {}
    patches = 0
    for seen in stage.proxy.since(mark):
        if (seen.method, seen.path) == ("PATCH", f"{TENANTS}/{name}"):
            patches += 1
            commitments = json.loads(json.loads(seen.body)["metadata"]["annotations"][CREATING])
        if (seen.method, seen.path) == ("POST", NAMESPACES):
            made = json.loads(seen.body)["metadata"]
            text = json.dumps([uid, made["name"], made["annotations"][CREATION]], separators=(",", ":"))
            assert hashlib.sha256(text.encode()).hexdigest() in commitments[made["name"]]["digests"]
    assert patches == 2
    assert commitments.keys() == {f"{name}-c"}  # the others count no more


async def test_what_cannot_be_committed_to_is_not_created(stage: Stage) -> None:
    name = "commit-refused"
    await stage.create(name, f"{name}-a")
    await life.ready(stage.admin, name)
    stage.proxy.conflicts.add(f"{TENANTS}/{name}")
    mark = stage.proxy.mark()
    await life.edit(stage.admin, name, {"namespaces": [{"name": f"{name}-{n}"} for n in "ab"]})
    await life.ready(stage.admin, name)
    writes = [
        (s.method, s.path) for s in stage.proxy.since(mark) if s.is_write and s.path != f"{TENANTS}/{name}/status"
    ]
    assert writes[:3] == [("PATCH", f"{TENANTS}/{name}")] * 2 + [("POST", NAMESPACES)]


async def test_answers_that_are_lost_lose_no_namespace(stage: Stage) -> None:
    """That to the commitment (of which the watch tells then), and that to the creation."""
    name = "commit-lost"
    path = f"{TENANTS}/{name}"
    lost: list[Seen] = []

    def loses(seen: Seen) -> bool:
        is_first = (seen.method, seen.path) not in [(one.method, one.path) for one in lost]
        is_ours = seen.path == path or (seen.path == NAMESPACES and name in seen.body)
        if is_first and is_ours and seen.method in ("PATCH", "POST"):
            lost.append(seen)
            return True
        return False

    stage.proxy.loses = loses
    mark = stage.proxy.mark()
    await stage.create(name, f"{name}-a")
    await life.ready(stage.admin, name)
    stage.proxy.loses = lambda seen: False
    assert [seen.method for seen in lost] == ["PATCH", "POST"]
    made = [
        json.loads(seen.body)["metadata"]
        for seen in stage.proxy.since(mark)
        if (seen.method, seen.path) == ("POST", NAMESPACES)
    ]
    values = {each["annotations"][CREATION] for each in made if each["name"] == f"{name}-a"}
    standing = (await stage.admin.get(f"{NAMESPACES}/{name}-a"))["metadata"]["annotations"]
    assert values == {standing[CREATION]}  # tried again with the same
    assert await stage.recorded(name) == {f"{name}-a": await stage.uid(f"{name}-a")}
    assert await life.drift(stage.running, name) == {}


async def test_an_old_value_does_not_pass_for_a_name_that_was_given_up(stage: Stage) -> None:
    """It was read from the namespace while that was the tenant's; the name is taken out of the spec, and in again."""
    name = "forge-again"
    await stage.create(name, f"{name}-a", f"{name}-b")
    await life.ready(stage.admin, name)
    value = (await stage.admin.get(f"{NAMESPACES}/{name}-b"))["metadata"]["annotations"][CREATION]
    await life.edit(stage.admin, name, {"namespaces": [{"name": f"{name}-a"}]})
    await life.ready(stage.admin, name)
    assert await stage.recorded(name) == {f"{name}-a": await stage.uid(f"{name}-a")}
    made = await remade(stage.admin, f"{name}-b", annotations={CREATION: value})
    await life.edit(stage.admin, name, {"namespaces": [{"name": f"{name}-a"}, {"name": f"{name}-b"}]})
    await stage.refused(name)
    assert untouched(made, await stage.admin.get(f"{NAMESPACES}/{name}-b"))


@pytest.mark.parametrize("lands", [True, False], ids=["marked", "unmarked"])
async def test_what_lands_in_a_strangers_namespace_is_taken_back(stage: Stage, lands: bool) -> None:
    """Between the look and the write of a RoleBinding, the namespace is deleted and made anew by others. Without the
    tenant's mark, which is locked, the policy on the operator's account keeps the binding out of it."""
    name = "stray" if lands else "stray-not"
    marks = {"labels": {"securetenant.dev/tenant": name}} if lands else {}
    binding = {"role": "Developer", "subjects": [{"kind": "Group", "name": "dev"}]}
    await stage.create(name, f"{name}-a", access={"bindings": [binding]})
    await life.ready(stage.admin, name)
    collection = BINDINGS.format(f"{name}-a")
    made: list[Json] = []

    async def replace(seen: Seen) -> None:
        if (seen.method, seen.path) == ("POST", collection) and not made:
            made.append(await remade(stage.admin, f"{name}-a", **marks))

    stage.proxy.interpose = replace
    mark = stage.proxy.mark()
    await stage.admin.delete(f"{collection}/securetenant-developer")
    await stage.refused(name, "others deleted the namespace that this tenant held")
    await life.gone(stage.admin, f"{collection}/securetenant-developer")
    took_back = ("DELETE", f"{collection}/securetenant-developer")
    assert (took_back in [(seen.method, seen.path) for seen in stage.proxy.since(mark)]) is lands
    assert untouched(made[0], await stage.admin.get(f"{NAMESPACES}/{name}-a"))
    assert await life.children(stage.admin, f"{name}-a") == []
