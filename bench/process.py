"""What a process has used, out of /proc (Linux)."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


@dataclass(frozen=True, slots=True)
class Memory:
    """In MB (10^6 bytes). ``peak_mb``: the most that was ever resident; ``private_mb``: what it alone holds."""

    rss_mb: float
    private_mb: float
    peak_mb: float


def memory(pid: int) -> Memory:
    """What is resident now."""
    rollup = _kibibytes(Path(f"/proc/{pid}/smaps_rollup"))
    private = rollup["Private_Clean"] + rollup["Private_Dirty"]
    peak = _kibibytes(Path(f"/proc/{pid}/status"))["VmHWM"]
    return Memory(*(round(kib * 1024 / 1e6, 1) for kib in (rollup["Rss"], private, peak)))


def _kibibytes(path: Path) -> dict[str, int]:
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines if words[-1:] == ["kB"]}
