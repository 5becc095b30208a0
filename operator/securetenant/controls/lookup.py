"""The controls of the registry by name and by kind, and the kinds that they name."""

from collections.abc import Collection, Mapping
from functools import cache
from typing import Final

from securetenant.controls.control import Control
from securetenant.controls.registry import CONTROLS
from securetenant.model.kinds import Kind

NAMES: Final = tuple(control.name for control in CONTROLS)
NAMED: Final = {control.name: control for control in CONTROLS}
#: The kinds that the operator caches, except SecureTenant (kopf watches it).
CACHED: Final = tuple(dict.fromkeys(kind for control in CONTROLS for kind in (*control.kinds, *control.looks_at)))
#: Those among them that the API server need not serve.
OPTIONAL: Final = tuple(kind for kind in CACHED if kind.optional)
KINDS: Final = {kind.key: kind for kind in CACHED}
#: For these kinds, only the objects with these names are cached.
ONLY: Final[Mapping[Kind, Collection[str]]] = {kind: names for c in CONTROLS for kind, names in c.only.items()}
FAMILIES: Final = tuple(family for control in CONTROLS for family in control.families)


@cache
def writers(controls: tuple[Control, ...] = CONTROLS) -> dict[Kind, Control]:
    """Which control writes a kind; if several do, the first one, which reports the kind's stale objects."""
    found: dict[Kind, Control] = {}
    for control in controls:
        for kind in control.kinds:
            found.setdefault(kind, control)
    return found


WRITES: Final = writers()
