"""Whether a quota whose limits in force are not those of its spec was tampered with, or is only not followed yet."""

from typing import Any

from securetenant.engine.following import Following
from securetenant.model.objects import Observed
from tests.support.world import observed


def quota(spec: int, status: int | None, **more: Any) -> Observed:
    given: dict[str, Any] = {} if status is None else {"status": {"hard": {"pods": str(status)}, "used": {"pods": "0"}}}
    return observed("ResourceQuota", "securetenant", "pay", spec={"hard": {"pods": str(spec)}}, **given, **more)


def heard(*states: Observed) -> Following:
    """What is known after these states of one quota, the first of which is the first that is seen."""
    following = Following()
    for old, new in zip([None, *states], states, strict=False):
        following.change(old, new)
    return following


def test_a_new_one_has_yet_to_be_counted() -> None:
    new = quota(2, None)
    assert heard(new).is_behind(new) is True


def test_after_a_change_of_the_spec_what_was_in_force_may_stand() -> None:
    changed = quota(3, 2)
    following = heard(quota(2, 2), changed)
    assert following.is_behind(changed) is True
    assert following.is_behind(quota(3, 100)) is False


def test_once_followed_any_difference_is_somebodys_doing() -> None:
    counted, followed = heard(quota(2, None), quota(2, 2)), heard(quota(2, 2), quota(3, 2), quota(3, 3))
    assert counted.is_behind(quota(2, 100)) is False
    assert counted.is_behind(quota(2, None)) is False, "a status that was taken away"
    assert followed.is_behind(quota(3, 2)) is False, "what it was before"
    assert len(counted) == len(followed) == 0


def test_a_change_of_the_status_alone_is_none_to_follow() -> None:
    forged = quota(2, 100)
    assert heard(quota(2, 2), forged).is_behind(forged) is False
    assert heard(quota(3, 3), quota(2, 3), forged).is_behind(forged) is False


def test_what_was_done_before_the_start_is_not_known() -> None:
    first = quota(2, 100)
    following = heard(first)
    assert following.is_behind(first) is None
    following.change(first, quota(3, 100))
    assert following.is_behind(quota(3, 100)) is True, "now it is"


def test_what_is_gone_is_forgotten() -> None:
    following = heard(quota(2, None))
    following.change(quota(2, None), None)
    assert len(following) == 0
    following.change(None, quota(2, 2))
    following.change(quota(2, 2), quota(2, None, uid="another"))
    assert following.is_behind(quota(2, None, uid="another")) is True, "made anew"
