"""``python -m benchmarks``: run every benchmark, print a table, write it to results."""

import argparse
import importlib
import pkgutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import benchmarks
from benchmarks import harness
from benchmarks.harness import Row

RESULT = Path(__file__).resolve().parents[1] / "results" / "benchmarks.json"


def modules() -> list[str]:
    """Names of the benchmark modules, such as ``bench_relu_ntk``."""
    found = pkgutil.iter_modules(benchmarks.__path__)
    return sorted(m.name for m in found if m.name.startswith("bench_"))


def main() -> int:
    """Run; the exit status is 1 if a bar was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("only", nargs="*", help="modules to run, bench_relu_ntk say")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and sizes")
    parser.add_argument(
        "--neural-tangents",
        metavar="PYTHON",
        type=Path,
        help="interpreter of an environment made as benchmarks/README.md says; "
        "compared too",
    )
    parser.add_argument("--output", type=Path, help=f"default {RESULT.name} in results")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.only) - set(modules()))
    if unknown:
        words = ", ".join(modules())
        parser.error(f"no benchmark {', '.join(unknown)}; there are {words}")
    rows: list[Row] = []
    for name in arguments.only or modules():
        print(f"running {name}", file=sys.stderr, flush=True)
        module = importlib.import_module(f"benchmarks.{name}")
        rows += [Row(**row) for row in module.run(quick=arguments.quick)]
    if arguments.neural_tangents:
        from benchmarks import other_environment

        print("running neural-tangents", file=sys.stderr, flush=True)
        rows += other_environment.rows(arguments.neural_tangents, arguments.quick)
    print(harness.table(rows))
    # A part of the benchmarks, or a quick look, is no result to keep unless asked for.
    whole = not arguments.only and not arguments.quick
    output = arguments.output or (RESULT if whole else None)
    if output is not None:
        harness.save(
            output,
            rows,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            quick=arguments.quick,
            machine=harness.machine(),
        )
        print(f"written to {output}")
    return 1 if any(row.passed is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
