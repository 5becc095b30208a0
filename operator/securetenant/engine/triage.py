"""Which tenants to reconcile first after a start: those where something was changed while no operator ran.

This only decides the order: every tenant is reconciled, and what this check misses (a peer's change) is found then.
"""

from collections.abc import Callable, Iterable

from securetenant.cache.tenants import Applied
from securetenant.controls.lookup import KINDS
from securetenant.model.kinds import NETWORK_POLICY, ROLE_BINDING, Kind
from securetenant.model.objects import Observed, Ref
from securetenant.model.record import is_recorded

# Foreign objects of these kinds widen access.
_WIDENING = (NETWORK_POLICY, ROLE_BINDING)


def is_suspect(
    uid: str,
    applied: Applied,
    get: Callable[[Ref], Observed | None],
    in_namespace: Callable[[Kind, str], Iterable[Observed]],
) -> bool:
    """Whether something that the tenant applied is missing or changed, or a foreign object that may widen access exists
    beside it.

    `uid`: the tenant's. `get` and `in_namespace` (kind, namespace) look objects up.
    """
    for namespace, entries in applied.items():
        widening = 0
        for entry in entries:
            key, _, name = entry.partition("/")
            if (kind := KINDS.get(key)) is None:
                continue
            have = get(Ref(kind, namespace, name))
            if have is None or not is_recorded(have, uid):
                return True
            widening += kind in _WIDENING
        if namespace and sum(len(list(in_namespace(kind, namespace))) for kind in _WIDENING) > widening:
            return True
    return False
