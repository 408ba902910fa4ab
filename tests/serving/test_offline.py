"""The plugin without a server: vLLM's own class for many prompts at once."""

import json
import os
import subprocess
import sys

import pytest
from asking import NEW_TOKENS, QUIET, Reference

from wordsight.demo import MODEL
from wordsight.integrations.vllm.command import config_overrides

pytestmark = pytest.mark.timeout(1800)
SPEC = "codebook:keep=0.2"
PROGRAM = """
import json, sys
from PIL import Image
from vllm import LLM, SamplingParams

if __name__ == "__main__":
    task = json.load(open(sys.argv[1]))
    how = dict(dtype="float32", max_model_len=1024, enforce_eager=True)
    llm = LLM(task["model"], hf_overrides=task["overrides"], video_pruning_rate=0.5, **how)
    prompts = [
        {
            "prompt": prompt,
            "multi_modal_data": {"image": Image.open(picture)},
            "mm_processor_kwargs": {"wordsight": task["asked"]},
        }
        for prompt, picture in task["prompts"]
    ]
    answers = llm.generate(prompts, SamplingParams(temperature=0, max_tokens=task["new_tokens"]))
    found = [[len(answer.prompt_token_ids), list(answer.outputs[0].token_ids)] for answer in answers]
    json.dump(found, open(sys.argv[2], "w"))
"""


def test_answers_are_those_of_transformers(examples, tmp_path):
    reference = Reference("demo")
    prompts = []
    for number, ((picture,), question) in enumerate(examples):
        picture.save(tmp_path / f"{number}.png")
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text = reference.vlm.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        text = text.removeprefix(reference.vlm.processor.tokenizer.bos_token)  # which vLLM puts before it
        prompts.append((text, str(tmp_path / f"{number}.png")))
    task = {"model": str(MODEL), "overrides": config_overrides("demo", [SPEC]), "prompts": prompts}
    task |= {"asked": {"positions": "contiguous"}, "new_tokens": NEW_TOKENS}
    (tmp_path / "task.json").write_text(json.dumps(task))
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [
        sys.executable,
        str(tmp_path / "program.py"),
        str(tmp_path / "task.json"),
        str(tmp_path / "found"),
    ]
    subprocess.run(command, env=os.environ | QUIET, check=True)
    expected = reference.answers(reference.prompts(examples), f"{SPEC},positions=contiguous")
    assert json.loads((tmp_path / "found").read_text()) == [[length, ids] for length, ids, _ in expected]
