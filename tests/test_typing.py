"""What a type checker sees of the package: right calls pass, and every typo is an error in its line."""

import re
from pathlib import Path

import pytest
from mypy import api

ROOT = Path(__file__).parents[1]
RIGHT = """
from pathlib import Path

from wordsight import VLM, Answer, CodebookMMR, DivPrune, FastV, Prompt, Video, compare
from wordsight.tasks.scenes import Scenes

vlm = VLM.from_pretrained("demo", device_map="cpu")
answer: Answer = vlm.answer("picture.png", "what is it?", pruner=DivPrune(keep=0.2))
print(answer.text, answer.tokens_kept)
several: list[Answer] = vlm.answer(["a.png", "b.png"], ["what?", "where?"], pruner=FastV(tokens=64))
prompt: Prompt = vlm.encode(Video.of([Path("a.png")] * 4, fps=2), "what moves?")
chat = vlm.chat(["a.png", "b.png"], pruner=CodebookMMR(weight=0.3, positions="contiguous"))
print(chat.ask("what?", max_new_tokens=8).decode_ms, prompt.length)
compare(vlm, [Scenes(pictures=3)], [DivPrune(keep=0.1)], limit=5).save("results.json")
"""
TYPOS = """
from wordsight import DivPrun
VLM.from_pretrained("demo", devicemap="cpu")
DivPrune(kep=0.2)
DivPrune(keep="0.2")
DivPrune(positions="closed")
CodebookPruner(rule="cosin")
FastV(layers=3)
VLM.from_pretrained().anser("a.png", "what?")
VLM.from_pretrained().answer("a.png", "what?", pruner="divprune")
VLM.from_pretrained().answer("a.png", "what?").txt
Video.of(["a.png"], fsp=2)
Scenes(picture=3)
"""


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """What mypy --strict says of both programs, with the cache of `make check`."""
    folder = tmp_path_factory.mktemp("user")
    imports = "from wordsight import VLM, CodebookPruner, DivPrune, FastV, Video\n"
    imports += "from wordsight.tasks.scenes import Scenes"
    (folder / "right.py").write_text(RIGHT)
    (folder / "typos.py").write_text(imports + TYPOS)
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
    return api.run([*options, str(folder / "right.py"), str(folder / "typos.py")])[0]


def test_right_calls_pass_strict_type_checking(checked):
    assert [line for line in checked.splitlines() if "right.py" in line] == []


def test_every_typo_is_an_error_in_its_line(checked):
    wrong = {int(number) for number in re.findall(r"typos\.py:(\d+): error", checked)}
    assert wrong == set(range(3, 3 + len(TYPOS.strip().splitlines())))
