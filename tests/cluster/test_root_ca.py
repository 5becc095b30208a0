"""The lock on `kube-root-ca.crt`, with Kubernetes' own controller beside it. No operator runs."""

import itertools
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio

from securetenant.controls.admission.root_ca import NAME, PUBLISHERS
from tests.support import enforced
from tests.support.enforced import DRY, Enforced
from tests.support.life import Json
from tests.support.locked import MASTERS
from tests.support.sandbox import APPLY, MERGE_PATCH, Admin, Plane, wait_for

pytestmark = pytest.mark.cluster

_NUMBERS: Final = itertools.count()
EVIL: Final[Json] = {"data": {"ca.crt": "evil"}}


@pytest_asyncio.fixture
async def place(plane: Plane, admin: Admin, policies: None) -> AsyncIterator[Enforced]:
    """A marked namespace of the test's own, with the ConfigMap in it."""
    async with enforced.namespace(plane, admin, f"root-ca-{next(_NUMBERS)}", runtime={}) as made:
        await wait_for(lambda: admin.find(at(made)), 20, "the ConfigMap to be published")
        yield made


def at(place: Enforced, name: str = NAME) -> str:
    return f"/api/v1/namespaces/{place.name}/configmaps/{name}"


def body(name: str = NAME, **more: Any) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **more}


@pytest.mark.parametrize(
    "change",
    [
        EVIL,
        {"data": {"extra": "x"}},
        {"data": None},
        {"binaryData": {"extra": "eA=="}},
        {"immutable": True},
    ],
    ids=str,
)
async def test_nobody_else_changes_it(place: Enforced, mallory: Admin, change: Json) -> None:
    status, answer, _ = await mallory.warned("PATCH", at(place), change, content_type=MERGE_PATCH)
    assert status == 403, answer
    assert "locked: only kube-controller-manager writes the certificates" in answer["message"]


async def test_by_no_other_way(place: Enforced, admin: Admin, mallory: Admin) -> None:
    stands = await admin.get(at(place))
    status, answer = await mallory.request("PUT", at(place), {**stands, **EVIL})
    assert status == 403, answer
    forced = {"fieldManager": "mallory", "force": "true"}
    status, answer, _ = await mallory.warned("PATCH", at(place), body(**EVIL), content_type=APPLY, params=forced)
    assert status == 403, answer
    collection = at(place).removesuffix(f"/{NAME}")
    # A name that the server makes is another one.
    made = {**body(**EVIL), "metadata": {"generateName": NAME}}
    assert (await mallory.request("POST", collection, made, params=DRY))[0] == 201
    assert await admin.get(at(place)) == stands


async def test_deleted_it_comes_back_as_it_was(place: Enforced, admin: Admin, mallory: Admin) -> None:
    """And whoever deleted it cannot make another in the meantime."""
    data = (await admin.get(at(place)))["data"]
    collection = at(place).removesuffix(f"/{NAME}")
    for path in (at(place), collection):
        before = (await admin.get(at(place)))["metadata"]["uid"]
        await mallory.delete(path)
        answers = [await mallory.request("POST", collection, body(**EVIL)) for _ in range(5)]
        assert not [answer for status, answer in answers if status not in (403, 409)]

        async def is_back(before: str = before) -> bool:
            again = await admin.find(at(place))
            return again is not None and again["metadata"]["uid"] != before and again["data"] == data

        await wait_for(is_back, 20, "the ConfigMap to be published again")


async def test_what_is_free_stays_free(place: Enforced, mallory: Admin) -> None:
    """Labels and annotations, and every other ConfigMap."""
    change = {"metadata": {"labels": {"team": "a"}, "annotations": {"bank.example/seen": "yes"}}}
    assert (await mallory.warned("PATCH", at(place), change, content_type=MERGE_PATCH))[0] == 200
    await mallory.create(at(place).removesuffix(f"/{NAME}"), body("kube-root-ca.crt.mine", **EVIL))


async def test_kubernetes_and_the_break_glass_group_may(plane: Plane, place: Enforced) -> None:
    for user, groups in (*((one, [MASTERS]) for one in PUBLISHERS), ("eve", [MASTERS, "securetenant:break-glass"])):
        async with Admin(plane, user=user, groups=groups) as client:
            status, answer, _ = await client.warned("PATCH", at(place), EVIL, content_type=MERGE_PATCH, params=DRY)
        assert status == 200, answer


async def test_elsewhere_it_is_nobodys_business_and_warn_warns(plane: Plane, admin: Admin, mallory: Admin) -> None:
    for name, spec, expected in (("root-ca-unmarked", {}, 0), ("root-ca-warned", {"admission": "Warn"}, 1)):
        async with enforced.namespace(plane, admin, name, **spec) as place:
            await wait_for(lambda place=place: admin.find(at(place)), 20, "the ConfigMap")  # type: ignore[misc]
            status, answer, warnings = await mallory.warned(
                "PATCH", at(place), EVIL, content_type=MERGE_PATCH, params=DRY
            )
            assert (status, len(warnings)) == (200, expected), (answer, warnings)
