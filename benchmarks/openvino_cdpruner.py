"""CDPruner as OpenVINO GenAI has it beside ours, on the embedded model: same pictures, questions and share.

    python benchmarks/openvino_cdpruner.py OPENVINO_PYTHON

is run by the Python of this package, with that of an environment that has openvino-genai and optimum-intel
(docs/openvino.md): it exports the model there, and runs this file there to have the questions answered.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "openvino_cdpruner.json"
KEEP = 0.2
PAIR = {False: "whole", True: "pruned"}


def export(python: str, folder: Path) -> Path:
    """The embedded model as OpenVINO has it, after one change that loses nothing: the size of its pictures,
    which are square, is that of their shorter side, or OpenVINO enlarges and crops them.
    """
    from wordsight import demo

    checkpoint, exported = folder / "checkpoint", folder / "exported"
    shutil.copytree(demo.MODEL, checkpoint)
    processor = checkpoint / "processor_config.json"
    config = json.loads(processor.read_text())
    images = config["image_processor"]
    images["crop_size"], images["size"] = images["size"], {"shortest_edge": images["size"]["height"]}
    processor.write_text(json.dumps(config))
    command = [str(Path(python).parent / "optimum-cli"), "export", "openvino", "--model", str(checkpoint)]
    command += [str(exported), "--task", "image-text-to-text", "--weight-format", "fp32"]
    subprocess.run(command, check=True)
    return exported


def answered_by_openvino(folder: str, questions: list[list[str]]) -> dict[str, Any]:
    """What OpenVINO GenAI says without and with its option, and how long prompts are."""
    import numpy
    import openvino
    import openvino_genai
    from PIL import Image

    pipeline = openvino_genai.VLMPipeline(folder, "CPU")
    rows = []
    for picture, question in questions:
        image = openvino.Tensor(numpy.asarray(Image.open(picture).convert("RGB"))[None])
        row = {}
        for is_pruned, name in PAIR.items():
            config = openvino_genai.GenerationConfig()
            config.max_new_tokens, config.do_sample = 16, False
            config.pruning_ratio = round(100 * (1 - KEEP)) if is_pruned else 0
            said = pipeline.generate(question, images=[image], generation_config=config)
            row[name] = {"answer": said.texts[0], "tokens": said.perf_metrics.get_num_input_tokens()}
        rows.append(row)
    packages = ("openvino-genai", "optimum-intel", "transformers", "torch")
    return {"rows": rows, "versions": {name: version(name) for name in packages}}


def answered_here(questions: list[list[str]]) -> list[dict[str, Any]]:
    """The same of this library and its CDPruner."""
    from wordsight import VLM, CDPruner

    vlm, rows = VLM.from_pretrained(), []
    for picture, question in questions:
        row = {}
        for is_pruned, name in PAIR.items():
            pruner = CDPruner(keep=KEEP) if is_pruned else None
            said = vlm.answer(picture, question, pruner=pruner, max_new_tokens=16)
            text = vlm.encode(picture, question).length - said.tokens_total
            row[name] = {"answer": said.text, "tokens": int(text + said.tokens_kept)}
        rows.append(row)
    return rows


def main(python: str) -> None:
    """Write the results, and print their table in Markdown."""
    from wordsight import demo
    from wordsight._utils.files import replacing
    from wordsight.redundancy.measured_with import versions

    questions = [[str(demo.PICTURES / name), each] for name, all_ in demo.QUESTIONS.items() for each in all_]
    with TemporaryDirectory() as folder:
        exported = export(python, Path(folder))
        done = subprocess.run(
            [python, __file__, "--answer", str(exported)],
            input=json.dumps(questions),
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": ""},
        )
    theirs = json.loads(done.stdout.splitlines()[-1])
    rows = [
        {"picture": Path(picture).name, "question": question, "openvino": other, "wordsight": own}
        for (picture, question), other, own in zip(
            questions, theirs["rows"], answered_here(questions), strict=True
        )
    ]
    record = {
        "keep": KEEP,
        "versions": {"openvino": theirs["versions"], "wordsight": versions()},
        "questions": rows,
    }
    with replacing(RESULTS) as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")
    print("| picture, question | OpenVINO, all | OpenVINO, 20% | wordsight, all | wordsight, 20% |")
    print("|---|---|---|---|---|")
    for row in rows:
        cells = [row[side][name] for side in ("openvino", "wordsight") for name in PAIR.values()]
        said = " | ".join(f"{cell['answer'].strip()} ({cell['tokens']})" for cell in cells)
        print(f"| {row['picture']}: {row['question']} | {said} |")


if __name__ == "__main__":
    if sys.argv[1] == "--answer":
        print(json.dumps(answered_by_openvino(sys.argv[2], json.load(sys.stdin))))
    else:
        main(sys.argv[1])
