"""Checks of a tenant's rules that need only files, for `securetenant validate`."""

from collections.abc import Iterator
from datetime import datetime

from securetenant.api.load import Problem
from securetenant.api.tenant import SecureTenant
from securetenant.controls import ownership
from securetenant.controls.control import Reference
from securetenant.controls.network import whitelist
from securetenant.controls.world import World
from securetenant.sets.policy import PEERS


def references(tenant: SecureTenant, now: datetime) -> Iterator[Reference]:
    """The namespaces that its rules name as peers, except expired rules."""
    for direction, others in PEERS.items():
        for index, (rule, _, peers) in enumerate(whitelist.rules(tenant, direction)):
            for number, peer in enumerate(peers):
                if peer.namespace is not None and not whitelist.has_expired(rule.expires, now):
                    path = f"spec.network.{direction}[{index}].{others}[{number}].namespace"
                    yield Reference(path, peer.namespace, f"rule {rule.name!r} stays closed")


def one_sided(tenant: SecureTenant, world: World, now: datetime) -> Iterator[Problem]:
    """Flows that stay closed, because of the other side (if that tenant is in this world) or of the rule itself."""
    for declared in whitelist.declarations(tenant, ownership.held(tenant, world), world, now):
        peer = declared.peer.tenant
        if declared.expired or declared.opened.flows or (peer is not None and world.tenant(peer) is None):
            continue
        rules = whitelist.rules(tenant, declared.direction)
        index = next(i for i, (rule, _, _) in enumerate(rules) if rule is declared.rule)
        message = f"rule {declared.rule.name!r} stays closed: {declared.opened.reason}"
        yield Problem(f"spec.network.{declared.direction}[{index}]", message, "warning")
