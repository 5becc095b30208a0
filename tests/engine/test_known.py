"""What a status keeps of the deviations that were counted."""

import pytest

from securetenant.api.status import DriftItem, DriftStatus
from securetenant.engine import known
from securetenant.model.kinds import NETWORK_POLICY
from securetenant.model.objects import Ref

DENY = Ref(NETWORK_POLICY, "pay-a", "deny")
_REASONS = ("Missing", "Stale")
KEYS = [(Ref(NETWORK_POLICY, "pay-a", f"p{number}"), reason) for number in range(30) for reason in _REASONS]


def test_what_was_packed_is_known_and_nothing_else() -> None:
    before = known.of_status(DriftStatus(unlisted=known.packed(map(known.digest, KEYS[::2]))))
    assert [key in before for key in KEYS] == [True, False] * 30


def test_the_text_is_that_of_the_set() -> None:
    digests = [known.digest(key) for key in KEYS]
    assert known.packed(digests) == known.packed([*reversed(digests), *digests])
    assert known.packed([]) == ""


def test_the_text_is_bounded() -> None:
    many = [known.digest((Ref(NETWORK_POLICY, "pay-a", f"p{number}"), "Foreign")) for number in range(5000)]
    assert len(known.packed(many)) < 11_000
    before = known.of_status(DriftStatus(unlisted=known.packed(many)))
    assert len(before.digests) == known.MOST


def test_the_listed_are_known_with_their_managers() -> None:
    item = DriftItem(
        control="network", reason="Changed", manager="jo", kind=DENY.kind.key, namespace=DENY.namespace, name=DENY.name
    )
    drift = DriftStatus(items=[item], unlisted=known.packed([known.digest(KEYS[0])]))
    before = known.of_status(drift)
    assert before.managers == {(DENY, "Changed"): "jo"}
    assert (DENY, "Missing") not in before
    later = known.of_status(DriftStatus(unlisted=known.unlisted(drift)))
    assert (DENY, "Changed") in later
    assert KEYS[0] in later
    assert len(later.digests) == 2


@pytest.mark.parametrize("text", ["no base64!", "AAA", "ÄÖ", ""])
def test_what_we_could_not_have_written_is_nothing(text: str) -> None:
    assert known.of_status(DriftStatus(unlisted=text)) == known.Known({}, frozenset())
