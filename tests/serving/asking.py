"""Servers as users start them, asked over HTTP; and what the transformers path of this library answers.

Run by `make test-serving`, in an environment with vLLM for CPUs; one server runs at a time.
"""

import base64
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from wordsight import VLM, Video, demo, pruners
from wordsight.models.prompt import collate
from wordsight.models.tokens import join_tokens

NEW_TOKENS = 8
FPS = 8.0  # of films
START_SECONDS = 900  # a start takes a minute or two where nothing else runs
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}
SMALL = ("--dtype", "float32", "--max-model-len", "1024", "--max-num-seqs", "16", "--enforce-eager")


class Server:
    """A running server of one model; `adds_bos` where its template leaves out what texts begin with."""

    def __init__(self, port, process, adds_bos):
        self.port, self.process, self.adds_bos = port, process, adds_bos

    def send(self, body, path="/v1/chat/completions"):
        """The status and the JSON of an answer; `body` may be broken bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            connection.request("POST", path, data, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def answer(self, pictures, question, **more):
        """How many tokens were read, those that were generated, and the log probability of each."""
        body = request(pictures, question, **more) | {"add_special_tokens": self.adds_bos}
        status, answer = self.send(body)
        assert status == 200, answer
        (choice,) = answer["choices"]
        probabilities = [token["logprob"] for token in choice["logprobs"]["content"]]
        return answer["usage"]["prompt_tokens"], choice["token_ids"], probabilities

    def answers(self, questions, concurrency=8, **more):
        """Those to (pictures, question), so many at a time."""
        with ThreadPoolExecutor(concurrency) as pool:
            return list(pool.map(lambda one: self.answer(*one, **more), questions))

    @property
    def memory(self):
        """MiB that the server and its engine hold."""
        pages = 0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if os.getpgid(int(folder.name)) == self.process.pid:
                    pages += int((folder / "statm").read_text().split()[1])
            except (OSError, ProcessLookupError):  # it has ended meanwhile
                continue
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def request(pictures, question, system=None, **more):
    """The body of a question about pictures, or films; `wordsight=` is what it says of pruning."""
    kinds = ["video" if isinstance(picture, Video) else "image" for picture in pictures]
    parts = [
        {"type": f"{kind}_url", f"{kind}_url": {"url": as_data(picture)}}
        for kind, picture in zip(kinds, pictures, strict=True)
    ]
    messages = [{"role": "user", "content": [*parts, {"type": "text", "text": question}]}]
    if system:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
    if "wordsight" in more:
        more["mm_processor_kwargs"] = {"wordsight": more.pop("wordsight")}
    fixed = {"temperature": 0, "max_tokens": NEW_TOKENS, "return_token_ids": True, "logprobs": True}
    fixed |= {"media_io_kwargs": {"video": {"fps": FPS}}} if "video" in kinds else {}
    return {"model": "served", "messages": messages, **fixed, **more}


def as_data(picture):
    """A picture, or the frames of a film, as an address that holds it; text is given as it is."""
    if isinstance(picture, str):
        return picture
    if isinstance(picture, Video):
        frames = (as_data(frame).partition(",")[2] for frame in picture.frames)
        return "data:video/jpeg;base64," + ",".join(frames)
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


@contextmanager
def serving(model, *arguments, options=()):
    """The server that `wordsight serve` starts, as long as the block lasts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = ("--host", "127.0.0.1", "--port", str(port), "--served-model-name", "served")
    command = [
        sys.executable,
        "-m",
        "wordsight",
        "serve",
        str(model),
        *arguments,
        "--",
        *SMALL,
        *place,
        *options,
    ]
    environment = os.environ | QUIET
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        try:
            wait_for(port, process)
            folder = demo.MODEL if model == "demo" else Path(model)
            template = (folder / "chat_template.jinja").read_text()
            yield Server(port, process, "bos_token" not in template)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)


def wait_for(port, process):
    """Until the server answers."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, "the server ended while it was started"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(1)
        finally:
            connection.close()
    raise TimeoutError("the server did not start")


class Reference:
    """What transformers answers, pruned by this library, in float32 as the server."""

    def __init__(self, model, *, keeps_breaks=True):
        self.vlm, self.keeps_breaks = VLM.from_pretrained(str(model), dtype="float32"), keeps_breaks

    def prompts(self, questions, spec="none"):
        """Those of questions, with what the pruner of a SPEC reads of the tower."""
        signals = frozenset() if spec == "none" else pruners.make(spec).required_signals
        return [self.vlm.encode(pictures, question, signals=signals) for pictures, question in questions]

    def answers(self, prompts, spec):
        """As Server.answers; every picture is pruned by itself, and all its line breaks are kept, or only
        those that the pruner keeps; films are pruned whole.
        """
        pruner = None if spec == "none" else pruners.make(spec)
        pruned = [
            prompt
            if pruner is None
            else pruner(prompt)
            if prompt.is_video.any()
            else pruner.apply(prompt, pruned_by_picture(pruner, prompt, self.keeps_breaks))
            for prompt in prompts
        ]
        inputs = collate(pruned)
        how = {"do_sample": False, "use_cache": True, "output_logits": True, "return_dict_in_generate": True}
        made = self.vlm.model.generate(**inputs, max_new_tokens=NEW_TOKENS, **how)
        end = self.vlm.model.generation_config.eos_token_id
        found = []
        for number, one in enumerate(pruned):
            tokens = made.sequences[number, inputs["input_ids"].shape[1] :].tolist()
            tokens = tokens[: tokens.index(end) + 1] if end in tokens else tokens
            rows = torch.stack(made.logits)[: len(tokens), number].log_softmax(-1)
            found.append((one.length, tokens, rows[range(len(tokens)), tokens].tolist()))
        return found


def pruned_by_picture(pruner, prompt, keeps_breaks):
    visual, parts = prompt.visual, []
    for picture in visual.cell[:, 0].unique():
        part = visual.take((visual.cell[:, 0] == picture).nonzero()[:, 0])
        if keeps_breaks:
            parts += [pruner.prune(part.without_breaks()), part.take(part.is_break.nonzero()[:, 0])]
        else:
            parts.append(pruner.prune(part))
    return join_tokens(*parts)


def equal(answers, expected):
    """How many answers read as many tokens, say the same tokens, and are as sure of them."""
    return sum(
        mine[:2] == theirs[:2] and mine[2] == pytest.approx(theirs[2], abs=2e-3)
        for mine, theirs in zip(answers, expected, strict=True)
    )
