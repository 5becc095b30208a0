"""Rules that templates make: as if they stood in the spec, or none and a reason."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from securetenant.api.status import Condition
from securetenant.api.templates import NetworkTemplateStatus
from securetenant.api.tenant import EgressRule, IngressRule, SecureTenant
from securetenant.controls.control import Plan
from securetenant.controls.network import templates
from securetenant.controls.network.control import plan
from securetenant.controls.network.whitelist import declarations, rules
from securetenant.model.kinds import NETWORK_TEMPLATE
from securetenant.model.objects import Ref
from tests.support.specs import NAMESPACES, TENANTS, Document
from tests.support.templates import WEB, template, template_specs, value
from tests.support.world import NOW, StaticWorld, body_of, mine, namespace, observed, tenant

WEB_USE: Document = {
    "template": "web-behind-ingress",
    "parameters": [{"name": "web", "pods": {"matchLabels": {"a": "b"}}}],
}
SPACES = [{"name": name} for name in ("pay-prod", "pay-test")]


def user(*uses: Document, name: str = "pay", **network: Any) -> SecureTenant:
    return tenant(name, namespaces=SPACES, network={"templates": list(uses), **network})


def world_of(one: SecureTenant, *objects: Any) -> StaticWorld:
    return StaticWorld([one], [*mine(one), namespace("ingress-nginx"), *objects])


def planned(world: StaticWorld, name: str = "pay") -> Plan:
    one = world.tenant(name)
    assert one is not None
    return plan(one, world, NOW)


def condition(found: Plan) -> Condition | None:
    return next((one for one in found.conditions if one.type == "TemplatesReady"), None)


def policies(found: Plan) -> dict[tuple[str, str], Any]:
    return {(item.ref.namespace, item.ref.name): item.body for item in found.desired if "gress-" in item.ref.name}


# --- what a hand would have written


def by_hand(spec: Document, use: Document) -> Document:
    """The rules of a template as a tenant would write them, made by going through the document."""
    values = {one["name"]: one["default"] for one in spec.get("parameters", []) if "default" in one}
    values |= {one["name"]: one for one in use.get("parameters", [])}

    def filled(given: Any) -> Any:
        if isinstance(given, list):
            return [filled(one) for one in given]
        if not isinstance(given, dict):
            return given
        made = {}
        for key, inner in given.items():
            field = key.removesuffix("From")
            made[field if field != key else key] = values[inner][field] if field != key else filled(inner)
        return made

    found: Document = {}
    for direction, own in (("ingress", "to"), ("egress", "from")):
        found[direction] = []
        for rule in spec.get(direction, []):
            made = filled(rule)
            made["name"] = f"{use.get('name', use['template'])}-{rule['name']}"
            side = made.setdefault(own, {})
            if "namespaces" in use:
                named = side.get("namespaces", use["namespaces"])
                side["namespaces"] = [one for one in named if one in use["namespaces"]]
            if use.get("ticket"):
                made["ticket"] = use["ticket"]
            ends = [time for time in (use.get("expires"), made.get("expires")) if time]
            if ends:
                made["expires"] = min(ends)
            found[direction].append(made)
    return found


@st.composite
def uses(draw: st.DrawFn) -> tuple[Document, Document, Document]:
    """A template, what a tenant says to use it, and the same with rules in its place."""
    spec = draw(template_specs())
    use: Document = {"name": "u", "template": "web-behind-ingress"}
    given_ = []
    for parameter in spec.get("parameters", []):
        if "default" not in parameter or draw(st.booleans()):
            given_.append({"name": parameter["name"], **value(draw, parameter["type"])})
    if given_:
        use["parameters"] = given_
    if draw(st.booleans()):
        use["namespaces"] = [draw(st.sampled_from(NAMESPACES))]
    if draw(st.booleans()):
        use["ticket"] = "CHG-9"
    if draw(st.booleans()):
        use["expires"] = draw(st.sampled_from(("2026-01-05T00:00:00Z", "2027-01-01T00:00:00Z")))
    return spec, use, by_hand(spec, use)


@given(uses())
def test_the_rules_are_those_that_a_hand_would_write(drawn: tuple[Document, Document, Document]) -> None:
    spec, use, written = drawn
    sides = [rule[own] for way, own in (("ingress", "to"), ("egress", "from")) for rule in written[way]]
    assume(all(side.get("namespaces") != [] for side in sides))  # which is refused
    spaces = [{"name": name} for name in NAMESPACES]
    by_use = tenant("payments", namespaces=spaces, network={"templates": [use]})
    by_rule = tenant("payments", namespaces=spaces, network=written)
    one, other = (StaticWorld([each, *_peers()], [*mine(each), template(spec=spec)]) for each in (by_use, by_rule))
    resolved = one.tenant("payments")
    assert resolved is not None
    dumped = resolved.spec.network.model_dump(exclude={"templates"})
    assert dumped == by_rule.spec.network.model_dump(exclude={"templates"})
    for direction in ("ingress", "egress"):
        for rule, _, _ in rules(resolved, direction):
            model = IngressRule if direction == "ingress" else EgressRule
            model.model_validate(rule.model_dump(by_alias=True, exclude={"use", "template"}))
    found, wanted = planned(one, "payments"), planned(other, "payments")
    assert found.desired == wanted.desired
    assert found.status == wanted.status
    assert condition(found) == Condition.of("TemplatesReady", "True", "Resolved")


def _peers() -> list[SecureTenant]:
    return [tenant(name) for name in TENANTS if name != "payments"]


def test_both_sides_of_a_handshake_see_them() -> None:
    spec = {
        "parameters": [{"name": "app", "type": "Tenant"}],
        "ingress": [{"name": "in", "from": [{"tenantFrom": "app"}]}],
    }
    db = tenant(
        "db",
        namespaces=["db-prod"],
        network={"templates": [{"template": "database", "parameters": [{"name": "app", "tenant": "pay"}]}]},
    )
    one = user(egress=[{"name": "db", "to": [{"tenant": "db"}]}])
    world = world_of(one, *mine(db))
    world.put(db)
    assert planned(world).status["whitelist"].pending[0].reason.startswith("db declares no ingress")  # type: ignore[union-attr]
    world.put(template("database", spec))
    assert ("pay-prod", "securetenant-egress-db") in policies(planned(world))
    assert ("db-prod", "securetenant-ingress-database-in") in policies(planned(world, "db"))


# --- which tenants are concerned


def test_a_change_concerns_who_uses_it_and_their_peers() -> None:
    spec = {
        "egress": [{"name": "out", "to": [{"tenant": "db"}, {"namespace": "monitoring"}, {"cidr": "192.0.2.0/24"}]}]
    }
    world = world_of(user({"template": "database"}))
    world.put(
        tenant("db"), tenant("asks", network={"ingress": [{"name": "in", "from": [{"tenant": "pay"}]}]}), tenant("x")
    )
    new = template("database", spec)
    world.put(new)
    assert world.concerned(new, None) == {"pay", "db", "asks"}
    other = template("database", {"egress": [{"name": "out", "to": [{"tenant": "x"}]}]})
    assert world.concerned(other, new) == {"pay", "db", "x", "asks"}
    # What the template names concerns who uses it, as if the spec named it.
    assert world.concerned(namespace("monitoring"), None) == {"pay"}
    assert world.known.observe("MODIFIED", _edited(world, "db")) == {"pay", "db"}
    assert {"cidr:192.0.2.0/24", "apiserver"} <= world.known.index.tokens("pay")
    world.drop(new.ref)
    assert world.concerned(new, None) == {"pay", "db", "asks"}
    assert world.concerned(namespace("monitoring"), None) == set()
    assert "cidr:192.0.2.0/24" not in world.known.index.tokens("pay")


def test_the_defaults_of_parameters_concern_who_uses_it() -> None:
    spec = {
        "parameters": [
            {"name": "to", "type": "Cidr", "default": {"cidr": "192.0.2.0/24"}},
            {"name": "space", "type": "Namespace", "default": {"namespace": "monitoring"}},
            {"name": "other", "type": "Tenant", "default": {"tenant": "db"}},
        ],
        "egress": [{"name": "out", "to": [{"cidrFrom": "to"}, {"namespaceFrom": "space"}, {"tenantFrom": "other"}]}],
    }
    world = world_of(user({"template": "database"}), template("database", spec))
    world.put(tenant("db"))
    assert {"cidr:192.0.2.0/24", "apiserver"} <= world.known.index.tokens("pay")
    assert world.concerned(namespace("monitoring"), None) == {"pay"}
    assert world.known.observe("MODIFIED", _edited(world, "db")) == {"pay", "db"}


def _edited(world: StaticWorld, name: str) -> dict[str, Any]:
    one = world.tenant(name)
    assert one is not None
    return body_of(one, 1000)


# --- what cannot be resolved


@pytest.mark.parametrize(
    ("use", "reason", "said"),
    [
        ({"template": "gone"}, "NoTemplate", "there is no NetworkTemplate gone: create it"),
        ({"template": "odd"}, "InvalidTemplate", "NetworkTemplate odd is not valid"),
        (
            {"template": "web-behind-ingress"},
            "WrongParameters",
            "parameter web (the pods that serve) is missing: add it, with the field pods",
        ),
        (
            {**WEB_USE, "parameters": [*WEB_USE["parameters"], {"name": "prot", "port": 1}]},
            "WrongParameters",
            "it has no parameter prot: remove it, or correct the name (it has port, web)",
        ),
        (
            {**WEB_USE, "parameters": [{"name": "web", "port": 80}]},
            "WrongParameters",
            "parameter web is of type Pods: write its value as pods",
        ),
        (
            {"template": "own", "parameters": [{"name": "where", "namespaces": ["pay-prod", "else"]}]},
            "WrongParameters",
            "parameter where names else, which is not in spec.namespaces",
        ),
        (
            {
                "template": "own",
                "namespaces": ["pay-prod"],
                "parameters": [{"name": "where", "namespaces": ["pay-test"]}],
            },
            "WrongParameters",
            "parameter where names pay-test, and namespaces of the entry none of these: add one there",
        ),
        ({**WEB_USE, "name": "taken"}, "NameTaken", "there is another ingress rule taken-from-edge: rename it"),
        ({"template": "many"}, "TooManyRules", "it would make 65 ingress rules, more than 64"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_what_cannot_be_resolved_stays_closed_and_the_rest_is_in_force(use: Document, reason: str, said: str) -> None:
    peers = [{"namespace": "ingress-nginx"}]
    own = [{"name": name, "from": peers} for name in ("taken-from-edge", *(f"r{n}" for n in range(62)))]
    where = {"parameters": [{"name": "where", "type": "Namespaces"}]}
    world = world_of(
        user(use, ingress=own),
        template(),
        template("odd", {"ingress": [{"name": "x", "from": [{}]}]}),
        template("own", {**where, "ingress": [{"name": "a", "to": {"namespacesFrom": "where"}, "from": peers}]}),
        template("many", {"ingress": [{"name": "a", "from": peers}, {"name": "b", "from": peers}]}),
    )
    found = planned(world)
    made = condition(found)
    assert made is not None
    assert (made.status, made.reason) == ("False", reason)
    assert made.message.startswith("the flows of 1 of 1 templates stay closed: ")
    assert said in made.message
    assert made.message in found.blocking
    assert {name for _, name in policies(found)} == {f"securetenant-ingress-{rule['name']}" for rule in own}


SOMEWHERE: Document = {
    "parameters": [{"name": "where", "type": "Namespaces", "default": {"namespaces": ["pay-prod", "pay-test"]}}],
    "ingress": [{"name": "a", "to": {"namespacesFrom": "where"}, "from": [{"cidr": "192.0.2.0/24"}]}],
    "egress": [{"name": "b", "from": {"namespacesFrom": "where"}, "to": [{"namespace": "ingress-nginx"}]}],
}


def test_the_namespaces_of_the_entry_confine_those_of_a_parameter() -> None:
    found = planned(world_of(user({"template": "some", "namespaces": ["pay-test"]}), template("some", SOMEWHERE)))
    assert {space for space, _ in policies(found)} == {"pay-test"}
    assert len(policies(found)) == 2


def test_of_several_the_others_are_in_force() -> None:
    world = world_of(user(WEB_USE, {"template": "gone"}, {**WEB_USE, "name": "b"}), template())
    found = planned(world)
    assert {name for _, name in policies(found)} == {
        "securetenant-ingress-web-behind-ingress-from-edge",
        "securetenant-ingress-b-from-edge",
    }
    world.drop(Ref(NETWORK_TEMPLATE, "", "web-behind-ingress"))
    found = planned(world)
    assert policies(found) == {}
    assert "the flows of 3 of 3 templates" in condition(found).message  # type: ignore[union-attr]


def test_a_tenant_without_templates_is_told_nothing_and_stays_itself() -> None:
    one = user()
    assert condition(planned(world_of(one))) is None
    assert templates.resolve(one, world_of(one)) is one


def test_resolved_twice_it_is_the_same() -> None:
    world = world_of(user(WEB_USE, ingress=[{"name": "own", "from": [{"cidr": "192.0.2.0/24"}]}]), template())
    once = world.tenant("pay")
    assert once is not None
    assert [rule.name for rule in once.spec.network.ingress] == ["own", "web-behind-ingress-from-edge"]
    assert templates.resolve(once, world) == once


def test_it_ends_with_the_earlier_of_both_and_the_ticket_is_the_tenants() -> None:
    soon, later = (f"{NOW + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}" for days in (1, 9))
    rule = {**WEB["ingress"][0], "expires": soon}
    world = world_of(user({**WEB_USE, "expires": later, "ticket": "CHG-7"}), template(spec={**WEB, "ingress": [rule]}))
    one = world.tenant("pay")
    assert one is not None
    (made,) = declarations(one, ["pay-prod"], world, NOW)
    assert (made.rule.ticket, made.rule.expires) == ("CHG-7", NOW.replace(microsecond=0) + timedelta(days=1))
    found = plan(one, world, NOW + timedelta(days=1))
    assert policies(found) == {}
    assert found.status["whitelist"].expired[0].rule == "web-behind-ingress-from-edge"  # type: ignore[union-attr]


# --- the status


def test_the_status_counts_who_uses_it() -> None:
    world = world_of(user(WEB_USE, {**WEB_USE, "name": "b"}), template(), template("odd", {}))
    world.put(user(WEB_USE, name="b"), user(name="c"))
    chores, wake = templates.due(world, NOW)
    assert wake is None
    assert {chore.have.ref.name: chore.value.get("tenants") for chore in chores} == {
        "odd": None,
        "web-behind-ingress": 2,
    }
    told = {chore.have.ref.name: NetworkTemplateStatus.model_validate(chore.value) for chore in chores}
    assert {name: [one.status for one in status.conditions] for name, status in told.items()} == {
        "odd": ["False"],
        "web-behind-ingress": ["True"],
    }
    again = StaticWorld([user(WEB_USE), user(WEB_USE, name="b")])
    again.put(*(_with_status(chore) for chore in chores))
    assert templates.due(again, NOW + timedelta(days=1))[0] == []


def _with_status(chore: Any) -> Any:
    return observed(NETWORK_TEMPLATE, chore.have.ref.name, spec=chore.have.field("spec"), status=chore.value)


def test_a_name_is_a_dns_label_whatever_is_joined() -> None:
    long, rule = "a" * 40, "r" * 22
    spec = {"ingress": [{"name": rule, "from": [{"namespace": "ingress-nginx"}]}]}
    found = policies(planned(world_of(user({"template": long}), template(long, spec))))
    assert {name for _, name in found} == {f"securetenant-ingress-{long}-{rule}"}
    assert len(f"{long}-{rule}") == 63
