"""The conformance cases of Cyclonus: policies, and truth tables of what passes, read from what it prints.

With `--mock` it makes no cluster. Its "actual" results are then random, its "expected" ones are its own evaluation.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from securetenant.reach.values import Pod
from tests.support.cni.values import Call
from tests.support.oracles.clusters import Given

# Its default leaves out four kinds of cases; naming one kind that we can do without takes the others in.
_COMMAND: Final = ("generate", "--mock", "--noisy", "--exclude", "example", "--retries", "0")
_NO_WAIT: Final = ("--perturbation-wait-seconds", "0")
_STEP: Final = re.compile(r"step \d+ on (?:all available ports/protocols|port (\S+), protocol (\S+)):")
_TABLE: Final = re.compile(r"Expected (ingress|egress|combined):")
NAMED: Final = {
    f"serve-{number}-{protocol.lower()}": (protocol, number)
    for number, protocol in product((80, 81), ("TCP", "UDP", "SCTP"))
}
# What a case does to namespaces and pods in its second step, which it does not print. A third step takes it back.
CHANGES: Final[Mapping[str, Mapping[str, Mapping[str, str]]]] = {
    "Create/delete namespace": {"y-2": {"ns": "y"}, "y-2/a": {"pod": "a"}, "y-2/b": {"pod": "b"}},
    "Update namespace so that policy applies, then again so it no longer applies": {"y": {"ns": "y", "new-ns": "qrs"}},
    "Create/delete pod": {"x/d": {"pod": "d"}},
    "Update pod so that policy applies, then again so it no longer applies": {"y/b": {"pod": "b", "new-label": "abc"}},
    "should allow ingress access from updated namespace": {"y": {"ns": "y", "ns2": "updated"}},
    "should allow ingress access from updated pod": {"x/b": {"pod": "b", "pod2": "updated"}},
    "should deny ingress access to updated pod": {"x/a": {"target": "isolated"}},
}


class Cell(NamedTuple):
    """One cell of a table: whether this call passes."""

    source: str
    target: str
    call: Call
    passes: bool


@dataclass
class Step:
    """`tables`: by "ingress", "egress" (what one end allows) and "combined"."""

    case: str
    number: int
    call: Call | None  # None: those of all ports
    policies: list[dict[str, Any]] = field(default_factory=list)
    tables: dict[str, list[Cell]] = field(default_factory=dict)

    def given(self) -> Given:
        changes = CHANGES.get(self.case, {}) if self.number == 2 else {}
        spaces = {name: {"ns": name} for name in "xyz"}
        pods = {f"{space}/{name}": {"pod": name} for space, name in product("xyz", "abc")}
        for name, labels in changes.items():
            (pods if "/" in name else spaces)[name] = dict(labels)
        return Given(
            spaces,
            [
                Pod(*_split(name), labels, NAMED, (ip_address(f"192.168.1.{number}"),))
                for number, (name, labels) in enumerate(pods.items(), 1)
            ],
            [(one["metadata"]["namespace"], one["metadata"]["name"], one["spec"]) for one in self.policies],
        )


def _split(name: str) -> tuple[str, str]:
    space, _, pod = name.partition("/")
    return space, pod


def steps(program: Path) -> list[Step]:
    """All steps of all cases."""
    environment = os.environ | {"KUBECONFIG": os.devnull}
    done = subprocess.run([program, *_COMMAND, *_NO_WAIT], capture_output=True, text=True, check=True, env=environment)
    return list(_read(iter(done.stdout.splitlines())))


def _read(lines: Iterator[str]) -> Iterator[Step]:
    case, step = "", None
    number = 0
    for line in lines:
        if line.startswith("evaluating test case: "):
            case, number = line.removeprefix("evaluating test case: "), 0
        elif match := _STEP.fullmatch(line):
            number += 1
            step = Step(case, number, Call(*NAMED[match[1]]) if match[1] else None)
            yield step
        elif step is not None and line == "Network policy:":
            next(lines)
            step.policies.append(yaml.safe_load("\n".join(_until_empty(lines))))
        elif step is not None and (match := _TABLE.fullmatch(line)):
            step.tables[match[1]] = list(_cells(_until_empty(lines), step.call))


def _until_empty(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if not line:
            return
        yield line


def _cells(lines: Iterator[str], only: Call | None) -> Iterator[Cell]:
    """A table as tablewriter draws it. The calls are in its corner, one below the other, unless there is one alone."""
    targets: list[str] = []
    calls: list[Call] = [only] if only else []
    borders = 0
    for line in lines:
        if line.startswith("+"):
            borders += 1
            continue
        first, *rest = (part.strip() for part in line.strip("|").split("|"))
        if borders == 1:
            targets = targets or [name.lower() for name in rest]
            if first:
                protocol, _, port = first.partition("/")
                calls.append(Call(protocol, int(port)))
            continue
        for target, marks in zip(targets, rest, strict=True):
            for call, mark in zip(calls, marks.split(), strict=True):
                yield Cell(first, target, call, {".": True, "X": False}[mark])
