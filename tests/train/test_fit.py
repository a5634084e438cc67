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
from ablate.train import EpochRow, NonFiniteLoss, Recipe, Stage, evaluate, fit
from ablate.train.fit import train_step
from ablate.train.state import prepare


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
    keeper, batches_of, clusters, smoothing, clip, schedule
):
    x, y = clusters(22)
    network = nn.Sequential(nn.Flatten(), nn.Linear(32, 3))
    with torch.no_grad():
        network[1].weight.copy_(torch.randn(3, 32, generator=torch.Generator().manual_seed(5)) / 4)
    start = [network[1].weight.detach().numpy().copy(), network[1].bias.detach().numpy().copy()]
    log = keeper()
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
    state = prepare(network, recipe(), 1, torch.device("cpu"))
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
def test_a_fit_that_goes_on_ends_equal_to_one_that_never_stopped(keeper, train, validation, changes):
    chosen = recipe(epochs=4, lr=0.05, **changes)
    whole, log = small_network(), keeper()
    uninterrupted = fit(whole, train, validation, chosen, device="cpu", dropout_seed=9, log=log)
    # Through a file that holds nothing but tensors and plain values.
    file = io.BytesIO()
    torch.save(log.states[1], file)
    file.seek(0)
    start = torch.load(file, weights_only=True)
    second, rest = small_network(seed=77), keeper()
    resumed = fit(second, train, validation, chosen, device="cpu", dropout_seed=9, log=rest, start=start)
    assert same(whole.state_dict(), second.state_dict())
    assert rest.steps == log.steps[14:]
    assert [row[:6] for row in resumed.history] == [row[:6] for row in uninterrupted.history]
    assert resumed.state.best_epoch == uninterrupted.state.best_epoch
    assert same(resumed.state.best_weights, uninterrupted.state.best_weights)


def test_a_finished_fit_that_goes_on_does_nothing(keeper, train, validation):
    log, network = keeper(), small_network()
    fit(network, train, validation, recipe(), device="cpu", dropout_seed=9, log=log)
    before, again = copy.deepcopy(network.state_dict()), keeper()
    fit(network, train, validation, recipe(), device="cpu", dropout_seed=9, log=again, start=log.states[-1])
    assert again.rows == [] and same(before, network.state_dict())


# Breaking down


def test_a_loss_that_is_no_number_ends_the_epoch_with_place_rate_and_way_out(keeper, train, validation):
    log, network = keeper(), nn.Sequential(nn.Flatten(), nn.Linear(32, 3))
    chosen = recipe(optimizer="sgd", lr=3e38)
    with pytest.raises(NonFiniteLoss) as caught:
        fit(network, train, validation, chosen, device="cpu", dropout_seed=0, log=log)
    where = r"the training loss is (nan|inf) at epoch 1, step (\d) of 7, lr 3e\+38, after \d\.\d+"
    assert re.match(where, str(caught.value))
    assert str(caught.value).endswith(
        "\n    lower the learning rate (train.optimizer.lr); set train.clip_norm, such as 1.0; "
        "warm up with the cosine schedule"
    )
    assert log.rows == []


def advice(what, network, train, validation, **changes):
    with pytest.raises(NonFiniteLoss, match=what) as caught:
        fit(network, train, validation, recipe(**changes), device="cpu", dropout_seed=0)
    return str(caught.value).splitlines()[1].strip().split("; ")


def test_at_the_very_first_step_no_rate_is_to_blame(batches_of, train, validation):
    broken = batches_of(train.x / 0, train.y, 8)
    assert advice("at epoch 1, step 1 of 7", small_network(), broken, validation, precision="bf16") == [
        "no weight has changed yet: look at the images, the initial weights and the network",
        "set train.precision: fp32",
    ]


