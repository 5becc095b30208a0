"""LimitRanges in the form that the API server gives back."""

from typing import Any

import pytest

from securetenant.controls import limits
from securetenant.model.objects import Desired
from tests.support.world import NOW, StaticWorld, mine, tenant


def plan(namespaces: list[Any], **spec: Any) -> dict[str, Any]:
    """The LimitRanges' items by namespace."""
    payments = tenant("payments", namespaces=namespaces, limits=spec)
    desired = limits.CONTROL.plan(payments, StaticWorld([payments], mine(payments)), NOW).desired
    assert all(d.ref.name == "securetenant" and d.ref.kind.name == "LimitRange" for d in desired)
    return {d.ref.namespace: content(d) for d in desired}


def content(desired: Desired) -> Any:
    spec = desired.body["spec"]
    assert isinstance(spec, dict)
    return spec["limits"]


@pytest.mark.parametrize(
    ("declared", "rendered"),
    [
        pytest.param(
            {"max": {"cpu": "4"}},
            {"max": {"cpu": "4"}, "default": {"cpu": "4"}, "defaultRequest": {"cpu": "4"}},
            id="default from max, defaultRequest from default",
        ),
        pytest.param(
            {"min": {"cpu": "100m"}},
            {"min": {"cpu": "100m"}, "defaultRequest": {"cpu": "100m"}},
            id="defaultRequest from min",
        ),
        pytest.param(
            {"min": {"cpu": "100m"}, "max": {"cpu": "2"}},
            {
                "min": {"cpu": "100m"},
                "max": {"cpu": "2"},
                "default": {"cpu": "2"},
                "defaultRequest": {"cpu": "2"},
            },
            id="default before min",
        ),
        pytest.param(
            {"default": {"cpu": "0.5"}, "defaultRequest": {"cpu": "0.1"}, "max": {"cpu": "2000m", "memory": "1024Mi"}},
            {
                "default": {"cpu": "500m", "memory": "1Gi"},
                "defaultRequest": {"cpu": "100m", "memory": "1Gi"},
                "max": {"cpu": "2", "memory": "1Gi"},
            },
            id="given ones stay, key by key, canonical",
        ),
    ],
)
def test_container_defaults_are_written_out(declared: dict[str, Any], rendered: dict[str, Any]) -> None:
    assert plan(["prod"], container=declared) == {"prod": [{"type": "Container", **rendered}]}


def test_types_in_a_fixed_order_and_without_defaults_but_for_containers() -> None:
    found = plan(
        ["prod"],
        persistentVolumeClaim={"max": {"storage": "10Gi"}},
        pod={"max": {"cpu": "8"}, "maxLimitRequestRatio": {"cpu": "4"}},
        container={"default": {"cpu": "1"}},
    )
    assert found["prod"] == [
        {"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1"}},
        {"type": "Pod", "max": {"cpu": "8"}, "maxLimitRequestRatio": {"cpu": "4"}},
        {"type": "PersistentVolumeClaim", "max": {"storage": "10Gi"}},
    ]


def test_a_namespaces_own_limits_replace_the_tenants_type_by_type() -> None:
    found = plan(
        ["prod", {"name": "test", "limits": {"pod": {"max": {"cpu": "2"}}}}, {"name": "free", "limits": {"pod": {}}}],
        pod={"max": {"cpu": "8", "memory": "8Gi"}},
        container={"default": {"cpu": "1"}},
    )
    container = {"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1"}}
    assert found == {
        "prod": [container, {"type": "Pod", "max": {"cpu": "8", "memory": "8Gi"}}],
        "test": [container, {"type": "Pod", "max": {"cpu": "2"}}],
        "free": [container],
    }


def test_nothing_said_is_no_object() -> None:
    assert plan(["prod", {"name": "test", "limits": {"container": {}}}]) == {}
