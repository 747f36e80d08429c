"""The objective equals independent computations, and training learns, repeats itself and reports what it did."""

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
from workflows import without_clocks

from skipclm.data.examples import Collator, Examples, LengthGroupedBatches, Prompt
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


def test_translation_part_is_the_loss_of_transformers(decoder, batch):
    outputs = fine_tuning.Objective(decoder, OFF)(**batch)
    expected = decoder(batch["input_ids"], attention_mask=_mask(batch), labels=batch["labels"]).loss
    torch.testing.assert_close(outputs["loss"], expected)
    assert outputs["lm_loss"] is outputs["loss"]
    assert outputs.keys() == {"loss", "lm_loss", "tokens", "predicted_tokens"}
    assert outputs["predicted_tokens"] == sum(label != -100 for row in batch["labels"].tolist() for label in row)
    assert outputs["tokens"] == _mask(batch).sum()


UNUSUAL = {  # what is unlike other decoders
    "gemma3": "a language model within a model of images too",
    "llama4_text": "a head that calls its body by another name than it says",
    "qwen3_next": "blocks of attention and recurrent ones, with a cache of two kinds",
}


@pytest.mark.parametrize("architecture", UNUSUAL)
def test_unusual_decoders_train_and_translate(architecture, pairs):
    decoder, tokenizer = base_model.untrained(architecture, pairs[0] + pairs[1], 4, 16, 2, 400, 1)
    model, prompt = trained_skip(decoder, 1, 3), Prompt.of(tokenizer)
    own = Examples.encoded(tokenizer, *[side[:5] for side in pairs])
    batch = Collator(prompt)([own[i] for i in range(5)])
    outputs = _objective(model).train()(**batch)
    model.eval()
    expected = model(batch["input_ids"], attention_mask=_mask(batch), labels=batch["labels"]).loss
    torch.testing.assert_close(outputs["lm_loss"], expected, rtol=1e-4, atol=1e-5)
    contrastive = _info_nce_alone(decoder, prompt, [own[i] for i in range(5)], 2, 0.2)
    assert outputs["contrastive_loss"].item() == pytest.approx(contrastive, rel=1e-4)
    together = decoding.translate(model, tokenizer, own.source).texts
    assert together == [decoding.translate(model, tokenizer, [ids]).texts[0] for ids in own.source]


HEADS = {  # the head has more weights than those of the output matrix
    "modernbert-decoder": {"lm_head.dense.weight", "lm_head.norm.weight"},
    "gpt_neox_japanese": set(),
    "phi": {"lm_head.bias"},
}


@pytest.mark.parametrize("architecture", HEADS)
def test_every_weight_has_the_gradient_of_transformers_own_loss(architecture, pairs):
    decoder, tokenizer = base_model.untrained(architecture, pairs[0] + pairs[1], 2, 16, 2, 400, 1)
    own = Examples.encoded(tokenizer, *[side[:5] for side in pairs])
    batch = Collator(Prompt.of(tokenizer))([own[i] for i in range(5)])
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
    """A mixture of experts whose configuration asks for a router loss, of much weight."""
    torch.manual_seed(1)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    options = {"num_key_value_heads": 2, "output_router_logits": True, "router_aux_loss_coef": 0.5, "eos_token_id": 2}
    config = AutoConfig.for_model(request.param, vocab_size=len(tokenizer), pad_token_id=1, **sizes, **options)
    return AutoModelForCausalLM.from_config(config).eval()


def test_a_router_loss_is_that_of_transformers(mixture, batch):
    outputs = fine_tuning.Objective(mixture, OFF)(**batch)
    expected = mixture(batch["input_ids"], attention_mask=_mask(batch), labels=batch["labels"])
    torch.testing.assert_close(outputs["loss"], expected.loss)
    torch.testing.assert_close(outputs["router_loss"], 0.5 * expected.aux_loss)
    torch.testing.assert_close(outputs["lm_loss"], expected.loss - 0.5 * expected.aux_loss)  # what systems share


