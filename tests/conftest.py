"""Fixtures: a tiny random model, and a picture, a prompt and visual tokens to go with it."""

import http.client
import json
import os
import random
import shutil
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import (
    AutoProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

import wordsight
from wordsight import cli
from wordsight.models.tokens import VisualTokens
from wordsight.models.vision_tower import BY_LAYER
from wordsight.models.vlm import VLM
from wordsight.redundancy.evidence import Evidence
from wordsight.redundancy.experiments import SIGNALS
from wordsight.synthetic import scenes

SHIPPED = Path(wordsight.__file__).parent / "demo" / "model"
TRAINING = Path(__file__).parents[1] / "training"


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """One thread adds numbers up in the same order on every machine."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny():
    """A LLaVA of 32 dimensions and random weights, with the processor of the embedded model."""
    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**small, image_size=192, patch_size=16, projection_dim=32),
        text_config=LlamaConfig(**small, vocab_size=256, pad_token_id=0, bos_token_id=1, eos_token_id=2),
        image_token_id=4,
        image_seq_length=144,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        attn_implementation="sdpa",
    )
    model = LlavaForConditionalGeneration(config).float()
    loud(model.parameters())
    return VLM(model, AutoProcessor.from_pretrained(SHIPPED), "tiny")


@pytest.fixture(scope="session")
def saved(tiny, tmp_path_factory):
    """A folder with the tiny model in float32, in one file; not to be changed."""
    folder = tmp_path_factory.mktemp("saved")
    tiny.model.save_pretrained(folder)
    tiny.processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def deep(tiny):
    """The tiny model with a language model of six layers, two heads to every key."""
    torch.manual_seed(0)
    config = LlavaConfig(**tiny.model.config.to_dict())
    config.text_config.num_hidden_layers, config.text_config.num_key_value_heads = 6, 2
    model = LlavaForConditionalGeneration(config).float()
    loud(model.parameters())
    return VLM(model, tiny.processor, "deep")


def loud(weights):
    """With the stock initialization the picture would hardly move a logit, and wrong would look right."""
    for weight in weights:
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=weight.shape[-1] ** -0.5)


@pytest.fixture(scope="session")
def embedded():
    """The model that ships with the package."""
    return VLM.from_pretrained()


@pytest.fixture(scope="session")
def picture():
    return scenes.render(2_000_001).image


@pytest.fixture(scope="session")
def prompt(tiny, picture):
    return tiny.encode(picture, "what is the background?")


def picture_keys(count):
    """The signal `picture` of the tokens of one picture, whose digest is all zeros."""
    keys = torch.zeros(count, 6, dtype=torch.long)
    keys[:, 4], keys[:, 5] = torch.arange(count), count
    return keys


@pytest.fixture(scope="session")
def tokens():
    """The random tokens of an 8x8 grid, 16 wide."""
    random = torch.Generator().manual_seed(0)
    place = torch.arange(64)
    return VisualTokens(
        embeds=torch.randn(64, 16, generator=random),
        slot=place,
        cell=torch.stack([place * 0, place * 0, place // 8, place % 8], 1),
        signals={
            "cls_attention": torch.randn(64, generator=random).softmax(0),
            "cls_similarity": torch.rand(64, generator=random) * 2 - 1,
            "features": torch.randn(64, 12, generator=random),
            "cls_attention_undivided": torch.randn(64, generator=random).softmax(0),
            "cls_attention_first": torch.randn(64, generator=random).softmax(0),
            "keys": torch.randn(64, 3, 4, generator=random),
            "question": torch.rand(64, 5, generator=random) * 2 - 1,
            "nearest_word": torch.randint(20, (64,), generator=random),
            "word_similarity": torch.rand(64, generator=random),
            **{name: torch.randn(64, 6, generator=random).softmax(0) for name in sorted(BY_LAYER)},
            "picture": picture_keys(64),
            "keys_last": torch.randn(64, 3, 4, generator=random),
        },
    )


@pytest.fixture(scope="session")
def evidence_of():
    """A function that makes evidence up of signals, embeddings and images; a signal not given is 9."""

    def make(signals, embeds=None, image=None):
        count = len(next(iter(signals.values())))
        image = torch.zeros(count, dtype=torch.long) if image is None else image
        names = [f"{i}.png" for i in range(int(image.max()) + 1)] if count else []
        return Evidence(
            embeds=torch.zeros(count, 4) if embeds is None else embeds,
            image=image,
            cell=torch.zeros(count, 4, dtype=torch.long),
            words=torch.zeros(count, 5, dtype=torch.long),
            word_probabilities=torch.full((count, 5), 0.2),
            signals={name: torch.as_tensor(signals.get(name, [9.0] * count)) for name in SIGNALS},
            pictures=tuple(names),
            sha256=(None,) * len(names),
            manifest={
                "format": 4,
                "model": "made-up",
                "fingerprint": "f00d",
                "questions": ["what is it?", "what color is it?"],
                "measured_with": {
                    "dtype": "torch.float32",
                    "device": "cpu",
                    "threads": 1,
                    "attention": "sdpa",
                    "pass_tokens": 4096,
                    "versions": {},
                },
            },
        )

    return make


@pytest.fixture(scope="session")
def damages():
    """A function that makes damaged copies of bytes up: with a flipped bit, cut short, with a span of zeros,
    with two spans exchanged.
    """

    def copies(content, count):
        chance = random.Random(0)
        for _ in range(count):
            changed = bytearray(content)
            first, second = sorted(chance.sample(range(len(content)), 2))
            changed[first] ^= 1 << chance.randrange(8)
            yield bytes(changed)
            yield content[:second]
            yield content[:first] + bytes(second - first) + content[second:]
            yield content[:first] + content[second:] + content[first:second]

    return lambda content, count=25: [copy for copy in copies(content, count) if copy != content]


@pytest.fixture(scope="session")
def slow_rho():
    """A function that computes Spearman's rho by its definition: Pearson's correlation of tied ranks."""

    def places(values):
        return [
            sum(other < one for other in values) + (1 + sum(other == one for other in values)) / 2
            for one in values
        ]

    def rho(first, second):
        middle = (len(first) + 1) / 2
        a, b = ([place - middle for place in places(values)] for values in (first, second))
        shared = sum(x * y for x, y in zip(a, b, strict=True))
        return shared / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5

    return rho


@pytest.fixture
def run(folder, monkeypatch, capsys, tiny):
    """A function that runs the command line on the tiny model, in the test file's own `folder`."""
    for name in cli.__dict__.copy():
        if hasattr(getattr(cli, name), "load_vlm"):
            monkeypatch.setattr(getattr(cli, name), "load_vlm", lambda name, options=None: tiny)

    def wordsight(*arguments):
        monkeypatch.setattr(sys, "argv", ["wordsight", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as exit:
            code = exit.code
        return code, *capsys.readouterr()

    return wordsight


@pytest.fixture(scope="module")
def training():
    """The modules of the training folder, which is no package, by name."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TRAINING)
        # The list of all words takes hundreds of renderings, and any list will do here.
        patch.setattr(import_module("model"), "words", lambda: ["animal", "cat", "garden", "what"])
        names = (
            "ahead",
            "caches",
            "model",
            "muon",
            "schedule",
            "packing",
            "pictures",
            "small",
            "batches",
            "steps",
            "recipes",
            "language",
        )
        yield SimpleNamespace(**{name: import_module(name) for name in names})
    for name in set(sys.modules) - before:
        if str(TRAINING) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


class Site:
    """A server of the page on a free port of this machine, asked in plain HTTP."""

    def __init__(self, listener):
        self.url, self.port = listener.url, listener.socket.getsockname()[1]

    def send(self, method, path, body=None, headers=None, **options):
        """The status, the headers and the body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {}, **options)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def get(self, path, **headers):
        """The status and the JSON of an answer."""
        status, _, body = self.send("GET", path, headers=headers)
        return status, json.loads(body)

    def ask(self, *files, question="what is it?", **headers):
        """The status and the JSON of what a question about files (name, bytes) comes to."""
        body, kind = self.form([("media", *file) for file in files] + [("question", None, question.encode())])
        status, _, answer = self.send("POST", "/explain", body, {"content-type": kind, **headers})
        return status, json.loads(answer)

    def form(self, fields):
        """The body of a form of (field, file name or None, bytes), and its content type."""
        parts = [
            f'--edge\r\nContent-Disposition: form-data; name="{field}"'.encode()
            + (b"" if name is None else f'; filename="{name}"'.encode())
            + b"\r\n\r\n"
            + data
            for field, name, data in fields
        ]
        return b"\r\n".join([*parts, b"--edge--\r\n"]), "multipart/form-data; boundary=edge"

    def over(self, started):
        """The JSON of a job when it is over."""
        while (job := self.get(f"/jobs/{started['id']}")[1])["state"] in ("waiting", "working"):
            time.sleep(0.01)
        return job


@pytest.fixture(scope="session")
def serving():
    """A function that serves what work does, as long as its `with` block lasts: a Site."""
    from wordsight.viewer.jobs import JobQueue
    from wordsight.viewer.listener import Listener
    from wordsight.viewer.serve import server
    from wordsight.viewer.server import app

    @contextmanager
    def while_it_lasts(do, **options):
        with Listener.at("127.0.0.1", 0) as listener:
            http_server = server(
                app(JobQueue(do), listener, **{"model": "made-up", "max_upload": 32 * 2**20} | options)
            )
            thread = threading.Thread(target=http_server.run, args=([listener.socket],))
            thread.start()
            try:
                yield Site(listener)
            finally:
                http_server.should_exit = True
                thread.join()

    return while_it_lasts


@pytest.fixture
def served(serving):
    """A function that serves what work does until the test is over: a Site."""
    with ExitStack() as stack:
        yield lambda do, **options: stack.enter_context(serving(do, **options))


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, or the one that playwright fetched."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright; `make browser` installs it")
    with sync_api.sync_playwright() as play:
        installed = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
        path = installed or play.chromium.executable_path
        if not Path(path).exists():
            pytest.skip("no Chromium; `apt-get install chromium`, or set CHROMIUM to one")
        chromium = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()
