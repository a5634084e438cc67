"""`fit` against an independent reference; and why its results can be believed: pairing, resuming, hygiene."""

import copy
import io
import itertools
import re
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from ablate.errors import AblateError, MachineError
from ablate.train import EpochRow, FitState, NonFiniteLoss, Recipe, evaluate, fit


class Keeper:
    """An EpochLog that keeps everything."""

    def __init__(self):
        self.rows, self.steps, self.states = [], [], []

    def epoch(self, row, steps, state):
        self.rows.append(row)
        self.steps += steps
        self.states.append(copy.deepcopy(state.state_dict()))


def small_network(seed=0, dropout=0.5):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(64, 3),
        )


@pytest.fixture
def train(batches_of, clusters):
    return batches_of(*clusters(50), 8, seed=1)


@pytest.fixture
def validation(batches_of, clusters):
    return batches_of(*clusters(21, seed=7), 8)


def recipe(**changes):
    return Recipe(**{"epochs": 3, "batch_size": 8, "lr": 1e-2, **changes})


def same(first, second):
    return all(torch.equal(first[key], second[key]) for key in first) and first.keys() == second.keys()


# Arithmetic


def reference(x, y, weight, bias, *, epochs, batch, rates, momentum, decay, smoothing, clip):
    """Softmax regression by SGD with momentum (v = μv + g, w = w - lr v, as torch has it), in NumPy."""
    x, weight, bias = (array.astype(np.float64) for array in (x, weight, bias))
    classes, velocity = len(bias), [np.zeros_like(weight), np.zeros_like(bias)]
    losses, hits, norms = [], [], []
    for _, start in itertools.product(range(epochs), range(0, len(y), batch)):
        bx, by = x[start : start + batch], y[start : start + batch]
        logits = bx @ weight.T + bias
        powers = np.exp(logits - logits.max(1, keepdims=True))
        soft = powers / powers.sum(1, keepdims=True)
        target = np.full_like(soft, smoothing / classes)
        target[np.arange(len(by)), by] += 1 - smoothing
        losses.append(-(target * np.log(soft)).sum(1).mean())
        hits.append(int((logits.argmax(1) == by).sum()))
        slope = (soft - target) / len(by)
        gradients = [slope.T @ bx, slope.sum(0)]
        norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients))
        scale = min(1.0, clip / (norm + 1e-6)) if clip else 1.0
        norms.append(norm)
        for index, (value, gradient) in enumerate(zip((weight, bias), gradients, strict=True)):
            velocity[index] = momentum * velocity[index] + gradient * scale + decay * value
            value -= rates[len(losses) - 1] * velocity[index]
    return weight, bias, losses, hits, norms