def test_a_router_loss_stays_out_unless_it_is_asked_for(mixture, batch):
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


def test_a_mixture_of_experts_generates_before_and_after_training(mixture, fit, tokenizer, examples):
    sources = sorted(examples.source[:20], key=len)[::19]  # of two lengths, so that there is padding
    assert len(decoding.translate(mixture, tokenizer, sources, length_extra=4).texts) == 2
    assert mixture.config.output_router_logits
    outcome = fit(OFF, OFF, decoder=mixture, steps=2)
    assert "router_loss" in outcome.history[-1]
    assert not outcome.model.config.output_router_logits  # with it, transformers' own `generate` fails here
    ids, mask = torch.tensor([[1, 2, 5, 2], [2, 5, 6, 2]]), torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])
    assert outcome.model.generate(ids, attention_mask=mask, max_new_tokens=2).shape[0] == 2


def _vector(model, begin, ids, layer):
    """Return the mean state of a sentence that is encoded on its own."""
    with torch.no_grad():
        states = model(torch.tensor([[*begin, *ids]]), output_hidden_states=True).hidden_states[layer]
    return states[0, len(begin) :].mean(dim=0)


def _one_way(anchors, others, temperature):
    total = 0.0
    for i, anchor in enumerate(anchors):
        terms = [math.exp(torch.cosine_similarity(anchor, o, dim=0).item() / temperature) for o in others]
        total -= math.log(terms[i] / sum(terms)) / len(anchors)
    return total


def _info_nce_alone(model, prompt, pairs, layer, temperature):
    """Compute InfoNCE with a pass for every single sentence."""
    sources = [_vector(model, prompt.begin, pair["source"], layer) for pair in pairs]
    targets = [_vector(model, prompt.begin, pair["target"], layer) for pair in pairs]
    return (_one_way(sources, targets, temperature) + _one_way(targets, sources, temperature)) / 2


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_contrastive_part_equals_passes_for_single_sentences(decoder, prompt, examples, layer):
    pairs = [examples[i] for i in range(5)]
    outputs = _objective(decoder, layer=layer).train()(**Collator(prompt)(pairs))
    expected = _info_nce_alone(decoder.eval(), prompt, pairs, layer, 0.2)
    assert outputs["contrastive_loss"].item() == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(outputs["loss"], outputs["lm_loss"] + 0.5 * outputs["contrastive_loss"])


@pytest.mark.parametrize(("source", "target", "layer"), [(1, 2, 3), (1, 3, 3), (2, 4, 1)])
def test_contrastive_part_sees_the_skip(decoder, prompt, examples, source, target, layer):
    pairs = [examples[i] for i in range(5)]
    plain = _info_nce_alone(decoder, prompt, pairs, layer, 0.2)
    model = trained_skip(decoder, source, target)
    outputs = _objective(model, layer=layer).train()(**Collator(prompt)(pairs))
    expected = _info_nce_alone(model.eval(), prompt, pairs, layer, 0.2)
    assert outputs["contrastive_loss"].item() == pytest.approx(expected, rel=1e-4)
    assert (abs(expected - plain) > 1e-3) == (target <= layer)
    assert outputs["gate"].item() == pytest.approx(0.7)


def test_full_pass_yields_the_source_as_if_alone(decoder, batch):
    with decoders.Recorder(decoder, 2) as recorder, torch.no_grad():
        decoder(batch["input_ids"])
    for row, weights, states in zip(batch["input_ids"], batch["source_weights"], recorder.state, strict=True):
        end = int(weights.nonzero().max()) + 1
        with torch.no_grad():
            alone = decoder(row[None, :end], output_hidden_states=True).hidden_states[2][0]
        torch.testing.assert_close(states[:end], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["last", "end", "position"])
