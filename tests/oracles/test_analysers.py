"""Reachability against two analysers that share no code with it or with each other, on random clusters: every pair of
pods and every address, on all ports."""

from pathlib import Path
from typing import Final

import pytest

from securetenant.reach.flows import reach
from tests.support.oracles import analysers
from tests.support.oracles.answers import Answer, differences, ours
from tests.support.oracles.clusters import Dialect, Given, random_cluster, together

# A program takes so many clusters at once, and they are one: their selectors reach into each other.
AT_ONCE: Final = 25
BATCHES: Final = range(8)


@pytest.mark.full
@pytest.mark.parametrize("batch", BATCHES)
def test_network_config_analyzer_agrees_on_random_clusters(nca: Path, tmp_path: Path, batch: int) -> None:
    given = random_clusters(batch, analysers.NCA)
    agree(given, analysers.nca(nca, given, tmp_path), "network-config-analyzer")


@pytest.mark.full
@pytest.mark.parametrize("batch", BATCHES)
def test_netpol_analyzer_agrees_on_random_clusters(netpolicy: Path, tmp_path: Path, batch: int) -> None:
    given = random_clusters(batch, analysers.NETPOLICY)
    agree(given, analysers.netpolicy(netpolicy, given, tmp_path), "netpol-analyzer", versions=(4,))


def random_clusters(batch: int, dialect: Dialect) -> Given:
    return together(random_cluster(AT_ONCE * batch + n, f"c{n}", dialect) for n in range(AT_ONCE))


def agree(given: Given, theirs: Answer, name: str, versions: tuple[int, ...] = (4, 6)) -> None:
    mine = ours(reach(given.cluster(blocks_match_pods=False)))
    found = list(differences(mine, theirs, versions))
    for source, target, what in found[:1]:
        ends = [end for end in (source, target) if "/" in end]
        pytest.fail(f"{source} to {target}: {what}; {len(found)} such; policies there: {given.policies_at(*ends)}")
    pairs = len(given.pods) * (len(given.pods) - 1)
    some = sum(source != target for source, target in mine.pods)
    print(f"{name}: {pairs} pairs of pods agree, {some} may talk, on {len(set(mine.pods.values()))} sets of ports")
    assert pairs > some > pairs // 10
