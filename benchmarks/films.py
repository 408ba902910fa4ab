"""What reading a film costs beside a loop of a dozen lines that seeks: five minutes of 640x360.

Both take the same frames, one after the other in every round; what is told is the ratio of their times, by
the clock and of the processor, which other work on the machine disturbs less. The loop knows nothing of edit
lists, turned cameras, films that are cut short or frames that change their size.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import av
import numpy as np
from PIL import Image

from wordsight import Video
from wordsight._utils.files import replacing
from wordsight._utils.progress import track
from wordsight.evaluation.environment import machine
from wordsight.evaluation.latency import median_interval
from wordsight.synthetic.scenes import render

HERE = Path(__file__).parent
WIDTH, HEIGHT, RATE, SECONDS = 640, 360, 25, 300
ROUNDS = 9
COUNTS = (8, 32)
BAR = 2.0  # times as long as the loop, at most
CONTAINERS = ("mp4", "mkv")


def main() -> None:
    """Write results/films.json."""
    costs: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        for container in CONTAINERS:
            path = written(Path(folder) / f"film.{container}")
            for count in COUNTS:
                costs[f"{container}, {count} frames"] = compared(path, count)
    record = {
        "ratio": costs,
        "bar": BAR,
        "passes": all(
            cost[name]["median"] <= BAR for cost in costs.values() for name in ("clock", "processor")
        ),
        "film": f"{SECONDS} s of {WIDTH}x{HEIGHT}, {RATE} frames a second, H.264",
        "rounds": ROUNDS,
        "command": "python benchmarks/films.py",
        "environment": {**machine(), "av": av.__version__},
    }
    with replacing(HERE / "results" / "films.json") as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")


def compared(path: Path, count: int) -> dict[str, Any]:
    """The time of reading so many frames as a ratio to that of the loop: of every round, the median and its
    95 % interval. Both have to find the same frames.
    """
    ratios: dict[str, list[float]] = {"clock": [], "processor": []}
    seconds = []
    for number in track(range(1 + ROUNDS), f"{path.name}, {count} frames", 1 + ROUNDS):
        ours, frames = timed(lambda: Video.open(path, frames=count).frames)
        loop, expected = timed(lambda: seeking_loop(path, count))
        assert [frame.tobytes() for frame in frames] == [frame.tobytes() for frame in expected]
        if number:  # the first round fills the page cache
            for name, one, other in zip(ratios, ours, loop, strict=True):
                ratios[name].append(one / other)
            seconds.append(ours[0])
    spread = {
        name: {"median": median(values), "interval": median_interval(values), "rounds": values}
        for name, values in ratios.items()
    }
    return {**spread, "seconds_on_this_shared_machine": median(seconds)}


def seeking_loop(path: Path, count: int) -> list[Image.Image]:
    """The frames at so many times, from the first frame to the last."""
    pictures = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for i in range(count):
            time = Fraction(SECONDS * RATE - 1, RATE) * i / (count - 1)
            container.seek(int(time / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                if frame.time > time + 1e-6:
                    break
                shown = frame
            pictures.append(shown.to_image())
    return pictures


def timed(read: Callable[[], Any]) -> tuple[tuple[float, float], Any]:
    """How long it took by the clock and of the processor, and what came of it."""
    began, used = perf_counter(), process_time()
    result = read()
    return (perf_counter() - began, process_time() - used), result


def written(path: Path) -> Path:
    """A film of scenes that move, a new one every ten seconds."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=RATE, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for i in range(SECONDS * RATE):
            if i % (10 * RATE) == 0:
                scene = np.asarray(render(i).image.resize((WIDTH, HEIGHT)))
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(scene, 2 * i % WIDTH, axis=1))))
        out.mux(stream.encode())
    return path


if __name__ == "__main__":
    main()
