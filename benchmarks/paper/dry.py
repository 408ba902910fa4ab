"""Everything that the paper's experiments read, tiny, in one folder: data sets in their own schemas under
their own names, checkpoints of the three model classes with weights that were drawn, and codebooks.

`make paper-dry` runs the experiments there. The scores mean nothing; that there are any shows that every
task, model class, pruner and metric resolves.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import typer
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pictures

from wordsight.redundancy.codebook import import_released

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "families"))
import checkpoints

TEXT, NUMBER, TEXTS, PICTURES = Value("string"), Value("int64"), List(Value("string")), List(Image())
OPTIONS = ["a cat", "a dog", "a red car", "a boat"]
MODELS = {
    "llava-hf/llava-1.5-7b-hf": "llava",
    "llava-hf/llama3-llava-next-8b-hf": "llava_next",
    "llava-hf/llava-onevision-qwen2-7b-ov-hf": "llava_onevision",
}


def main(folder: Path) -> None:
    """Write it."""
    torch.manual_seed(0)
    for name, kind in MODELS.items():
        checkpoints.save(*getattr(checkpoints, kind)(), folder / name)
        torch.save(torch.randn(4, checkpoints.SMALL["hidden_size"]), folder / "released.pt")
        import_released(folder / "released.pt", name).save_pretrained(folder / "books" / Path(name).name)
    for path, features, rows in DATA:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        columns = {name: [row.get(name) for row in rows] for name in features}
        Dataset.from_dict(columns, Features(features)).to_parquet(file)
    configs(folder / "lmms-lab-encoder/MMBench", "en", "dev", "en/dev-*")
    configs(folder / "TIGER-Lab/Mantis-Eval", "mantis_eval", "test", "mantis_eval/test-*")
    films(folder)


def films(folder: Path) -> None:
    """MVBench: a list of questions a task, and the films in the cache of the hub."""
    from lmms_eval.tasks.mvbench.utils import DATA_LIST

    data = folder / "OpenGVLab/MVBench"
    (data / "json").mkdir(parents=True, exist_ok=True)
    for task, place in DATA_LIST.items():
        row = {"video": "film.mp4", "question": "What is seen?", "candidates": OPTIONS, "answer": OPTIONS[0]}
        names = [f"film{i}.mp4" for i in range(3)]
        (data / "json" / f"{task}.json").write_text(json.dumps([row | {"video": name} for name in names]))
        for i, name in enumerate(names):
            film(folder / "hf" / "mvbench_video" / place / name, i)
    listed = [(task, "train", f"json/{task}.json") for task in DATA_LIST]
    (data / "README.md").write_text(front_matter(listed))


def configs(folder: Path, name: str, split: str, files: str) -> None:
    (folder / "README.md").write_text(front_matter([(name, split, files)]))


def front_matter(listed: list[tuple[str, str, str]]) -> str:
    """The head of a data set's card, which says which files are which configuration and split."""
    parts = [
        f"- config_name: {name}\n  data_files:\n  - split: {split}\n    path: {files}\n"
        for name, split, files in listed
    ]
    return f"---\nconfigs:\n{''.join(parts)}---\n"


