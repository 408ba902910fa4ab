"""Crash points: every command that writes, stopped at its n-th change of a file, then run again.

At the stop the older result or the new one is there, whole; after the second run everything is what it is
without a stop, byte for byte, and no draft is left. What only computes is computed once, so that a run is a
fork of this process and costs no model.

    python torture/crash_points.py --out torture/results/crash_points.json
"""

from __future__ import annotations

import argparse
import errno
import gc
import hashlib
import json
import os
import pickle
import resource
import shlex
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from wordsight import cli
from wordsight._utils.drafts import PREFIX
from wordsight._utils.files import check_file, replacing
from wordsight.analysis import intermediate_states, prototypes
from wordsight.cli import tour
from wordsight.evaluation import calibration, recommendation
from wordsight.evaluation.environment import machine
from wordsight.explain import record, token_table
from wordsight.media.images import find_pictures, load_picture
from wordsight.models import photos
from wordsight.models.vlm import VLM
from wordsight.redundancy import collecting, examining
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.criteria import DEFAULT, Condition
from wordsight.redundancy.probe import QUESTIONS
from wordsight.reports import analysis_page, book_page, pareto
from wordsight.synthetic.scenes import save_scenes

PICTURE = "in/pictures/scene_00000.png"
BUILD = "--min-images 0 --largest 144 --evidence out/evidence"
COMPARE = "compare --task in/questions.jsonl --pruner random --pruner divprune --keep 0.2"
COMMANDS = {  # each writes below out/, from what is in in/
    "probe": f"probe {PICTURE} --out out/words.png",
    "explain": f"explain {PICTURE} --pruner divprune --out out/page.html",
    "compare": f"{COMPARE} --out out/results.json --report out/report",
    "compare, parquet": f"{COMPARE} --out out/results.parquet",
    "recommend": "recommend --task scenes --limit 10 --pruner divprune --pruner pool --out out/advice.json",
    "analyze": "analyze --images in/pictures --out out/states --evidence out/evidence",
    "codebook build": f"codebook build in/pictures --out out/book {BUILD}",
    "codebook calibrate": "codebook calibrate --images in/pictures --questions 20 --json --out out/book "
    + BUILD,
    "codebook import": "codebook import in/released.pt --out out/book --model owner/name",
    "codebook compact": "codebook compact demo --out out/small --similarity 0.9",
    "codebook inspect": "codebook inspect demo --images in/pictures --limit 1 --out out/report",
    "demo": "demo --out out/demo",
}
BUILT, ANALYZED = (collecting.EvidencePlan(condition=each) for each in (DEFAULT, Condition()))
UNFINISHED = ("out/evidence",)  # what a stopped run leaves on purpose, for the next to go on with
RECORD = '{"rows": [], "terms": {}}'  # what commands take for an older record of theirs
CHANGES = ("os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.chmod", "os.chown", "os.truncate")
CREATING = ("open", "os.mkdir")  # what there has to be room for
SIZES = (0, 100, 5000)  # bytes after which the system cuts a file short
WAYS = ("KILL", "TERM", "no room", "cut short")


class Run(NamedTuple):
    """How a run ended: its exit code, or minus the signal that killed it, and what it said on stderr."""

    code: int
    said: str


class Report(NamedTuple):
    """Of a command: tried and survived by way of stopping, and what differed."""

    counts: dict[str, tuple[int, int]]
    faults: list[str]


