"""What kills the process that uses it, and drivers that are no commands.

python traps.py FUNCTION ARGUMENT...
"""

import json
import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from wordsight._utils.notes import listen_to_notes
from wordsight.errors import WordsightError
from wordsight.evaluation.calibration import CalibrationPlan
from wordsight.integrations.ray import RayWorkers, calibrate_on_ray, collect_evidence_on_ray
from wordsight.media.sources import open_source
from wordsight.pruners.random import Random
from wordsight.redundancy.build import Clustering
from wordsight.redundancy.collecting import EvidencePlan
from wordsight.redundancy.criteria import criterion
from wordsight.tasks.scenes import Scenes

PLAN = CalibrationPlan(
    task=Scenes(split="validation", pictures=4), questions=8, clustering=Clustering(largest=144, images=0)
)


def spring(graves, deaths):
    """Kill this process, unless so many died here; every death leaves a file in the folder."""
    graves.mkdir(exist_ok=True)
    if len(os.listdir(graves)) < deaths:
        (graves / uuid4().hex).touch()
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Trap:
    """A picture that is read only after so many processes died of it."""

    name: str
    path: str
    graves: Path
    deaths: int

    def read(self):
        spring(self.graves, self.deaths)
        return Path(self.path).read_bytes()


@dataclass(kw_only=True)
class Lethal(Random):
    """Random tokens, chosen only after so many processes died of it."""

    graves: str
    deaths: int

    def select(self, tokens):
        spring(Path(self.graves), self.deaths)
        return super().select(tokens)


def evidence(address, folder, place, deaths):
    """Collect evidence whose fourth picture kills so many workers, whose graves are beside it."""
    pictures = list(open_source(folder))
    pictures[3] = Trap(pictures[3].name, pictures[3].path, Path(f"{place}.deaths"), int(deaths))
    plan = EvidencePlan(condition=criterion("default"))
    collect_evidence_on_ray(RayWorkers(address=address), pictures, place, plan)


def calibration(address, folder, out):
    """Calibrate, and write the book and the record whether it pays or not."""
    plan = replace(PLAN, cache=Path(out) / "cells")
    found = calibrate_on_ray(
        RayWorkers(address=address), list(open_source(folder).first(1)), Path(out) / "evidence", plan
    )
    found.book.save_pretrained(Path(out) / "book")
    (Path(out) / "record.json").write_text(json.dumps(found.record))


def main(what, *arguments):
    import traps  # by the name that workers find it by

    try:
        with listen_to_notes(print):
            getattr(traps, what)(*arguments)
    except WordsightError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
