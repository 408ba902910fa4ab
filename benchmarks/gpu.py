"""What can only be seen on a GPU: the same logits in every dtype and attention, quantized, spread over GPU
and CPU, short of memory; and how long a prompt of LLaVA-1.5-7B's shape takes with fewer visual tokens.

`make gpu DEVICE=cpu` runs what can be run without one, in small, to try this script. Where FlashAttention or
a quantization is not installed, that is written down instead of a figure. A run that was stopped goes on with
`--only` what is left.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated, Any

import checkpoints  # of tests/families, and first: it makes torchvision importable
import numpy as np
import torch
import transformers as hf
import typer
from numpy.typing import NDArray
from PIL import Image

from pages import write_between
from selection_cost import KEEP, before_the_model, drawn_tokens
from wordsight import VLM, LoadOptions, Uniform, WordsightError, demo
from wordsight._utils.files import replacing
from wordsight._utils.notes import listen_to_notes
from wordsight.evaluation.environment import machine
from wordsight.models.families import names
from wordsight.models.load_options import Dtype, Quantization
from wordsight.models.prompt import Prompt, collate
from wordsight.reports.formats import markdown
from wordsight.reports.tables import Table

ROOT = Path(__file__).parents[1]
QUESTION = "what color is the cat?"
# Most that logits may be away from those of the CPU in float32, as a share of the largest: rounding of the
# format times the depth of a tiny model. In float32 TF32 is off.
TOLERANCE: dict[Dtype, float] = {"float32": 1e-4, "bfloat16": 0.05, "float16": 0.01}
ATTENTION = ("eager", "sdpa", "flash_attention_2")
QUANTIZATION: tuple[Quantization, ...] = ("bnb-8bit", "bnb-4bit", "torchao-8bit")
KEEPS = (1.0, 0.33, 0.2, 0.1)
SIDES = (24, 24), (48, 60)  # of pictures whose tokens are chosen from
ROUNDS, NEW_TOKENS = 5, 16


def main(
    device: Annotated[str, typer.Option(help="cuda, or cpu to try the script")] = "cuda",
    out: Annotated[
        Path | None, typer.Option(help="by default benchmarks/results/gpu.json, of a CPU build/gpu.json")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="a section; again for more of them")] = None,
    family: Annotated[
        list[str] | None, typer.Option(help="of the section families alone; rows of others stay")
    ] = None,
) -> None:
    """Measure all of it, or some sections, and write each section's figures when it is done."""
    out = out or ROOT / ("build" if device == "cpu" else "benchmarks/results") / "gpu.json"
    name_of_device = torch.cuda.get_device_name() if device == "cuda" else device
    own = machine()  # first: it is what fails where the package is not installed
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    with TemporaryDirectory() as name:
        folder = Path(name)
        sections: dict[str, Callable[[], Any]] = {
            "times": lambda: list(times(device)),
            "selection": lambda: list(selection(device)),
            "families": lambda: list(families(folder, device, family or names())),
            "quantization": lambda: list(quantized(folder / "small", device)),
            "spread": lambda: spread(folder / "small", device),
            "out_of_memory": lambda: out_of_memory(folder / "small", device),
        }
        if unknown := set(only or ()) - sections.keys():
            raise typer.BadParameter(f"expected sections of {', '.join(sections)}, got {unknown.pop()}")
        if strange := set(family or ()) - set(names()):
            raise typer.BadParameter(f"expected families of {', '.join(names())}, got {strange.pop()}")
        write_checkpoint("llava", folder / "small")
        for section in only or sections:
            found = sections[section]()
            record = json.loads(out.read_text()) if out.exists() else {}
            if section == "families":  # whose rows may come from several runs
                found = [{**row, "device": name_of_device, "date": own["date"]} for row in found]
                if family:
                    found += [row for row in record.get(section, ()) if row.get("family") not in family]
            record |= {section: found, "tolerance": TOLERANCE, "command": f"make gpu DEVICE={device}"}
            record["measured"] = record.get("measured", {}) | {
                section: {"device": name_of_device, "environment": own}
            }
            with replacing(out) as draft:
                draft.write_text(json.dumps(record, indent=1) + "\n")
            print(f"{out}: {section} is written", flush=True)
            if device == "cuda":
                write_tables(record)