def test_nothing_is_advised_that_is_done_already_or_comes_too_late(train, validation):
    class BreaksAt(nn.Linear):
        """The loss of a later step is no number."""

        def __init__(self, step):
            super().__init__(32, 3)
            self.left = step

        def forward(self, x):
            self.left -= self.training
            return super().forward(x) * (float("nan") if self.training and self.left == 0 else 1)

    def network(step):
        return nn.Sequential(nn.Flatten(), BreaksAt(step))

    warm = {"schedule": "cosine", "schedule_args": {"warmup": 1.0}, "clip_norm": 1.0}
    assert advice("epoch 1, step 2 of 7", network(2), train, validation, **warm) == [
        "lower the learning rate (train.optimizer.lr)",
        "lower train.clip_norm",
    ]
    late = {"lr_by": {"1": 0.1}}
    assert advice("epoch 2, step 1 of 7, lr 0.1", network(8), train, validation, **late) == [
        "lower the learning rate (train.optimizer.lr, train.lr)",
        "set train.clip_norm, such as 1.0",
    ]
    stages = (Stage(epochs=1), Stage(epochs=1))
    assert advice("epoch 2, step 2 of 7", network(9), train, validation, stages=stages) == [
        "lower the learning rate (train.stages[1].optimizer.lr)",
        "set train.clip_norm, such as 1.0",
        "warm up with the cosine schedule",
    ]


def test_a_validation_loss_that_is_no_number_is_found_too(train, validation):
    class BreaksInEval(nn.Linear):
        def forward(self, x):
            return super().forward(x) if self.training else super().forward(x) / 0

    network = nn.Sequential(nn.Flatten(), BreaksInEval(32, 3))
    with pytest.raises(NonFiniteLoss, match="the validation loss is nan after epoch 1"):
        fit(network, train, validation, recipe(precision="bf16"), device="cpu", dropout_seed=0)


# Batches


def test_a_last_batch_of_one_image_is_left_out_and_each_image_gets_its_turn(
    keeper, batches_of, clusters, validation
):
    x, y = clusters(9)
    inputs, log = InputProbe(), keeper()
    network = nn.Sequential(inputs, nn.Flatten(), nn.BatchNorm1d(32), nn.Linear(32, 3))
    train = batches_of(x, y, 4, seed=2)
    fit(network, train, validation, recipe(epochs=8, batch_size=4), device="cpu", dropout_seed=0, log=log)
    assert [len(batch) for batch in inputs.seen] == [4] * 16
    assert [row.step for row in log.steps] == list(range(1, 17))
    assert all(any(torch.equal(image, seen) for batch in inputs.seen for seen in batch) for image in x)


def test_a_batch_size_of_one_is_the_users_own_choice(keeper, batches_of, clusters, validation):
    log = keeper()
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
        def epoch(self, epoch, first=0):
            for index, batch in enumerate(super().epoch(epoch, first)):
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
    more = {"accumulate": 2, "gradient_checkpointing": True, "lr_by": {"5": 0.1}, "steps": 10}
    for changes in ({}, {"label_smoothing": 0.1, "clip_norm": 1.0}, more):
        chosen = recipe(optimizer="sgd", schedule="cosine", **changes)
        fit(small_network(), train, validation, chosen, device="cpu", dropout_seed=0)
    assert read == []
    inside[0] = True
    torch.zeros(1).item()
    assert read == ["item"], "the watch itself works"


# A number of steps


def test_exactly_so_many_steps_are_taken_and_the_cut_epoch_counts_its_own_images(keeper, train, validation):
    cut, whole, said = keeper(), keeper(), []
    fit(
        small_network(),
        train,
        validation,
        recipe(steps=10),
        device="cpu",
        dropout_seed=3,
        log=cut,
        on_progress=said.append,
    )
    fit(small_network(), train, validation, recipe(epochs=2), device="cpu", dropout_seed=3, log=whole)
    assert cut.steps == whole.steps[:10]
    assert [row.epoch for row in cut.rows] == [1, 2]
    assert cut.rows[0][:6] == whole.rows[0][:6]
    three = cut.steps[7:]
    assert cut.rows[1].train_loss == pytest.approx(np.mean([row.loss for row in three]))
    assert cut.rows[1].train_accuracy == pytest.approx(np.mean([row.accuracy for row in three]))
    assert cut.rows[1].images_per_s * cut.rows[1].seconds == pytest.approx(3 * 8)
    assert said[0]["epochs"] == 2


