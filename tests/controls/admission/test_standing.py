"""Whether the policies and bindings stand as shipped: every field of each, changed, is found."""

import copy
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import yaml

from securetenant.checks import accounts
from securetenant.controls.admission import manifests, standing
from securetenant.controls.admission.shipped import POLICIES, Shipped, canonical
from securetenant.controls.control import Deviation
from securetenant.model.kinds import MUTATING_BINDING, MUTATING_POLICY, VALIDATING_BINDING
from securetenant.model.objects import Observed
from tests.support.in_force import BASE, COMPARISON, INJECTION, SHIPS
from tests.support.world import StaticWorld, observed


def named(name: str) -> Shipped:
    (found,) = (one for one in SHIPS if one.ref.name == name and not (one.is_optional and one.is_policy))
    return found


PODS, DENY, LOCK = (named(f"{name}.securetenant.dev") for name in ("pods", "pods-deny", "namespaces"))


def stands(one: Shipped, spec: Any, annotations: Any = None, **fields: Any) -> Observed:
    given = one.metadata.get("annotations", {}) if annotations is None else annotations
    return observed(one.ref.kind, one.ref.name, annotations=given, spec=spec, **fields)


def found(*objects: Observed) -> list[Deviation]:
    return COMPARISON.deviations(StaticWorld(objects=objects))


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value in it, but to the empty ones."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from leaves(part, (*path, key))
    if path and not (isinstance(value, dict | list) and value):
        yield path


def changed(spec: Any, path: tuple[Any, ...]) -> Any:
    made = copy.deepcopy(spec)
    at = made
    for key in path[:-1]:
        at = at[key]
    value = at[path[-1]]
    at[path[-1]] = {"matchLabels": {"a": "b"}} if value == {} else f"{value} "
    return made


def test_as_shipped_nothing_deviates() -> None:
    assert found() == []


@pytest.mark.parametrize("one", BASE, ids=lambda one: str(one.ref))
def test_as_applied_from_the_files_nothing_deviates(one: Shipped) -> None:
    """What kubectl sends has no defaults written out, and the API server gives it back with them."""
    for text in manifests.texts().values():
        for document in yaml.safe_load_all(text):
            if (document["kind"], document.get("metadata", {}).get("name")) == (one.ref.kind.name, one.ref.name):
                assert found(stands(one, document["spec"], document["metadata"].get("annotations", {}))) == []
                assert canonical(one.ref.kind, document["spec"]) == one.spec
                return
    raise AssertionError(f"{one.ref} is in no file")


@pytest.mark.parametrize("one", SHIPS, ids=lambda one: str(one.ref))
def test_every_field_that_is_changed_is_found(one: Shipped) -> None:
    world, paths = StaticWorld(), list(leaves(one.spec))
    assert len(paths) >= 2
    for path in paths:
        world.put(stands(one, changed(one.spec, path)))
        (deviation,) = COMPARISON.deviations(world)
        assert (deviation.ref, deviation.reason) == (one.ref, "Changed")
        assert deviation.path.startswith(f"spec.{path[0]}"), (path, deviation.path)


@pytest.mark.parametrize("one", BASE, ids=lambda one: str(one.ref))
def test_what_is_gone_is_missing(one: Shipped) -> None:
    world = StaticWorld()
    world.drop(one.ref)
    (deviation,) = COMPARISON.deviations(world)
    assert (deviation.ref, deviation.reason, deviation.path, deviation.uid) == (one.ref, "Missing", "", "")
    assert "kubectl apply -k manifests" in deviation.message
    assert deviation.widens == (one.is_policy or "Deny" in one.actions)


@pytest.mark.parametrize(
    ("one", "more", "path"),
    [
        pytest.param(PODS, {"paramKind": {"kind": "ConfigMap"}}, "spec.paramKind", id="paramKind"),
        pytest.param(DENY, {"paramRef": {"name": "x"}}, "spec.paramRef", id="paramRef"),
        pytest.param(LOCK, {"matchConditions": [{"expression": "false"}]}, "spec.matchConditions", id="if"),
        pytest.param(DENY, {"matchResources": None}, "spec.matchResources", id="widened"),
        pytest.param(DENY, {"validationActions": ["Audit"]}, "spec.validationActions", id="actions"),
        pytest.param(
            DENY,
            {"matchResources": {**DENY.spec["matchResources"], "excludeResourceRules": [{"resources": ["pods"]}]}},  # type: ignore[dict-item]
            "spec.matchResources.excludeResourceRules",
            id="excluded",
        ),
    ],
)  # fmt: skip
def test_what_is_added_or_taken_away_is_found(one: Shipped, more: dict[str, Any], path: str) -> None:
    (deviation,) = found(stands(one, {**one.spec, **more}))
    assert deviation.path.startswith(path)
    assert f"kubectl delete {one.ref.kind.plural} {one.ref.name}" in deviation.message


def test_the_order_of_a_set_and_defaults_are_no_difference() -> None:
    spec = copy.deepcopy(DENY.spec)
    spec["validationActions"] = list(reversed(DENY.actions))
    resources: Any = spec["matchResources"]
    del resources["objectSelector"], resources["matchPolicy"]
    assert found(stands(DENY, spec)) == []


def test_a_label_taken_off_hides_nothing() -> None:
    assert found(stands(DENY, DENY.spec, {})) == []


def test_accounts_of_the_platform_are_no_difference() -> None:
    own = "operator=system:serviceaccount:ops:other\nbreakGlassGroup=bank:sre\n"
    document = LOCK.observed()
    default, others = (msgspec.json.encode(text).decode()[1:-1] for text in (accounts.text(accounts.DEFAULT), own))
    text = msgspec.json.encode(LOCK.spec).decode().replace(default, others)
    spec = msgspec.json.decode(text)
    assert spec != document.field("spec")
    assert found(stands(LOCK, spec, {accounts.ANNOTATION: own})) == []
    # The annotation says one thing, the policy goes by another.
    (deviation,) = found(stands(LOCK, spec, {accounts.ANNOTATION: accounts.text(accounts.DEFAULT)}))
    assert deviation.path == "spec.variables[0].expression"


def test_a_component_of_which_nothing_is_applied_is_not_missed() -> None:
    policy, binding = INJECTION
    assert (policy.ref.kind, binding.ref.kind) == (MUTATING_POLICY, MUTATING_BINDING)
    world = StaticWorld()
    for one in INJECTION:
        world.drop(one.ref)
    assert COMPARISON.deviations(world) == []
    world.put(policy.observed())
    (deviation,) = COMPARISON.deviations(world)
    assert (deviation.ref, deviation.reason) == (binding.ref, "Missing")


def test_what_is_not_served_is_not_missed() -> None:
    world = StaticWorld(absent=(*POLICIES, VALIDATING_BINDING, MUTATING_BINDING))
    for one in SHIPS:
        world.drop(one.ref)
    assert COMPARISON.deviations(world) == []


def test_what_the_api_server_warns_of() -> None:
    warning = {"fieldRef": "spec.validations[1].expression", "warning": "undefined field\n  'foo'"}
    status = {"observedGeneration": 1, "typeChecking": {"expressionWarnings": [warning]}}
    world = StaticWorld(objects=[stands(PODS, PODS.spec, status=status)])
    assert list(standing.warnings(world, SHIPS)) == [(PODS, "spec.validations[1].expression: undefined field 'foo'")]
    world.put(stands(PODS, PODS.spec, status={"typeChecking": {}}))
    assert list(standing.warnings(world, SHIPS)) == []