def write_tables(record: dict[str, Any]) -> None:
    """Those of docs/gpu.md, from what there is."""
    for name, made, needs in (
        ("gpu times", times_table, {"times"}),
        ("gpu selection", selection_table, {"times", "selection"}),
    ):
        if needs <= record.keys():
            write_between(ROOT / "docs" / "gpu.md", name, markdown(made(record)))


def times_table(record: dict[str, Any]) -> Table:
    """Prefill and decode by what is kept."""
    head = ("prompts at once", "visual tokens of each", "prefill, ms", "a token of the answer, ms")
    body = [
        (str(row["rows"]), f"{row['tokens']:,}", _cell(row["prefill_ms"]), _cell(row["decode_ms"]))
        for row in record["times"]
    ]
    return Table("Times on a GPU", head, body)


def selection_table(record: dict[str, Any]) -> Table:
    """Choosing a fifth, the cheapest of the largest prompt first, beside what reading that fifth saves; of
    the pruners that ran on both prompts.
    """
    large = {row["keep"]: row for row in record["times"] if row["pictures"] > 1}
    saved = large[1.0]["prefill_ms"][0] - large[KEEP]["prefill_ms"][0]
    found: dict[str, list[dict[str, Any]]] = {}
    for row in record["selection"]:
        if "ms" in row:
            found.setdefault(row["pruner"], []).append(row)
    body = [
        (name, *(_cell(row["ms"]) for row in rows), f"{100 * rows[-1]['ms'][0] / saved:.0f} %")
        for name, rows in sorted(found.items(), key=lambda item: item[1][-1]["ms"][0])
        if len(rows) == len(SIDES)
    ]
    sizes = [f"{height * width:,} tokens, ms" for height, width in SIDES]
    return Table("Selection on a GPU", ("pruner", *sizes, "of what is saved"), body)


def _cell(spread: list[float]) -> str:
    """The median, with the least and the most."""
    middle, low, high = (f"{value:.1f}" for value in spread)
    return f"{middle} [{low}, {high}]"


