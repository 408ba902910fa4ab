"""The whole recipe as one command: features, projector, language model, checkpoint. It goes on where it
stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from answering import answer
from assemble import assemble
from features import cache_features
from photos import read_photos
from recipes import RECIPES
from runs import Run
from vision import DEVICE
from wheels import BUILD, language_model
from windows import tune


def train(
    photos: Annotated[Path, typer.Argument(help="a folder of class folders, laid out like Caltech-101")],
    recipe: Annotated[str, typer.Option(help="a to e, see recipes.py")] = "b",
    seed: int = 0,
    share: Annotated[float, typer.Option(help="of the recipe's steps; less is for trying it out")] = 1.0,
) -> None:
    """Train one model by a recipe and write it as a checkpoint of transformers' internvl."""
    target = BUILD / f"model-{recipe}-{seed}"
    if target.exists():
        print(f"{target} is there already; delete it to train it again")
        return
    if before := RECIPES[recipe].goes_on:
        train(photos, before, seed, share)
    torch.set_num_threads(min(2, torch.get_num_threads()))
    shown, language, tuned = read_photos(photos), language_model(), None
    language[0].to(DEVICE)
    if RECIPES[recipe].windowed:
        tuned = tune(BUILD / "windows.pt", shown, language=language, share=share)
    run = Run(recipe, seed, shown, cache_features(shown, tuned), language)
    answer(run, share)
    assemble(run.file("answer"), target, tuned)
    print(f"{target} is written; evaluate.py measures it", flush=True)


if __name__ == "__main__":
    typer.run(train)