def test_steps_are_equal_whatever_the_size_of_the_data_set(batches_of, clusters, keeper, validation):
    for count in (9, 40, 400):
        log, train = keeper(), batches_of(*clusters(count), 8, seed=1)
        fit(small_network(), train, validation, recipe(steps=12), device="cpu", dropout_seed=0, log=log)
        assert [row.step for row in log.steps] == list(range(1, 13))


# A step in parts


@pytest.mark.parametrize("changes", [{}, {"clip_norm": 0.5, "label_smoothing": 0.1}, {"channels_last": True}])
def test_a_step_in_parts_equals_the_undivided_one_where_nothing_normalises_over_the_batch(
    keeper, train, validation, changes
):
    def network():
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))

    ends, logs = [], []
    for parts in (1, 3, 8):  # of 8 images 3, 3, 2; of the last batch of 2 images one part, or two
        ends.append(network())
        logs.append(keeper())
        chosen = recipe(optimizer="sgd", lr=0.1, accumulate=parts, **changes)
        fit(ends[-1], train, validation, chosen, device="cpu", dropout_seed=0, log=logs[-1])
    for divided, log in zip(ends[1:], logs[1:], strict=True):
        for key, value in ends[0].state_dict().items():
            torch.testing.assert_close(divided.state_dict()[key], value, atol=1e-6, rtol=0)
        assert [row.accuracy for row in log.steps] == [row.accuracy for row in logs[0].steps]
        np.testing.assert_allclose(
            [row.loss for row in log.steps], [row.loss for row in logs[0].steps], rtol=1e-5
        )


def test_the_parts_of_a_step_are_nearly_equal_and_a_lone_image_is_its_users_choice(
    batches_of, clusters, validation
):
    for parts, expected in ((3, [3, 3, 2] * 2 + [3]), (4, [2, 2, 2, 2] * 2 + [3]), (8, [1] * 19)):
        inputs = InputProbe()
        network = nn.Sequential(inputs, nn.Flatten(), nn.Linear(32, 3))
        train = batches_of(*clusters(19), 8)
        chosen = recipe(epochs=1, accumulate=parts)
        fit(network, train, validation, chosen, device="cpu", dropout_seed=0)
        assert [len(part) for part in inputs.seen] == expected


def test_under_fp16_a_step_in_parts_is_unscaled_and_clipped_once(train):
    ends = []
    for parts in (1, 2):
        network = nn.Sequential(nn.Flatten(), nn.Linear(32, 3))
        with torch.no_grad():
            network[1].weight.copy_(torch.linspace(-0.3, 0.3, 96).view(3, 32))
            network[1].bias.zero_()
        chosen = recipe(optimizer="sgd", lr=0.1, precision="fp16", clip_norm=0.5, accumulate=parts)
        state = prepare(network, chosen, 7, torch.device("cpu"))
        # At torch's first scale, 65536, whole and parts would overflow at different steps.
        state.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        before = network[1].weight.detach().clone()
        for step, (x, y) in enumerate(train.epoch(0)):
            train_step(network, state, x, y, chosen)
            if step == 0:
                moved = torch.cat([network[1].weight - before, network[1].bias[:, None]], 1).norm()
                assert float(moved.detach()) == pytest.approx(0.1 * 0.5, rel=1e-3), "lr times the limit"
        ends.append(network[1].weight.detach())
    torch.testing.assert_close(ends[0], ends[1], atol=2e-3, rtol=0)


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