def test_contrastive_part_pools_as_asked(decoder, prompt, examples, pooling):
    pairs = [examples[i] for i in range(5)]

    def vector(ids):
        with torch.no_grad():
            states = decoder(torch.tensor([[*prompt.begin, *ids, prompt.end]]), output_hidden_states=True).hidden_states
        own = states[2][0, len(prompt.begin) : -1]
        weights = torch.arange(1.0, len(own) + 1)[:, None]
        return {"last": own[-1], "end": states[2][0, -1], "position": (weights * own).sum(0) / weights.sum()}[pooling]

    sources, targets = ([vector(pair[side]) for pair in pairs] for side in ("source", "target"))
    expected = (_one_way(sources, targets, 0.2) + _one_way(targets, sources, 0.2)) / 2
    outputs = _objective(decoder).train()(**Collator(prompt, pooling)(pairs))
    assert outputs["contrastive_loss"].item() == pytest.approx(expected, rel=1e-4)


def test_triplet_takes_the_place_of_info_nce(new_decoder, prompt, examples):
    decoder, pairs = new_decoder(), [examples[i] for i in range(5)]
    vectors = [torch.stack([_vector(decoder, prompt.begin, pair[side], 2) for pair in pairs]) for side in SIDES]
    outputs = _objective(decoder, loss="triplet", margin=0.7).train()(**Collator(prompt)(pairs))
    torch.testing.assert_close(outputs["contrastive_loss"], losses.triplet(*vectors, 0.7), rtol=1e-4, atol=1e-5)


def test_retrieval_accuracy_is_that_of_the_vectors(decoder, prompt, examples):
    pairs = [examples[i] for i in range(5)]
    vectors = [torch.stack([_vector(decoder, prompt.begin, pair[side], 2) for pair in pairs]) for side in SIDES]
    outputs = _objective(decoder).train()(**Collator(prompt)(pairs))
    assert outputs["retrieval_accuracy"] == losses.retrieval_accuracy(*vectors)


def test_padding_changes_no_loss(decoder, prompt, examples):
    """Pairs of all lengths together cost what they cost one by one: the mean over tokens."""
    pairs = [examples[i] for i in range(7)]
    together = fine_tuning.Objective(decoder, OFF)(**Collator(prompt)(pairs))
    alone = [fine_tuning.Objective(decoder, OFF)(**Collator(prompt)([pair])) for pair in pairs]
    total = sum(each["lm_loss"] * each["predicted_tokens"] for each in alone)
    torch.testing.assert_close(together["lm_loss"], total / together["predicted_tokens"])


def _gradients(objective, batch):
    objective.zero_grad()
    outputs = objective.train()(**batch)
    outputs["loss"].backward()
    return outputs, {name: weight.grad for name, weight in objective.named_parameters()}


@pytest.mark.parametrize("micro_batch", [1, 2, 5])
def test_micro_batches_change_neither_loss_nor_gradients(decoder, batch, micro_batch):
    model = trained_skip(decoder, 1, 3)
    whole, expected = _gradients(fine_tuning.Objective(model, CONTRASTIVE), batch)
    parts, gradients = _gradients(fine_tuning.Objective(model, CONTRASTIVE, micro_batch), batch)
    assert parts.keys() == whole.keys()
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients, expected, rtol=1e-3, atol=1e-5)


def test_micro_batches_run_twice_and_no_more(new_decoder, prompt, examples, monkeypatch):
    monkeypatch.setattr(losses, "CHUNK", 4)
    decoder, runs = new_decoder(), []
    decoders.find_blocks(decoder)[3].register_forward_hook(lambda *_: runs.append(1))
    _gradients(fine_tuning.Objective(decoder, CONTRASTIVE, 4), Collator(prompt)([examples[i] for i in range(8)]))
    assert len(runs) == 2 * 2


def test_micro_batches_keep_little_for_the_way_back(new_decoder, prompt, examples):
    """What autograd keeps, in numbers, hardly grows with the batch."""

    def kept(count, micro_batch):
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

    assert kept(64, None) > 3 * kept(16, None)
    assert kept(64, 4) < 0.1 * kept(64, None)


