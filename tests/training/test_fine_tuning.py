"""The objective against independent computations; training, interrupts, several processes and the gate."""

import errno
import math
import os
import signal
import time
from datetime import timedelta

import pytest
import torch
from helpers import CONTRASTIVE, LORA, OFF, SKIP, TRAINING, logits_of, trained_skip
from transformers import AutoConfig, AutoModelForCausalLM, TrainerCallback
from workflows import without_times

from skipclm.data.batching import Collator, LengthGroupedBatches
from skipclm.data.examples import Examples, Prompt
from skipclm.errors import InputError, TerminatedError
from skipclm.evaluation import decoding
from skipclm.models import decoders
from skipclm.runtime.snapshots import Snapshots
from skipclm.training import base_model, fine_tuning, losses, training_loop

SIDES = ("source", "target")

# The objective


@pytest.fixture
def batch(examples, prompt):
    """Five pairs of unequal lengths."""
    chosen = sorted(range(60), key=lambda i: len(examples.source[i]))[::12]
    return Collator(prompt)([examples[i] for i in chosen])


def _mask(batch):
    return (torch.arange(batch["input_ids"].shape[1]) < batch["length"][:, None]).long()


def _objective(model, **contrastive):
    return fine_tuning.Objective(model, CONTRASTIVE | contrastive)


def test_translation_loss_equals_that_of_the_model(decoder, batch):
    outputs = fine_tuning.Objective(decoder, OFF)(**batch)
    expected = decoder(batch["input_ids"], attention_mask=_mask(batch), labels=batch["labels"]).loss
    torch.testing.assert_close(outputs["loss"], expected)
    assert outputs["lm_loss"] is outputs["loss"]
    assert outputs.keys() == {"loss", "lm_loss", "tokens", "predicted_tokens"}
    assert outputs["predicted_tokens"] == sum(label != -100 for row in batch["labels"].tolist() for label in row)
    assert outputs["tokens"] == _mask(batch).sum()


UNUSUAL = {  # the difference from other decoders
    "gemma3": "a language model inside a model that also reads images",
    "llama4_text": "a head with another name for its body than it declares",
    "qwen3_next": "attention blocks and recurrent blocks, with two kinds of cache",
}


@pytest.mark.parametrize("architecture", UNUSUAL)
def test_unusual_decoders_train_and_translate(architecture, pairs):
    decoder, tokenizer = base_model.untrained(architecture, pairs[0] + pairs[1], 4, 16, 2, 400, 1)
    model, prompt = trained_skip(decoder, 1, 3), Prompt.of(tokenizer)
    sample = Examples.encoded(tokenizer, *[side[:5] for side in pairs])
    batch = Collator(prompt)([sample[i] for i in range(5)])
    outputs = _objective(model).train()(**batch)
    model.eval()
    expected = model(batch["input_ids"], attention_mask=_mask(batch), labels=batch["labels"]).loss
    torch.testing.assert_close(outputs["lm_loss"], expected, rtol=1e-4, atol=1e-5)
    contrastive = _info_nce_one_by_one(decoder, prompt, [sample[i] for i in range(5)], 2, 0.2)
    assert outputs["contrastive_loss"].item() == pytest.approx(contrastive, rel=1e-4)
    together = decoding.translate(model, tokenizer, sample.source).texts
    assert together == [decoding.translate(model, tokenizer, [ids]).texts[0] for ids in sample.source]


HEADS = {  # weights of the head in addition to the output matrix
    "modernbert-decoder": {"lm_head.dense.weight", "lm_head.norm.weight"},
    "gpt_neox_japanese": set(),
    "phi": {"lm_head.bias"},
}


@pytest.mark.parametrize("architecture", HEADS)
def test_gradients_equal_those_of_transformers(architecture, pairs):
    decoder, tokenizer = base_model.untrained(architecture, pairs[0] + pairs[1], 2, 16, 2, 400, 1)
    sample = Examples.encoded(tokenizer, *[side[:5] for side in pairs])
    batch = Collator(Prompt.of(tokenizer))([sample[i] for i in range(5)])
    gradients = []
    for loss in (
        lambda: fine_tuning.Objective(decoder, OFF)(**batch)["loss"],
        lambda: decoder(batch["input_ids"], attention_mask=_mask(batch), labels=batch["labels"]).loss,
    ):
        decoder.zero_grad()
        loss().backward()
        weights = decoder.named_parameters()
        gradients.append({name: weight.grad.clone() for name, weight in weights if weight.grad is not None})
    assert HEADS[architecture] <= gradients[0].keys()
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)


@pytest.fixture(params=["mixtral", "olmoe"])
def mixture(request, tokenizer):
    """A mixture of experts; its configuration asks for a router loss with a large weight."""
    torch.manual_seed(1)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    options = {"num_key_value_heads": 2, "output_router_logits": True, "router_aux_loss_coef": 0.5, "eos_token_id": 2}
    config = AutoConfig.for_model(request.param, vocab_size=len(tokenizer), pad_token_id=1, **sizes, **options)
    return AutoModelForCausalLM.from_config(config).eval()


