"""The share-out of one resource: exact cases, and its bounds over random standings."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securetenant.controls.quota.shares import Stand, fill, share_out


def held(granted: int, used: int | None, *, in_force: int = 0, cap: int | None = None) -> Stand:
    return Stand(granted, max(granted, in_force, used or 0), used, cap)


def tampered(hard: int, used: int) -> Stand:
    return Stand(None, max(hard, used), used, foreign=hard)


def new(cap: int | None = None) -> Stand:
    return Stand(None, 0, 0, cap)


UNCOUNTED = Stand(None, 0, None)


@pytest.mark.parametrize(
    ("amount", "wants", "grain", "parts"),
    [
        pytest.param(9, [9, 9, 9], 1, [3, 3, 3], id="equal"),
        pytest.param(10, [9, 9, 9], 1, [4, 3, 3], id="odd grain to the first"),
        pytest.param(10, [2, 9, 9], 1, [2, 4, 4], id="what one cannot take goes to the others"),
        pytest.param(10, [0, 0, 9], 1, [0, 0, 9], id="more than wanted stays"),
        pytest.param(105, [99, 99], 10, [55, 50], id="whole grains, the rest to the first"),
        pytest.param(7, [99], 10, [7], id="one takes all, grains or not"),
        pytest.param(0, [5, 5], 1, [0, 0], id="nothing"),
        pytest.param(5, [], 1, [], id="nobody"),
    ],
)
def test_fill(amount: int, wants: list[int], grain: int, parts: list[int]) -> None:
    assert fill(amount, wants, grain) == parts


@pytest.mark.parametrize(
    ("total", "stands", "hards"),
    [
        pytest.param(200, [new(), new(), new()], [67, 67, 66], id="new ones share equally"),
        pytest.param(200, [new(10), new(), new()], [10, 95, 95], id="a cap bounds the share, the others get more"),
        pytest.param(90, [held(50, 5), held(20, 19), held(20, 9)], [24, 20, 20], id="short: the one with most gives"),
        pytest.param(90, [held(30, 0), held(30, 15), held(30, 22)], [30, 30, 30], id="enough headroom: nothing moves"),
        pytest.param(60, [held(30, 10), held(30, 30)], [20, 30], id="short: taken now, given only when it is free"),
        pytest.param(
            60, [held(20, 10, in_force=30), held(30, 30)], [20, 30], id="shrunk, but not in force yet: nothing is free"
        ),
        pytest.param(60, [held(20, 10), held(30, 30)], [20, 40], id="shrunk and in force: given"),
        pytest.param(60, [held(20, 17), held(30, 30)], [24, 36], id="use grew meanwhile: what is free is given"),
        pytest.param(60, [held(30, 10), held(30, 10), new()], [30, 30, 0], id="new, nothing free: zero, not absent"),
        pytest.param(60, [held(20, 10), held(30, 10), new()], [20, 30, 10], id="new gets what is free"),
        pytest.param(40, [held(30, 10), held(30, 10)], [20, 20], id="total lowered: shrinks at once, as far as needed"),
        pytest.param(65, [held(40, 10), held(30, 25)], [25, 30], id="total lowered: the one with most gives first"),
        pytest.param(53, [held(20, 23), held(30, 29)], [23, 30], id="use above the grant: granted, it costs nothing"),
        pytest.param(15, [held(30, 10), held(30, 10)], [8, 7], id="over-committed: no headroom"),
        pytest.param(25, [held(30, 3), held(30, 30)], [3, 22], id="over-committed: the small keep what they use"),
        pytest.param(120, [held(30, 10), held(30, 10)], [60, 60], id="total raised: handed out"),
        pytest.param(64, [held(30, 10), held(30, 10)], [30, 30], id="raised a little: not worth a write"),
        pytest.param(
            60,
            [held(30, 10), tampered(1000, 8)],
            [30, 29],
            id="one raised: back at once",
        ),
        pytest.param(60, [held(30, 10), tampered(0, 8)], [30, 29], id="one lowered: back to a fair part"),
        pytest.param(60, [tampered(999, 1), tampered(999, 2)], [1, 2], id="two raised: use alone until in force"),
        pytest.param(
            60, [held(20, 0, in_force=70), held(9, 10)], [20, 9], id="use above the grant: not while over total"
        ),
        pytest.param(60, [held(20, 60), tampered(0, 8)], [20, 0], id="one lowered: not while over-committed"),
        pytest.param(60, [UNCOUNTED, held(20, 20)], [20, 20], id="one uncounted gets its part, the full one waits"),
        pytest.param(60, [UNCOUNTED, UNCOUNTED], [0, 0], id="two uncounted start from nothing"),
        pytest.param(60, [held(20, None), held(40, 10)], [20, 40], id="granted, not counted yet: counts as used"),
        pytest.param(10, [held(9, 9), held(1, 0), new()], [9, 1, 0], id="the last grain stays where it is"),
        pytest.param(50, [held(30, 10, cap=20), held(20, 10)], [20, 20], id="cap lowered"),
        pytest.param(50, [held(30, 25, cap=20), held(20, 10)], [20, 20], id="cap below use"),
        pytest.param(-5, [held(30, 25), new()], [0, 0], id="nothing left after what leaving namespaces hold"),
        pytest.param(5, [], [], id="no namespace"),
    ],
)
def test_share_out(total: int, stands: list[Stand], hards: list[int]) -> None:
    assert share_out(total, stands, 1) == hards


def test_shares_are_whole_grains() -> None:
    assert share_out(1000, [new(), new(), new()], 10) == [340, 330, 330]


STANDS = st.lists(
    st.builds(
        lambda granted, foreign, used, more, cap: Stand(
            granted, max(foreign if granted is None else granted, used or 0) + more, used, cap, foreign
        ),
        st.none() | st.integers(0, 50),
        st.sampled_from([0, 0, 7, 1000]),
        st.none() | st.integers(0, 50),
        st.sampled_from([0, 0, 0, 1, 7, 1000]),
        st.none() | st.integers(0, 50),
    ),
    min_size=1,
    max_size=6,
)


@given(st.integers(-10, 250), STANDS, st.sampled_from([1, 3, 10]))
def test_the_new_hards_never_exceed_the_total_nor_their_caps(total: int, stands: list[Stand], grain: int) -> None:
    hards = share_out(total, stands, grain)
    assert sum(hards) <= max(total, 0)
    assert all(hard >= 0 and hard <= stand.capped(hard) for hard, stand in zip(hards, stands, strict=True))


@given(st.integers(-10, 250), STANDS, st.sampled_from([1, 3, 10]))
def test_whichever_take_effect_nobody_is_pushed_past_the_total(total: int, stands: list[Stand], grain: int) -> None:
    """A namespace gets more than its quota says only if that fits beside all that is in force in the others, growths
    included. What is in force in itself may be in the past."""
    hards = share_out(total, stands, grain)
    most = [max(hard, stand.in_force) for hard, stand in zip(hards, stands, strict=True)]
    for i, stand in enumerate(stands):
        assert hards[i] <= stand.hard or hards[i] + sum(most) - most[i] <= total


@given(st.integers(0, 250), STANDS, st.sampled_from([1, 3, 10]))
def test_it_comes_to_rest_with_headroom_for_all(total: int, stands: list[Stand], grain: int) -> None:
    """With everything counted and in force, a few passes end in a state that asks for no write, in which nobody is
    full while there is a grain for each."""
    stands = [replace(stand, used=stand.used or 0) for stand in stands]
    for _ in range(6):
        hards = share_out(total, stands, grain)
        after = [
            Stand(hard, max(hard, stand.taken), stand.used, stand.cap)
            for hard, stand in zip(hards, stands, strict=True)
        ]
        if after == stands:
            break
        stands = after
    else:
        pytest.fail(f"still moving: {stands}")
    spare = total - sum(stand.taken for stand in stands)
    if spare >= grain * len(stands):
        assert all(
            hard > stand.taken or stand.capped(hard + 1) == hard for hard, stand in zip(hards, stands, strict=True)
        )
