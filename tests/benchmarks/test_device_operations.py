"""What is asked of a device that is none, and that the docs say what was counted."""

import json
from pathlib import Path

import torch

GPU = Path(__file__).parents[2] / "docs" / "gpu.md"


def test_operations_and_waits_are_counted_and_views_are_not(benchmarks):
    there = benchmarks.device_operations
    values = there.Counted(torch.tensor([[3.0, 1.0], [2.0, 4.0]]))
    with there.Making(), there.Counter() as counter:
        half = values[0] / 2  # one operation
        in_order = values.T.reshape(4).sort().values  # a copy and a sort
        assert (counter.operations, counter.waits) == (3, 0)
        assert in_order.tolist() == [1, 2, 3, 4]  # a copy to the CPU
        assert float(half.sum()) == 2  # a sum, and a look at it
        assert len((values > 2).nonzero()) == 2  # a comparison, and a result of any size
        assert (counter.operations, counter.waits) == (8, 3)
        assert float((torch.ones(3) + 1).sum()) == 6  # on the CPU
        assert (counter.operations, counter.waits) == (8, 3)
        values[[0]] = torch.tensor([[7.0, 8.0]], device=there.DEVICE)  # numbers are copied twice, then put
    assert values.held.tolist() == [[7, 8], [2, 4]]
    assert (counter.operations, counter.waits) == (11, 3)


def test_the_docs_say_what_was_counted(benchmarks):
    record = json.loads(benchmarks.device_operations.RESULTS.read_text())
    now, before = record["counts"], record["before"]["counts"]
    text = " ".join(GPU.read_text().split())
    for name, unit in (("operations", " operations"), ("waits", " times")):
        first, second = ((now[each][name], f"{before[each][name]:,}") for each in ("divprune", "tops"))
        assert f" {first[0]}{unit} in place of {first[1]}, " in text
        assert f" {second[0]} in place of {second[1]}" in text
