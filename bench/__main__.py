"""The command line.

python -m bench                     measure everything, write the record, pictures and README
python -m bench --quick             under three minutes; leaves the README alone
python -m bench --only SECTIONS --into RECORD   a part, added to a record
python -m bench compare OLD NEW     what changed beyond the spread; status 1 if slower
python -m bench report RECORD       pictures and README from a record
"""

import argparse
import os
import sys
from pathlib import Path

from . import fit, growth, kernels, many, memory, plots, predict, record, report, roofline
from .peers import PEERS
from .rounds import Workers, available
from .shapes import SHAPES

N_CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def names(choices):
    """An argparse type: comma-separated names out of a table."""

    def parse(text):
        chosen = text.split(",")
        for name in chosen:
            if name not in choices:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(choices)}")
        return chosen

    return parse


def numbers(text):
    return [int(n) for n in text.split(",")]


def parse(argv):
    parser = argparse.ArgumentParser(
        "python -m bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller fits")
    parser.add_argument("--only", type=names(record.SECTIONS), help="sections: fit,predict,...")
    parser.add_argument("--shapes", type=names(SHAPES), help=",".join(SHAPES))
    parser.add_argument("--peers", type=names(PEERS), help=", ".join(PEERS))
    parser.add_argument("--threads", type=numbers, help="default: 1 and all CPUs, e.g. 1,2")
    parser.add_argument("--rounds", type=int, help="default: 7, quick 3")
    parser.add_argument("--output", type=Path, default=record.RESULTS, help="folder")
    parser.add_argument(
        "--into",
        type=Path,
        metavar="RECORD",
        help="add to this record instead of writing a new one",
    )
    commands = parser.add_subparsers(dest="command")
    command = commands.add_parser("compare")
    command.add_argument("old", type=Path)
    command.add_argument("new", type=Path)
    command = commands.add_parser("report")
    command.add_argument("record", type=Path)
    args = parser.parse_args(argv)

    parts = args.quick, args.only, args.shapes, args.peers, args.rounds, args.into
    args.complete = not any(parts)
    if args.quick:
        skipped = {"xwide"}
        peers = [name for name, peer in PEERS.items() if peer.in_quick]
        args.only = args.only or ["fit", "predict", "kernels"]
    else:
        skipped, peers = set(), list(PEERS)
        args.only = args.only or list(record.SECTIONS)
    args.shapes = args.shapes or [name for name in SHAPES if name not in skipped]
    args.peers = args.peers or peers
    args.threads = args.threads or ([N_CPUS] if args.quick else sorted({1, N_CPUS}))
    args.rounds = args.rounds or (3 if args.quick else 7)
    return args


def begin(args):
    """The record that is measured for, and its path."""
    result = record.new(args.quick)
    if args.into is None:
        return result, args.output / (record.stem(result) + ".json")
    old = record.load(args.into)
    for past, now in zip(record.circumstances(old), record.circumstances(result), strict=True):
        if past != now:
            sys.exit(f"--into {args.into}: was measured with {past}, not {now}")
    return old, args.into


def measure(args, result, path):
    """Measure section by section, and write the record after each."""

    def keep(section, rows):
        record.add(result, section, rows)
        record.save(result, path)

    shapes = [SHAPES[name].quick() if args.quick else SHAPES[name] for name in args.shapes]
    peers = available(args.peers)
    for n in args.threads:
        with Workers(peers, n) as workers:
            if "fit" in args.only:
                keep("fit", fit.run(workers, shapes, args.rounds))
            if "predict" in args.only:
                keep("predict", predict.run(workers, shapes, args.rounds))
            if "many" in args.only:
                keep("many", many.run(workers, args.rounds))
            if "growth" in args.only:
                keep("growth", growth.run(workers, min(args.rounds, 3)))
    if "kernels" in args.only:
        n_isas = 1 if args.quick else None
        keep("kernels", kernels.run(shapes, args.threads, args.rounds, n_isas))
    if "roofline" in args.only:
        keep("roofline", roofline.run(args.rounds))
    if "memory" in args.only:
        keep("memory", memory.run(shapes, peers, max(args.threads), result["fit"]))


def main(argv=None):
    args = parse(argv)
    if args.command == "compare":
        return 1 if report.print_comparison(record.load(args.old), record.load(args.new)) else 0

    if args.command == "report":
        result, path = record.load(args.record), args.record
    else:
        result, path = begin(args)
        measure(args, result, path)
        print(f"\nrecord: {path}")
    print("\n" + report.markdown(result) + "\n")
    pictures = []
    try:
        pictures = plots.draw(result, path.with_suffix(""))
    except ImportError as error:
        print(f"no pictures: {error}")
    for picture in pictures:
        print(f"picture: {picture}")
    if args.complete and not result["quick"]:
        roofs = (picture for picture in pictures if picture.suffix == ".svg")
        if not report.refresh_readme(result, next(roofs, None)):
            print(f"{report.README} has no {report.END}: not refreshed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
