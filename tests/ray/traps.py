"""Pictures that kill the process that reads them; a driver that collects evidence of them on Ray.

    python traps.py ADDRESS FOLDER EVIDENCE DEATHS

The fourth picture of the folder kills as many workers as DEATHS says.
"""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4


@dataclass(frozen=True)
class Trap:
    """A picture that is read only after so many processes died of it; every death leaves a file."""

    name: str
    path: str
    deaths: int

    def read(self):
        graves = Path(f"{self.path}.deaths")
        graves.mkdir(exist_ok=True)
        if len(os.listdir(graves)) < self.deaths:
            (graves / uuid4().hex).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Path(self.path).read_bytes()


def main(address, folder, evidence, deaths):
    from traps import Trap

    from wordsight._utils.notes import listen_to_notes
    from wordsight.errors import WordsightError
    from wordsight.integrations.ray import RayWorkers, collect_evidence_on_ray
    from wordsight.media.sources import open_source
    from wordsight.redundancy.collecting import EvidencePlan
    from wordsight.redundancy.criteria import criterion

    pictures = list(open_source(folder))
    pictures[3] = Trap(pictures[3].name, pictures[3].path, int(deaths))
    plan = EvidencePlan(condition=criterion("default"))
    try:
        with listen_to_notes(print):
            collect_evidence_on_ray(RayWorkers(address=address), pictures, evidence, plan)
    except WordsightError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
