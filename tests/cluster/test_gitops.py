"""What appliers see: applying what stands changes nothing, and finds nobody else in its way."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
import yaml

from securetenant.model import kinds
from tests.support.sandbox import ROOT, Admin

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("crds")]

EXAMPLES: Final = [
    path for path in sorted((ROOT / "examples").rglob("*.yaml")) if "kind: SecureTenant" in path.read_text()
]
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
# All that can stand in lists, and none of the fields that have a default.
SHORT: Final = """
apiVersion: securetenant.dev/v1alpha1
kind: SecureTenant
metadata: {name: git-short}
spec:
  namespaces:
  - {name: git-short-a}
  - {name: git-short-b, labels: {env: prod}, quota: {pods: 3}, limits: {container: {max: {cpu: 4}}}}
  access: {bindings: [{role: Viewer, subjects: [{kind: Group, name: all}]}]}
  network:
    ingress:
    - {name: one, from: [{tenant: git-short, pods: {}}], ports: [{port: 80}, {}], expires: 2127-03-31T00:00:00Z}
    egress:
    - {name: two, from: {pods: {matchExpressions: [{key: app, operator: Exists}]}}, to: [{cidr: 10.0.0.0/8}]}
    - {name: three, to: [{namespace: monitoring}], ports: [{protocol: UDP}]}
  quota: {namespace: {pods: 9}}
  nodes: {selector: {matchLabels: {pool: git-short}}}
"""


@pytest_asyncio.fixture(params=[None, *EXAMPLES], ids=["short", *(path.name for path in EXAMPLES)])
async def source(request: pytest.FixtureRequest, admin: Admin, tmp_path: Path) -> AsyncIterator[Path]:
    """The file that is applied; what is in it is removed afterwards."""
    path = request.param or tmp_path / "short.yaml"
    if request.param is None:
        path.write_text(SHORT)
    yield path
    await admin.kubectl("delete", "--ignore-not-found", "-f", str(path))


async def test_applied_again_it_is_unchanged(admin: Admin, source: Path) -> None:
    await admin.kubectl("apply", "-f", str(source))
    again = (await admin.kubectl("apply", "-f", str(source))).splitlines()
    assert again
    assert [line for line in again if not line.endswith(" unchanged")] == []
    assert await admin.kubectl("diff", "-f", str(source)) == ""


async def test_client_side_then_server_side_without_conflict(admin: Admin, source: Path) -> None:
    """With another's field manager, as a GitOps tool that follows on kubectl has."""
    await admin.kubectl("apply", "-f", str(source))
    await admin.kubectl("apply", "--server-side", "-f", str(source))
    await admin.kubectl("apply", "--server-side", "--field-manager=git", "-f", str(source))
    before = await _tenants(admin, source)
    await admin.kubectl("apply", "--server-side", "--field-manager=git", "-f", str(source))
    assert await _tenants(admin, source) == before


async def test_nothing_is_left_of_a_three_way_diff(admin: Admin, source: Path) -> None:
    """The patch that tools without server-side apply make of what was applied, what is in git and what stands."""
    await admin.kubectl("apply", "-f", str(source))
    for live in await _tenants(admin, source):
        applied = json.loads(live["metadata"]["annotations"].pop(LAST_APPLIED))
        del applied["metadata"]["annotations"]
        assert _three_way(applied, applied, live) == {}


def test_a_three_way_diff_tells_a_difference() -> None:
    assert _three_way({"a": 1, "b": 2}, {"a": 1}, {"a": 1, "b": 2, "c": 3}) == {"b": None}
    assert _three_way({}, {"l": [{"a": 1}]}, {"l": [{"a": 1, "default": 2}]}) == {"l": [{"a": 1}]}


async def _tenants(admin: Admin, source: Path) -> list[dict[str, Any]]:
    """The SecureTenants of the source, as they stand."""
    given = await asyncio.to_thread(lambda: list(yaml.safe_load_all(source.read_text())))
    names = [one["metadata"]["name"] for one in given if one["kind"] == kinds.SECURE_TENANT.name]
    return [await admin.get(kinds.SECURE_TENANT.path(name=name)) for name in names]


def _three_way(original: dict[str, Any], modified: dict[str, Any], current: dict[str, Any]) -> dict[str, Any]:
    """A JSON merge patch: lists are replaced whole; what was applied and is not any more is taken away."""
    patch: dict[str, Any] = {key: None for key in original if key not in modified and key in current}
    for key, value in modified.items():
        if isinstance(value, dict) and isinstance(current.get(key), dict):
            below = original.get(key)
            inner = _three_way(below if isinstance(below, dict) else {}, value, current[key])
            if inner:
                patch[key] = inner
        elif key not in current or current[key] != value:
            patch[key] = value
    return patch