def test_router_loss_equals_that_of_transformers(mixture, batch):
    outputs = fine_tuning.Objective(mixture, OFF)(**batch)
    expected = mixture(batch["input_ids"], attention_mask=_mask(batch), labels=batch["labels"])
    torch.testing.assert_close(outputs["loss"], expected.loss)
    torch.testing.assert_close(outputs["router_loss"], 0.5 * expected.aux_loss)
    torch.testing.assert_close(outputs["lm_loss"], expected.loss - 0.5 * expected.aux_loss)  # all variants have it


def test_router_loss_is_added_only_on_request(mixture, batch):
    mixture.config.output_router_logits = False
    assert "router_loss" not in fine_tuning.Objective(mixture, OFF)(**batch)


def test_router_losses_of_micro_batches_are_weighted_by_their_tokens(mixture, batch):
    outputs = fine_tuning.Objective(mixture, OFF, micro_batch=3).train()(**batch)
    expected = []
    for rows in (slice(0, 3), slice(3, 5)):
        part = {name: values[rows] for name, values in batch.items()}
        loss = mixture(part["input_ids"], attention_mask=_mask(part), labels=part["labels"]).aux_loss
        expected.append(loss * (part["labels"] != -100).sum())
    count = (batch["labels"] != -100).sum()
    torch.testing.assert_close(outputs["router_loss"], 0.5 * sum(expected) / count)


def test_mixture_of_experts_generates_before_and_after_training(mixture, fit, tokenizer, examples):
    sources = sorted(examples.source[:20], key=len)[::19]  # two lengths, so that there is padding
    assert len(decoding.translate(mixture, tokenizer, sources, length_extra=4).texts) == 2
    assert mixture.config.output_router_logits
    outcome = fit(OFF, OFF, decoder=mixture, steps=2)
    assert "router_loss" in outcome.history[-1]
    assert not outcome.model.config.output_router_logits  # with it, transformers' own `generate` fails here
    ids, mask = torch.tensor([[1, 2, 5, 2], [2, 5, 6, 2]]), torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])
    assert outcome.model.generate(ids, attention_mask=mask, max_new_tokens=2).shape[0] == 2


def _vector(model, begin, ids, layer):
    """Return the mean state of a sentence, encoded without others."""
    with torch.no_grad():
        states = model(torch.tensor([[*begin, *ids]]), output_hidden_states=True).hidden_states[layer]
    return states[0, len(begin) :].mean(dim=0)


def _one_way(anchors, others, temperature):
    """Compute InfoNCE in one direction."""
    total = 0.0
    for i, anchor in enumerate(anchors):
        terms = [math.exp(torch.cosine_similarity(anchor, o, dim=0).item() / temperature) for o in others]
        total -= math.log(terms[i] / sum(terms)) / len(anchors)
    return total


def _info_nce_one_by_one(model, prompt, pairs, layer, temperature):
    """Compute InfoNCE with a separate pass for each sentence."""
    sources = [_vector(model, prompt.begin, pair["source"], layer) for pair in pairs]
    targets = [_vector(model, prompt.begin, pair["target"], layer) for pair in pairs]
    return (_one_way(sources, targets, temperature) + _one_way(targets, sources, temperature)) / 2


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_contrastive_loss_equals_that_of_single_sentences(decoder, prompt, examples, layer):
    pairs = [examples[i] for i in range(5)]
    outputs = _objective(decoder, layer=layer).train()(**Collator(prompt)(pairs))
    expected = _info_nce_one_by_one(decoder.eval(), prompt, pairs, layer, 0.2)
    assert outputs["contrastive_loss"].item() == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(outputs["loss"], outputs["lm_loss"] + 0.5 * outputs["contrastive_loss"])


@pytest.mark.parametrize(("source", "target", "layer"), [(1, 2, 3), (1, 3, 3), (2, 4, 1)])
def test_contrastive_loss_depends_on_a_skip_below_its_layer(decoder, prompt, examples, source, target, layer):
    pairs = [examples[i] for i in range(5)]
    plain = _info_nce_one_by_one(decoder, prompt, pairs, layer, 0.2)
    model = trained_skip(decoder, source, target)
    outputs = _objective(model, layer=layer).train()(**Collator(prompt)(pairs))
    expected = _info_nce_one_by_one(model.eval(), prompt, pairs, layer, 0.2)
    assert outputs["contrastive_loss"].item() == pytest.approx(expected, rel=1e-4)
    assert (abs(expected - plain) > 1e-3) == (target <= layer)
    assert outputs["gate"].item() == pytest.approx(0.7)


def test_source_states_of_the_full_pass_equal_those_of_the_source_only(decoder, batch):
    with decoders.Recorder(decoder, 2) as recorder, torch.no_grad():
        decoder(batch["input_ids"])
    for row, weights, states in zip(batch["input_ids"], batch["source_weights"], recorder.state, strict=True):
        end = int(weights.nonzero().max()) + 1
        with torch.no_grad():
            expected = decoder(row[None, :end], output_hidden_states=True).hidden_states[2][0]
        torch.testing.assert_close(states[:end], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["last", "end", "position"])
