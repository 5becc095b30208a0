"""What the operator takes the tenant roles to be is what manifests/ gives an administrator to apply."""

from pathlib import Path
from typing import Any, Final, get_args

import msgspec
import pytest
import yaml

from securetenant.api.tenant import Role
from securetenant.controls.access import roles
from securetenant.controls.access.shipped import DISCOVERERS, DISCOVERY, LOOKED_AT, ROLES, cluster_role

RBAC: Final = Path(__file__).parents[3] / "manifests" / "rbac"


def manifest(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((RBAC / f"tenant-{name.removeprefix('securetenant-')}.yaml").read_text())
    return found


def test_there_is_a_role_for_each_that_a_tenant_can_give() -> None:
    assert set(ROLES) == {cluster_role(role) for role in get_args(Role)}
    assert {f"tenant-{name.removeprefix('securetenant-')}.yaml" for name in ROLES} == {
        file.name for file in RBAC.glob("tenant-*.yaml")
    }
    assert ROLES.keys() | DISCOVERY.keys() == LOOKED_AT
    assert DISCOVERERS.keys() == DISCOVERY.keys()


@pytest.mark.parametrize("name", sorted(ROLES))
def test_each_holds_what_its_manifest_gives(name: str) -> None:
    role = manifest(name)
    assert role["metadata"]["name"] == name
    given = set(roles.rights(msgspec.json.encode(role["rules"])))
    assert given - ROLES[name] == set(), "in the manifest and not in controls/access/shipped.py"
    assert ROLES[name] - given == set(), "in controls/access/shipped.py and not in the manifest"


def test_no_right_is_a_wildcard_or_of_one_name() -> None:
    """What `roles.compared` rests on."""
    for name, meant in ROLES.items():
        assert [right for right in meant if "*" in "".join(right) or right.name] == [], name
        assert 0 < len(meant) < roles.MOST