def families(folder: Path, device: str, chosen: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Logits of families' tiny checkpoints, whole and pruned, against those of the CPU in float32."""
    for name in chosen:
        try:
            write_checkpoint(name, folder / name)
        except (ImportError, AttributeError) as error:
            yield {"family": name, "not_run": str(error).splitlines()[0]}
            continue
        expected = _logits(folder / name, LoadOptions(device="cpu", dtype="float32"))
        for dtype, tolerance in TOLERANCE.items():
            for attention in ATTENTION:
                row: dict[str, Any] = {"family": name, "dtype": dtype, "attention": attention}
                if dtype == "float32" and attention == "flash_attention_2":
                    continue  # it has no float32
                try:
                    options = LoadOptions(device=device, dtype=dtype, attention=attention)
                    found = _logits(folder / name, options)
                except (WordsightError, ImportError, ValueError, RuntimeError) as error:
                    yield row | {"not_run": str(error).splitlines()[0][:200]}
                    continue
                off = max(_drift(one, other) for one, other in zip(found, expected, strict=True))
                print(name, dtype, attention, f"{off:.2e}", flush=True)
                yield row | {"off": off, "within": off <= tolerance}


def write_checkpoint(name: str, folder: Path) -> None:
    """The tiny checkpoint of a family that the tests use."""
    torch.manual_seed(0)
    checkpoints.save(*getattr(checkpoints, name)(), folder)


def _prompts(vlm: VLM) -> list[Prompt]:
    """A whole prompt, two pruned ones, and one of two pictures; what goes does not depend on rounding."""
    noise = np.random.default_rng(0).integers(0, 256, (2, 60, 90, 3), dtype=np.uint8)
    pictures = [Image.fromarray(one) for one in noise]
    whole, several = vlm.encode(pictures[0], QUESTION), vlm.encode(pictures, QUESTION)
    return [whole, Uniform(keep=0.5)(whole), Uniform(keep=0.2)(whole), Uniform(keep=0.3)(several)]


def _logits(folder: Path, options: LoadOptions) -> list[torch.Tensor]:
    """Logits of the prompts read as a batch, and of each alone."""
    vlm = VLM.from_pretrained(str(folder), options)
    prompts = _prompts(vlm)
    together = vlm.logits(prompts)
    alone = torch.cat([vlm.logits([prompt]) for prompt in prompts])
    return [together.float().cpu(), alone.float().cpu()]


def _drift(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def quantized(folder: Path, device: str) -> Iterator[dict[str, Any]]:
    """How far logits of a quantized language model are off, and whether its visual tokens stay the same."""
    plain = VLM.from_pretrained(str(folder), LoadOptions(device=device, dtype="bfloat16"))
    prompts = _prompts(plain)
    for kind in QUANTIZATION:
        try:
            options = LoadOptions(device=device, dtype="bfloat16", quantization=kind)
            vlm = VLM.from_pretrained(str(folder), options)
            own = _prompts(vlm)
            yield {
                "quantization": kind,
                "off": _drift(vlm.logits(own).cpu(), plain.logits(prompts).cpu()),
                "same_visual_tokens": bool(torch.equal(own[0].visual.embeds, prompts[0].visual.embeds)),
                "same_fingerprint": vlm.fingerprint == plain.fingerprint,
            }
        except (WordsightError, ImportError, ValueError, RuntimeError) as error:
            yield {"quantization": kind, "not_run": str(error).splitlines()[0][:200]}


def spread(folder: Path, device: str) -> dict[str, Any]:
    """Logits with the tower on the device and the language model on the CPU, against all of it on the CPU."""
    if find_spec("accelerate") is None:
        return {"not_run": "accelerate is not installed"}
    where = {"model.vision_tower": device, "model.multi_modal_projector": device}
    where |= {"model.language_model": "cpu", "lm_head": "cpu"}
    try:
        found = _logits(folder, LoadOptions(dtype="float32", device_map=where))
    except (WordsightError, RuntimeError, ValueError) as error:
        return {"not_run": str(error).splitlines()[0][:200]}
    expected = _logits(folder, LoadOptions(device="cpu", dtype="float32"))
    return {"off": max(_drift(one, other) for one, other in zip(found, expected, strict=True))}


def out_of_memory(folder: Path, device: str) -> dict[str, Any]:
    """Logits of many prompts, with memory for few of them at a time, against those with enough."""
    if device != "cuda":
        return {
            "not_run": "its memory cannot be bounded here; the tests try it with an allocator of their own"
        }
    vlm = VLM.from_pretrained(str(folder), LoadOptions(device=device, dtype="float32"))
    vlm.pass_tokens = 2**22
    prompts = _prompts(vlm) * 512
    torch.cuda.reset_peak_memory_stats()
    enough, held = vlm.logits(prompts), torch.cuda.memory_allocated()
    bound = (torch.cuda.max_memory_allocated() + held) / 2  # half of what the passes took beside what is held
    torch.cuda.empty_cache()
    notes: list[str] = []
    torch.cuda.set_per_process_memory_fraction(bound / torch.cuda.get_device_properties(0).total_memory)
    try:
        with listen_to_notes(notes.append):
            few = vlm.logits(prompts)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    return {"off": _drift(few.cpu(), enough.cpu()), "notes": notes}


def times(device: str) -> Iterator[dict[str, Any]]:
    """Milliseconds of prefill and of a token of the answer, by how many of the visual tokens of one and of
    five pictures are read: medians of rounds in which all shares take turns, with their range.
    """
    model, processor = seven_billion(small=device == "cpu")
    vlm = VLM(model.to(device), processor, "random weights in LLaVA-1.5-7B's shape")
    picture = Image.new("RGB", (336, 336), (90, 120, 60))
    for pictures, rows in ((1, 1), (1, 8), (5, 1)):
        whole = vlm.encode([picture] * pictures, QUESTION)
        pruned = {keep: Uniform(keep=keep)(whole) for keep in KEEPS}
        found: dict[float, list[tuple[float, float]]] = {keep: [] for keep in KEEPS}
        for _ in range(ROUNDS + 1):  # the first one warms up
            for keep, prompt in pruned.items():
                found[keep].append(_timed(vlm, [prompt] * rows, device))
        for keep, spans in found.items():
            prefill, decode = np.array(spans[1:]).T * 1000
            yield {
                "pictures": pictures,
                "keep": keep,
                "rows": rows,
                "tokens": len(pruned[keep].visual),
                "prefill_ms": _spread(prefill),
                "decode_ms": _spread(decode),
            }


def selection(device: str) -> Iterator[dict[str, Any]]:
    """Milliseconds that every pruner before the language model takes to choose a fifth of tokens of a 7B's
    width, random ones with all signals (selection_cost.py): medians of rounds, with their range.
    """
    torch.manual_seed(0)
    methods = before_the_model()
    for height, width in SIDES:
        with torch.device(device):
            tokens = drawn_tokens(height, width)
        for name, pruner in methods.items():
            row = {"pruner": name, "tokens": len(tokens)}
            try:
                spans = [_seconds(partial(pruner.prune, tokens), device) for _ in range(4)]
            except (WordsightError, RuntimeError) as error:
                yield row | {"not_run": str(error).splitlines()[0][:200]}
                continue
            yield row | {"ms": _spread(np.array(spans[1:]) * 1000)}


def _spread(values: NDArray[np.float64]) -> list[float]:
    """The median, the least and the most."""
    return [float(value) for value in np.quantile(values, (0.5, 0, 1))]


def seven_billion(*, small: bool) -> tuple[Any, Any]:
    """A model of LLaVA-1.5-7B's shape with random weights in bfloat16 and the embedded model's words; a tiny
    one of as many visual tokens, to try the script.
    """
    tokenizer = hf.AutoProcessor.from_pretrained(demo.MODEL).tokenizer
    tower = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
    }
    text = {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    }
    if small:
        few = {"num_hidden_layers": 2, "num_attention_heads": 4}
        tower = text = {"hidden_size": 64, "intermediate_size": 128, **few}
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**tower, image_size=336, patch_size=14),
        text_config=hf.LlamaConfig(**text, vocab_size=32064, pad_token_id=0),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    with torch.device("meta"):
        model = hf.LlavaForConditionalGeneration(config)
    model = model.to(torch.bfloat16).to_empty(device="cpu" if small else "cuda")
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.02)
        for name, buffer in model.named_buffers():
            buffer.copy_(_buffer(name, buffer, config))
    pictures = hf.CLIPImageProcessor(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})
    reads = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    return model.eval(), hf.LlavaProcessor(pictures, tokenizer, **reads, image_token="<image>")


def _buffer(name: str, buffer: torch.Tensor, config: Any) -> torch.Tensor:
    """What a buffer holds that no weight file has: positions, and frequencies of rotary embeddings."""
    if name.endswith("position_ids"):
        return torch.arange(buffer.shape[-1], device=buffer.device).expand_as(buffer)
    width = config.text_config.hidden_size // config.text_config.num_attention_heads
    powers = torch.arange(0, width, 2, device=buffer.device) / width
    return torch.pow(10000.0, -powers).to(buffer.dtype)


def _timed(vlm: VLM, prompts: list[Prompt], device: str) -> tuple[float, float]:
    """Seconds of the prefill, and of each later token of an answer."""
    batch = collate(prompts)
    options = {"do_sample": False, "use_cache": True, "eos_token_id": None, "pad_token_id": 0}

    def write(count: int) -> None:
        vlm.model.generate(**batch, **options, max_new_tokens=count, min_new_tokens=count)

    first, all_of_them = (_seconds(partial(write, count), device) for count in (1, NEW_TOKENS))
    return first, (all_of_them - first) / (NEW_TOKENS - 1)


def _seconds(work: Callable[[], Any], device: str) -> float:
    """Seconds until the device has done it."""
    wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    began = perf_counter()
    work()
    wait()
    return perf_counter() - began


if __name__ == "__main__":
    typer.run(main)