def test_contrastive_loss_uses_the_requested_pooling(decoder, prompt, examples, pooling):
    pairs = [examples[i] for i in range(5)]

    def vector(ids):
        with torch.no_grad():
            states = decoder(torch.tensor([[*prompt.begin, *ids, prompt.end]]), output_hidden_states=True).hidden_states
        source = states[2][0, len(prompt.begin) : -1]
        weights = torch.arange(1.0, len(source) + 1)[:, None]
        position = (weights * source).sum(0) / weights.sum()
        return {"last": source[-1], "end": states[2][0, -1], "position": position}[pooling]

    sources, targets = ([vector(pair[side]) for pair in pairs] for side in ("source", "target"))
    expected = (_one_way(sources, targets, 0.2) + _one_way(targets, sources, 0.2)) / 2
    outputs = _objective(decoder).train()(**Collator(prompt, pooling)(pairs))
    assert outputs["contrastive_loss"].item() == pytest.approx(expected, rel=1e-4)


def test_triplet_loss_replaces_info_nce(new_decoder, prompt, examples):
    decoder, pairs = new_decoder(), [examples[i] for i in range(5)]
    vectors = [torch.stack([_vector(decoder, prompt.begin, pair[side], 2) for pair in pairs]) for side in SIDES]
    outputs = _objective(decoder, loss="triplet", margin=0.7).train()(**Collator(prompt)(pairs))
    torch.testing.assert_close(outputs["contrastive_loss"], losses.triplet(*vectors, 0.7), rtol=1e-4, atol=1e-5)


def test_retrieval_accuracy_equals_that_of_single_sentences(decoder, prompt, examples):
    pairs = [examples[i] for i in range(5)]
    vectors = [torch.stack([_vector(decoder, prompt.begin, pair[side], 2) for pair in pairs]) for side in SIDES]
    outputs = _objective(decoder).train()(**Collator(prompt)(pairs))
    assert outputs["retrieval_accuracy"] == losses.retrieval_accuracy(*vectors)


def test_padding_does_not_change_the_loss(decoder, prompt, examples):
    """The loss of a batch is the mean over tokens of the losses of its pairs."""
    pairs = [examples[i] for i in range(7)]
    together = fine_tuning.Objective(decoder, OFF)(**Collator(prompt)(pairs))
    single = [fine_tuning.Objective(decoder, OFF)(**Collator(prompt)([pair])) for pair in pairs]
    total = sum(outputs["lm_loss"] * outputs["predicted_tokens"] for outputs in single)
    torch.testing.assert_close(together["lm_loss"], total / together["predicted_tokens"])


def _gradients(objective, batch):
    objective.zero_grad()
    outputs = objective.train()(**batch)
    outputs["loss"].backward()
    return outputs, {name: weight.grad for name, weight in objective.named_parameters()}


@pytest.mark.parametrize("micro_batch", [1, 2, 5])
def test_micro_batches_change_neither_loss_nor_gradients(decoder, batch, micro_batch):
    model = trained_skip(decoder, 1, 3)
    outputs, expected = _gradients(fine_tuning.Objective(model, CONTRASTIVE), batch)
    parts, gradients = _gradients(fine_tuning.Objective(model, CONTRASTIVE, micro_batch), batch)
    assert parts.keys() == outputs.keys()
    torch.testing.assert_close(parts, outputs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients, expected, rtol=1e-3, atol=1e-5)


def test_each_micro_batch_runs_twice(new_decoder, prompt, examples, monkeypatch):
    monkeypatch.setattr(losses, "CHUNK", 4)
    decoder, runs = new_decoder(), []
    decoders.find_blocks(decoder)[3].register_forward_hook(lambda *_: runs.append(1))
    _gradients(fine_tuning.Objective(decoder, CONTRASTIVE, 4), Collator(prompt)([examples[i] for i in range(8)]))
    assert len(runs) == 2 * 2


def test_micro_batches_save_few_tensors_for_the_backward_pass(new_decoder, prompt, examples):
    """The number of values that autograd saves hardly grows with the batch."""

    def saved_values(count, micro_batch):
        total = 0

        def pack(tensor):
            nonlocal total
            total += tensor.numel()
            return tensor

        objective = fine_tuning.Objective(new_decoder(), CONTRASTIVE, micro_batch).train()
        batch = Collator(prompt)([examples[i] for i in range(count)])
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            objective(**batch)
        return total

    assert saved_values(64, None) > 3 * saved_values(16, None)
    assert saved_values(64, 4) < 0.1 * saved_values(64, None)


def test_repeated_pairs_are_not_negatives(new_decoder, prompt, examples):
    repeated = Collator(prompt)([examples[0]] * 4)
    assert _objective(new_decoder()).train()(**repeated)["contrastive_loss"].item() == 0.0


def test_only_targets_run_again_and_only_up_to_the_layer(new_decoder, batch):
    decoder, ran = new_decoder(), []
    for number, block in enumerate(decoders.find_blocks(decoder), start=1):
        block.register_forward_hook(lambda *call, number=number: ran.append((number, tuple(call[-1].shape[:2]))))
    _objective(decoder, layer=2).train()(**batch)
    full, targets = tuple(batch["input_ids"].shape), tuple(batch["target_ids"].shape)
    assert ran == [(1, full), (2, full), (3, full), (4, full), (1, targets), (2, targets)]