@pytest.mark.parametrize(
    ("smoothing", "clip", "schedule"),
    [
        (0.0, None, "constant"),
        (0.2, None, "constant"),
        (0.0, 3.0, "constant"),
        (0.1, 4.9, "constant"),
        (0.0, None, "cosine"),
    ],
)
def test_weights_and_curves_equal_softmax_regression_written_out(
    batches_of, clusters, smoothing, clip, schedule
):
    x, y = clusters(22)
    network = nn.Sequential(nn.Flatten(), nn.Linear(32, 3))
    with torch.no_grad():
        network[1].weight.copy_(torch.randn(3, 32, generator=torch.Generator().manual_seed(5)) / 4)
    start = [network[1].weight.detach().numpy().copy(), network[1].bias.detach().numpy().copy()]
    log = Keeper()
    fit(
        network,
        batches_of(x, y, 8),
        batches_of(*clusters(9, seed=3), 4),
        recipe(
            optimizer="sgd",
            lr=0.05,
            weight_decay=0.01,
            optimizer_args={"momentum": 0.9},
            label_smoothing=smoothing,
            clip_norm=clip,
            schedule=schedule,
        ),
        device="cpu",
        dropout_seed=0,
        log=log,
    )
    rates = [0.05] * 9
    if schedule == "cosine":
        rates = [0.05 * (1 + np.cos(np.pi * step / 9)) / 2 for step in range(9)]
    weight, bias, losses, hits, norms = reference(
        x.flatten(1).numpy(),
        y.numpy(),
        *start,
        epochs=3,
        batch=8,
        rates=rates,
        momentum=0.9,
        decay=0.01,
        smoothing=smoothing,
        clip=clip,
    )
    assert clip is None or max(norms) > clip > min(norms), "the limit binds at some steps and not at others"
    np.testing.assert_allclose(network[1].weight.detach().numpy(), weight, atol=2e-6)
    np.testing.assert_allclose(network[1].bias.detach().numpy(), bias, atol=2e-6)
    np.testing.assert_allclose([row.loss for row in log.steps], losses, rtol=1e-5, atol=1e-6)
    sizes = [8, 8, 6] * 3
    np.testing.assert_allclose(
        [row.accuracy for row in log.steps], [100 * hit / size for hit, size in zip(hits, sizes, strict=True)]
    )
    assert [(row.step, row.epoch) for row in log.steps] == [(n + 1, n // 3 + 1) for n in range(9)]
    last = log.rows[-1]
    assert last.train_loss == pytest.approx(np.average(losses[-3:], weights=sizes[-3:]), rel=1e-4)
    assert last.train_accuracy == pytest.approx(100 * sum(hits[-3:]) / 22)


# Schedules and the choice of an epoch


def plateau_rates(losses, lr, factor):
    """The rate of each epoch when the first epoch without progress lowers it."""
    rates, best = [], np.inf
    for loss in losses:
        rates.append(lr)
        lr, best = (lr, loss) if loss < best * (1 - 1e-4) else (lr * factor, best)
    return rates


def test_plateau_follows_the_validation_loss_which_reaches_the_weights_in_no_other_way(
    batches_of, train, validation
):
    # Labels shifted by one: the better the network, the higher this loss.
    poisoned = batches_of(validation.x, (validation.y + 1) % 3, 8)
    chosen = recipe(epochs=6, schedule="plateau", schedule_args={"factor": 0.5, "patience": 0}, lr=0.05)
    wrong = fit(small_network(), train, poisoned, chosen, device="cpu", dropout_seed=3).history
    right = fit(small_network(), train, validation, chosen, device="cpu", dropout_seed=3).history
    for history in (wrong, right):
        expected = plateau_rates([row.validation_loss for row in history], 0.05, 0.5)
        assert [row.lr for row in history] == expected
    parted = next(i for i in range(6) if wrong[i].lr != right[i].lr)
    assert parted > 0
    assert [row.train_loss for row in wrong[:parted]] == [row.train_loss for row in right[:parted]]
    assert wrong[-1].train_loss != right[-1].train_loss


def row(epoch, accuracy, loss):
    return EpochRow(epoch, 0.1, 1.0, 10.0, loss, accuracy, 1.0, 1.0)


@pytest.mark.parametrize(
    ("figures", "best"),
    [
        ([(50, 1.0), (60, 2.0), (55, 0.1)], 2),  # accuracy decides
        ([(60, 1.0), (60, 0.9), (60, 0.95)], 2),  # then the lower loss
        ([(60, 0.9), (60, 0.9)], 1),  # then the earlier epoch
    ],
)
def test_the_best_epoch_is_chosen_by_validation_accuracy_then_loss_then_order(figures, best):
    network = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    from ablate.train.recipe import Schedule

    state = FitState(network, optimizer, Schedule(optimizer), torch.amp.GradScaler("cpu", enabled=False))
    for epoch, (accuracy, loss) in enumerate(figures, start=1):
        with torch.no_grad():
            network.weight.fill_(epoch)
        state.finish_epoch(row(epoch, accuracy, loss))
    assert state.best_epoch == best
    assert state.best_weights["weight"].item() == best


def test_the_best_weights_give_the_best_epochs_validation_figures_again(train, validation):
    network = small_network()
    result = fit(network, train, validation, recipe(epochs=5, lr=0.1), device="cpu", dropout_seed=1)
    best = result.history[result.state.best_epoch - 1]
    network.load_state_dict(result.state.best_weights)
    again = evaluate(network, validation, device="cpu")
    assert (again.accuracy, again.loss) == (best.validation_accuracy, best.validation_loss)


# Randomness


def test_two_runs_are_equal_to_the_last_bit_and_the_callers_generator_is_untouched(train, validation):
    results = []
    for caller_seed in (1, 2):
        torch.manual_seed(caller_seed)
        before = torch.get_rng_state()
        network = small_network()
        results.append((network, fit(network, train, validation, recipe(), device="cpu", dropout_seed=11)))
        assert torch.equal(torch.get_rng_state(), before)
    (first, one), (second, two) = results
    assert same(first.state_dict(), second.state_dict())
    assert [row[:6] for row in one.history] == [row[:6] for row in two.history]
    other = small_network()
    fit(other, train, validation, recipe(), device="cpu", dropout_seed=12)
    assert not same(first.state_dict(), other.state_dict())


class MaskProbe(nn.Module):
    """Dropout that keeps every mask; `extra` draws as many more random numbers first."""

    def __init__(self, extra=0):
        super().__init__()
        self.extra, self.masks = extra, []

    def forward(self, x):
        if not self.training:
            return x
        torch.rand(self.extra)
        mask = functional.dropout(torch.ones_like(x), 0.5)
        self.masks.append(mask)
        return x * mask


class InputProbe(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        if self.training:
            self.seen.append(x)
        return x


class Gate(nn.Module):
    """Stands for attention: parameters of its own, drawn from the global generator, and a changed map."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, x):
        return x * torch.sigmoid(self.fc(x.mean((2, 3))))[:, :, None, None]


def test_variants_of_a_seed_meet_the_same_images_and_the_same_masks(train, validation):
    probes = []
    for middle in ([], [Gate()]):
        inputs, masks = InputProbe(), MaskProbe()
        network = nn.Sequential(inputs, *middle, nn.Flatten(), masks, nn.Linear(32, 3))
        fit(network, train, validation, recipe(), device="cpu", dropout_seed=4)
        probes.append((inputs.seen, masks.masks))
    (plain_inputs, plain_masks), (gated_inputs, gated_masks) = probes
    assert len(plain_masks) == 3 * 7
    assert all(map(torch.equal, plain_inputs, gated_inputs))
    assert all(map(torch.equal, plain_masks, gated_masks))
    assert not torch.equal(plain_masks[0], plain_masks[7]), "each epoch has masks of its own"


def test_a_variant_that_draws_more_numbers_is_back_in_step_at_the_next_epoch(train, validation):
    masks = []
    for extra in (0, 13):
        probe = MaskProbe(extra)
        fit(
            nn.Sequential(nn.Flatten(), nn.Linear(32, 3), probe),
            train,
            validation,
            recipe(epochs=2),
            device="cpu",
            dropout_seed=4,
        )
        masks.append(probe.masks)
    assert not torch.equal(masks[0][7], masks[1][7])  # the extra draw comes before the mask
    expected = functional.dropout  # of epoch 2, whatever epoch 1 consumed
    with torch.random.fork_rng():
        torch.manual_seed(4 + 1)
        assert torch.equal(masks[0][7], expected(torch.ones(8, 3), 0.5))
        torch.manual_seed(4 + 1)
        torch.rand(13)
        assert torch.equal(masks[1][7], expected(torch.ones(8, 3), 0.5))


# Going on


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adam", "schedule": "cosine", "schedule_args": {"warmup": 0.5}},
        {
            "optimizer": "sgd",
            "optimizer_args": {"momentum": 0.9},
            "schedule": "plateau",
            "schedule_args": {"patience": 0},
        },
        {"optimizer": "adamw", "schedule": "step", "schedule_args": {"step_size": 1}, "clip_norm": 0.5},
        {"optimizer": "sgd", "precision": "fp16"},
    ],
    ids=["adam-cosine", "momentum-plateau", "adamw-step", "fp16"],
)
def test_a_fit_that_goes_on_ends_equal_to_one_that_never_stopped(train, validation, changes):
    chosen = recipe(epochs=4, lr=0.05, **changes)
    whole, log = small_network(), Keeper()
    uninterrupted = fit(whole, train, validation, chosen, device="cpu", dropout_seed=9, log=log)
    # Through a file that holds nothing but tensors and plain values.
    file = io.BytesIO()
    torch.save(log.states[1], file)
    file.seek(0)
    start = torch.load(file, weights_only=True)
    second, rest = small_network(seed=77), Keeper()
    resumed = fit(second, train, validation, chosen, device="cpu", dropout_seed=9, log=rest, start=start)
    assert same(whole.state_dict(), second.state_dict())
    assert rest.steps == log.steps[14:]
    assert [row[:6] for row in resumed.history] == [row[:6] for row in uninterrupted.history]
    assert resumed.state.best_epoch == uninterrupted.state.best_epoch
    assert same(resumed.state.best_weights, uninterrupted.state.best_weights)


def test_a_finished_fit_that_goes_on_does_nothing(train, validation):
    log, network = Keeper(), small_network()
    fit(network, train, validation, recipe(), device="cpu", dropout_seed=9, log=log)
    before, again = copy.deepcopy(network.state_dict()), Keeper()
    fit(network, train, validation, recipe(), device="cpu", dropout_seed=9, log=again, start=log.states[-1])
    assert again.rows == [] and same(before, network.state_dict())


# Breaking down


def test_a_loss_that_is_no_number_ends_the_epoch_with_place_rate_and_way_out(train, validation):
    log, network = Keeper(), nn.Sequential(nn.Flatten(), nn.Linear(32, 3))
    chosen = recipe(optimizer="sgd", lr=3e38)
    with pytest.raises(NonFiniteLoss) as caught:
        fit(network, train, validation, chosen, device="cpu", dropout_seed=0, log=log)
    where = r"the training loss is (nan|inf) at epoch 1, step (\d) of 7, lr 3e\+38, after \d\.\d+"
    assert re.match(where, str(caught.value))
    assert "lower train.optimizer.lr; set train.clip_norm" in str(caught.value)
    assert "fp32" not in str(caught.value)
    assert log.rows == []


def test_a_validation_loss_that_is_no_number_is_found_too(train, validation):
    class BreaksInEval(nn.Linear):
        def forward(self, x):
            return super().forward(x) if self.training else super().forward(x) / 0

    network = nn.Sequential(nn.Flatten(), BreaksInEval(32, 3))
    with pytest.raises(NonFiniteLoss, match="the validation loss is nan after epoch 1"):
        fit(network, train, validation, recipe(precision="bf16"), device="cpu", dropout_seed=0)


# Batches


def test_a_last_batch_of_one_image_is_left_out_and_each_image_gets_its_turn(batches_of, clusters, validation):
    x, y = clusters(9)
    inputs, log = InputProbe(), Keeper()
    network = nn.Sequential(inputs, nn.Flatten(), nn.BatchNorm1d(32), nn.Linear(32, 3))
    train = batches_of(x, y, 4, seed=2)
    fit(network, train, validation, recipe(epochs=8, batch_size=4), device="cpu", dropout_seed=0, log=log)
    assert [len(batch) for batch in inputs.seen] == [4] * 16
    assert [row.step for row in log.steps] == list(range(1, 17))
    assert all(any(torch.equal(image, seen) for batch in inputs.seen for seen in batch) for image in x)


def test_a_batch_size_of_one_is_the_users_own_choice(batches_of, clusters, validation):
    log = Keeper()
    network = nn.Sequential(nn.Flatten(), nn.Linear(32, 3))
    train = batches_of(*clusters(5), 1)
    fit(network, train, validation, recipe(epochs=1, batch_size=1), device="cpu", dropout_seed=0, log=log)
    assert len(log.steps) == 5


def test_no_images_and_no_parameters_are_errors(batches_of, clusters, train, validation):
    empty = batches_of(*clusters(0), 8)
    with pytest.raises(AblateError, match="no images to train on"):
        fit(small_network(), empty, validation, recipe(), device="cpu", dropout_seed=0)
    with pytest.raises(AblateError, match="no parameter to train"):
        fit(nn.Flatten(), train, validation, recipe(), device="cpu", dropout_seed=0)


def test_the_host_reads_nothing_within_an_epoch(monkeypatch, batches_of, clusters, validation):
    inside, read = [False], []

    class Watched(type(validation)):
        def epoch(self, epoch):
            for index, batch in enumerate(super().epoch(epoch)):
                inside[0] = index < len(self) - 1
                yield batch
            inside[0] = False

    for name in ("item", "tolist", "cpu", "numpy", "__float__", "__int__", "__bool__"):
        real = getattr(torch.Tensor, name)

        def watched(tensor, *args, real=real, name=name, **kwargs):
            if inside[0]:
                read.append(name)
            return real(tensor, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, watched)
    train = Watched(*clusters(40), 8, seed=1)
    for smoothing, clip in ((0.0, None), (0.1, 1.0)):
        chosen = recipe(optimizer="sgd", label_smoothing=smoothing, clip_norm=clip, schedule="cosine")
        fit(small_network(), train, validation, chosen, device="cpu", dropout_seed=0)
    assert read == []
    inside[0] = True
    torch.zeros(1).item()
    assert read == ["item"], "the watch itself works"


# Formats


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_layers_compute_in_the_precision_asked_for_and_weights_stay_single(
    train, validation, precision, dtype
):
    network, seen = small_network(dropout=0.0), set()
    network[5].register_forward_hook(lambda _module, _inputs, out: seen.add(out.dtype))
    result = fit(
        network, train, validation, recipe(precision=precision, epochs=4), device="cpu", dropout_seed=0
    )
    assert seen == {dtype}
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert result.history[-1].train_loss < result.history[0].train_loss


def test_channels_last_reaches_images_and_weights(train, validation):
    network, layouts = small_network(), set()
    network[0].register_forward_pre_hook(
        lambda _module, inputs: layouts.add(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )
    fit(network, train, validation, recipe(channels_last=True), device="cpu", dropout_seed=0)
    assert layouts == {True}
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_compiling_changes_nothing_but_the_path(monkeypatch, train, validation):
    calls = []

    def backend(graph, inputs):
        calls.append(len(inputs))
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    compiled, plain = small_network(), small_network()
    fit(compiled, train, validation, recipe(compile=True, epochs=1), device="cpu", dropout_seed=0)
    fit(plain, train, validation, recipe(epochs=1), device="cpu", dropout_seed=0)
    assert calls
    assert same(compiled.state_dict(), plain.state_dict())


def test_a_compiler_that_fails_is_an_error_with_the_way_out(monkeypatch, train, validation):
    def backend(graph, inputs):
        raise OSError("no C++ compiler found")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    with pytest.raises(
        MachineError, match=r"torch.compile cannot build .*no C\+\+ compiler found\n.*train.compile: false"
    ):
        fit(small_network(), train, validation, recipe(compile=True), device="cpu", dropout_seed=0)
