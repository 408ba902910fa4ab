"""Examples: what the help of every command ends with."""

from __future__ import annotations

import typer

EXAMPLES: dict[str, tuple[str, ...]] = {
    "ask": (
        "ask street.jpg 'what color is the car?'",
        "ask street.jpg 'is there a bus?' --pruner divprune --keep 0.1 --then 'where is it?'",
        "ask film.mp4 'what happens?' --frames 16 --model llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
    ),
    "probe": ("probe street.jpg", "probe street.jpg --out words.png --model ./my-model"),
    "explain": (
        "explain street.jpg --question 'is there a bus?' --out page.html",
        "explain street.jpg --out page.html --pruner divprune --pruner codebook --keep 0.1",
    ),
    "view": ("view --open", "view --model ./my-model --port 0"),
    "compare": (
        "compare --task scenes --pictures 21 --pruner divprune --pruner random --keep 0.1 --keep 0.2",
        "compare --task questions.jsonl --pruner divprune@published --tokens 64 --out results.json",
    ),
    "answers": ("answers results.json", "answers results.json --show all --pruner divprune"),
    "recommend": (
        "recommend --task questions.jsonl --budget 0.1",
        "recommend --task scenes --pruner divprune --pruner cdpruner --out advice.json",
    ),
    "analyze": ("analyze --images photos --out analysis --pictures 50",),
    "info": ("info", "info llava-hf/llava-1.5-7b-hf --images photos"),
    "serve": ("serve llava-hf/llava-1.5-7b-hf --pruner divprune:keep=0.2 -- --port 8001",),
    "pruners": ("pruners", "pruners --json"),
    "tasks": ("tasks", "tasks --json"),
    "demo": ("demo", "demo --out elsewhere --json"),
    "codebook build": (
        "codebook build photos --out book",
        "codebook build photos --out book --preset llava-1.5 --model llava-hf/llava-1.5-7b-hf",
    ),
    "codebook calibrate": ("codebook calibrate --images photos --task questions.jsonl --out book",),
    "codebook import": ("codebook import released.pt --out book --model llava-hf/llava-1.5-7b-hf",),
    "codebook info": ("codebook info demo", "codebook info book --json"),
    "codebook compact": ("codebook compact book --out smaller --similarity 0.95",),
    "codebook inspect": ("codebook inspect demo --images photos --out report",),
    "codebook push": ("codebook push book my-name/my-book",),
    "codebook criteria": ("codebook criteria",),
    "evidence merge": ("evidence merge part-0 part-1 --out evidence",),
}


def add_examples(app: typer.Typer, place: str = "") -> None:
    """Give every command of the application, and of those in it, its examples."""
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__
        lines = (f"  wordsight {line}" for line in EXAMPLES.get(f"{place}{name}", ()))
        command.epilog = "\n\n".join(["Examples:", *lines])
    for group in app.registered_groups:
        assert group.typer_instance is not None
        add_examples(group.typer_instance, f"{place}{group.name} ")
