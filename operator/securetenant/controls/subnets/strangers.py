"""Subnets of others that bind a tenant's namespace as well. Kube-OVN says nothing of it, and gives the pods addresses
of one or the other: those of the other are outside of the whitelist.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from securetenant.controls.control import Foreign
from securetenant.controls.subnets.allocation import names
from securetenant.controls.world import World
from securetenant.model.kinds import KUBE_OVN_SUBNET, NAMESPACE
from securetenant.model.objects import JsonValue, Observed, Ref
from securetenant.sets import matching

# The index key of the Subnets that bind namespaces by their labels.
SELECTING: Final = "selecting"


def binding(subnet: Observed) -> Iterator[str]:
    """The index keys: the namespaces that a Subnet names, and whether it selects some."""
    yield from (f"binds:{name}" for name in _listed(subnet.at(("spec", "namespaces"))))
    if _listed(subnet.at(("spec", "namespaceSelectors"))):
        yield SELECTING


def of(control: str, held: Sequence[str], world: World) -> dict[str, list[Foreign]]:
    """By namespace, the Subnets that bind it beside its own."""
    selecting = list(world.indexed(KUBE_OVN_SUBNET, (SELECTING,)))
    found: dict[str, list[Foreign]] = {}
    for namespace in held:
        own = names(namespace, KUBE_OVN_SUBNET)[0]
        naming = world.indexed(KUBE_OVN_SUBNET, (f"binds:{namespace}",))
        others = {one.ref: one for one in (*naming, *(one for one in selecting if _selects(one, namespace, world)))}
        message = f"binds {namespace} as well, whose pods then have addresses outside of their own subnet"
        if listed := [Foreign(others[ref], control, message) for ref in sorted(others) if ref.name != own]:
            found[namespace] = listed
    return found


def _selects(subnet: Observed, namespace: str, world: World) -> bool:
    """By the labels that the namespace has. What cannot be read selects nothing here: Kube-OVN does not read it
    either."""
    have = world.get(Ref(NAMESPACE, "", namespace))
    if have is None:
        return False
    for value in _listed(subnet.at(("spec", "namespaceSelectors"))):
        try:
            selected = matching.parsed(value)
        except ValueError:
            continue
        if matching.matches(selected, matching.of(have.labels)):
            return True
    return False


def _listed(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []
