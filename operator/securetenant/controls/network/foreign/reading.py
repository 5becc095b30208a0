"""What is understood of a policy, whatever its kind."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from securetenant.sets import matching, selectors
from securetenant.sets.matching import Names, Truth
from securetenant.sets.selectors import Selector

Direction: TypeAlias = Literal["ingress", "egress"]
TOWARDS: Final[Mapping[Direction, str]] = {"ingress": "from", "egress": "to"}
EVERYWHERE: Final = "everywhere"
NOT_UNDERSTOOD: Final = "not understood"
DOES_SOMETHING: Final = "does something to"  # an action that is not known
_SHOWN: Final = 3  # peers that a message names, of each action
_LONGEST: Final = 120  # characters of one text out of a policy

# By a namespace's name and labels: whether pods of it are selected.
Selects: TypeAlias = Callable[[str, Mapping[str, str]], Truth]


class Effect(NamedTuple):
    """What one rule does: allows, denies, passes on; which peers, each with the ports."""

    action: str
    direction: Direction
    ends: tuple[str, ...]


class Part(NamedTuple):
    """A policy, or one of several within an object. `pods`: which pods of the selected namespaces, as text. `named`:
    the only namespaces that it can select, by name. `unclear`: why something of it is not understood."""

    selects: Selects
    pods: str
    effects: Sequence[Effect] = ()
    named: Names = None
    unclear: str = ""


class Reading(NamedTuple):
    """`parts`: what can concern pods. `about`: what stands before all else (its tier and order). `last`: it decides
    only on pods that no NetworkPolicy selects."""

    parts: Sequence[Part]
    about: str = ""
    last: bool = False

    @property
    def named(self) -> Names:
        """The names of the only namespaces that it can select; None: any."""
        found = [part.named for part in self.parts]
        return None if None in found else frozenset().union(*(one for one in found if one is not None))

    def concerning(self, namespace: str, labels: Mapping[str, str]) -> list[Part]:
        """The parts that select pods of a namespace, or may."""
        return [part for part in self.parts if part.selects(namespace, labels) is not False]


def maybe(namespace: str, labels: Mapping[str, str]) -> None:
    """Of what is not understood."""
    return


def anywhere(namespace: str, labels: Mapping[str, str]) -> bool:
    """Of a policy in its own namespace."""
    return True


def unclear(why: object) -> Reading:
    """A policy that is not understood at all."""
    return Reading([Part(maybe, "unknown pods", unclear=short(str(why)))])


def by_labels(selected: Selector) -> Selects:
    """Of a selector of namespaces."""
    required = selected.labels

    def selects(name: str, labels: Mapping[str, str]) -> Truth:
        # At once for most: each event of a policy asks it for every namespace.
        for key, value in required:
            if labels.get(key) != value:
                return False
        return not selected.expressions or matching.matches(selected, matching.of(labels))

    return selects


def pods_of(selected: Selector) -> str:
    return "all pods" if selected == selectors.ALL else f"pods with {short(selectors.described(selected))}"


def namespaces_of(selected: Selector) -> str:
    if selected == selectors.ALL:
        return "all namespaces"
    if found := selectors.namespaces_of(selected):
        return listed([f"namespace {name}" for name in found])
    return f"namespaces with {short(selectors.described(selected))}"


def rule_not_understood(action: str, direction: Direction) -> Effect:
    return Effect(action, direction, (NOT_UNDERSTOOD,))


def on(ends: Iterable[str], ports: str) -> tuple[str, ...]:
    """The peers, each with the ports; "" for all ports."""
    return tuple(f"{end} on {ports}" if ports else end for end in ends)


def told(parts: Iterable[Part]) -> str:
    """As text: "allows ingress from everywhere on TCP 80; denies egress to not understood"."""
    parts = list(parts)
    ends: dict[tuple[str, Direction], dict[str, None]] = {}
    for part in parts:
        for effect in part.effects:
            ends.setdefault((effect.action, effect.direction), {}).update(dict.fromkeys(effect.ends))
    does = [
        f"{action} {direction} {TOWARDS[direction]} {_shown(found)}"
        for (action, direction), found in ends.items()
        if found
    ]
    does += [f"{NOT_UNDERSTOOD} ({why})" for why in dict.fromkeys(part.unclear for part in parts if part.unclear)]
    return "; ".join(does) or "allows nothing"


def _shown(ends: Iterable[str]) -> str:
    # What is not understood comes first, so that it is always named.
    return listed(sorted(ends, key=lambda end: not end.startswith(NOT_UNDERSTOOD)))


def listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more


def short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
