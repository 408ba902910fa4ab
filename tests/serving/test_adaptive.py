"""Servers that encode pictures before vLLM does, so that how many tokens are kept may depend on them, all
over HTTP: the embedded model, whose prompts are read in pieces of 64 tokens, and tiny ones of other types.
"""

import http.client
import json

import pytest
from asking import Reference, as_data, equal, request, serving
from test_families import M_ROPE, QUESTIONS, SIZES, save

pytestmark = pytest.mark.timeout(1800)
# The count depends on the picture; attention of [CLS]; features and keys of the tower, merged; as elsewhere.
PRUNERS = ["codebook:threshold=0.93", "vispruner:keep=0.2", "prumerge:keep=0.2", "divprune:keep=0.2"]
LEAST = {"divprune:keep=0.2": 38}  # of 40, see test_llava
OPTIONS = ("--max-num-batched-tokens", "64", "--limit-mm-per-prompt", json.dumps({"image": 2}))


@pytest.fixture(scope="module")
def server():
    specs = [argument for spec in PRUNERS for argument in ("--pruner", spec)]
    with serving("demo", *specs, "--adaptive", "--per-request", options=OPTIONS) as running:
        yield running


@pytest.fixture(scope="module")
def reference():
    return Reference("demo")


@pytest.mark.parametrize("spec", PRUNERS)
def test_answers_are_those_of_transformers(server, reference, examples, spec):
    prompts = reference.prompts(examples, spec)
    for positions in ("original", "contiguous"):
        expected = reference.answers(prompts, f"{spec},positions={positions}")
        answers = server.answers(examples, wordsight={"pruner": spec, "positions": positions})
        assert [answer[0] for answer in answers] == [answer[0] for answer in expected]
        assert equal(answers, expected) >= LEAST.get(spec, len(examples)), positions


def test_the_count_depends_on_the_picture(server, examples):
    question = "what is in the background?"
    lengths = {server.answer(pictures, question)[0] for pictures, _ in examples[::2]}
    assert len(lengths) > 5


def test_each_of_two_pictures_has_its_count(server, reference, examples):
    pictures = [picture for (picture,), _ in examples[::2]]
    questions = [(pictures[n : n + 2], "what is in the background?") for n in range(0, 16, 2)]
    expected = reference.answers(reference.prompts(questions), PRUNERS[0])
    assert equal(server.answers(questions), expected) == 8


def test_whole_pictures_and_texts_without_any_are_answered(server, reference, examples):
    expected = reference.answers(reference.prompts(examples[:10]), "none")
    assert equal(server.answers(examples[:10], wordsight={"pruner": "none"}), expected) == 10
    assert server.answer([], "what is what?")[0] < 20


def test_a_stream_says_what_the_whole_answer_does(server, examples):
    body = request(*examples[0])
    status, answer = server.send(body)
    assert status == 200
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    sent = json.dumps(body | {"stream": True})
    connection.request("POST", "/v1/chat/completions", sent, {"Content-Type": "application/json"})
    lines = connection.getresponse().read().decode().split("\n\n")
    connection.close()
    parts = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    said = "".join(part["choices"][0]["delta"].get("content") or "" for part in parts if part["choices"])
    assert said == answer["choices"][0]["message"]["content"]


def test_what_is_broken_is_refused_and_changes_nothing(server, examples):
    ((picture,), question) = examples[0]
    before = server.answer([picture], question)
    for wrong in ("data:image/png;base64,AAAA", as_data(picture)[:-400], "no address"):
        assert server.send(request([wrong], question))[0] == 400
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    connection.request("POST", "/v1/chat/completions", json.dumps(request([picture], question)))
    connection.close()  # a client that does not wait
    status, answer = server.send(request([picture], question) | {"mm_processor_kwargs": {"size": 32}})
    assert (status, "leave out size" in answer["error"]["message"]) == (400, True)
    assert equal([server.answer([picture], question)], [before]) == 1


@pytest.mark.parametrize("family", ["llava_next", "llava_onevision", "internvl", "qwen2_5_vl", "qwen3_vl"])
def test_answers_of_other_types_are_those_of_transformers(family, noise, tmp_path):
    save(family, tmp_path)
    pictures = [noise(number, *SIZES[number]) for number in range(len(SIZES))]
    questions = [([picture], question) for picture in pictures for question in QUESTIONS]
    reference = Reference(tmp_path, keeps_breaks=False)  # line breaks go with the tokens of their line
    with serving(tmp_path, "--pruner", "vispruner:keep=0.2", "--adaptive", "--per-request") as server:
        for positions in ["original"] + ["contiguous"] * (family not in M_ROPE):
            spec = f"vispruner:keep=0.2,positions={positions}"
            expected = reference.answers(reference.prompts(questions, spec), spec)
            assert equal(server.answers(questions, wordsight={"positions": positions}), expected) == 10
