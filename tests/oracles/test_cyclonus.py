"""The conformance cases of Cyclonus, cell by cell, against reachability: an evaluator of its own, made to judge network
plug-ins. Its pods match ipBlocks by their addresses."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from securetenant.reach.flows import reach
from securetenant.reach.values import Cluster
from securetenant.sets.policy import Policy, Unclear
from tests.support.oracles.answers import includes, ours
from tests.support.oracles.cyclonus import CHANGES, Step, steps

CASES: Final = 229
TABLES: Final = ("ingress", "egress", "combined")
PAIRS: Final = 9 * 9
# A pod more, and two.
MORE: Final = {("Create/delete pod", 2): 10 * 10, ("Create/delete namespace", 2): 11 * 11}


@pytest.mark.full
def test_every_cell_of_every_conformance_case_is_the_same(cyclonus: Path) -> None:
    found = steps(cyclonus)
    assert sum(step.number == 1 for step in found) == CASES
    assert CHANGES.keys() <= {step.case for step in found if step.number == 2}
    compared = 0
    for step in found:
        calls = 6 if step.call is None else 1
        expected = MORE.get((step.case, step.number), PAIRS) * calls
        assert {name: len(step.tables[name]) for name in TABLES} == dict.fromkeys(TABLES, expected), step.case
        compared += sum(check(step).values())
    print(f"Cyclonus: {len(found)} steps of {CASES} cases, {compared} cells agree")
    assert compared == 3 * (6 * (PAIRS * (len(found) - 3) + 100 + 121) + PAIRS)


def check(step: Step) -> Counter[str]:
    """Fails where a cell of a step differs; how many of each table were compared."""
    whole = step.given().cluster(blocks_match_pods=True)
    counted: Counter[str] = Counter()
    for table in TABLES:
        answer = ours(reach(one_sided(whole, table)))
        for cell in step.tables[table]:
            said = includes(answer.pods.get((cell.source, cell.target), ()), cell.call)
            assert said == cell.passes, (step.case, step.number, table, cell, step.policies)
            counted[table] += 1
    return counted


def one_sided(cluster: Cluster, table: str) -> Cluster:
    """The cluster with what its policies do in one direction alone."""
    if table == "combined":
        return cluster
    kept = {
        space: [one._replace(policy=side) for one in listed if (side := _one_way(one.policy, table)) is not None]
        for space, listed in cluster.policies.items()
    }
    return replace(cluster, policies=kept)


def _one_way(policy: Policy | Unclear, table: str) -> Policy | None:
    assert isinstance(policy, Policy)
    if table == "ingress":
        return None if policy.ingress is None else replace(policy, egress=None)
    return None if policy.egress is None else replace(policy, ingress=None)