def test_repeated_pairs_are_no_negatives_of_each_other(new_decoder, prompt, examples):
    repeated = Collator(prompt)([examples[0]] * 4)
    assert _objective(new_decoder()).train()(**repeated)["contrastive_loss"].item() == 0.0


def test_only_targets_run_again_and_only_below_the_layer(new_decoder, batch):
    decoder, ran = new_decoder(), []
    for number, block in enumerate(decoders.find_blocks(decoder), start=1):
        block.register_forward_hook(lambda *call, number=number: ran.append((number, tuple(call[-1].shape[:2]))))
    _objective(decoder, layer=2).train()(**batch)
    full, targets = tuple(batch["input_ids"].shape), tuple(batch["target_ids"].shape)
    assert ran == [(1, full), (2, full), (3, full), (4, full), (1, targets), (2, targets)]


def test_contrastive_gradient_stays_at_and_below_its_layer(new_decoder, batch):
    decoder = new_decoder("llama", tied=False)
    _objective(decoder, layer=2).train()(**batch)["contrastive_loss"].backward()
    moved = {name for name, weight in decoder.named_parameters() if weight.grad is not None and weight.grad.any()}
    below = [name for name, _ in decoder.named_parameters() if ".layers.0." in name or ".layers.1." in name]
    assert moved == {"model.embed_tokens.weight", *below}


def test_contrastive_gradient_reaches_no_block_above_its_layer(decoder, batch):
    model = trained_skip(decoder, 1, 4)
    _objective(model, layer=2).train()(**batch)["contrastive_loss"].backward()
    moved = {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    blocks = {id(w): i for i, block in enumerate(decoders.find_blocks(decoder), 1) for w in block.parameters()}
    reached = {blocks.get(id(weight), 0) for name, weight in model.named_parameters() if name in moved}
    assert reached == {0, 1, 2}  # 0 are the embeddings
    assert not any(name.startswith("skip.") for name in moved)


def test_full_loss_reaches_every_weight(decoder, batch):
    model = trained_skip(decoder, 1, 3)
    _objective(model).train()(**batch)["loss"].backward()
    still = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    # Attention takes no notice of what all keys have in common.
    assert not [name for name in still if "k_proj.bias" not in name]


def test_validation_leaves_the_contrastive_part_out(new_decoder, batch):
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
    """Call something once a step is done and, if it was time for one, its snapshot saved."""

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
@pytest.mark.parametrize("step", [1, 4, 7, 8])
def test_an_interrupted_training_ends_bit_for_bit_like_one_that_was_not(fit, tmp_path, options, step):
    whole = fit(**options)
    found = Snapshots(tmp_path / "snapshots", "abc", minutes=0)
    with pytest.raises(_DiedError):
        fit(**options, snapshots=found, callbacks=[_StopAt(step, _die)])
    assert found.newest().name == f"checkpoint-{step}"
    resumed = fit(**options, snapshots=found)
    assert _same_weights(_weights(whole), _weights(resumed))
    assert without_clocks(whole.history) == without_clocks(resumed.history)
    assert without_clocks(whole.facts) == without_clocks(resumed.facts)


def test_the_time_that_loading_takes_is_not_that_of_steps(fit, tmp_path, monkeypatch):
    options = {"log_every": 3, "snapshots": Snapshots(tmp_path / "snapshots", "abc", minutes=0)}
    with pytest.raises(_DiedError):
        fit(**options, callbacks=[_StopAt(4, _die)])
    clock, late, load = time.perf_counter, [0.0], training_loop.Loop._load_sums

    def load_slowly(self, snapshot):
        late[0] += 1000.0
        load(self, snapshot)

    monkeypatch.setattr(training_loop.Loop, "_load_sums", load_slowly)
    monkeypatch.setattr(training_loop.time, "perf_counter", lambda: clock() + late[0])
    history = [row for row in fit(**options).history if "tokens_per_second" in row]
    assert late == [1000.0]
    assert [row["step"] for row in history] == [3, 6]
    assert all(row["tokens_per_second"] > 1 for row in history)  # a thousand seconds would make it less


def test_sigterm_saves_a_snapshot_first(fit, tmp_path):
    whole, found = fit(), Snapshots(tmp_path / "snapshots", "abc")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TerminatedError):
        fit(snapshots=found, callbacks=[_StopAt(5, lambda: os.kill(os.getpid(), signal.SIGTERM))])
    assert signal.getsignal(signal.SIGTERM) == before
    assert [path.name for path in found.folder.glob("checkpoint-*")] == ["checkpoint-6"]
    assert _same_weights(_weights(whole), _weights(fit(snapshots=found)))


