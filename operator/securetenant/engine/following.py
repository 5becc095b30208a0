"""Which quotas kube-controller-manager has yet to follow: it copies spec.hard into status.hard after each change, and
what stands there until then is no tampering. Learned from the changes of the cache alone, and kept for those only
that it has yet to follow.
"""

from typing import Final

from securetenant.api.objects import Json, JsonValue, Observed, Ref

_UNKNOWN: Final[Json] = {"": ""}  # no status.hard


class Following:
    """`change` hears of every change of the cache of quotas, as (old, new). Single event loop."""

    def __init__(self) -> None:
        # What status.hard was when spec.hard changed last.
        self._behind: dict[Ref, Json] = {}

    def __len__(self) -> int:
        return len(self._behind)

    def change(self, old: Observed | None, new: Observed | None) -> None:
        """A quota came (no old), changed, or went (no new)."""
        if new is None:
            if old is not None:
                self._behind.pop(old.ref, None)
            return
        in_force, hard = _hard(new.field("status")), _hard(new.field("spec"))
        if in_force == hard:
            self._behind.pop(new.ref, None)
        elif old is None or old.uid != new.uid:
            # Nobody has counted yet; or, at the start, what was done before is not known.
            self._behind[new.ref] = in_force and _UNKNOWN
        elif _hard(old.field("spec")) != hard:
            self._behind[new.ref] = in_force

    def is_behind(self, quota: Observed) -> bool | None:
        """Of a quota whose limits in force are not those of its spec: whether kube-controller-manager has yet to follow
        (else somebody else wrote its status); None if that is not known."""
        was = self._behind.get(quota.ref)
        if was is _UNKNOWN:
            return None
        return was is not None and was == _hard(quota.field("status"))


def _hard(part: JsonValue) -> Json:
    hard = part.get("hard") if isinstance(part, dict) else None
    return hard if isinstance(hard, dict) else {}
