"""What is committed to before namespaces are created, and when nothing has to be written for it."""

import itertools

from securetenant.api.tenant import SecureTenant
from securetenant.controls import commitment
from securetenant.drift.judge import Finding
from securetenant.engine.creation import Creations, announcement, created, creates
from securetenant.engine.writer import Altered, Outcome
from securetenant.model import names
from securetenant.model.kinds import NAMESPACE
from securetenant.model.objects import Desired, Observed, Ref
from tests.support.world import namespace, tenant

PAY = tenant("pay", namespaces=["a", "b"])
NEW = PAY.model_copy(update={"metadata": PAY.metadata.model_copy(update={"annotations": {}})})


def creations() -> Creations:
    numbers = itertools.count()
    return Creations(lambda: f"value-{next(numbers)}")


def missing(name: str) -> Finding:
    ref = Ref(NAMESPACE, "", name)
    return Finding(ref, "namespaces", "Missing", "Create", rollout=True, desired=Desired(ref, "namespaces"))


def carrying(name: str, values: Creations, known: SecureTenant) -> Observed:
    return namespace(name, annotations={names.ANNOTATION_CREATION: values.values(known.name)[name]})


def test_each_namespace_is_created_with_a_value_of_its_own() -> None:
    known = creations()
    after = known.commit(NEW, {"a", "b"})
    assert set(known.values("pay")) == {"a", "b"}
    assert len(set(known.values("pay").values())) == 2
    for name in ("a", "b"):
        assert commitment.proves(after, carrying(name, known, after))


def test_a_second_try_writes_nothing() -> None:
    known = creations()
    after = known.commit(NEW, {"a"})
    values = dict(known.values("pay"))
    assert known.commit(after, {"a"}) is after
    assert known.values("pay") == values


def test_what_never_was_written_is_committed_to_anew() -> None:
    known = creations()
    known.commit(NEW, {"a"})
    lost = dict(known.values("pay"))
    after = known.commit(NEW, {"a"})
    assert known.values("pay") != lost
    assert commitment.proves(after, carrying("a", known, after))


def test_values_go_when_they_count_no_more() -> None:
    known = creations()
    known.commit(NEW, {"a"})
    assert known.commit(NEW, set()) is NEW
    assert not known.values("pay")


def test_the_first_commitment_goes_with_the_finalizer() -> None:
    after = creations().commit(NEW, {"a"})
    patch = announcement(NEW, after)
    assert patch is not None
    assert patch["metadata"] == {
        "uid": "uid-pay",
        "resourceVersion": "",
        "annotations": after.metadata.annotations,
        "finalizers": [names.FINALIZER],
    }
    finalized = NEW.model_copy(
        update={"metadata": NEW.metadata.model_copy(update={"finalizers": [names.FINALIZER], "annotations": {}})}
    )
    assert announcement(finalized, finalized) is None
    assert announcement(finalized, creations().commit(finalized, {"a"})) is not None


def test_what_was_created_is_known_by_the_answer() -> None:
    """Also where admission changed it."""
    a, b, c = missing("a"), missing("b"), missing("c")
    answers = {f.ref: namespace(f.ref.name, uid=f"u-{f.ref.name}") for f in (a, b)}
    outcome = Outcome(done=[a], altered=[Altered(b, answers[b.ref], "labels")], answers=answers)
    assert creates([a, b, c]) == {"a", "b", "c"}
    assert created(outcome) == {"a": "u-a", "b": "u-b"}