def film(path: Path, number: int) -> None:
    """Eight frames, one a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=1)
        stream.width = stream.height = 64
        for i in range(8):
            pixels = np.full((64, 64, 3), 20 * i + number, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def picture(number: int) -> dict[str, Any]:
    """A picture as data sets hold it, unlike those of other numbers."""
    pixels = np.random.default_rng(number).integers(0, 255, (40, 56, 3), np.uint8)
    file = io.BytesIO()
    Pictures.fromarray(pixels).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def captions(number: int) -> list[str]:
    return [
        f"{OPTIONS[number % 4]} in front of {OPTIONS[(number + i) % 4]} on the street" for i in range(1, 4)
    ]


def letters(number: int) -> dict[str, str]:
    return dict(zip("ABCD", OPTIONS, strict=True)) | {"answer": "ABCD"[number % 4]}


FLICKR = {
    "image": Image(),
    "caption": TEXTS,
    "sentids": TEXTS,
    "split": TEXT,
    "img_id": TEXT,
    "filename": TEXT,
}
NOCAPS = {
    "image": Image(),
    "image_coco_url": TEXT,
    "image_date_captured": TEXT,
    "image_file_name": TEXT,
    "image_height": Value("int32"),
    "image_width": Value("int32"),
    "image_id": Value("int32"),
    "image_license": Value("int8"),
    "image_open_images_id": TEXT,
    "annotations_ids": List(Value("int32")),
    "annotations_captions": TEXTS,
}
GIVEN = ("GT_Caption_GPT4O", "GT_Caption_GPT4V", "GT_Caption_Gemini15Pro")
DETAIL = {"image": TEXT, "source": TEXT, "binary": Value("binary"), **dict.fromkeys(GIVEN, TEXT)}
MME = {"question_id": TEXT, "image": Image(), "question": TEXT, "answer": TEXT, "category": TEXT}
MMBENCH = {
    "index": NUMBER,
    "question": TEXT,
    "hint": TEXT,
    "answer": TEXT,
    **dict.fromkeys("ABCD", TEXT),
    "category": TEXT,
    "image": Image(),
    "source": TEXT,
    "L2-category": TEXT,
    "comment": TEXT,
    "split": TEXT,
}
POPE = {
    "id": TEXT,
    "question_id": TEXT,
    "question": TEXT,
    "answer": TEXT,
    "image_source": TEXT,
    "image": Image(),
    "category": TEXT,
}
SEED = {
    "answer": TEXT,
    "choice_a": TEXT,
    "choice_b": TEXT,
    "choice_c": TEXT,
    "choice_d": TEXT,
    "data_id": TEXT,
    "data_type": TEXT,
    "question": TEXT,
    "question_id": TEXT,
    "question_type_id": Value("int16"),
    "image": PICTURES,
    "segment": List(NUMBER),
}
REALWORLD = {"image_path": TEXT, "question": TEXT, "answer": TEXT, "image": Image()}
MANTIS = {
    "id": TEXT,
    "question_type": TEXT,
    "question": TEXT,
    "images": PICTURES,
    "options": TEXTS,
    "answer": TEXT,
    "data_source": TEXT,
    "category": TEXT,
}
MUIR = {
    "idx": TEXT,
    "task": TEXT,
    "image_relation": TEXT,
    "image_type": TEXT,
    "question": TEXT,
    "options": TEXTS,
    "answer": TEXT,
    "image_list": PICTURES,
    "counterpart_idx": TEXT,
}
KINDS = ("existence", "commonsense_reasoning")
DATA: list[tuple[str, dict[str, Any], list[dict[str, Any]]]] = [
    (
        "lmms-lab-encoder/flickr30k/data/test-00000-of-00001.parquet",
        FLICKR,
        [{"image": picture(i), "caption": captions(i), "img_id": str(i)} for i in range(4)],
    ),
    (
        "lmms-lab-encoder/NoCaps/data/validation-00000-of-00001.parquet",
        NOCAPS,
        [{"image": picture(i), "annotations_captions": captions(i), "image_id": i} for i in range(4)],
    ),
    (
        "foundation-multimodal-models/DetailCaps-4870/data/test-00000-of-00001.parquet",
        DETAIL,
        [
            {"image": f"{i}.jpg", "binary": picture(i)["bytes"], **dict(zip(GIVEN, captions(i), strict=True))}
            for i in range(4)
        ],
    ),
    (
        "lmms-lab-encoder/MME/data/test-00000-of-00001.parquet",
        MME,
        [
            {
                "question_id": f"{kind}/{i}.png",
                "image": picture(i + 10 * (kind == KINDS[1])),
                "question": f"Is this {OPTIONS[j]}? Please answer yes or no.",
                "answer": ("Yes", "No")[j],
                "category": kind,
            }
            for kind in KINDS
            for i in range(3)
            for j in range(2)
        ],
    ),
    (
        "lmms-lab-encoder/MMBench/en/dev-00000-of-00001.parquet",
        MMBENCH,
        [
            {
                "index": i + turn * 1_000_000,
                "question": "What is this?",
                "hint": "nan",
                **letters(i + turn),
                "category": "object",
                "image": picture(i),
                "source": "drawn",
                "L2-category": "perception",
                "split": "dev",
            }
            for turn in range(2)
            for i in range(3)
        ],
    ),
    (
        "lmms-lab-encoder/POPE/data/test-00000-of-00001.parquet",
        POPE,
        [
            {
                "id": str(i),
                "question_id": str(i),
                "question": f"Is there {OPTIONS[i % 2]} in the image?",
                "answer": ("yes", "no")[i % 2],
                "image": picture(i // 2),
                "category": "adversarial",
            }
            for i in range(8)
        ],
    ),
    (
        "lmms-lab-encoder/SEED-Bench/data/test-00000-of-00001.parquet",
        SEED,
        [
            {
                "answer": "ABCD"[i % 4],
                **{f"choice_{letter}": text for letter, text in zip("abcd", OPTIONS, strict=True)},
                "data_type": ("image", "video")[i == 4],
                "question": "What is this?",
                "question_id": str(i),
                "image": [picture(i)] * (1 + 7 * (i == 4)),
            }
            for i in range(5)
        ],
    ),
    (
        "lmms-lab-encoder/RealWorldQA/data/test-00000-of-00001.parquet",
        REALWORLD,
        [
            {"question": "How many cars? A. one B. two", "answer": ("A", "two")[i % 2], "image": picture(i)}
            for i in range(4)
        ],
    ),
    (
        "TIGER-Lab/Mantis-Eval/mantis_eval/test-00000-of-00001.parquet",
        MANTIS,
        [
            {
                "id": str(i),
                "question_type": ("multi-choice", "short-answer")[i % 2],
                "question": "What is alike in <image> and <image>?",
                "images": [picture(i), picture(i + 1)],
                "options": ["(A) color", "(B) shape"],
                "answer": ("A", "color")[i % 2],
                "category": "alike",
            }
            for i in range(4)
        ],
    ),
    (
        "MUIRBENCH/MUIRBENCH/data/test-00000-of-00001.parquet",
        MUIR,
        [
            {
                "idx": str(i),
                "task": "Counting",
                "question": "How many dogs are in <image> and <image>?",
                "options": OPTIONS,
                "answer": "ABCD"[i % 4],
                "image_list": [picture(i), picture(i + 1)],
            }
            for i in range(4)
        ],
    ),
]

if __name__ == "__main__":
    typer.run(main)
