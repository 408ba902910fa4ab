"""Make what all trainings of stage 2 read, several parts at once: pictures, and what each tower makes of
them. Training does so by itself; before several trainings at once it is done once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Annotated, Any

import typer

from batches import Pictures, cached_corners
from language import start
from pictures import CLIPS, SCENES, cache_clips, cache_easy_vqa, cache_scenes, scene_facts
from small import SPANS


def cache(
    seeds: Annotated[list[int], typer.Argument(help="of towers")],
    scenes: int = SCENES,
    clips: int = CLIPS,
) -> None:
    """Render pictures, find the small ones in them, and run every seed's tower over all of them."""
    cache_scenes(scenes)
    corners = [partial(_corners, scenes, span) for span in SPANS]
    _at_once([*corners, partial(_made, cache_clips, clips), partial(_made, cache_easy_vqa)])
    _at_once([partial(_features, seed, scenes, clips) for seed in seeds])


def _at_once(parts: list[Callable[[], None]]) -> None:
    """Each in a process, as many as half of the cores. Raises what one of them raised."""
    workers = min(len(parts), max(1, (os.cpu_count() or 1) // 2))
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for done in [pool.submit(part) for part in parts]:
            done.result()


def _made(make: Callable[..., Any], *given: int) -> None:
    """What is made stays on disk: it is too much to be sent back."""
    make(*given)


def _corners(scenes: int, span: int) -> None:
    cached_corners(scene_facts(scenes), span)


def _features(seed: int, scenes: int, clips: int) -> None:
    Pictures(start(seed), scenes, clips)
    print(f"what the tower of seed {seed} makes of all pictures is cached", flush=True)


if __name__ == "__main__":
    typer.run(cache)
