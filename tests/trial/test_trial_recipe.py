"""Settings as a recipe."""

from ablate.trial import make_recipe


def test_every_setting_of_a_recipe_reaches_it(settings, stages):
    more = {"steps": 7, "lr": {"head": 0.5}, "accumulate": 2, "gradient_checkpointing": True}
    whole = make_recipe(settings(train=more), "cpu")
    assert (whole.steps, whole.lr_by, whole.accumulate, whole.gradient_checkpointing) == (
        7,
        {"head": 0.5},
        2,
        True,
    )
    first, second = make_recipe(settings(train=stages), "cpu").of_stages()
    assert (first.train, first.optimizer, first.lr, first.lr_by) == (("head", "attention"), "sgd", 0.05, {})
    assert (first.optimizer_args["momentum"], first.weight_decay, first.decay_on) == (0.9, 1e-3, "all")
    assert (first.schedule, first.schedule_args) == ("step", {"step_size": 1, "gamma": 0.5})
    assert (second.epochs, second.train, second.lr_by) == (2, ("*",), {"block*": 1e-3, "attention": 1e-2})
    assert (second.optimizer, second.lr, second.decay_on) == ("adamw", 1e-3, "weights")
    assert second.schedule == "cosine" and second.schedule_args == {"warmup": 0.0, "floor": 0.0}
