"""What a control has people told of a tenant beside its conditions: in the record of changes, and by Events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from securetenant.model.objects import Desired, Observed, Ref


@dataclass(frozen=True, slots=True)
class Notice:
    """One line of the record, and one Event.

    `line`, `fields`: the text of the line and what stands beside it. `reason`, `message`: the Event's. `about`: what it
    happened to, so that Events about the same thing are one. `verb` ("opened") and `name`: where a rollout gives rise
    to too many, the Events past the first ones of a reason become one, which says "30 more opened" and names them.
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
    """An object that was written by our own change of mind: as it stood before, and as it stands now; None where it
    is not there. What was given up stands as it stood."""

    ref: Ref
    before: Observed | None
    now: Desired | Observed | None


class Rollout(NamedTuple):
    """What a rollout comes to in a control's own terms, and why it came about ("" where the control cannot tell)."""

    notices: Sequence[Notice] = ()
    cause: str = ""
