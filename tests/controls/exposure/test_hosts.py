"""Which of its hosts a tenant holds: on its namespaces, in its condition, and for whom that changes."""

import itertools
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securetenant.api.tenant import SecureTenant
from securetenant.checks.check import decoded
from securetenant.controls.control import Plan
from securetenant.controls.exposure import control, hosts
from securetenant.controls.exposure.checks import CHECKS
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Ref
from tests.support.world import NOW, StaticWorld, mine, tenant

YEARS: Final = {"old": "2020-01-01T00:00:00Z", "mid": "2021-01-01T00:00:00Z", "new": "2022-01-01T00:00:00Z"}
PATTERN: Final = st.lists(st.sampled_from(("a", "b", "c")), min_size=1, max_size=3).flatmap(
    lambda labels: st.sampled_from((".".join(labels), ".".join(("*", *labels))))
)


def having(name: str, *patterns: str, **more: Any) -> SecureTenant:
    made = {"namespaces": [name], "exposure": {"ingress": {"hosts": list(patterns)}}, **more}
    return tenant(name, created=YEARS.get(name, "2026-01-01T00:00:00Z"), **made)


def world(*tenants: SecureTenant) -> StaticWorld:
    return StaticWorld(tenants, [one for each in tenants for one in mine(each)])


def written(plan: Plan, name: str) -> list[str]:
    """The hosts on the tenant's namespace."""
    (want,) = [one for one in plan.desired if one.ref == Ref(NAMESPACE, "", name)]
    return decoded(CHECKS, want.annotations)["hosts"]


def plan(of: SecureTenant, *others: SecureTenant) -> Plan:
    return control.plan(of, world(of, *others), NOW)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a.example", "a.example", True),
        ("*.example", "*.example", True),
        ("*.example", "a.example", True),
        ("*.a.example", "a.example", False),
        ("*.example", "x.a.example", False),
        ("*.example", "*.a.example", False),
        ("a.example", "b.example", False),
        ("*.example", "xexample", False),
        ("localhost", "localhost", True),
        ("localhost", "*.localhost", False),
    ],
)
def test_what_overlaps(one: str, other: str, expected: bool) -> None:
    assert hosts.overlap(one, other) is hosts.overlap(other, one) is expected


def test_a_tenant_alone_holds_its_hosts() -> None:
    of = having("new", "*.a.example", "b.example")
    made = plan(of, having("old", "a.example", "*.b.example"))
    assert written(made, "new") == ["*.a.example", "b.example"]
    (condition,) = made.conditions
    assert (condition.type, condition.status, condition.reason) == ("HostsHeld", "True", "Held")
    assert made.blocking == []


@pytest.mark.parametrize(("older", "younger"), [("*.a", "x.a"), ("x.a", "*.a"), ("x.a", "x.a"), ("*.a", "*.a")])
def test_of_two_the_older_holds_it_and_the_younger_is_told(older: str, younger: str) -> None:
    old, new = having("old", older), having("new", younger, "own.example")
    assert written(plan(old, new), "old") == [older]
    made = plan(new, old)
    assert written(made, "new") == ["own.example"]
    (condition,) = made.conditions
    assert (condition.status, condition.reason) == ("False", "Conflict")
    assert condition.message == (
        f"Of 2 hosts in spec.exposure.ingress.hosts, 1 belong to an older tenant: {younger} (SecureTenant old). Write "
        "other hosts here or there."
    )
    assert made.blocking == [condition.message]


def test_the_older_of_three_is_named_even_where_it_lost_its_own() -> None:
    """Otherwise the hosts of one tenant would depend on the specs of all."""
    old, mid, new = having("old", "x.a"), having("mid", "*.a"), having("new", "y.a")
    assert written(plan(mid, old, new), "mid") == []
    made = plan(new, old, mid)
    assert written(made, "new") == []
    assert "y.a (SecureTenant mid)" in made.conditions[0].message


@pytest.mark.parametrize("state", [{"mode": "Audit"}, {"mode": "Paused"}, {"deleting": True}])
def test_it_is_held_in_every_state(state: dict[str, Any]) -> None:
    assert written(plan(having("new", "a.example"), having("old", "a.example", **state)), "new") == []


def test_a_message_names_five() -> None:
    many = [f"h{number}.example" for number in range(9)]
    message = plan(having("new", *many), having("old", *many)).blocking[0]
    assert "9 belong to an older tenant" in message
    assert message.count("SecureTenant old") == 5
    assert "and 4 more" in message


def test_without_hosts_there_is_no_condition() -> None:
    made = plan(having("new"), having("old", "a.example"))
    assert (made.conditions, made.blocking) == ((), ())


def test_gateways_of_the_own_namespace_are_known_without_it() -> None:
    of = having("new", exposure={"ingress": {"gateways": ["new/own", "infra/shared"]}})
    (want,) = plan(of).desired
    assert decoded(CHECKS, want.annotations)["gateways"] == ["new/own", "./own", "infra/shared"]


@given(st.lists(st.lists(PATTERN, max_size=3, unique=True), min_size=2, max_size=5))
def test_no_host_is_held_twice_and_none_is_lost_to_nobody(given_: list[list[str]]) -> None:
    tenants = [
        tenant(f"t{number}", created=f"{2020 + number}-01-01T00:00:00Z", exposure={"ingress": {"hosts": patterns}})
        for number, patterns in enumerate(given_)
    ]
    everything = world(*tenants)
    lost = {one.name: hosts.lost(one, everything) for one in tenants}
    held = [(one.name, p) for one in tenants for p in one.spec.exposure.ingress.hosts if p not in lost[one.name]]
    for (first, one), (second, other) in itertools.combinations(held, 2):
        assert first == second or not hosts.overlap(one, other)
    for name, those in lost.items():
        for pattern, holder in those.items():
            assert holder.name < name
            assert any(hosts.overlap(pattern, its) for its in holder.spec.exposure.ingress.hosts)


@given(PATTERN, PATTERN)
def test_the_index_finds_what_overlaps(one: str, other: str) -> None:
    """And whoever overlaps is looked at again when the other changes or goes."""
    first, second = having("old", one), having("new", other)
    here = world(first, second)
    overlaps = hosts.overlap(one, other)
    assert ([each.name for each in hosts.rivals_of(second, other, here)] == ["old"]) is overlaps
    concerned = here.known.remove("old")
    assert ("new" in concerned) is overlaps


def test_of_many_tenants_with_hosts_below_one_domain_only_those_that_overlap_are_looked_at() -> None:
    many = [tenant(f"t{n}", exposure={"ingress": {"hosts": [f"h{n}.apps.example"]}}) for n in range(50)]
    here = world(*many)
    looked_at: list[str] = []
    get = here.known.get

    def noted(name: str) -> SecureTenant | None:
        looked_at.append(name)
        return get(name)

    here.known.get = noted  # type: ignore[method-assign]
    assert hosts.lost(many[7], here) == {}
    assert set(looked_at) == {"t7"}


def test_validate_names_both() -> None:
    one, other = having("old", "*.a.example"), having("new", "b.example", "x.a.example")
    here = world(one, other)
    (problem,) = control.review(other, here, NOW)
    assert problem.path == "spec.exposure.ingress.hosts[1]"
    assert "x.a.example is declared by SecureTenant old as well" in problem.message
    assert [problem.path for problem in control.review(one, here, NOW)] == ["spec.exposure.ingress.hosts[0]"]
