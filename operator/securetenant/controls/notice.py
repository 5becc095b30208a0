"""What a control reports about a tenant in addition to conditions: lines in the log of changes, and Events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from securetenant.model.objects import Desired, Observed, Ref


@dataclass(frozen=True, slots=True)
class Notice:
    """One line of the log of changes, and one Event.

    `line`, `fields`: the text and the fields of the log line. `reason`, `message`: the Event's. `about`: what it
    happened to; Events about the same thing are merged. `verb` ("opened") and `name`: where a rollout causes too many
    Events, those after the first few of a reason become one, which says "30 more opened" and names them.
    """

    line: str
    fields: Mapping[str, object]
    reason: str
    message: str
    about: str = ""
    verb: str = ""
    name: str = ""
    is_warning: bool = False


class Written(NamedTuple):
    """An object that a rollout wrote: as it was before and as it is now; None where it does not exist. A released
    object is the same before and after."""

    ref: Ref
    before: Observed | None
    now: Desired | Observed | None


class Rollout(NamedTuple):
    """What a rollout did in a control's own terms, and its cause ("" where the control does not know)."""

    notices: Sequence[Notice] = ()
    cause: str = ""
