"""What shows that a namespace is of our own making before its UID is on record, and what does not."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from securetenant.api.status import NamespaceStatus
from securetenant.api.tenant import SecureTenant
from securetenant.controls import commitment
from securetenant.model import names
from securetenant.model.objects import Observed
from tests.support.world import namespace, tenant, value

PAY = tenant("pay", namespaces=["a", "b"])


def carrying(name: str, text: str, **more: object) -> Observed:
    return namespace(name, annotations={names.ANNOTATION_CREATION: text}, **more)


def recorded(known: SecureTenant, **uids: str) -> SecureTenant:
    """The SecureTenant as it stands once these namespaces are on record."""
    entries = [NamespaceStatus(name=name, uid=uid) for name, uid in uids.items()]
    status = {"namespaces": entries, "used_commitments": commitment.used(known, entries)}
    return known.model_copy(update={"status": known.status.model_copy(update=status)})


def annotated(known: SecureTenant, text: str) -> SecureTenant:
    metadata = known.metadata.model_copy(update={"annotations": {names.ANNOTATION_CREATING: text}})
    return known.model_copy(update={"metadata": metadata})


def test_the_value_proves_it() -> None:
    assert commitment.proves(PAY, carrying("a", value("a")))


@dataclass
class Forgery:
    made: Observed
    known: SecureTenant = PAY


@pytest.mark.parametrize(
    "forgery",
    [
        pytest.param(Forgery(namespace("a")), id="without a value"),
        pytest.param(Forgery(carrying("a", "")), id="an empty value"),
        pytest.param(Forgery(carrying("a", value("b"))), id="the value of another namespace"),
        pytest.param(Forgery(carrying("c", value("a"))), id="a name that nothing was committed to"),
        pytest.param(
            Forgery(carrying("a", commitment.pending(PAY)["a"].digests[0])), id="the digest, which all may read"
        ),
        pytest.param(
            Forgery(carrying("a", value("a")), annotated(tenant("pay", uid="new", namespaces=["a"]),
                PAY.metadata.annotations[names.ANNOTATION_CREATING])), id="a SecureTenant that was restored",
        ),
        pytest.param(Forgery(carrying("a", value("a")), annotated(PAY, "{}")), id="no commitment"),
        pytest.param(Forgery(carrying("a", value("a")), annotated(PAY, '{"a": "x"}')), id="no text of ours"),
        pytest.param(Forgery(carrying("a", value("a")), annotated(PAY, "[")), id="no JSON"),
    ],
)  # fmt: skip
def test_nothing_else_does(forgery: Forgery) -> None:
    assert not commitment.proves(forgery.known, forgery.made)


def test_it_counts_no_more_when_the_uid_is_on_record() -> None:
    done = recorded(PAY, a="u1", b="")
    assert not commitment.proves(done, carrying("a", value("a")))
    assert commitment.proves(done, carrying("b", value("b")))


LATER: list[Callable[[SecureTenant], SecureTenant]] = [
    lambda known: recorded(known, b="u2"),  # taken out of the spec
    lambda known: recorded(recorded(known, b="u2"), a="", b="u2"),  # and named in it again
]


@pytest.mark.parametrize("later", LATER)
def test_nor_ever_after(later: Callable[[SecureTenant], SecureTenant]) -> None:
    """The value can be read by then: a namespace that somebody makes with it must not pass as ours."""
    done = later(recorded(PAY, a="u1", b="u2"))
    assert not commitment.proves(done, carrying("a", value("a")))


def test_one_for_a_name_that_is_not_declared_any_more_is_void() -> None:
    assert not commitment.proves(recorded(PAY, b=""), carrying("a", value("a")))


def test_an_earlier_one_may_still_be_carried_out() -> None:
    """A request of a process that was killed can be on its way for a while."""
    again = annotated(PAY, commitment.committed(PAY, {"a": commitment.digest(PAY, "a", "second")}))
    for text in (value("a"), "second"):
        assert commitment.proves(again, carrying("a", text))
    assert commitment.proves(again, carrying("b", value("b")))


def test_only_the_last_three_are_kept() -> None:
    known = PAY
    for number in range(5):
        known = annotated(known, commitment.committed(known, {"a": commitment.digest(known, "a", str(number))}))
    assert [commitment.proves(known, carrying("a", str(number))) for number in range(5)] == [False] * 2 + [True] * 3


def test_what_is_void_leaves_the_annotation_with_the_next_commitment() -> None:
    done = recorded(PAY, a="u1", b="u2")
    again = annotated(done, commitment.committed(done, {"a": commitment.digest(done, "a", "second")}))
    assert commitment.pending(again).keys() == {"a"}
    assert commitment.pending(again)["a"].after == "u1"
    assert commitment.proves(again, carrying("a", "second", uid="u3"))
    assert not commitment.proves(again, carrying("a", value("a")))
    assert recorded(again, a="u3", b="u2").status.used_commitments == [commitment.digest(done, "a", "second")]
    assert names.ANNOTATION_CREATING in again.metadata.annotations
