"""bench/: what is done with measurements. Nothing here measures time."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

# Last, so that an installed fastmlp is not hidden by the one beside bench/.
sys.path.append(str(Path(__file__).parent.parent))

from bench import __main__ as command_line
from bench import clock, fit, latency, plots, record, report, rounds, worker
from bench.shapes import SHAPES, load


def fit_row(peer="fastmlp f32", median=100.0, spread=0.0, shape="tab", threads=2):
    measured = {"median": median, "q1": median - spread, "q3": median + spread, "others": 0.0}
    return {"shape": shape, "data": "synthetic", "threads": threads, "peer": peer} | measured


def make_record(*fit_rows, **changes):
    machine = {"cpu": "Some CPU", "cpus": 2, "isas": ["avx2"]}
    head = {"date": "2026-01-02T03:04:05+00:00", "commit": "abc", "quick": False}
    sections = {section: [] for section in record.SECTIONS} | {"fit": list(fit_rows)}
    return head | {"machine": machine, "versions": {"numpy": "2.0"}} | sections | changes


def kernel_row(shape, gflops, threads=2):
    row = {"shape": shape, "isa": "avx2", "dtype": "f32", "threads": threads, "median": 1.0}
    busy = 1.0 if shape == "iris" else threads
    return row | {"gflops": gflops, "peak": 110.0 * threads, "busy": busy, "others": 0.0}


def took(seconds):
    """What a run of interleaved rounds answers."""
    return {"seconds": seconds, "busy": 1.5, "others": 0.0}


def verdicts(old, new):
    return [verdict for *_, verdict in record.compare(old, new)]


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ((100, 2), (103, 0), ""),  # less than 5 %
        ((100, 2), (110, 2), "slower"),
        ((100, 8), (110, 8), ""),  # the ranges meet
        ((100, 2), (90, 2), "faster"),
        ((100, 0), (100, 0), ""),
    ],
)
def test_a_change_counts_beyond_the_spread(old, new, verdict):
    old, new = (make_record(fit_row(median=m, spread=s)) for m, s in (old, new))
    assert verdicts(old, new) == [verdict]


def test_only_rows_that_measure_the_same_are_compared():
    old = make_record(fit_row(), fit_row(threads=1))
    new = make_record(fit_row(threads=1, median=50), fit_row(peer="torch f32"))
    assert verdicts(old, new) == ["faster"]


def test_memory_is_compared_by_megabytes():
    old, new = (
        make_record(memory=[{"shape": "tab", "task": "fit", "peer": "x", "megabytes": mb}])
        for mb in (10.0, 12.0)
    )
    assert verdicts(old, new) == ["slower"]


def test_comparison_counts_our_own_losses_only():
    slow = [fit_row(peer, median=200.0) for peer in ("fastmlp f32", "fastmlp f64", "torch f32")]
    old = make_record(*[row | {"median": 100.0, "q1": 99.0, "q3": 101.0} for row in slow])
    lines = []
    assert report.print_comparison(old, make_record(*slow), lines.append) == 2
    assert sum("slower" in line and "2.00x" in line for line in lines) == 3
    assert not any("Beware" in line for line in lines)
    report.print_comparison(old, make_record(*slow, quick=True), lines.append)
    assert "Beware: a full run against a quick run" in lines


def test_record_survives_the_file(tmp_path):
    saved = make_record(fit_row(median=1 / 3), fit_row(threads=1))
    assert record.stem(saved) == "2026-01-02-some-cpu-abc"
    path = tmp_path / "results" / "record.json"
    record.save(saved, path)
    loaded = record.load(path)
    assert loaded["fit"][0]["median"] == 0.33333
    assert loaded["fit"][1] == json.loads(json.dumps(saved["fit"][1]))
    assert loaded.keys() == saved.keys()


def test_rows_are_added_to_a_record():
    saved = make_record(fit_row(), fit_row(threads=1))
    record.add(saved, "fit", [fit_row(threads=1, median=7.0), fit_row("torch f32")])
    assert saved["fit"] == [fit_row(), fit_row(threads=1, median=7.0), fit_row("torch f32")]


def test_only_what_was_measured_alike_is_added(tmp_path):
    here = record.new(quick=False)
    path = tmp_path / "record.json"
    args = command_line.parse(["--into", str(path)])
    assert not args.complete
    record.save(here, path)
    assert command_line.begin(args) == (record.load(path), path)
    for change in ({"commit": "0000000000"}, {"machine": here["machine"] | {"build": "gcc"}}):
        record.save(here | change, path)
        with pytest.raises(SystemExit, match=r"was measured with .*(0000000000|gcc)"):
            command_line.begin(args)


def test_table_marks_the_rows_that_are_lost():
    text = report.markdown(
        make_record(
            fit_row("fastmlp f32", 100.0),
            fit_row("scikit-learn f32", 1234.0),
            fit_row("torch f32", 90.0),
            fit_row("fastmlp f32", 7.0, threads=1),
            fit_row("fastmlp f32", 50.0, shape="lbfgs"),
        )
    )
    assert "|  | fastmlp f32 | scikit-learn f32 | torch f32 |" in text
    assert "| tab: 20-100-2, batch 200 | 100 | 1,230 (12x) | **90 (0.90x)** |" in text
    assert "| lbfgs: 64-100-10, L-BFGS | 50 | - | - |" in text


def test_table_says_how_far_apart_the_CPUs_were():
    rows = [
        fit_row("fastmlp f32") | {"latency": 61.2, "cpus": "near"},
        fit_row("torch f32") | {"latency": 341.0, "cpus": "far"},
        fit_row("fastmlp f32", shape="lbfgs") | {"latency": 61.2, "cpus": "near"},
    ]
    text = report.markdown(make_record(*rows))
    assert "|  | fastmlp f32 | torch f32 | CPUs apart |" in text
    assert "| 100 | 100 (1.0x) | 61.2 to 341 |" in text
    assert "| 100 | - | 61.2 |" in text
    rows[0]["cpus"] = "both"
    assert "| 61.2 to 341, changing |" in report.markdown(make_record(*rows))
    assert "CPUs apart" not in report.markdown(make_record(fit_row()))


@pytest.mark.parametrize(
    ("nanoseconds", "state"),
    [([50.0, 80.0], "near"), ([245.0, 380.0], "far"), ([50.0, 245.0, 60.0], "both")],
)
def test_states_of_the_CPUs(nanoseconds, state):
    assert latency.state(nanoseconds) == state


def test_latency_is_measured_where_there_are_two_CPUs(monkeypatch):
    if shutil.which(os.environ.get("CC", "cc").split()[0]) and len(os.sched_getaffinity(0)) > 1:
        assert 1 < latency.measure() < 1e6
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert latency.measure() is None


def test_kernels_are_stated_as_share_of_peak():
    row = kernel_row("tab", 154.0)
    rows = [row, row | {"dtype": "f64", "peak": 308.0}, row | {"isa": "generic"}]
    rows += [kernel_row("iris", 33.0), kernel_row("iris", 33.0, threads=1)]
    text = report.markdown(make_record(fit_row(), kernels=rows))
    assert "|  | iris | tab |" in text
    assert "| avx2 f32, 2 threads | one thread | 70 % |" in text
    assert "| avx2 f64, 2 threads | - | 50 % |" in text
    assert "| avx2 f32, 1 thread | 30 % | - |" in text
    assert "generic" not in text
    assert "| generic f32, 2 threads | - | 70 % |" in report.every_figure(make_record(kernels=rows))


def test_sparse_is_stated_as_share_of_a_copy_loop():
    sparse = SHAPES["sparse"]
    moved = 6 * 20_000 * 100 * 4  # bytes: weights and two states, in and out
    assert sparse.intensity(4) == pytest.approx(sparse.flops() / moved)
    rows = [kernel_row("tab", 154.0), kernel_row("sparse", 154.0)]
    title = "; of sparse, of the bandwidth of a copy loop:"
    assert title in report.markdown(make_record(fit_row(), kernels=rows))
    assert title not in report.markdown(make_record(fit_row(), kernels=rows[:1]))


def test_roofline_has_a_point_for_each_shape():
    reads = [{"level": level, "gbps": 90.0, "threads": 1} for level in ("L2", "memory")]
    steps = [kernel_row("wide", 50.0, threads=1) | {"batch_size": n} for n in (1, 64)]
    kernels = [kernel_row(name, 60.0, threads=1) for name in ("tab", "mnist")]
    kernels += [kernel_row("deep", 60.0), kernel_row("calif", 60.0, threads=1) | {"isa": "generic"}]
    result = make_record(roofline=reads + steps, kernels=kernels)
    (axes,) = plots.draw_roofline(result).axes
    assert [text.get_text() for text in axes.texts] == ["FMA peak: 110 GFLOPS", "tab", "mnist"]
    assert "| wide, batch 64 | 50.0 GFLOPS of 110 |" in report.every_figure(result)


def test_operations_per_byte_of_a_step():
    # 20-100-1, 200 rows: W of the first layer moves 7 times, of the second 9; X 4 times, each of
    # the 101 outputs 7 times
    moves = 7 * 2000 + 9 * 100 + 200 * (4 * 20 + 7 * 101)
    assert SHAPES["tab"].intensity(4) == SHAPES["tab"].flops() / (4 * moves)


def test_readme_is_refreshed_between_its_markers(tmp_path):
    readme = tmp_path / "README.md"
    ours, theirs = map(report.BEGIN.format, ("Some CPU, avx2", "Other CPU, neon"))
    other = f"{theirs}\nits figures\n{report.END}\n"
    readme.write_text(f"before\n{ours}\nold figures\n{report.END}\nbetween\n{other}after\n")
    result = make_record(fit_row())
    for _ in range(2):  # the second time changes nothing
        assert report.refresh_readme(result, tmp_path / "results" / "roof.svg", readme)
        block = f"{report.markdown(result)}\n\n![Roofline](results/roof.svg)\n"
        text = f"before\n{ours}\n{block}{report.END}\nbetween\n{other}after\n"
        assert readme.read_text() == text
    readme.write_text("no markers")
    assert not report.refresh_readme(result, None, readme)
    assert readme.read_text() == "no markers"


def test_a_kind_of_CPU_that_is_new_comes_last_in_the_readme(tmp_path):
    readme = tmp_path / "README.md"
    other = f"{report.BEGIN.format('Other CPU, neon')}\nits figures\n{report.END}\n"
    readme.write_text(f"before\n{other}after\n")
    result = make_record(fit_row())
    assert report.refresh_readme(result, None, readme)
    begin = report.BEGIN.format("Some CPU, avx2")
    block = f"### Some CPU, avx2\n\n{begin}\n{report.markdown(result)}\n{report.END}\n"
    assert readme.read_text() == f"before\n{other}\n{block}after\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.51234, "0.512"), (8.2, "8.2"), (253.4, "253"), (999.6, "1,000"), (12_394, "12,400")],
)
def test_three_digits(value, text):
    assert report.number(value) == text


def test_a_record_that_was_disturbed_says_so():
    calm, disturbed = fit_row(), fit_row(threads=1) | {"others": 0.5}
    assert list(report.warnings(make_record(calm))) == []
    disturbed = make_record(calm, disturbed)
    assert "1 of 2 rows" in next(report.warnings(disturbed))
    assert "Beware: 1 of 2 rows" in report.markdown(disturbed)


def test_a_record_of_a_development_build_says_so():
    result = make_record(fit_row())
    result["machine"]["build"] = "gcc -O2 -DFM_ASSERTIONS -pthread"
    assert "with assertions" in next(report.warnings(result))


@pytest.mark.parametrize("name", SHAPES)
def test_data_has_the_shape_of_the_network(name, monkeypatch):
    monkeypatch.delenv("FASTMLP_DATA", raising=False)  # so everything but iris and digits is drawn
    shape = SHAPES[name].quick()
    data = load(shape)
    assert data.X.shape == (shape.n_rows, shape.units[0])
    assert data.X.dtype == "float32"
    assert len(data.y) == shape.n_rows
    if shape.target == "values":
        assert shape.units[-1] == 1
    else:
        assert set(data.y) == set(range(shape.units[-1]))


def test_flops_of_a_step():
    # 200 rows, 20-100-1: forward, weight gradients; delta for the last layer only
    assert SHAPES["tab"].flops() == 2 * 200 * (2 * 20 * 100 + 3 * 100 * 1)


def test_a_peer_that_dies_costs_its_own_rows_only(monkeypatch):
    left = iter([1.0])  # one round, then the process is gone

    def dies():
        try:
            return took(next(left))
        except StopIteration:
            raise worker.PeerError("the process ended") from None

    seconds = iter([3.0, 1.0, 2.0])
    runs = {"lives": lambda: took(next(seconds)), "dies": dies}
    lines = []
    apart = iter([60.0, 70.0, 300.0, 50.0])
    monkeypatch.setattr(latency, "measure", lambda: next(apart, 50.0))
    results = rounds.interleave(runs, 3, say=lines.append)
    times = {"median": 2.0, "q1": 1.5, "q3": 2.5, "rounds": 3, "busy": 1.5, "others": 0.0}
    assert results["lives"].pop("latency") < 150
    assert results == {"lives": times | {"cpus": "both"}}
    assert lines == ["  dies left out: the process ended"]


def test_slow_runs_get_fewer_rounds(monkeypatch):
    monkeypatch.setattr(latency, "measure", lambda: 60.0)
    runs = {
        name: lambda s=seconds: took(s)
        for name, seconds in [("fast", 1.0), ("slow", 4.0), ("slowest", 100.0)]
    }
    results = rounds.interleave(runs, 7)
    assert {name: result["rounds"] for name, result in results.items()} == {
        "fast": 7,
        "slow": 4,
        "slowest": 3,
    }


@pytest.mark.parametrize(("before", "says"), [(["tab"], []), (["tab", "mnist"], ["xwide"])])
def test_a_fit_that_would_take_minutes_is_left_out(before, says):
    """Which is known from large steps only: those of small ones are mostly overhead."""

    class Slow:
        threads, workers, lines = 2, {"torch bf16": None}, []
        say = lines.append

        def measure(self, shape, names, *args, **how):
            median = max(1000.0, 3e-4 * shape.flops())
            return [{"shape": shape.name, "peer": name, "median": median} for name in names]

    Slow.lines.clear()
    measured = [row["shape"] for row in fit.run(Slow(), [SHAPES[n] for n in [*before, "xwide"]], 3)]
    assert [name for name in [*before, "xwide"] if name not in measured] == says
    assert sum("left out" in line for line in Slow.lines) == len(says)


def test_every_section_has_a_table():
    timed = {"threads": 2, "peer": "fastmlp f32", "median": 21.04, "shape": "tab"}
    rows = {
        "many": timed | {"n_fits": 8, "backend": "threading"},
        "growth": timed | {"n_rows": 10_000, "batch_size": 200},
    }
    text = report.every_figure(make_record(**{section: [row] for section, row in rows.items()}))
    assert "| 8 of tab, threading, 2 threads | 21 |" in text
    assert "| tab, 10,000 rows, batch 200, 2 threads | 21 |" in text


def test_work_of_children_is_not_that_of_others():
    spin = "import time\nwhile time.process_time() < 0.2: pass"
    with clock.Stopwatch() as watch:
        subprocess.run([sys.executable, "-c", spin], check=True)
    assert watch.own > 0.15  # clocks tick every 10 ms
    assert watch.times(2)["busy"] == watch.own / watch.seconds


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="asks Linux for the children")
def test_children_that_live_count():
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        start, before = clock._cpu_seconds()[0], time.process_time()
        while clock._cpu_seconds()[0] < start + 0.1:
            time.sleep(0.01)
        assert time.process_time() < before + 0.1
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(
    not Path("/proc/self/stat").is_file(), reason="asks Linux for a process's state"
)
def test_a_worker_is_stopped_between_requests():
    def state():
        return Path(f"/proc/{ours.process.pid}/stat").read_text().rpartition(") ")[2][0]

    with worker.Worker("fastmlp f32", 1) as ours:
        assert ours.call("load", shape="iris", changes={}) == "iris"
        while state() != "T":
            time.sleep(0.001)
        assert ours.call("fit")["loss"] < 1
    assert ours.process.returncode == 0


def test_fits_side_by_side():
    tasks = worker._Tasks("fastmlp f32", 2)
    tasks.load("tab", {"n_rows": 400, "epochs": 1})
    for backend in ("sequential", "threading"):
        tasks.prepare_many(backend)
        assert tasks.many(3)["seconds"] > 0


@pytest.mark.slow
def test_a_whole_run(tmp_path):
    command = ["--quick", "--rounds", "1", "--shapes", "iris", "--only", "fit"]
    peers = ["--peers", "fastmlp f32,scikit-learn f32"]
    root = Path(report.README).parent
    subprocess.run(
        [sys.executable, "-m", "bench", *command, *peers, "--output", tmp_path],
        cwd=root,
        env={k: v for k, v in os.environ.items() if k != "FASTMLP_DATA"},
        check=True,
    )
    (path,) = tmp_path.glob("quick-*.json")
    ours, theirs = record.load(path)["fit"]
    assert (ours["shape"], ours["data"], ours["rounds"]) == ("iris", "iris", 1)
    assert {ours["peer"], theirs["peer"]} == {"fastmlp f32", "scikit-learn f32"}
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)  # the same mathematics
    assert (tmp_path / f"{path.stem}-fit.png").is_file()
