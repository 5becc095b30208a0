"""The figures as JSON, as a table, and as the note that is kept in git."""

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.table import Table

import securetenant

Result = Mapping[str, Any]
_BEGIN: Final = "<!-- figures: python -m bench --readme -->"
_END: Final = "<!-- end of figures -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; ``goal`` is for 1,000 tenants."""

    title: str
    value: Callable[[Result], str]
    goal: str = ""


def _quantiles(key: str) -> Callable[[Result], str]:
    return lambda result: f"{result[key]['p50']:.1f} / {result[key]['p99']:.1f}"


def _nested(key: str, inner: str) -> Callable[[Result], str]:
    return lambda result: f"{result[key][inner]['p50']:.1f} / {result[key][inner]['p99']:.1f}"


def _spread(key: str) -> Callable[[Result], str]:
    return lambda result: f"{min(result[key]):.2f} - {max(result[key]):.2f}"


ROWS: Final = (
    Row("objects", lambda r: f"{r['objects']:,}"),
    Row("converge, s (median)", lambda r: f"{r['converge_seconds']:.2f}"),
    Row("  its rounds", _spread("converge_rounds_seconds")),
    Row("  floor, s (median)", lambda r: f"{r['floor_seconds']:.2f}"),
    Row("  its rounds", _spread("floor_rounds_seconds")),
    Row("  over the floor", lambda r: f"{r['converge_ratio']:.2f} ×", "≤ 1.3 ×"),
    Row("  CPU, control plane included, over the floor", lambda r: f"{r['cpu_ratio']:.2f} ×"),
    Row("  the operator's CPU per tenant, ms", lambda r: f"{r['operator_cpu_ms_per_tenant']:.1f}"),
    Row("  objects alone, s", lambda r: f"{r['objects_only_seconds']:.2f}"),
    Row("heal a deleted policy, p50 / p99, ms", _quantiles("heal_deleted_ms"), "≤ 20 / 100"),
    Row("  floor", _quantiles("heal_deleted_floor_ms")),
    Row("heal a widened policy, p50 / p99, ms", _quantiles("heal_widened_ms"), "≤ 20 / 100"),
    Row("  floor", _quantiles("heal_widened_floor_ms")),
    Row("fight: a closing policy is absent, % of the time", lambda r: f"{r['fight']['absent_percent']:.1f}", "≤ 10"),
    Row(
        "  others are healed meanwhile, p50 / p99, ms",
        lambda r: f"{r['fight']['heal_others_ms']['p50']:.1f} / {r['fight']['heal_others_ms']['p99']:.1f}",
        "– / 100",
    ),
    Row("restart to first heal, s (median)", lambda r: f"{r['restart_seconds']:.2f}", "≤ 2"),
    Row("  after kill -9, s", lambda r: f"{r['restart_after_kill_seconds']:.1f}", "≤ 15 more"),
    Row("create a pod under the admission policies, p50 / p99, ms", _nested("pod_creation", "with_ms")),
    Row("  without them", _nested("pod_creation", "without_ms")),
    Row(
        "  difference at p50",
        lambda r: f"{r['pod_creation']['with_ms']['p50'] - r['pod_creation']['without_ms']['p50']:.2f}",
        "≤ 1",
    ),
    Row(
        "API server's heap for the policies, MB",
        lambda r: f"{r['apiserver_heap']['with_mb'] - r['apiserver_heap']['without_mb']:.1f}",
        "≤ 20",
    ),
    Row("inspect running pods", lambda r: f"{r['inspection']['pods']:,}", "10,000"),
    Row("  s", lambda r: f"{r['inspection']['seconds']:.1f}"),
    Row("  the operator's CPU, s", lambda r: f"{r['inspection']['cpu_seconds']:.1f}", "≤ 20"),
    Row("  resident more, MB", lambda r: f"{r['inspection']['memory_mb']:.0f}", "≤ 60"),
    Row("  others are healed meanwhile, p50 / p99, ms", _nested("inspection", "heal_others_ms"), "– / 50"),
    Row("quiet: requests per minute", lambda r: f"{r['quiet_requests_per_minute']:g}", "0"),
    Row("  Lease renewals", lambda r: f"{r['quiet']['lease_renewals']:g}"),
    Row("  watch renewals", lambda r: f"{r['quiet']['watch_renewals']:g}"),
    Row("  CPU seconds per minute", lambda r: f"{r['cpu_seconds_quiet_per_minute']:.2f}"),
    Row("resident, MB", lambda r: f"{r['rss_mb']:.0f}", "≤ 100"),
)


def table(results: Sequence[Result]) -> Table:
    """The figures side by side, one column per size."""
    shown = Table(title=f"SecureTenant {securetenant.__version__}: {machine()}")
    shown.add_column("tenants")
    for result in results:
        shown.add_column(f"{result['tenants']:,}", justify="right")
    shown.add_column("goal at 1,000", justify="right")
    for row in ROWS:
        shown.add_row(row.title, *(row.value(result) for result in results), row.goal)
    return shown


def write(path: Path, results: Sequence[Result]) -> None:
    """Results as JSON: one object per size under ``results``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "version": securetenant.__version__,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "results": results,
    }
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def write_readme(path: Path, results: Sequence[Result]) -> None:
    """Put the table into the note, in place of the last one."""
    before, _, rest = path.read_text().partition(_BEGIN)
    after = rest.partition(_END)[2]
    sizes = [f"{result['tenants']:,}" for result in results]
    lines = [
        f"Measured on {datetime.now(UTC):%Y-%m-%d} with SecureTenant {securetenant.__version__} on {machine()}.",
        "",
        f"| tenants | {' | '.join(sizes)} | goal at 1,000 |",
        f"|---|{'---:|' * (len(sizes) + 1)}",
        *(
            f"| {row.title.strip() if not row.title.startswith(' ') else '– ' + row.title.strip()} | "
            f"{' | '.join(row.value(result) for result in results)} | {row.goal} |"
            for row in ROWS
        ),
    ]
    path.write_text(f"{before}{_BEGIN}\n{chr(10).join(lines)}\n{_END}{after}")


def machine() -> str:
    """What it was measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} CPUs ({_processor()}) shared with the control plane, {memory:.0f} GiB, "
        f"{platform.system()}, Python {platform.python_version()}, Kubernetes of the sandbox"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
