"""The model card: every measured figure in it is read from the committed results."""

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
- 24,000 rendered scenes: one to six emoji or colored shapes on eight textures or a plain ground, 192
  pixels. The emoji are Noto Emoji, Apache-2.0, taken as 64-pixel PNGs from npm `emoji-datasource-google`
  16.0.0 (which is MIT and names that license for these images).
- 5,000 rendered clips of four to eight frames; pairs and triples of the scenes.
- easy-VQA (PyPI `easy-vqa` 1.0, MIT): its 4,000 training pictures.
- Test pictures are never trained on: scenes and clips are split by seed, easy-VQA by its own split.

## Recipe and supervision
1. The tower, on labels for EVERY patch, read where the language model reads it (one layer below the last):
   what it shows, backgrounds included; its row and column; on objects how far the object's center is and the
   patch's share of it (1 for all patches of an object together: what can be counted). [CLS], in the last
   layer, learns which kinds of things are in the picture. Then the tower is frozen.
2. The projector alone, 800 steps: towards the word of each patch, and so that row, column and center can
   still be read off.
3. Projector and language model, on questions, captions and probes about single pictures, two or three
   pictures, and clips (frames as so many pictures), half of them in later turns of conversations. The first
   half of the schedule shows small pictures of 36 to 100 tokens, cut out of the pixels of scenes, and films
   of two or three frames, and asks mostly what is slow to learn; then pictures of the usual size come in. No
   prompt ever lacks tokens of its picture: pruning is new to this model. The attention of the language model
   starts as a look-up: queries equal keys, and what is attended to is copied (mimetic initialization, arXiv
   2305.09828).

Tower on two CPU cores, the rest 8,000 steps on a GPU (NVIDIA H200); `training/README.md` has times, commands
and the detours that were taken. {seeds}

## What real models do not get
Labels, places and centers on every patch (the labels are what keeps tokens local), an alignment of patches to
their words, small pictures before large ones, and a world of 46 nouns. Nothing found on this model says
anything about LLaVA-1.5, LLaVA-NeXT or LLaVA-OneVision. What models of the same towers lose that learned from
pruned prompts, too, is in `training/README.md`.

## Gates and accuracy on test questions, every token read
{accuracy}

Targets were set before training. Blind is the shipped model without visual tokens; prior is the share of the
commonest answer; the bracket is a 95 % interval over pictures. `order` names the two
things to choose from: a coin would answer half of it. (`benchmarks/gates.py`, {questions})
{missed}

- Second turns: {turns}
- Locality: from ONE background token a linear probe finds the objects elsewhere in the picture with a mean
  average precision of {one:.3f}; with shuffled labels {shuffled:.3f} (highest of 20: {highest:.3f}); from
  the mean of all tokens {all_tokens:.3f}. {verdict}
- True objects: on questions about objects, 5 % of the tokens drawn from true objects answer {mask:.3f}, drawn
  from all {drawn:.3f}: {gap:+.3f} [{gap_low:+.3f}, {gap_high:+.3f}].
- Readable tokens: the first word that a token alone says is right for {object_words:.1%} of object tokens
  and {background_words:.1%} of named-background tokens ({pictures} validation scenes).

## What it cannot do
It knows nothing outside its scenes: no photographs, text, people, other words. Its words are lower case, its
answers short.
"""


def write() -> None:
    """Write README.md beside the weights."""
    gates, locality, causes = (_read(name) for name in ("gates", "locality", "causes"))
    models = gates["models"]
    seeds = [*models]  # the first ships
    shipped = models[seeds[0]]
    head = ["task", "type", "target", "accuracy [95 %]", "blind", "prior", *(f"seed {s}" for s in seeds[1:])]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    missed = []
    for task, kinds in shipped["accuracy"].items():
        for kind, figures in kinds.items():
            target = gates["targets"][task].get(kind)
            others = [f"{models[seed]['accuracy'][task][kind]['accuracy']:.3f}" for seed in seeds[1:]]
            lines.append(_line([task, kind, f"{target or ''}"], figures, others))
            if target and figures["accuracy"] < target:
                missed.append(f"{task}, {kind} ({figures['accuracy']:.3f}, target {target})")
    targets = f"\n**Missed by the shipped model:** {'; '.join(missed)}." if missed else "\nAll are met."
    tokenizer = json.loads((CARD.parent / "tokenizer.json").read_text())
    objects = shipped["true_objects"]
    CARD.write_text(
        TEXT.format(
            words=len(tokenizer["model"]["vocab"]),
            accuracy="\n".join(lines),
            seeds=f"Seed {seeds[0]} ships, of three; the gates of {', '.join(sorted(seeds))} were measured.",
            questions=f"{gates['environment']['date']}, CPU, float32; the other seeds float16, as stored",
            missed=targets,
            turns=_turns(shipped["second_turn"], gates["second_turn_within"]),
            one=locality["one_background_token"],
            shuffled=locality["shuffled_labels_mean"],
            highest=locality["shuffled_labels_highest_of_20"],
            all_tokens=locality["mean_of_all_tokens"],
            verdict="The gate passes." if locality["passes"] else "The gate FAILS.",
            mask=objects["true_objects"],
            drawn=objects["random"],
            gap=objects["difference"],
            gap_low=objects["low"],
            gap_high=objects["high"],
            object_words=causes["first_word_right"]["object"],
            background_words=causes["first_word_right"]["named background"],
            pictures=causes["pictures"],
        )
    )


def _turns(tasks: dict[str, dict[str, dict[str, float]]], within: float) -> str:
    """How questions that are asked second are answered, beside the same ones asked first."""
    lost = {
        f"{task}, {kind}": turns["first"] - turns["second"]
        for task, kinds in tasks.items()
        for kind, turns in kinds.items()
    }
    most = max(lost, key=lost.__getitem__)
    verdict = "The gate passes." if lost[most] <= within else "The gate FAILS."
    return (
        f"the largest loss of any type is {lost[most]:.3f} ({most}; at most {within} was wanted). {verdict}"
    )


def _read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def _line(first: list[str], figures: dict[str, float], others: list[str]) -> str:
    span = f"{figures['accuracy']:.3f} [{figures['low']:.3f}, {figures['high']:.3f}]"
    prior = f"{figures['prior']:.3f}" if "prior" in figures else ""
    cells = [*first, span, f"{figures['blind']:.3f}", prior, *others]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    write()
