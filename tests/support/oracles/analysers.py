"""network-config-analyzer and netpol-analyzer: run over a cluster's manifests, their answers in the common form."""

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from securetenant.reach.addresses import Span
from securetenant.sets import ports
from securetenant.sets.ports import Range
from tests.support.oracles.answers import NUMBERED, Answer, Known
from tests.support.oracles.clusters import Dialect, Given
from tests.support.specs import Document

# What each of them does otherwise than Kubernetes has a case in tests/oracles/test_differences.py.
NCA: Final = Dialect()
NETPOLICY: Final = Dialect(ipv6=False, ports_by_name_outside=False, ranges_that_overlap=False)

_PORTS: Final = re.compile(r"(?:(TCP|UDP|SCTP) )?(\d+)(?:-(\d+))?")
_LINE: Final = re.compile(r"(\S+) => (\S+) : (.+)")
_SET: Final = re.compile(r"\{protocols:((?:TCP|UDP|SCTP)(?:, (?:TCP|UDP|SCTP))*)(?:,dst_ports:([\d,-]+))?\}")


class Refused(Exception):
    """The program does not take these manifests; its own words."""


def nca(program: Path, given: Given, folder: Path) -> Answer:
    """What network-config-analyzer says of what `put_plainly` makes of the policies. Raises Refused."""
    return nca_as_it_is(program, put_plainly(given), folder)


def nca_as_it_is(program: Path, given: Given, folder: Path) -> Answer:
    _write(given, folder)
    places = [argument for option in ("-n", "-p") for argument in (option, str(folder))]
    form = ["-o", "txt_no_fw_rules", "--output_endpoints", "pods", "--print_ipv6"]
    said = _run([str(program), "--connectivity", str(folder), *places, *form])
    answer = Answer()
    for line in said.splitlines():
        if match := _LINE.fullmatch(line):
            answer.add(_end(match[1]), _end(match[2]), _sets(match[3]))
        elif " => " in line:
            raise AssertionError(line)
    return answer


def put_plainly(given: Given) -> Given:
    """The same policies as network-config-analyzer understands them: without rules that `policyTypes` makes idle, types
    in its order, no empty `egress` without any; in other namespaces, the values of labels instead of their keys."""
    values: dict[str, set[str]] = {}
    for pod in given.pods:
        for key, value in pod.labels.items():
            values.setdefault(key, set()).add(value)
    return replace(given, policies=[(space, name, _plain(spec, values)) for space, name, spec in given.policies])


def _plain(spec: Document, values: Mapping[str, set[str]]) -> Document:
    found = dict(spec)
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    found["policyTypes"] = sorted(types, reverse=True)
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        if direction.title() not in types:
            found.pop(direction, None)
        elif rules := spec.get(direction):
            found[direction] = [
                {**rule, peers: [_plain_peer(peer, values) for peer in rule[peers]]} if rule.get(peers) else rule
                for rule in rules
            ]
    return found


def _plain_peer(peer: Document, values: Mapping[str, set[str]]) -> Document:
    terms = peer.get("podSelector", {}).get("matchExpressions")
    if "namespaceSelector" not in peer or not terms:
        return peer
    return {**peer, "podSelector": {**peer["podSelector"], "matchExpressions": [_plain_term(t, values) for t in terms]}}


def _plain_term(term: Document, values: Mapping[str, set[str]]) -> Document:
    operator = {"Exists": "In", "DoesNotExist": "NotIn"}.get(term["operator"])
    return {**term, "operator": operator, "values": sorted(values.get(term["key"], {"none"}))} if operator else term


def netpolicy(program: Path, given: Given, folder: Path) -> Answer:
    """What netpol-analyzer says. Raises Refused."""
    _write(given, folder)
    said = _run([str(program), "list", "--dirpath", str(folder), "-q", "-o", "json"])
    answer = Answer()
    for one in json.loads(said):
        answer.add(_end(one["src"]), _end(one["dst"]), _listed(one["conn"]))
    return answer


def _write(given: Given, folder: Path) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": given.documents()})
    (folder / "cluster.json").write_text(text)


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Refused(done.stdout + done.stderr)
    return done.stdout


def _end(text: str) -> str | Span:
    """A pod, or a range of addresses."""
    first, _, last = text.partition("-")
    if "/" in text:
        return text.removesuffix("[Pod]")
    return Span(ip_address(first).version, int(ip_address(first)), int(ip_address(last or first)))


def _sets(text: str) -> Known:
    if text == "All connections":
        return NUMBERED
    found = []
    for part in re.split(r",(?=\{)", text):
        match = _SET.fullmatch(part)
        assert match is not None, text
        for protocol in match[1].split(", "):
            for low, high in map(_range, (match[2] or "1-65535").split(",")):
                found.append(Range(protocol, low, high))
    return ports.merged(found)


def _range(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    return int(low), int(high or low)


def _listed(text: str) -> Known:
    """ "TCP 80-90,443,UDP 53"."""
    if text == "All Connections":
        return NUMBERED
    found, protocol = [], ""
    for token in text.split(","):
        match = _PORTS.fullmatch(token)
        assert match is not None, text
        protocol = match[1] or protocol
        found.append(Range(protocol, int(match[2]), int(match[3] or match[2])))
    return ports.merged(found)
