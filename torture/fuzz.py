"""The fuzzer: every parser of wordsight on damaged, foreign and odd input.

An input survives if it is read, or refused with one sentence, within the time there is, and stays as it was;
of files with a digest, what is read has to be what was written. Each parser runs in a process of its own, of
bounded memory; where that dies or hangs, the input is a failure and the next one goes on.

    python torture/fuzz.py --out torture/results/fuzz.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shlex
import shutil
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import parsers
from parsers import Parser
from wordsight._utils.files import replacing
from wordsight.errors import WordsightError
from wordsight.evaluation.environment import machine

LIMIT = 30.0  # seconds for one input
MEMORY = 8 * 2**30  # bytes of address space for a parser, most of which is the loaded libraries
SENTENCE = 2000  # characters of an error
SHOWN = 5  # failures of a parser that are printed


@dataclass(frozen=True)
class Failure:
    """An input that did not survive, and what came of it."""

    parser: str
    number: int
    what: str


def main() -> None:
    """Try all, print the counts, and exit with 1 if an input did not survive."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--out", type=Path, help="write the counts into this JSON file")
    options.add_argument("--keep", type=Path, help="a folder for the inputs that do not survive")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--share", type=float, default=1.0, help="of the inputs of a full run")
    given = options.parse_args()
    begin = time.monotonic()
    counts, failures = fuzz(given.seed, given.share, given.keep)
    tried, survived = sum(counts.values()), sum(counts.values()) - len(failures)
    print(f"{survived} of {tried} inputs survived")
    if given.out:
        record = {
            "command": shlex.join(["python", *sys.argv]),
            **machine(),
            "seconds": round(time.monotonic() - begin),
            "tried": tried,
            "survived": survived,
            "parsers": {
                name: {"tried": count, "survived": count - sum(each.parser == name for each in failures)}
                for name, count in counts.items()
            },
        }
        with replacing(given.out) as draft:
            draft.write_text(json.dumps(record, indent=1) + "\n")
    sys.exit(bool(failures))


def fuzz(seed: int, share: float, keep: Path | None) -> tuple[dict[str, int], list[Failure]]:
    """How many inputs of every parser were tried, and those that did not survive.

    Two parsers run at a time. Failing inputs are written to the folder `keep`, for looking at.
    """
    with TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        made = parsers.make(Path(folder))
        counts = {parser.name: max(1, round(parser.count * share)) for parser in made}
        runs = [pool.submit(lambda each=each: list(_run(each, seed, counts[each.name]))) for each in made]
        failures = []
        for parser, run in zip(made, runs, strict=True):
            failed = run.result()
            failures += failed
            _tell(parser, counts[parser.name], failed)
            if keep:
                _keep(parser, seed, failed, keep)
    return counts, failures


def _tell(parser: Parser, count: int, failed: list[Failure]) -> None:
    print(f"{parser.name:20} {count:6} tried, {count - len(failed):6} survived", flush=True)
    for what, times in Counter(each.what for each in failed).most_common(SHOWN):
        first = next(each.number for each in failed if each.what == what)
        print(f"  {times} x (first: input {first}) {what}", flush=True)


def _keep(parser: Parser, seed: int, failed: list[Failure], folder: Path) -> None:
    for each in failed:
        parsers.write(
            parser.mutate(_random(parser, seed, each.number)), folder / parser.name / str(each.number)
        )


def _random(parser: Parser, seed: int, number: int) -> Random:
    return Random(f"{seed} {parser.name} {number}")


def _run(parser: Parser, seed: int, count: int) -> Iterator[Failure]:
    """Those of the first `count` inputs that fail."""
    number = 0
    while number < count:
        receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)
        worker = multiprocessing.get_context("fork").Process(
            target=_work, args=(parser, seed, range(number, count), sender), daemon=True
        )
        worker.start()
        sender.close()
        while number < count:
            try:
                if not receiver.poll(LIMIT):
                    yield Failure(parser.name, number, f"hangs for more than {LIMIT:g} s")
                    break
                what = receiver.recv()
            except EOFError:
                worker.join()
                yield Failure(parser.name, number, f"the process dies ({worker.exitcode})")
                break
            if what:
                yield Failure(parser.name, number, what)
            number += 1
        else:
            worker.join()
            continue
        worker.kill()
        worker.join()
        number += 1


def _work(parser: Parser, seed: int, numbers: range, sender: Any) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    sys.stdin.close()
    with TemporaryDirectory() as folder:
        for number in numbers:
            sender.send(_try(parser, _random(parser, seed, number), Path(folder) / str(number)))


def _try(parser: Parser, random: Random, folder: Path) -> str:
    """What is wrong with what came of an input; nothing if it survived."""
    before = parser.mutate(random)
    parsers.write(before, folder)
    try:
        read = parser.read(folder)
    except WordsightError as error:
        what = _sentence(str(error))
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__} in {_where(error)}: {str(error)[:100]!r}"
    else:
        what = parser.judge(read)
    if not what and parsers.files(folder) != before:
        what = "changes a file that it was to read"
    shutil.rmtree(folder, ignore_errors=True)
    return what


def _sentence(text: str) -> str:
    lines = len(text.strip().splitlines())
    if lines == 1 and len(text) <= SENTENCE:
        return ""
    return f"an error of {lines} lines and {len(text)} characters: {text[:80]!r}"


def _where(error: BaseException) -> str:
    """The last line of wordsight that an error went through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "wordsight" in frame.filename]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "no file of wordsight"


if __name__ == "__main__":
    main()
