"""The embedded model behind vLLM's server, all over HTTP: prompts are read in pieces of 64 tokens, and blocks
of 32 are found again.
"""

import http.client
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from asking import Reference, as_data, equal, request, serving

from wordsight.integrations.vllm.served import servable_names

pytestmark = pytest.mark.timeout(1800)
WIDTH = 256
PRUNERS = [f"{name}:keep=0.2" for name in servable_names(WIDTH)]
# Of 40. The seed of the random draw is made of the tokens' last digits; and these choose between tokens that
# are equally far, but for rounding, in three of the twenty pictures, for DivPrune.
LEAST = {"random": 30, "divprune": 38}
OPTIONS = ("--max-num-batched-tokens", "64", "--block-size", "32", "--enable-prompt-tokens-details")
OPTIONS += ("--limit-mm-per-prompt", json.dumps({"image": 2}))


@pytest.fixture(scope="module")
def server():
    specs = [argument for spec in PRUNERS for argument in ("--pruner", spec)]
    with serving("demo", *specs, "--per-request", options=OPTIONS) as running:
        yield running


@pytest.fixture(scope="module")
def reference():
    return Reference("demo")


@pytest.fixture(scope="module")
def prompts(reference, examples):
    return reference.prompts(examples)


@pytest.mark.parametrize("spec", PRUNERS)
def test_answers_are_those_of_transformers(server, reference, prompts, examples, spec):
    for positions in ("original", "contiguous"):
        expected = reference.answers(prompts, f"{spec},positions={positions}")
        answers = server.answers(examples, wordsight={"pruner": spec, "positions": positions})
        assert [answer[0] for answer in answers] == [answer[0] for answer in expected]
        assert equal(answers, expected) >= LEAST.get(spec.split(":")[0], len(examples)), positions


@pytest.mark.parametrize(
    ("asked", "spec"),
    [
        ({"pruner": "none"}, "none"),
        ({"pruner": "divprune", "keep": 1}, "none"),
        ({"pruner": "divprune", "tokens": 36}, "divprune:tokens=36"),
        ({"pruner": "codebook", "keep": 0.5}, "codebook:keep=0.5"),
        ({}, PRUNERS[0]),
    ],
)
def test_a_request_says_what_is_kept(server, reference, examples, asked, spec):
    expected = reference.answers(reference.prompts(examples[:10]), spec)
    assert equal(server.answers(examples[:10], wordsight=asked), expected) == 10


def test_the_two_kinds_of_positions_do_not_say_the_same(server, examples):
    captions = [(pictures, "describe the image.") for pictures, _ in examples[:16:2]]
    first, second = (
        server.answers(captions, wordsight={"pruner": "divprune", "positions": positions})
        for positions in ("original", "contiguous")
    )
    assert equal(first, second) < len(captions)


def test_each_of_two_pictures_has_a_budget(server, reference, examples):
    pictures = [picture for (picture,), _ in examples[::2]]
    questions = [
        (
            pictures[number : number + 2],
            "which picture has a cat?" if number % 4 else "what is in the background?",
        )
        for number in range(0, 16, 2)
    ]
    prompts = reference.prompts(questions)
    for positions in ("original", "contiguous"):
        expected = reference.answers(prompts, f"divprune:keep=0.3,positions={positions}")
        asked = {"pruner": "divprune", "keep": 0.3, "positions": positions}
        assert equal(server.answers(questions, wordsight=asked), expected) == 8


def test_what_is_found_again_in_the_cache_says_the_same(server, examples):
    ((picture,), question), asked = examples[0], {"pruner": "divprune", "keep": 0.7}
    body = request([picture], question, wordsight=asked)
    (_, first), (_, second) = (server.send(body) for _ in range(2))
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] >= 64  # it ends inside the picture
    assert second["choices"][0]["token_ids"] == first["choices"][0]["token_ids"]
    other = server.answer([picture], "what is in the background?", wordsight=asked)
    alone = server.answer([picture], "what is in the background?", wordsight=asked, cache_salt="another")
    assert equal([other], [alone]) == 1


def test_a_stream_says_what_the_whole_answer_does(server, examples):
    body = request(*examples[0])
    whole = server.send(body)[1]["choices"][0]["message"]["content"]
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    connection.request(
        "POST",
        "/v1/chat/completions",
        json.dumps(body | {"stream": True}),
        {"Content-Type": "application/json"},
    )
    lines = connection.getresponse().read().decode().split("\n\n")
    connection.close()
    parts = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    assert (
        "".join(part["choices"][0]["delta"].get("content") or "" for part in parts if part["choices"])
        == whole
    )


def test_a_system_text_is_read_beside_pictures(server, examples):
    pictures, question = examples[0]
    plain, _, _ = server.answer(pictures, question)
    longer, _, _ = server.answer(pictures, question, system="what is what")
    assert longer > plain


BROKEN = {
    "a share above one": {"keep": 1.7},
    "a share that is a text": {"keep": "much"},
    "no tokens": {"tokens": 0},
    "both budgets": {"keep": 0.1, "tokens": 3},
    "a pruner of another server": {"pruner": "fastv"},
    "a pruner that is none": {"pruner": ["divprune"]},
    "an unknown option": {"threshold": 0.3},
    "unknown positions": {"positions": "somewhere"},
    "a budget of nothing": {"pruner": "none", "keep": 0.3},
    "no options": ["keep"],
}


@pytest.mark.parametrize("asked", BROKEN.values(), ids=BROKEN)
def test_a_broken_request_is_refused(server, examples, asked):
    status, answer = server.send(request(*examples[0], wordsight=asked))
    assert status == 400
    assert answer["error"]["message"]


def test_what_is_no_picture_is_refused(server, examples):
    ((picture,), question) = examples[0]
    for wrong in ("data:image/png;base64,AAAA", as_data(picture)[:-400], "no address"):
        assert server.send(request([wrong], question))[0] == 400
    embeds = {"type": "image_embeds", "image_embeds": "AAAA"}
    messages = [{"role": "user", "content": [embeds, {"type": "text", "text": question}]}]
    assert server.send(request([], question) | {"messages": messages})[0] == 400
    assert server.send(request([picture] * 3, question))[0] == 400  # two are allowed
    assert server.send(b"{")[0] == 400


def test_load_with_broken_requests_and_lost_clients_leaves_the_server_as_it_was(server, examples):
    expected = [server.send(request(*example))[1]["choices"][0]["token_ids"] for example in examples]

    def ask(number):
        place = number % len(examples)
        if number % 20 == 7:
            return server.send(request(*examples[place], wordsight={"keep": number}))[0] == 400
        if number % 20 == 13:  # a client that does not wait
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
            body = json.dumps(request(*examples[place], max_tokens=200, ignore_eos=True))
            connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
            connection.close()
            return True
        status, answer = server.send(request(*examples[place]))
        return status == 200 and answer["choices"][0]["token_ids"] == expected[place]

    def load(count):
        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(ask, range(count)))

    load(300)
    before = server.memory
    load(700)
    assert server.memory - before < 64
