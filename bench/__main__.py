"""``python -m bench``; ``make bench`` calls it."""

import argparse
import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from bench import report
from bench.client import BenchError
from bench.run import Options, measure
from sandbox import build
from sandbox.errors import SandboxError

_CONSOLE = Console(stderr=True, highlight=False)


def main(arguments: list[str] | None = None) -> int:
    """0: measured. 1: something failed, and the message says what. 2: wrong usage. 130: Ctrl-C."""
    given = _parser().parse_args(arguments)
    options = Options(
        namespaces=given.namespaces,
        rounds=given.rounds,
        heals=given.heals,
        restarts=given.restarts,
        quiet_seconds=given.quiet,
        running=given.running,
    )
    failures: list[str] = []
    interrupted = False
    try:
        build.ensure()
        asyncio.run(_run(given.tenants, options, given.output, given.readme))
    except* KeyboardInterrupt:
        _CONSOLE.print("stopped")
        interrupted = True
    except* (BenchError, SandboxError, AssertionError) as group:
        failures.extend(str(error) for error in leaves(group))
    for failure in failures:
        _CONSOLE.print(f"bench: {failure}", style="red", markup=False)
    return 130 if interrupted else 1 if failures else 0


def leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    """The exceptions themselves: several tasks may fail at once."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error


async def _run(sizes: list[int], options: Options, output: Path, readme: bool) -> None:
    results = []
    for tenants in sizes:
        results.append(await measure(tenants, options, _say))
        report.write(output, results)  # after each size: what comes may take long
    Console().print(report.table(results))
    _CONSOLE.print(f"written: {output}")
    if readme:
        report.write_readme(output.with_name("README.md"), results)


def _say(text: str) -> None:
    _CONSOLE.print(text, markup=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure the operator, with the rights it ships with, on control planes of the sandbox. Beside "
        "each figure stands its floor: what a bare client needs for the same writes in the same run.",
        epilog="Takes about 4 minutes for 10 tenants and 10 for 1,000. Nothing else should run meanwhile.",
    )
    parser.add_argument(
        "--tenants",
        type=_sizes,
        default=[100],
        metavar="N[,N...]",
        help="how many; several sizes are measured one after the other, each on fresh control planes (default: 100)",
    )
    parser.add_argument("--namespaces", type=_count, default=1, metavar="K", help="per tenant (default: 1)")
    parser.add_argument("--rounds", type=_count, default=3, help="of convergence; the median counts (default: 3)")
    parser.add_argument("--heals", type=_count, default=100, help="of each sort (default: 100)")
    parser.add_argument("--restarts", type=_count, default=3, help="after a clean stop (default: 3)")
    parser.add_argument("--quiet", type=_count, default=60, metavar="SECONDS", help="to look on for (default: 60)")
    parser.add_argument(
        "--running", type=_count, default=10_000, metavar="PODS", help="that are inspected (default: 10,000)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).parent / "results" / "latest.json",
        metavar="FILE",
        help="where the figures go (default: bench/results/latest.json)",
    )
    parser.add_argument("--readme", action="store_true", help="write the figures into README.md beside it as well")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _sizes(text: str) -> list[int]:
    return [_count(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
