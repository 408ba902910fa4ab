"""The model card, written from the committed results: no figure in it is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import wordsight.demo

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
CARD = Path(wordsight.demo.__file__).parent / "model" / "README.md"
TEXT = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---
# The embedded model of wordsight

A real `LlavaForConditionalGeneration`, made small: a stock CLIP vision tower with [CLS] (4 layers x 192,
192-pixel pictures, 144 tokens), a two-layer projector, a Llama (4 layers x 256) and a word-piece tokenizer
of {words} entries; float16 safetensors. It exists so that every part of wordsight runs offline on a model
whose pictures are known patch by patch.

## Data
- 24,000 rendered scenes: one to six emoji or coloured shapes on eight textures or a plain ground, 192
  pixels. The emoji are Noto Emoji, Apache-2.0, taken as 64-pixel PNGs from npm `emoji-datasource-google`
  16.0.0 (which is MIT and names that licence for these images).
- easy-VQA (PyPI `easy-vqa` 1.0, MIT): its 4,000 training pictures.
- Test pictures are never trained on: scenes are split by seed, easy-VQA by its own split.

## Recipe
The tower first, on labels for every patch; then frozen. The projector alone, 400 steps, towards the word of
each patch. Then projector and language model on questions, captions and one-word descriptions: first on the
features of the tower's last layer, which were not local, then on those of the layer below, which the model
now reads. Two thirds of those batches show only some of a picture's tokens, at random or a window, with
questions about what they show. One run, seed 0, on two CPU cores; `training/README.md` has times, commands
and the detour.

## What real models do not get
Labels on every patch (which is what keeps tokens local), an alignment of patches to their words, prompts
with few visual tokens during training, and a world of 46 nouns. Nothing found on this model says anything
about LLaVA-1.5, LLaVA-NeXT or LLaVA-OneVision.

## Accuracy on test questions, every token read
{accuracy}

Blind is the same model without visual tokens; prior is the share of the commonest answer. ({questions})

## Gates
- Locality: from ONE background token a linear probe tells the objects elsewhere in the picture with a mean
  average precision of {one:.3f}; with shuffled labels {shuffled:.3f} (highest of 20: {highest:.3f}); from
  the mean of all tokens {all_tokens:.3f}. {verdict}
- Readable tokens: the first word that a token alone says is right for {object_words:.0%} of object tokens
  and {background_words:.0%} of named-background tokens ({pictures} validation scenes).

## What it cannot do
Counting and relations are not above the blind score: the model claims neither. Colours of shapes and naming
at a place are far above it and far from perfect. It knows nothing outside its scenes: no photographs, text,
people, other words. Its words are lower case, its answers short. It was trained on single pictures only. It
was not run on a GPU.
"""


def write() -> None:
    """Write README.md beside the weights."""
    table, locality, causes = (_read(name) for name in ("pruners", "locality", "causes"))
    whole = [row for row in table["rows"] if row["pruner"] == "none"]
    lines = ["| task | type | questions | accuracy [95 %] | blind | prior |", "|---|---|---|---|---|---|"]
    for row in whole:
        lines += [_line(row["task"], kind, figures) for kind, figures in row["by_type"].items()]
    tokenizer = json.loads((CARD.parent / "tokenizer.json").read_text())
    CARD.write_text(
        TEXT.format(
            words=len(tokenizer["model"]["vocab"]),
            accuracy="\n".join(lines),
            questions=f"`make bench`, {table['environment']['date']}, CPU, float32",
            one=locality["one_background_token"],
            shuffled=locality["shuffled_labels_mean"],
            highest=locality["shuffled_labels_highest_of_20"],
            all_tokens=locality["mean_of_all_tokens"],
            verdict="The gate passes." if locality["passes"] else "The gate FAILS.",
            object_words=causes["first_word_right"]["object"],
            background_words=causes["first_word_right"]["named background"],
            pictures=causes["pictures"],
        )
    )


def _read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def _line(task: str, kind: str, figures: dict[str, float]) -> str:
    span = f"{figures['accuracy']:.3f} [{figures['low']:.3f}, {figures['high']:.3f}]"
    cells = (task, kind, figures["questions"], span, f"{figures['blind']:.3f}", f"{figures['prior']:.3f}")
    return f"| {' | '.join(str(cell) for cell in cells)} |"


if __name__ == "__main__":
    write()
