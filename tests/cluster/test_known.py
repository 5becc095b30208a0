"""A restart counts no deviation anew, however many stand: the status keeps what it does not list."""

from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support import life
from tests.support.life import Json
from tests.support.sandbox import Admin, Operator, Plane, run_operator, wait_for

pytestmark = pytest.mark.cluster
BINDINGS: Final = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
NAME: Final = "known-audit"
MANY: Final = 64


def binding(name: str) -> dict[str, Any]:
    """Rights everywhere for the tenant's people: foreign."""
    group = "rbac.authorization.k8s.io"
    return {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": group, "kind": "Group", "name": NAME}],
    }


async def stand(admin: Admin, operator: Operator, number: int) -> Json:
    """Wait until this many deviations stand, in the status and in this process."""

    async def is_told() -> Json:
        tenant = await life.get(admin, NAME)
        assert tenant.get("status", {}).get("drift", {}).get("total") == number
        assert sum((await life.drift(operator, NAME, "objects")).values()) == number
        return tenant

    return await wait_for(is_told, 20, f"{number} deviations")


async def test_deviations_beyond_the_listed_are_known_after_a_restart(
    plane: Plane, admin: Admin, manifests: None, tmp_path: Path
) -> None:
    spec = life.spec(*(f"{NAME}-{number}" for number in range(8)), mode="Audit")
    spec["access"]["bindings"][0]["subjects"] = [{"kind": "Group", "name": NAME}]
    try:
        async with run_operator(plane, tmp_path) as operator:
            await life.create(admin, NAME, spec)
            tenant = await stand(admin, operator, MANY)
            assert len(tenant["status"]["drift"]["items"]) == 20
            assert Counter(await life.drift(operator, NAME)).total() == MANY
        # Made while nobody looked: this one, and none of the others, is new.
        await admin.create(BINDINGS, binding(NAME))
        async with run_operator(plane, tmp_path, name="second") as operator:
            await stand(admin, operator, MANY + 1)
            assert await life.drift(operator, NAME) == {("access", "Foreign"): 1}
            assert operator.log.read_text().count("drift detected") == 1
    finally:
        await admin.delete(f"{BINDINGS}/{NAME}")
        await life.remove(admin, NAME)