def main() -> None:
    """Try all, print the counts, and exit with 1 if anything differed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the counts into this JSON file")
    parser.add_argument(
        "--points", type=int, default=5, help="of each command, with and without older result"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--command", choices=COMMANDS, action="append")
    options = parser.parse_args()
    if options.out:
        check_file(options.out, (".json",))
    begin = time.monotonic()
    torch.set_num_threads(1)
    _compute_once()
    names = options.command or list(COMMANDS)
    with ProcessPoolExecutor(options.jobs, get_context("fork")) as pool:
        reports = dict(zip(names, pool.map(_tried, names, [options.points] * len(names)), strict=True))
    _show(reports)
    if options.out:
        with replacing(options.out) as draft:
            draft.write_text(json.dumps(_as_json(reports, time.monotonic() - begin), indent=1) + "\n")
    sys.exit(any(report.faults for report in reports.values()))


def _tried(name: str, points: int) -> Report:
    """One command in a folder of its own, stopped in every way, without and over an older result."""
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            _make_inputs(Path("in"))
            counts, faults = dict.fromkeys(WAYS, (0, 0)), []
            for older in (False, True):
                for way, fault in _stops(shlex.split(COMMANDS[name]), older, points):
                    tried, survived = counts[way]
                    counts[way] = tried + 1, survived + (not fault)
                    faults += [f"{name}{', over an older result' * older}: {fault}"] if fault else []
            return Report(counts, faults)
        finally:
            os.chdir("/")


def _stops(arguments: Sequence[str], older: bool, points: int) -> Iterator[tuple[str, str]]:
    """The way and what went wrong, if anything, of every stop of a command."""
    _run(arguments)  # computes what only computes, in this process
    shutil.rmtree("out")
    _forked(arguments)
    whole = _contents()
    start = _older(whole) if older else {}
    _put(start)
    calls = _calls(arguments)
    for way in WAYS:
        stops: Sequence[int] = SIZES if way == "cut short" else _chosen(calls, points)
        for stop in stops:
            _put(start)
            what = f"{way} at {calls[stop - 1] if way != 'cut short' else f'{stop} bytes'}"
            run = _forked(arguments, _stopper(way, stop))
            fault = _fault_at_stop(way, run, start, whole) or _fault_of_rerun(_forked(arguments), whole)
            yield way, f"{what}: {fault}" if fault else ""


def _fault_at_stop(way: str, run: Run, start: dict[str, bytes], whole: dict[str, bytes]) -> str:
    """What is wrong after a stop: a result that is neither older nor new, a draft, too many words."""
    there = _contents()
    for path in start.keys() | whole.keys():
        kept_on_purpose = path.startswith(UNFINISHED) or ".cells/" in path
        if not kept_on_purpose and there.get(path) not in (start.get(path), whole.get(path)):
            return f"{path} is neither the older nor the new one"
    if way == "KILL":
        return "" if run.code == -signal.SIGKILL else f"exit {run.code}: {run.said}"
    if drafts := [path for path in Path("out").rglob("*") if path.name.startswith(PREFIX)]:
        return f"{drafts[0]} is left"
    if run.code not in ((128 + signal.SIGTERM,) if way == "TERM" else (0, 1)):
        return f"exit {run.code}: {run.said}"
    return run.said if "Traceback" in run.said or run.said.count("error: ") != bool(run.code) else ""


def _fault_of_rerun(run: Run, whole: dict[str, bytes]) -> str:
    """What is wrong after the same command has been run again."""
    if run.code:
        return f"run again, it exits with {run.code}: {run.said}"
    there = _contents()
    if different := [path for path in there.keys() | whole.keys() if there.get(path) != whole.get(path)]:
        return f"run again, {sorted(different)} differ"
    left = [str(path) for path in Path("out").rglob("*") if path.name.startswith(PREFIX)]
    return f"run again, {left} is left" if left else ""


def _chosen(calls: Sequence[str], points: int) -> list[int]:
    """The numbers of all renames and of their neighbors, and of others evenly."""
    renames = [i for i, call in enumerate(calls, 1) if call.startswith(("os.rename", "os.link"))]
    near = {i + step for i in renames[-2:] for step in (-1, 0, 1)}
    even = {1 + round(i * (len(calls) - 1) / max(points - 1, 1)) for i in range(points)}
    return sorted(i for i in near | even if 1 <= i <= len(calls))


def _stopper(way: str, stop: int) -> Callable[[], None]:
    """What prepares a process to be stopped at its n-th change of a file, or after n bytes of one."""
    if way == "cut short":
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (stop, resource.RLIM_INFINITY))

    def at_change(number: int, event: str) -> None:
        if way == "no room" and number >= stop and event in CREATING:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if way != "no room" and number == stop:
            os.kill(os.getpid(), signal.Signals[f"SIG{way}"])

    return lambda: _watch(at_change)


def _watch(at_change: Callable[[int, str], None]) -> None:
    """Call back before every change of a file below out/, for as long as this process lives."""
    below, number = f"{Path.cwd() / 'out'}", 0

    def hook(event: str, given: tuple[Any, ...]) -> None:
        nonlocal number
        if event == "open":
            changes = isinstance(given[0], str) and given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            changes = event in CHANGES
        # Where shutil.rmtree works, names are relative to an open folder.
        if changes and (os.path.abspath(given[0]).startswith(below) or event in ("os.remove", "os.rmdir")):
            number += 1
            at_change(number, event)

    sys.addaudithook(hook)


def _calls(arguments: Sequence[str]) -> list[str]:
    """Every change of a file that a run makes, in order."""
    log = Path("calls")
    log.write_text("")

    def watch() -> None:
        file = log.open("a", buffering=1)
        _watch(lambda number, event: print(f"{event} {number}", file=file))

    run = _forked(arguments, watch)
    assert run.code == 0, run.said
    return log.read_text().splitlines()


def _forked(arguments: Sequence[str], prepare: Callable[[], None] = lambda: None) -> Run:
    """A run in a process of its own."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.dup2(writing, 2)
        os.close(writing)
        prepare()
        os._exit(_run(arguments))
    os.close(writing)
    with os.fdopen(reading, errors="replace") as said:
        text = said.read()
    return Run(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text)


def _run(arguments: Sequence[str]) -> int:
    """The command line in this process, its result thrown away."""
    sys.argv = ["wordsight", *arguments]
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        return 70
    return 0


def _contents() -> dict[str, bytes]:
    """The digest of every file below out/ but those of drafts."""
    files = (path for path in Path("out").rglob("*") if path.is_file() and PREFIX not in str(path))
    return {str(path): hashlib.sha256(path.read_bytes()).digest() for path in files}


