"""What was trained as an ordinary checkpoint of transformers' internvl, the tower in 8 bits as it ships."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import typer

from parts import quantized, write_parts
from vision import tower
from wheels import language_file, tower_weights
from wordsight.models import assembly


def assemble(checkpoint: Path, folder: Path, tuned: Annotated[Path | None, typer.Option()] = None) -> None:
    """Put what was trained, tower and language model together.

    A tower with windows (`tuned`) loads without them: the config of internvl has no word for them. Call
    `vision.restrict_attention(model.model.vision_tower)` after loading.
    """
    seeing = tower(tower_weights()).state_dict()
    if tuned is not None:
        seeing = torch.load(tuned, weights_only=True, map_location="cpu")["tower"]
    with TemporaryDirectory() as parts:
        write_parts(checkpoint, Path(parts), quantized(seeing))
        assembly.assemble(Path(parts), language_file(), folder, {"checkpoint": checkpoint.name})


if __name__ == "__main__":
    typer.run(assemble)
