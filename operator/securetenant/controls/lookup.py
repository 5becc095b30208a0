"""The controls of the registry by name and by kind, and the kinds that they name."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from securetenant.controls.control import Control
from securetenant.controls.registry import CONTROLS
from securetenant.model.kinds import Kind

NAMES: Final = tuple(control.name for control in CONTROLS)
NAMED: Final = {control.name: control for control in CONTROLS}
#: What the operator caches, SecureTenant excepted (kopf watches it).
CACHED: Final = tuple(dict.fromkeys(kind for control in CONTROLS for kind in (*control.kinds, *control.looks_at)))
#: Of these those that the API server need not serve.
OPTIONAL: Final = tuple(kind for kind in CACHED if kind.optional)
KINDS: Final = {kind.key: kind for kind in CACHED}
#: Of these kinds the objects of these names alone.
ONLY: Final[Mapping[Kind, Collection[str]]] = {kind: names for c in CONTROLS for kind, names in c.only.items()}
FAMILIES: Final = tuple(family for control in CONTROLS for family in control.families)


def writers(controls: Iterable[Control] = CONTROLS) -> dict[Kind, Control]:
    """Which control writes a kind; of several the first, which reports what is stale of it."""
    found: dict[Kind, Control] = {}
    for control in controls:
        for kind in control.kinds:
            found.setdefault(kind, control)
    return found


WRITES: Final = writers()
