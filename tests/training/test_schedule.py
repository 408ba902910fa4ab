"""A run that was cut off ends like one that was not."""

import pytest
import torch


@pytest.fixture
def run(training, tmp_path, monkeypatch):
    """Trains a vector for two minutes of a clock that ticks once a look, or for some steps; can be cut off
    at a step.
    """
    monkeypatch.setattr(training.schedule, "SAVE_EVERY", 0)

    def train(name, cut=None, steps=None):
        ticks = iter(range(10_000))
        monkeypatch.setattr(training.schedule.time, "process_time", lambda: float(next(ticks)))
        part = torch.nn.Linear(2, 1, bias=False)
        torch.nn.init.ones_(part.weight)

        def loss_of(step, done):
            if step == cut:
                raise KeyboardInterrupt
            assert steps is None or done == step / steps
            return (part(torch.tensor([1.0, step % 3])) - 5).square().mean()

        stepper = torch.optim.AdamW(part.parameters(), lr=0.05)
        schedule = training.schedule.Schedule(tmp_path / f"{name}.pt", part, stepper, {"names": [name]})
        schedule.run(loss_of, steps=steps, minutes=2.0)
        return part.weight.detach(), torch.load(tmp_path / f"{name}.pt", weights_only=True)["step"]

    return train


@pytest.mark.parametrize("wanted", [None, 200])
def test_a_run_goes_on_from_its_checkpoint(run, wanted):
    whole, steps = run("whole", steps=wanted)
    with pytest.raises(KeyboardInterrupt):
        run("cut", cut=47, steps=wanted)
    again, same_steps = run("cut", steps=wanted)
    assert steps == same_steps == (wanted or steps)
    torch.testing.assert_close(again, whole)


def test_a_checkpoint_of_other_names_is_refused(training, run, tmp_path):
    run("one")
    with pytest.raises(SystemExit, match="was trained with another names"):
        training.schedule.load(tmp_path / "one.pt", {"names": ["two"]})


def test_the_rate_rises_then_falls(training):
    shares = [training.schedule.rate_share(step, step / 1000) for step in range(1000)]
    top = shares.index(max(shares))
    assert shares[:top] == sorted(shares[:top])
    assert shares[top:] == sorted(shares[top:], reverse=True)
    assert shares[-1] == pytest.approx(0.03)