class _EndInValidation(TrainerCallback):
    """Send a SIGTERM once a step is validated."""

    def __init__(self, step):
        self.step = step

    def on_evaluate(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_after_the_last_step_finds_the_training_done(fit, tmp_path):
    whole, found = fit(), Snapshots(tmp_path / "snapshots", "abc")
    done = fit(snapshots=found, callbacks=[_EndInValidation(TRAINING["steps"])])
    assert _same_weights(_weights(whole), _weights(done))


def test_sigterm_in_a_validation_ends_the_step_after_it(fit, tmp_path):
    found = Snapshots(tmp_path / "snapshots", "abc")
    with pytest.raises(TerminatedError):
        fit(validations=2, snapshots=found, callbacks=[_EndInValidation(4)])
    assert found.newest().name == "checkpoint-5"


def test_a_torn_snapshot_costs_the_steps_since_the_one_before(fit, tmp_path):
    whole, found = fit(), Snapshots(tmp_path / "snapshots", "abc", minutes=0)
    with pytest.raises(_DiedError):
        fit(snapshots=found, callbacks=[_StopAt(5, _die)])
    assert sorted(path.name for path in found.folder.glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-5"]
    (found.folder / "checkpoint-5/optimizer.pt").write_bytes(b"torn")
    assert found.newest().name == "checkpoint-4"
    assert _same_weights(_weights(whole), _weights(fit(snapshots=found)))


def test_a_snapshot_that_a_full_disk_tears_leaves_nothing(fit, tmp_path, monkeypatch):
    found = Snapshots(tmp_path / "snapshots", "abc", minutes=0)
    save = torch.save

    def full(value, path, *rest, **options):
        if "checkpoint-4/sums" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        save(value, path, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(OSError, match="No space left"):
            fit(snapshots=found)
    assert sorted(path.name for path in found.folder.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-3"]


@pytest.mark.parametrize("micro_batch", [None, 16, 6])
def test_lack_of_memory_halves_the_micro_batch_and_leaves_the_batch(fit, monkeypatch, capsys, micro_batch):
    options = {"micro_batch": micro_batch, "log_every": 4, "steps": 8}
    expected, batches = fit(**options), []
    run, failures = fine_tuning.Objective._run, iter([True, True])

    def short_of_memory(self, batch, *rest):
        batches.append(len(batch["length"]))
        if len(batches) > 5 and len(batch["length"]) > 4 and next(failures, False):
            raise torch.OutOfMemoryError("injected")
        return run(self, batch, *rest)

    monkeypatch.setattr(fine_tuning.Objective, "_run", short_of_memory)
    found = fit(**options)
    halved = {None: 4, 16: 4, 6: 3}[micro_batch]
    assert found.facts["micro_batch"] == halved
    assert f"micro_batch {halved} from here on" in capsys.readouterr().out
    assert batches[-1] <= halved
    assert expected.facts["micro_batch"] == micro_batch
    for one, other in zip(without_clocks(expected.history), without_clocks(found.history), strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    weights = zip(_weights(expected).values(), _weights(found).values(), strict=True)
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in weights)


def test_a_halved_micro_batch_is_remembered(fit, monkeypatch, tmp_path):
    found = Snapshots(tmp_path / "snapshots", "abc", minutes=0)
    run = fine_tuning.Objective._run

    def short_of_memory(self, batch, *rest):
        if len(batch["length"]) > 8:
            raise torch.OutOfMemoryError("injected")
        return run(self, batch, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(fine_tuning.Objective, "_run", short_of_memory)
        with pytest.raises(_DiedError):
            fit(snapshots=found, callbacks=[_StopAt(4, _die)])
    assert fit(snapshots=found).facts["micro_batch"] == 8


def test_lack_of_memory_for_a_single_pair_is_an_error(fit, monkeypatch):
    def short_of_memory(self, *rest):
        raise torch.OutOfMemoryError("injected")

    monkeypatch.setattr(fine_tuning.Objective, "_run", short_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        fit()


def test_training_learns_the_toy_pair(fit, new_decoder):
    rows = fit(decoder=new_decoder(spread=0.1), steps=120, log_every=20, learning_rate=1e-2).history
    # some 300 entries guessed evenly cost 5.7 nats; whoever knows only that digits follow pays ln 10 = 2.3
    assert rows[0]["lm_loss"] > 3.5
    assert rows[-1]["lm_loss"] < 1.5
    assert rows[-1]["contrastive_loss"] < 0.5 * rows[0]["contrastive_loss"]


def test_model_is_trained_in_place(fit, new_decoder):
    decoder = new_decoder(spread=0.02)
    before = decoder.get_input_embeddings().weight.clone()
    outcome = fit(skip=OFF, decoder=decoder, steps=2)
    assert outcome.model is decoder
    assert not torch.equal(decoder.get_input_embeddings().weight.cpu(), before)


def test_same_seed_gives_the_same_bits(fit, new_decoder):
    one, decoder = fit(), new_decoder(spread=0.02)
    torch.manual_seed(99)  # what was drawn before has no say
    other = fit(decoder=decoder)
    assert _same_weights(_weights(one), _weights(other))
    assert without_clocks(one.history) == without_clocks(other.history)


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


def test_validation_loss_is_the_final_models(fit, prompt, examples):
    outcome = fit(steps=8, validations=2, batch_size=40)
    losses = {row["step"]: row["valid_loss"] for row in outcome.history if "valid_loss" in row}
    assert losses.keys() == {4, 8}
    batch = Collator(prompt)([examples[i] for i in range(40)])
    model = outcome.model.cpu().eval()
    expected = model(batch["input_ids"], attention_mask=_mask(batch), labels=batch["labels"]).loss
    assert losses[8] == pytest.approx(expected.item(), rel=1e-5)


def test_validation_changes_nothing_in_training(fit, new_decoder):
    def with_dropout():
        decoder = new_decoder(spread=0.02)
        for module in decoder.modules():
            if isinstance(getattr(module, "dropout", None), float):
                module.dropout = 0.1
        return decoder

    without, with_it = (_weights(fit(decoder=with_dropout(), validations=n)) for n in (0, 4))
    assert _same_weights(without, with_it)
    assert not _same_weights(without, _weights(fit()))  # there was a chance to go wrong


def test_systems_see_the_same_pairs_in_the_same_order(fit, monkeypatch):
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


def test_facts_tell_what_was_done(fit):
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


def test_shortest_run_has_a_row_and_a_loss_to_tell(fit):
    outcome = fit(steps=1, log_every=5)
    assert [row["step"] for row in outcome.history] == [1]
    assert outcome.facts["status"] == "ok"
    assert outcome.facts["train_loss"] == outcome.history[0]["lm_loss"]


@pytest.mark.parametrize("learning_rate", [1e10, math.inf])
def test_diverging_run_ends_early_and_says_so(fit, learning_rate):
    outcome = fit(steps=40, log_every=1, learning_rate=learning_rate, warmup=0.0)
    assert (outcome.facts["status"], outcome.facts["train_loss"]) == ("diverged", None)
    assert outcome.facts["train_steps"] < 10


def test_diverging_run_that_is_interrupted_at_its_end_ends_where_it_would_have(fit, tmp_path):
    options = {"steps": 40, "log_every": 3, "learning_rate": math.inf, "warmup": 0.0}
    whole, found = fit(**options), Snapshots(tmp_path / "snapshots", "abc", minutes=0)
    last = whole.facts["train_steps"]
    assert last < 40
    with pytest.raises(_DiedError):
        fit(**options, snapshots=found, callbacks=[_StopAt(last, _die)])
    resumed = fit(**options, snapshots=found)
    assert repr(without_clocks(whole.facts)) == repr(without_clocks(resumed.facts))
    assert repr(without_clocks(whole.history)) == repr(without_clocks(resumed.history))  # nan is not nan


def test_run_whose_weights_are_lost_after_the_last_row_has_diverged(fit):
    outcome = fit(steps=1, log_every=1, learning_rate=math.inf, schedule="constant", warmup=0.0)
    assert math.isfinite(outcome.history[0]["loss"])  # the loss before the one and fatal step
    assert (outcome.facts["status"], outcome.facts["train_loss"]) == ("diverged", None)


def test_long_pairs_are_left_out_of_training(fit, examples):
    assert sorted(examples.lengths())[::75] == [4, 6, 8, 10]  # a token for a digit, 75 pairs of each length
    assert fit(steps=1, max_tokens=8).facts["train_pairs"] == 225


def test_too_few_short_pairs_are_refused(fit):
    with pytest.raises(InputError, match=r"at least a batch of 16 pairs within 1 tokens, found 0 of 300"):
        fit(max_tokens=1)


def test_a_validation_without_a_pair_is_refused_before_training(fit, examples):
    long = examples.select([i for i, length in enumerate(examples.lengths()) if length > 8])
    with pytest.raises(InputError, match=r"at least 1 pair of valid within 8 tokens, found 0 of 75; .* to 0"):
        fit(max_tokens=8, validations=2, valid=long)
    assert fit(steps=1, max_tokens=8, validations=0, valid=long).facts["train_pairs"] == 225


def test_frozen_weights_stay(fit, new_decoder):
    decoder = new_decoder(spread=0.02)
    frozen, free = decoders.find_blocks(decoder)[0], decoders.find_blocks(decoder)[1]
    frozen.requires_grad_(False)
    before = [frozen.fc1.weight.clone(), free.fc1.weight.clone()]
    fit(decoder=decoder, steps=4)
    assert torch.equal(frozen.fc1.weight.cpu(), before[0])
    assert not torch.equal(free.fc1.weight.cpu(), before[1])


def test_frozen_base_trains_the_skip_alone(fit, decoder):
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
    assert after.keys() == before.keys()  # no adapters are left
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    stack, _ = decoders.find_stack(decoder)
    assert changed
    assert all(name.startswith(stack) for name in changed)
    for name in changed:  # what was added has the rank asked for
        assert torch.linalg.matrix_rank(after[name] - before[name], tol=1e-5) <= LORA["rank"]
    assert outcome.model.skip.gate != 0
    outcome.model.cpu().save_pretrained(tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(logits_of(loaded, ids), logits_of(outcome.model.eval(), ids), rtol=1e-4, atol=1e-4)


def test_lora_learns_at_a_layer_too(fit, new_decoder):
    rows = fit(decoder=new_decoder(), weights="lora", steps=60, log_every=10, learning_rate=1e-2).history
    assert rows[-1]["lm_loss"] < rows[0]["lm_loss"]
    assert rows[-1]["contrastive_loss"] < rows[0]["contrastive_loss"]


def test_token_budget_holds_in_training(fit, monkeypatch):
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
    whole, parts = fit(), fit(micro_batch=4)
    for one, other in zip(whole.history, parts.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
    torch.testing.assert_close(_weights(parts), _weights(whole), rtol=1e-2, atol=1e-3)


def test_micro_batches_repeat_dropout_and_number_format(fit, new_decoder):
    """What runs a second time for its gradient is what ran the first time: the loss falls as without."""

    def with_dropout():
        decoder = new_decoder(spread=0.1)
        for block in decoders.find_blocks(decoder):
            block.dropout = 0.1
        return decoder

    options = {"steps": 60, "log_every": 20, "learning_rate": 1e-2, "precision": "bf16"}
    whole, parts = (fit(decoder=with_dropout(), micro_batch=n, **options).history for n in (None, 4))
    assert parts[-1]["loss"] == pytest.approx(whole[-1]["loss"], rel=0.15)
    assert parts[-1]["loss"] < 0.8 * parts[0]["loss"]


def test_gradient_cosine_is_logged_on_request(fit, new_decoder, prompt, examples, monkeypatch):
    rows = fit(gradient_cosine=True, steps=4, log_every=2).history
    assert all(-1 <= row["gradient_cosine"] <= 1 for row in rows)
    # the first step, by hand
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
    one, other = (torch.cat([each[name].flatten() for name in shared]) for each in gradients)
    assert first == pytest.approx(torch.cosine_similarity(one, other, dim=0).item(), rel=1e-3)


@pytest.mark.slow
def test_compiled_blocks_train_the_same_model(fit):
    plain, compiled = fit(steps=4), fit(steps=4, compile=True)
    for one, other in zip(plain.history, compiled.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)


# Two processes


def _on_one_of_two(rank, folder, settings, batch, decoder):
    """Take the gradients of one process's half of a batch, as the Trainer would, and save them."""
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
def test_two_processes_are_one_on_the_joined_batch(new_decoder, prompt, examples, tmp_path, loss, count):
    settings = CONTRASTIVE | {"loss": loss, "weight": 1.0}
    pairs = [examples[i] for i in range(count)]
    pairs[1] = pairs[0]  # a false negative across processes
    batch = Collator(prompt)(pairs)
    model = trained_skip(new_decoder(), 1, 3)
    whole, expected = _gradients(fine_tuning.Objective(model, settings), batch)
    model.zero_grad()
    torch.multiprocessing.spawn(_on_one_of_two, (str(tmp_path), settings, batch, model), nprocs=2)
    halves = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in (0, 1)]
    for outputs, gradients in halves:
        torch.testing.assert_close(gradients, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(outputs["contrastive_loss"], whole["contrastive_loss"])
        torch.testing.assert_close(outputs["retrieval_accuracy"], whole["retrieval_accuracy"])
    mean = (halves[0][0]["loss"] + halves[1][0]["loss"]) / 2
    torch.testing.assert_close(mean, whole["loss"])
    assert torch.equal(losses.gathered(torch.arange(3)), torch.arange(3))  # a process alone has all there is


# The gate


def test_learned_gate_starts_at_zero_and_moves(fit):
    gates = [row["gate"] for row in fit(log_every=1).history]
    assert gates[0] == 0.0
    assert abs(gates[-1]) > 1e-4


def test_warmup_gate_climbs_to_one_and_is_kept(fit, tmp_path):
    outcome = fit(skip=SKIP | {"gate": "warmup", "warmup_steps": 4}, steps=7, log_every=1)
    assert [row["gate"] for row in outcome.history] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    outcome.model.save_pretrained(tmp_path / "model")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").skip.gate == 1.0


def test_warmup_cut_short_leaves_the_gate_where_it_was(fit):
    outcome = fit(skip=SKIP | {"gate": "warmup", "warmup_steps": 8}, steps=3, log_every=1)
    assert outcome.model.skip.gate == 0.25  # of the third step: 2 / 8
    assert outcome.history[-1]["gate"] == 0.25


def test_skip_takes_its_form_from_the_settings(new_decoder):
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
