"""Which tenants to look at first after a start: those in which something was changed while nobody looked.

It only orders: every tenant is looked at all the same, and what this cannot see (a peer's change) is found then.
"""

from collections.abc import Callable, Iterable

from securetenant.cache.tenants import Applied
from securetenant.controls.lookup import KINDS
from securetenant.model.kinds import NETWORK_POLICY, ROLE_BINDING, Kind
from securetenant.model.objects import Observed, Ref
from securetenant.model.record import is_recorded

# Others' objects of these kinds widen a posture.
_WIDENING = (NETWORK_POLICY, ROLE_BINDING)


def is_suspect(
    uid: str,
    applied: Applied,
    get: Callable[[Ref], Observed | None],
    in_namespace: Callable[[Kind, str], Iterable[Observed]],
) -> bool:
    """Whether something of what a tenant applied is missing or not as it was written, or stands beside it.

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