def test_contrastive_gradient_reaches_exactly_the_weights_up_to_its_layer(new_decoder, batch):
    decoder = new_decoder("llama", tied=False)
    _objective(decoder, layer=2).train()(**batch)["contrastive_loss"].backward()
    reached = {name for name, weight in decoder.named_parameters() if weight.grad is not None and weight.grad.any()}
    below = [name for name, _ in decoder.named_parameters() if ".layers.0." in name or ".layers.1." in name]
    assert reached == {"model.embed_tokens.weight", *below}


def test_contrastive_gradient_reaches_no_block_above_its_layer(decoder, batch):
    model = trained_skip(decoder, 1, 4)
    _objective(model, layer=2).train()(**batch)["contrastive_loss"].backward()
    trained = {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    blocks = {id(w): i for i, block in enumerate(decoders.find_blocks(decoder), 1) for w in block.parameters()}
    reached = {blocks.get(id(weight), 0) for name, weight in model.named_parameters() if name in trained}
    assert reached == {0, 1, 2}  # 0: the embeddings
    assert not any(name.startswith("skip.") for name in trained)


def test_full_loss_reaches_every_weight(decoder, batch):
    model = trained_skip(decoder, 1, 3)
    _objective(model).train()(**batch)["loss"].backward()
    untrained = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    # A bias of all keys does not change the attention.
    assert not [name for name in untrained if "k_proj.bias" not in name]


def test_validation_has_no_contrastive_loss(new_decoder, batch):
    outputs = _objective(new_decoder()).eval()(**batch)
    assert "contrastive_loss" not in outputs
    assert outputs["loss"] is outputs["lm_loss"]


# Training


@pytest.fixture
def fit(tmp_path, new_decoder, prompt, examples):
    """A function that trains a small decoder on the toy pair; `changes` go to the training section."""

    def run(contrastive=CONTRASTIVE, skip=SKIP, seed=1, decoder=None, data=examples, valid=None, lora=LORA, **changes):
        watch = {name: changes.pop(name) for name in ("callbacks", "snapshots") if name in changes}
        settings = {"contrastive": contrastive, "skip": skip, "lora": lora, "training": TRAINING | changes}
        decoder = decoder or new_decoder(spread=0.02)
        valid = valid or _some(examples, 40)
        return fine_tuning.train(decoder, prompt, settings, data, valid, seed, tmp_path, **watch)

    return run


def _some(examples, count):
    return Examples(examples.source[:count], examples.target[:count], examples.keys[:count])


def _weights(outcome):
    return {name: weight.clone() for name, weight in outcome.model.state_dict().items()}


def _same_weights(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class _StopAt(TrainerCallback):
    """Call `stop` after a step and, if one is due, its snapshot."""

    def __init__(self, step, stop):
        self.step, self.stop = step, stop

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.stop()

    def on_train_end(self, args, state, control, **kwargs):
        self.on_step_begin(args, state, control)


class _DiedError(Exception):
    pass


def _die():
    raise _DiedError


@pytest.mark.parametrize(
    "options",
    [
        {"log_every": 3, "validations": 2},
        {"skip": SKIP | {"gate": "warmup"}, "micro_batch": 5, "gradient_cosine": False},
        {"weights": "lora", "lora": LORA | {"dropout": 0.2}, "contrastive": OFF},
        {"weights": "frozen", "contrastive": OFF, "schedule": "linear"},
        {"skip": OFF, "batch_tokens": 200},
    ],
    ids=["full", "warm-up", "lora", "frozen", "plain"],
)
def test_interrupted_training_has_the_same_result_bit_for_bit(fit, tmp_path, options):
    uninterrupted = fit(**options)
    snapshots = Snapshots(tmp_path / "snapshots", "abc", minutes=0)
    for step in (1, 4, 7, 8):  # of 8
        with pytest.raises(_DiedError):
            fit(**options, snapshots=snapshots, callbacks=[_StopAt(step, _die)])
        assert snapshots.newest().name == f"checkpoint-{step}"
    resumed = fit(**options, snapshots=snapshots)
    assert _same_weights(_weights(uninterrupted), _weights(resumed))
    assert without_times(uninterrupted.history) == without_times(resumed.history)
    assert without_times(uninterrupted.facts) == without_times(resumed.facts)


def test_speed_excludes_the_time_of_loading(fit, tmp_path, monkeypatch):
    options = {"log_every": 3, "snapshots": Snapshots(tmp_path / "snapshots", "abc", minutes=0)}
    with pytest.raises(_DiedError):
        fit(**options, callbacks=[_StopAt(4, _die)])
    clock, late, load = time.perf_counter, [0.0], training_loop.TrainingLoop.load_state_dict

    def load_slowly(self, state):
        late[0] += 1000.0
        load(self, state)

    monkeypatch.setattr(training_loop.TrainingLoop, "load_state_dict", load_slowly)
    monkeypatch.setattr(training_loop.time, "perf_counter", lambda: clock() + late[0])
    history = [row for row in fit(**options).history if "tokens_per_second" in row]
    assert late == [1000.0]
    assert [row["step"] for row in history] == [3, 6]
    assert all(row["tokens_per_second"] > 1 for row in history)  # with the 1,000 seconds, it would be lower


def test_sigterm_saves_a_snapshot_first(fit, tmp_path):
    uninterrupted, snapshots = fit(), Snapshots(tmp_path / "snapshots", "abc")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TerminatedError):
        fit(snapshots=snapshots, callbacks=[_StopAt(5, lambda: os.kill(os.getpid(), signal.SIGTERM))])
    assert signal.getsignal(signal.SIGTERM) == before
    assert [path.name for path in snapshots.folder.glob("checkpoint-*")] == ["checkpoint-6"]
    assert _same_weights(_weights(uninterrupted), _weights(fit(snapshots=snapshots)))


class _EndInValidation(TrainerCallback):
    """Send SIGTERM after the validation of a step."""

    def __init__(self, step):
        self.step = step

    def on_evaluate(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_after_the_last_step_does_not_end_the_training(fit, tmp_path):
    uninterrupted, snapshots = fit(), Snapshots(tmp_path / "snapshots", "abc")
    done = fit(snapshots=snapshots, callbacks=[_EndInValidation(TRAINING["steps"])])
    assert _same_weights(_weights(uninterrupted), _weights(done))


def test_sigterm_in_a_validation_ends_the_step_after_it(fit, tmp_path):
    snapshots = Snapshots(tmp_path / "snapshots", "abc")
    with pytest.raises(TerminatedError):
        fit(validations=2, snapshots=snapshots, callbacks=[_EndInValidation(4)])
    assert snapshots.newest().name == "checkpoint-5"


def test_previous_snapshot_is_used_if_the_last_is_damaged(fit, tmp_path):
    uninterrupted, snapshots = fit(), Snapshots(tmp_path / "snapshots", "abc", minutes=0)
    with pytest.raises(_DiedError):
        fit(snapshots=snapshots, callbacks=[_StopAt(5, _die)])
    assert sorted(path.name for path in snapshots.folder.glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-5"]
    (snapshots.folder / "checkpoint-5/optimizer.pt").write_bytes(b"torn")
    assert snapshots.newest().name == "checkpoint-4"
    assert _same_weights(_weights(uninterrupted), _weights(fit(snapshots=snapshots)))


def test_full_disk_leaves_no_incomplete_snapshot(fit, tmp_path, monkeypatch):
    snapshots = Snapshots(tmp_path / "snapshots", "abc", minutes=0)
    save = torch.save

    def full(value, path, *rest, **options):
        if "checkpoint-4/loop" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        save(value, path, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(OSError, match="No space left"):
            fit(snapshots=snapshots)
    assert sorted(path.name for path in snapshots.folder.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-3"]


@pytest.mark.parametrize("micro_batch", [None, 16, 6])
def test_lack_of_memory_halves_the_micro_batch_but_not_the_batch(fit, monkeypatch, capsys, micro_batch):
    options = {"micro_batch": micro_batch, "log_every": 4, "steps": 8}
    expected, batches = fit(**options), []
    run, failures = fine_tuning.Objective._run, iter([True, True])

    def short_of_memory(self, batch, *rest):
        batches.append(len(batch["length"]))
        if len(batches) > 5 and len(batch["length"]) > 4 and next(failures, False):
            raise torch.OutOfMemoryError("injected")
        return run(self, batch, *rest)

    monkeypatch.setattr(fine_tuning.Objective, "_run", short_of_memory)
    outcome = fit(**options)
    halved = {None: 4, 16: 4, 6: 3}[micro_batch]
    assert outcome.facts["micro_batch"] == halved
    assert f"micro_batch {halved} from here on" in capsys.readouterr().out
    assert batches[-1] <= halved
    assert expected.facts["micro_batch"] == micro_batch
    for one, other in zip(without_times(expected.history), without_times(outcome.history), strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    weights = zip(_weights(expected).values(), _weights(outcome).values(), strict=True)
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in weights)


def test_resumed_training_uses_the_halved_micro_batch(fit, monkeypatch, tmp_path):
    snapshots = Snapshots(tmp_path / "snapshots", "abc", minutes=0)
    run = fine_tuning.Objective._run

    def short_of_memory(self, batch, *rest):
        if len(batch["length"]) > 8:
            raise torch.OutOfMemoryError("injected")
        return run(self, batch, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(fine_tuning.Objective, "_run", short_of_memory)
        with pytest.raises(_DiedError):
            fit(snapshots=snapshots, callbacks=[_StopAt(4, _die)])
    assert fit(snapshots=snapshots).facts["micro_batch"] == 8


def test_lack_of_memory_for_a_single_pair_is_an_error(fit, monkeypatch):
    def short_of_memory(self, *rest):
        raise torch.OutOfMemoryError("injected")

    monkeypatch.setattr(fine_tuning.Objective, "_run", short_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        fit()


def test_training_learns_the_toy_pair(fit, new_decoder):
    rows = fit(decoder=new_decoder(spread=0.1), steps=120, log_every=20, learning_rate=1e-2).history
    # uniform probabilities over about 300 tokens cost 5.7 nats, and over the ten digits ln 10 = 2.3
    assert rows[0]["lm_loss"] > 3.5
    assert rows[-1]["lm_loss"] < 1.5
    assert rows[-1]["contrastive_loss"] < 0.5 * rows[0]["contrastive_loss"]


def test_model_is_trained_in_place(fit, new_decoder):
    decoder = new_decoder(spread=0.02)
    before = decoder.get_input_embeddings().weight.clone()
    outcome = fit(skip=OFF, decoder=decoder, steps=2)
    assert outcome.model is decoder
    assert not torch.equal(decoder.get_input_embeddings().weight.cpu(), before)


def test_same_seed_gives_the_same_weights(fit, new_decoder):
    one, decoder = fit(), new_decoder(spread=0.02)
    torch.manual_seed(99)  # earlier random numbers must not matter
    other = fit(decoder=decoder)
    assert _same_weights(_weights(one), _weights(other))
    assert without_times(one.history) == without_times(other.history)


def test_other_seed_gives_other_weights(fit):
    one, other = fit(skip=OFF), fit(skip=OFF, seed=2)
    assert not _same_weights(_weights(one), _weights(other))
    assert one.history[0]["loss"] != other.history[0]["loss"]


PARTS = {"full": (CONTRASTIVE, SKIP), "contrastive": (CONTRASTIVE, OFF), "skip": (OFF, SKIP), "plain": (OFF, OFF)}


@pytest.mark.parametrize("parts", PARTS)
def test_history_has_a_column_for_each_part(fit, parts):
    contrastive, skip = PARTS[parts]
    rows = fit(contrastive, skip, steps=4).history
    columns = {"step", "loss", "lm_loss", "learning_rate", "tokens_per_second"}
    columns |= {"contrastive_loss", "retrieval_accuracy"} if contrastive["enabled"] else set()
    columns |= {"gate"} if skip["enabled"] else set()
    assert [row["step"] for row in rows] == [2, 4]
    assert all(row.keys() - {"grad_norm"} == columns for row in rows)


def test_logged_loss_is_the_weighted_sum(fit):
    for row in fit(steps=4).history:
        assert row["loss"] == pytest.approx(row["lm_loss"] + 0.5 * row["contrastive_loss"], rel=1e-5)


def test_last_validation_loss_is_that_of_the_final_model(fit, prompt, examples):
    outcome = fit(steps=8, validations=2, batch_size=40)
    losses = {row["step"]: row["valid_loss"] for row in outcome.history if "valid_loss" in row}
    assert losses.keys() == {4, 8}
    batch = Collator(prompt)([examples[i] for i in range(40)])
    model = outcome.model.cpu().eval()
    expected = model(batch["input_ids"], attention_mask=_mask(batch), labels=batch["labels"]).loss
    assert losses[8] == pytest.approx(expected.item(), rel=1e-5)


def test_validation_does_not_change_the_training(fit, new_decoder):
    def with_dropout():
        decoder = new_decoder(spread=0.02)
        for module in decoder.modules():
            if isinstance(getattr(module, "dropout", None), float):
                module.dropout = 0.1
        return decoder

    without, with_it = (_weights(fit(decoder=with_dropout(), validations=n)) for n in (0, 4))
    assert _same_weights(without, with_it)
    assert not _same_weights(without, _weights(fit()))  # dropout did draw random numbers


def test_all_variants_see_the_same_pairs_in_the_same_order(fit, monkeypatch):
    def order(**method):
        seen = []
        get = Examples.__getitem__
        with monkeypatch.context() as patch:
            patch.setattr(Examples, "__getitem__", lambda self, i: seen.append(i) or get(self, i))
            fit(**method)
        return seen

    plain = order(contrastive=OFF, skip=OFF)
    assert len(plain) >= 8 * 16
    assert order() == order(skip=OFF) == order(contrastive=OFF) == plain


def test_facts_describe_the_training(fit):
    outcome = fit(steps=4)
    assert outcome.facts.keys() == {
        "status",
        "train_seconds",
        "train_pairs",
        "train_steps",
        "train_tokens",
        "train_loss",
        "micro_batch",
        "gpu_memory_mb",
    }
    assert (outcome.facts["train_pairs"], outcome.facts["train_steps"]) == (300, 4)
    assert outcome.facts["train_loss"] == outcome.history[-1]["lm_loss"] < outcome.history[-1]["loss"]
    assert outcome.facts["train_seconds"] > 0


def test_shortest_training_has_a_row_and_a_loss(fit):
    outcome = fit(steps=1, log_every=5)
    assert [row["step"] for row in outcome.history] == [1]
    assert outcome.facts["status"] == "ok"
    assert outcome.facts["train_loss"] == outcome.history[0]["lm_loss"]


@pytest.mark.parametrize("learning_rate", [1e10, math.inf])
def test_diverging_training_ends_early_with_its_status(fit, learning_rate):
    outcome = fit(steps=40, log_every=1, learning_rate=learning_rate, warmup=0.0)
    assert (outcome.facts["status"], outcome.facts["train_loss"]) == ("diverged", None)
    assert outcome.facts["train_steps"] < 10


def test_interrupted_diverging_training_has_the_same_result(fit, tmp_path):
    options = {"steps": 40, "log_every": 3, "learning_rate": math.inf, "warmup": 0.0}
    uninterrupted, snapshots = fit(**options), Snapshots(tmp_path / "snapshots", "abc", minutes=0)
    last = uninterrupted.facts["train_steps"]
    assert last < 40
    with pytest.raises(_DiedError):
        fit(**options, snapshots=snapshots, callbacks=[_StopAt(last, _die)])
    resumed = fit(**options, snapshots=snapshots)
    assert repr(without_times(uninterrupted.facts)) == repr(without_times(resumed.facts))
    assert repr(without_times(uninterrupted.history)) == repr(without_times(resumed.history))  # nan != nan


def test_training_with_lost_weights_after_the_last_row_has_diverged(fit):
    outcome = fit(steps=1, log_every=1, learning_rate=math.inf, schedule="constant", warmup=0.0)
    assert math.isfinite(outcome.history[0]["loss"])  # the loss before the only step, which destroys the weights
    assert (outcome.facts["status"], outcome.facts["train_loss"]) == ("diverged", None)


def test_long_pairs_are_not_used_for_training(fit, examples):
    assert sorted(examples.lengths())[::75] == [4, 6, 8, 10]  # one token per digit; 75 pairs of each length
    assert fit(steps=1, max_tokens=8).facts["train_pairs"] == 225


def test_too_few_short_pairs_are_refused(fit):
    with pytest.raises(InputError, match=r"at least a batch of 16 pairs within 1 tokens, found 0 of 300"):
        fit(max_tokens=1)


def test_validation_without_a_pair_is_refused_before_training(fit, examples):
    long = examples.select([i for i, length in enumerate(examples.lengths()) if length > 8])
    with pytest.raises(InputError, match=r"at least 1 pair of valid within 8 tokens, found 0 of 75; .* to 0"):
        fit(max_tokens=8, validations=2, valid=long)
    assert fit(steps=1, max_tokens=8, validations=0, valid=long).facts["train_pairs"] == 225


def test_frozen_weights_do_not_change(fit, new_decoder):
    decoder = new_decoder(spread=0.02)
    frozen, free = decoders.find_blocks(decoder)[0], decoders.find_blocks(decoder)[1]
    frozen.requires_grad_(False)
    before = [frozen.fc1.weight.clone(), free.fc1.weight.clone()]
    fit(decoder=decoder, steps=4)
    assert torch.equal(frozen.fc1.weight.cpu(), before[0])
    assert not torch.equal(free.fc1.weight.cpu(), before[1])


def test_frozen_base_trains_only_the_skip(fit, decoder):
    before = {name: weight.clone() for name, weight in decoder.state_dict().items()}
    outcome = fit(decoder=decoder, weights="frozen", steps=4)
    trained = {name for name, weight in outcome.model.named_parameters() if weight.requires_grad}
    assert trained == {"skip.linear.weight", "skip.linear.bias", "skip.gate"}
    assert _same_weights(before, {name: weight.cpu() for name, weight in decoder.state_dict().items()})
    assert outcome.model.skip.gate != 0


def test_lora_is_merged_and_the_skip_trained_in_full(fit, decoder, tmp_path, ids):
    before = {name: weight.clone() for name, weight in decoder.state_dict().items()}
    outcome = fit(decoder=decoder, weights="lora", steps=4, learning_rate=1e-2)
    after = {name: weight.cpu() for name, weight in decoder.state_dict().items()}
    assert after.keys() == before.keys()  # the adapters are gone
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    stack, _ = decoders.find_stack(decoder)
    assert changed
    assert all(name.startswith(stack) for name in changed)
    for name in changed:  # the change has the configured rank
        assert torch.linalg.matrix_rank(after[name] - before[name], tol=1e-5) <= LORA["rank"]
    assert outcome.model.skip.gate != 0
    outcome.model.cpu().save_pretrained(tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(logits_of(loaded, ids), logits_of(outcome.model.eval(), ids), rtol=1e-4, atol=1e-4)


def test_lora_lowers_both_losses(fit, new_decoder):
    rows = fit(decoder=new_decoder(), weights="lora", steps=60, log_every=10, learning_rate=1e-2).history
    assert rows[-1]["lm_loss"] < rows[0]["lm_loss"]
    assert rows[-1]["contrastive_loss"] < rows[0]["contrastive_loss"]


def test_batches_stay_within_the_token_limit(fit, monkeypatch):
    seen = []
    forward = fine_tuning.Objective.forward
    monkeypatch.setattr(
        fine_tuning.Objective,
        "forward",
        lambda self, **batch: seen.append(batch["input_ids"].numel()) or forward(self, **batch),
    )
    fit(batch_tokens=100, steps=6)
    assert len(seen) == 6
    assert max(seen) <= 100


def test_micro_batches_train_the_same_model(fit):
    full, parts = fit(), fit(micro_batch=4)
    for one, other in zip(full.history, parts.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
    torch.testing.assert_close(_weights(parts), _weights(full), rtol=1e-2, atol=1e-3)


def test_micro_batches_repeat_dropout_and_number_format(fit, new_decoder):
    """The second run of a micro-batch repeats the first one: the loss falls as without micro-batches."""

    def with_dropout():
        decoder = new_decoder(spread=0.1)
        for block in decoders.find_blocks(decoder):
            block.dropout = 0.1
        return decoder

    options = {"steps": 60, "log_every": 20, "learning_rate": 1e-2, "precision": "bf16"}
    full, parts = (fit(decoder=with_dropout(), micro_batch=n, **options).history for n in (None, 4))
    assert parts[-1]["loss"] == pytest.approx(full[-1]["loss"], rel=0.15)
    assert parts[-1]["loss"] < 0.8 * parts[0]["loss"]


def test_gradient_cosine_is_logged_on_request(fit, new_decoder, prompt, examples, monkeypatch):
    rows = fit(gradient_cosine=True, steps=4, log_every=2).history
    assert all(-1 <= row["gradient_cosine"] <= 1 for row in rows)
    # compute the first step independently
    order = next(iter(LengthGroupedBatches([n + 3 for n in examples.lengths()], 16, 1, 1)))
    objective = _objective(trained_skip(new_decoder(spread=0.02), 1, 3)).train()
    torch.manual_seed(1)
    first = fit(gradient_cosine=True, steps=1, log_every=1, skip=OFF).history[0]["gradient_cosine"]
    objective = _objective(new_decoder(spread=0.02)).train()
    outputs = objective(**Collator(prompt)([examples[i] for i in order]))
    gradients = []
    for name in ("lm_loss", "contrastive_loss"):
        objective.zero_grad()
        outputs[name].backward(retain_graph=True)
        gradients.append({n: w.grad.clone() for n, w in objective.named_parameters() if w.grad is not None})
    shared = [name for name in gradients[0] if name in gradients[1]]
    translation, contrastive = (torch.cat([part[name].flatten() for name in shared]) for part in gradients)
    assert first == pytest.approx(torch.cosine_similarity(translation, contrastive, dim=0).item(), rel=1e-3)


@pytest.mark.slow
def test_compiled_blocks_train_the_same_model(fit):
    plain, compiled = fit(steps=4), fit(steps=4, compile=True)
    for one, other in zip(plain.history, compiled.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)


# Two processes


def _on_one_of_two(rank, folder, settings, batch, decoder):
    """Compute the gradients of half of a batch in one of two processes, as the Trainer does, and save them."""
    torch.set_num_threads(1)
    meeting, patience = f"file://{folder}/meeting", timedelta(seconds=300)
    torch.distributed.init_process_group("gloo", meeting, world_size=2, rank=rank, timeout=patience)
    objective = torch.nn.parallel.DistributedDataParallel(
        fine_tuning.Objective(decoder, settings).train(), find_unused_parameters=True
    )
    outputs = objective(**{name: rows[rank::2] for name, rows in batch.items()})
    outputs["loss"].backward()
    gradients = {name: weight.grad for name, weight in objective.module.named_parameters()}
    torch.save((outputs, gradients), f"{folder}/{rank}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "count"), [("info_nce", 6), ("info_nce", 5), ("triplet", 5)])  # 5: unequal halves
def test_two_processes_equal_one_process_with_the_joined_batch(new_decoder, prompt, examples, tmp_path, loss, count):
    settings = CONTRASTIVE | {"loss": loss, "weight": 1.0}
    pairs = [examples[i] for i in range(count)]
    pairs[1] = pairs[0]  # the same pair in both processes
    batch = Collator(prompt)(pairs)
    model = trained_skip(new_decoder(), 1, 3)
    joined, expected = _gradients(fine_tuning.Objective(model, settings), batch)
    model.zero_grad()
    torch.multiprocessing.spawn(_on_one_of_two, (str(tmp_path), settings, batch, model), nprocs=2)
    halves = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in (0, 1)]
    for outputs, gradients in halves:
        torch.testing.assert_close(gradients, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(outputs["contrastive_loss"], joined["contrastive_loss"])
        torch.testing.assert_close(outputs["retrieval_accuracy"], joined["retrieval_accuracy"])
    mean = (halves[0][0]["loss"] + halves[1][0]["loss"]) / 2
    torch.testing.assert_close(mean, joined["loss"])
    assert torch.equal(losses.gathered(torch.arange(3)), torch.arange(3))  # nothing to gather in a single process


# The gate


def test_learned_gate_starts_at_zero_and_moves(fit):
    gates = [row["gate"] for row in fit(log_every=1).history]
    assert gates[0] == 0.0
    assert abs(gates[-1]) > 1e-4


def test_warmup_gate_rises_to_one_and_is_saved(fit, tmp_path):
    outcome = fit(skip=SKIP | {"gate": "warmup", "warmup_steps": 4}, steps=7, log_every=1)
    assert [row["gate"] for row in outcome.history] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    outcome.model.save_pretrained(tmp_path / "model")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").skip.gate == 1.0


def test_gate_keeps_its_value_if_training_ends_during_warmup(fit):
    outcome = fit(skip=SKIP | {"gate": "warmup", "warmup_steps": 8}, steps=3, log_every=1)
    assert outcome.model.skip.gate == 0.25  # third step: 2 / 8
    assert outcome.history[-1]["gate"] == 0.25


def test_skip_has_the_configured_form(new_decoder):
    skip = SKIP | {"source": 2, "target": 4, "activation": "tanh", "normalize": False, "gate": "warmup"}
    config = fine_tuning.with_skip(new_decoder(), skip).config
    assert (config.skip_source, config.skip_target) == (2, 4)
    assert (config.skip_activation, config.skip_normalize, config.skip_gate) == ("tanh", False, "warmup")
    decoder = new_decoder()
    assert fine_tuning.with_skip(decoder, OFF) is decoder


def test_examples_must_fit_the_model(fit):
    fit(max_tokens=61)
    with pytest.raises(InputError, match=r"training\.max_tokens: expected at most 61, since the model reads 64"):
        fit(max_tokens=62)