def _older(whole: dict[str, bytes]) -> dict[str, bytes]:
    """The digests of an older result in the place of a new one."""
    kept = [path for path in whole if not path.startswith(UNFINISHED)]
    return {path: hashlib.sha256(_older_content(path)).digest() for path in kept}


def _older_content(path: str) -> bytes:
    return (RECORD if path.endswith(".json") else "older").encode()


def _put(start: dict[str, bytes]) -> None:
    """Begin again, with these older results."""
    shutil.rmtree("out", ignore_errors=True)
    for path in start:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(_older_content(path))


def _make_inputs(root: Path) -> None:
    save_scenes(root / "pictures", 2)
    torch.save(torch.randn(4, 32, generator=torch.Generator().manual_seed(0)), root / "released.pt")
    lines = [
        {"image": f"pictures/scene_{number:05}.png", "question": "what is it?", "answer": "cat"}
        for number in range(2)
    ]
    (root / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _compute_once() -> None:
    """Have everything that only computes answer from memory when it is asked again, with constant answers."""
    names = ["demo", *[photos.NAME] * photos.is_installed()]  # the tour shows photos where it can
    vlms = {name: VLM.from_pretrained(name) for name in names}
    assert all(vlm.fingerprint for vlm in vlms.values())  # computed here, not in every fork
    vlm = vlms["demo"]
    VLM.from_pretrained = classmethod(  # type: ignore[assignment,method-assign]
        lambda cls, name="demo", *given, **options: vlms[name]
    )
    VLM.answers = lambda self, prompts, *limit, **options: ["cat"] * len(prompts)  # type: ignore[method-assign]
    plan, analyze, states = calibration.CalibrationPlan, intermediate_states.analyze, []
    calibrate = plan.results
    tour.COMPARED = 2

    def pays(*given: Any, **options: Any) -> calibration.Calibration:
        found = calibrate(*given, **options)
        found.record["pays"] = True
        return found

    def analyze_once(vlm: VLM, pictures: Sequence[Path], folder: Path, **options: Any) -> Any:
        if not states:
            states.append(pickle.dumps(analyze(vlm, pictures, folder, **options)))
        collecting.collect_evidence(vlm, pictures, folder, ANALYZED)
        return pickle.loads(states[0])

    plan.results, intermediate_states.analyze = pays, analyze_once  # type: ignore[method-assign]
    measure = _remembered(
        examining.measure_experiments, lambda vlm, picture, questions, needs, *_: (picture.tobytes(), *needs)
    )
    examining.measure_experiments = measure
    collecting.noise_floors = _remembered(
        collecting.noise_floors, lambda asked, needs: (asked.media.tobytes(), *needs)
    )
    for page in (pareto, analysis_page, book_page):
        page.draw = _remembered(page.draw, lambda record, palette: palette)  # type: ignore[attr-defined]
    for owner, name in (  # a command asks these for one thing
        *((token_table, "token_rows"), (record, "explain_tokens"), (prototypes, "inspect_codebook")),
        *((recommendation, "recommend"), (plan, "results"), (Codebook, "compact")),
        *((tour, "_answers"), (tour, "_drawn"), (tour, "compare")),
    ):
        setattr(owner, name, _remembered(getattr(owner, name), lambda *_: None))
    with TemporaryDirectory() as folder:  # of what several commands ask for
        _make_inputs(Path(folder))
        for path in find_pictures(folder):
            for needs in (plan.needs for plan in (BUILT, ANALYZED, collecting.EvidencePlan())):
                measure(vlm, load_picture(path), list(QUESTIONS), needs)
    gc.freeze()  # a fork copies what a collection touches


def _remembered(function: Callable[..., Any], key: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which computes once for each key of what it is given."""
    known: dict[Any, bytes] = {}

    def again(*given: Any, **options: Any) -> Any:
        what = key(*given)
        if what not in known:
            known[what] = pickle.dumps(function(*given, **options))
        return pickle.loads(known[what])

    return again


def _show(reports: dict[str, Report]) -> None:
    print(f"{'':20}" + "".join(f"{way:>14}" for way in WAYS))
    for name, report in reports.items():
        cells = (f"{survived} of {tried}" for tried, survived in report.counts.values())
        print(f"{name:20}" + "".join(f"{cell:>14}" for cell in cells))
    for report in reports.values():
        for fault in report.faults:
            print(f"FAULT {fault}", file=sys.stderr)
    tried, survived = _total(reports)
    print(f"{survived} of {tried} crash points survived")


def _total(reports: dict[str, Report]) -> tuple[int, int]:
    counts = [count for report in reports.values() for count in report.counts.values()]
    return sum(tried for tried, _ in counts), sum(survived for _, survived in counts)


def _as_json(reports: dict[str, Report], seconds: float) -> dict[str, Any]:
    tried, survived = _total(reports)
    return {
        "command": shlex.join(["python", *sys.argv]),
        **machine(),
        "seconds": round(seconds),
        "tried": tried,
        "survived": survived,
        "commands": {
            name: {way: {"tried": count[0], "survived": count[1]} for way, count in report.counts.items()}
            for name, report in reports.items()
        },
    }


if __name__ == "__main__":
    main()
