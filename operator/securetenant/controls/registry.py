"""All controls, in the order in which they are planned and reported. A new control is one row here."""

from collections.abc import Collection, Mapping
from typing import Final

from securetenant.controls import limits, namespaces, nodes
from securetenant.controls.access import control as access
from securetenant.controls.network import control as network
from securetenant.controls.quota import control as quota
from securetenant.model.kinds import Kind

CONTROLS: Final = (
    namespaces.CONTROL,
    access.CONTROL,
    network.CONTROL,
    quota.CONTROL,
    limits.CONTROL,
    nodes.CONTROL,
)
NAMES: Final = tuple(control.name for control in CONTROLS)
NAMED: Final = {control.name: control for control in CONTROLS}

#: What the operator caches, SecureTenant excepted (kopf watches it).
CACHED: Final = tuple(dict.fromkeys(kind for control in CONTROLS for kind in (*control.kinds, *control.looks_at)))
#: Of these those that the API server need not serve.
OPTIONAL: Final = tuple(kind for kind in CACHED if kind.optional)
KINDS: Final = {kind.key: kind for kind in CACHED}
#: Of these kinds the objects of these names alone.
ONLY: Final[Mapping[Kind, Collection[str]]] = {kind: names for c in CONTROLS for kind, names in c.only.items()}
#: Which control writes a kind; of several the first, which reports what is stale of it.
WRITES: Final = {kind: control for control in reversed(CONTROLS) for kind in control.kinds}
