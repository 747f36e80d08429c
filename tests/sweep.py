"""Test every decoder of transformers that can be built small, each in its own process, and write a page of results.

make sweep                      # writes docs/architectures.md
make sweep ONLY="llama rwkv"    # prints only their results

The status of an architecture is `refused` if the package raises an `InputError` before training. Otherwise the checks
of `Comparison` compare it with transformers. `fails` is a fault of the package; the sweep then exits with an error.
"""

import contextlib
import io
import multiprocessing
import re
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path
from queue import Empty

import torch
import transformers
from helpers import OFF, trial_config
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from skipclm.data import bpe
from skipclm.data.batching import Collator
from skipclm.data.examples import Examples, Prompt, decode
from skipclm.errors import InputError
from skipclm.evaluation import decoding
from skipclm.models import checkpoints, decoders
from skipclm.models.modeling import SkipCLMForCausalLM
from skipclm.runtime import atomic
from skipclm.training import base_model, fine_tuning, trial

PAGE = Path(__file__).parents[1] / "docs/architectures.md"
STATUSES = ("holds", "refused", "not made", "fails")
SECONDS = 240  # for one architecture
LARGEST = 60e6  # parameters; more is not small
LAYERS, WIDTH, HEADS = 4, 32, 2
# Further sizes, by the names that the configurations of architectures use.
SIZES = {
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "shared_intermediate_size"), 16),
    **dict.fromkeys(("expert_ffn_hidden_size", "ffn_hidden_size", "q_lora_rank", "kv_lora_rank", "v_head_dim"), 16),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "linear_head_dim", "index_head_dim"), 16),
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_k", "moe_topk", "top_k_experts", "index_n_heads"), 2),
    **dict.fromkeys(("num_experts_per_token",), 2),
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads", "linear_num_heads", "zero_expert_num"), 2),
    **dict.fromkeys(("n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "n_group", "topk_group"), 1),
    **dict.fromkeys(("num_expert_group",), 1),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim", "hidden_size_per_layer_input", "index_topk"), 8),
    **{"mamba_n_heads": 4, "mamba_d_state": 8, "mamba_num_heads": 4, "mamba_head_dim": 16, "ssm_state_size": 8},
}
# Settings that some architectures need, either to be built at all or to have blocks of each kind.
SMALL_HEADS = {"head_dim": 8}
HALVES = {"decoder_layers": LAYERS, "encoder_layers": LAYERS}
HALVES |= {"decoder_attention_heads": HEADS, "encoder_attention_heads": HEADS}
SHAPES: dict[str, dict] = {
    **dict.fromkeys(("axk1", "deepseek_v3", "longcat_flash", "youtu"), SMALL_HEADS),
    **dict.fromkeys(("bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "marian", "mbart", "mvp"), HALVES),
    **dict.fromkeys(("pegasus", "plbart", "whisper"), HALVES),
    "bailing_hybrid": {"layer_group_size": 2},
    "bamba": {"mamba_d_head": 16, "attn_layer_indices": [1, 3]},
    "codegen": {"rotary_dim": 8, "num_attention_heads": 4},  # the heads are split into four groups
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}},
    "deepseek_v2": {"num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "gemma3n_text": {"num_kv_shared_layers": 0, "vocab_size_per_layer_input": 400, "laurel_rank": 8},
    "gemma4_text": {"vocab_size_per_layer_input": 400},
    "gpt_neo": {"num_layers": LAYERS, "attention_types": [[["global", "local"], 2]]},
    "gptj": {"rotary_dim": 8},
    "granitemoehybrid": {"mamba_d_head": 16, "layer_types": ["mamba", "attention"] * 2},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": {"layer_types": ["linear_attention", "full_attention"] * 2, "num_experts": 4},
    "mimo_v2_flash": {"head_dim": 24, "num_attention_heads": 8, "num_key_value_heads": 4},  # a third of a head rotates
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"] * 2, "n_mamba_heads": 2, "mamba_headdim": 32},
    "zaya": {"num_experts_per_tok": 1, "layer_types": ["hybrid"] * LAYERS},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "longcat_flash": SMALL_HEADS | {"num_hidden_layers": 2 * LAYERS, "num_layers": LAYERS},
    "mamba2": {"num_heads": 4, "head_dim": 16, "state_size": 8, "n_groups": 1},
    "nemotron_h": {"n_groups": 1},
}


def small_config(kind: str, vocabulary: int) -> PreTrainedConfig:
    """Return the configuration of a small decoder."""
    names = AutoConfig.for_model(kind).get_text_config().to_dict()
    tokens = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    sizes = {"vocab_size": vocabulary, "num_hidden_layers": LAYERS, "hidden_size": WIDTH, "num_attention_heads": HEADS}
    sizes |= {"max_position_embeddings": 64} | tokens
    sizes |= {name: size for name, size in SIZES.items() if names.get(name) is not None}
    return base_model.configuration_with_sizes(kind, sizes | SHAPES.get(kind, {}))


def small_decoder(kind: str, vocabulary: int) -> PreTrainedModel:
    """Return a random decoder with weights large enough for its outputs to depend on the input."""
    config = small_config(kind, vocabulary)
    with torch.device("meta"):
        parameters = sum(weight.numel() for weight in AutoModelForCausalLM.from_config(config).parameters())
    if parameters > LARGEST:
        raise MemoryError(f"{parameters / 1e6:.0f} M parameters at the smallest")
    torch.manual_seed(1)
    decoder = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in decoder.parameters():
            if weight.ndim > 1:  # only random weights, not norms and biases
                weight.mul_(3.0)
    return decoder


class Comparison:
    """Checks of one architecture, prepared as in the workflow, against transformers."""

    def __init__(self, folder: Path, encoder: transformers.PreTrainedTokenizerBase, pairs: list[list[str]]) -> None:
        self.folder, self.encoder, self.prompt = folder, encoder, Prompt.of(encoder)
        self.examples = Examples.encoded(encoder, *pairs)

    def load(self) -> PreTrainedModel:
        """Load the base model."""
        return checkpoints.load(self.folder)[0].eval()

    def batch(self) -> dict[str, Tensor]:
        """Return a padded batch."""
        return Collator(self.prompt)([self.examples[i] for i in range(5)])

    def check_gradients(self) -> None:
        """Check that loss, gradients and the set of weights with a gradient equal those of transformers."""
        batch, results = self.batch(), []
        for ours in (True, False):
            model = self.load()
            decoders.fuse_attention(model)
            if ours:
                loss = fine_tuning.Objective(model, OFF)(**batch)["loss"]
            else:
                mask = (torch.arange(batch["input_ids"].shape[1]) < batch["length"][:, None]).long()
                loss = model(batch["input_ids"], attention_mask=mask, labels=batch["labels"], use_cache=False).loss
            loss.backward()
            gradients = {name: weight.grad for name, weight in model.named_parameters()}
            gradients = {name: grad for name, grad in gradients.items() if grad is not None and grad.any()}
            results.append((loss.detach(), gradients))
        (loss, ours), (expected, theirs) = results
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
        assert ours.keys() == theirs.keys(), f"gradients: {sorted(ours.keys() ^ theirs.keys())[:3]}"
        largest = max(float(grad.abs().max()) for grad in theirs.values())
        for name, grad in theirs.items():  # the gradient of a key bias is zero, apart from rounding
            difference = float((ours[name] - grad).abs().max())
            tolerance = max(2e-3 * float(grad.abs().max()), 1e-5 * largest)
            assert difference <= tolerance, f"gradient of {name}: off by {difference:.1e} of {largest:.1e}"

    def check_skip(self) -> None:
        """Check that a new skip changes no bit of the logits, and that a trained skip is saved and loaded."""
        ids, plain = self.batch()["input_ids"][:2, :6], self.load()
        with torch.no_grad():
            expected = plain(ids, use_cache=False).logits
            model = SkipCLMForCausalLM.around(plain, 1, 3).eval()
            assert torch.equal(model(ids, use_cache=False).logits, expected), "a new skip changes the logits"
            model.skip.gate.fill_(0.5)
            changed = model(ids, use_cache=False).logits
        assert not torch.equal(changed, expected), "a trained skip does not change the logits"
        with tempfile.TemporaryDirectory() as folder:
            checkpoints.save(model, self.encoder, folder, {})
            loaded = checkpoints.load(folder)[0].eval()
        with torch.no_grad():
            torch.testing.assert_close(loaded(ids, use_cache=False).logits, changed, rtol=1e-5, atol=1e-6)

    def check_contrast(self) -> None:
        """Check that the lower blocks, run without the others, have the same states as in the whole decoder."""
        ids, model = self.batch()["input_ids"][:1, :6], self.load()
        for layer in range(1, LAYERS + 1):
            states = []
            for module in (model, decoders.first_blocks(model, layer)):
                with decoders.Recorder(model, layer) as recorder, torch.no_grad():
                    module(input_ids=ids, use_cache=False)
                states.append(recorder.state)
            torch.testing.assert_close(*states, rtol=1e-4, atol=1e-4, msg=f"states after block {layer}")

    def check_translation(self) -> None:
        """Check that translations are the same in a batch, one by one, and from transformers without a cache."""
        sources, model = [*self.examples.source[:4], self.examples.source[5][:1]], self.load()
        options = {"length_ratio": 0, "length_extra": 6, "progress": False}
        together = decoding.translate(model, self.encoder, sources, **options).texts
        single = [decoding.translate(model, self.encoder, [ids], **options).texts[0] for ids in sources]
        assert together == single, "translations depend on the other sentences of the batch"
        model.generation_config = transformers.GenerationConfig(eos_token_id=2, pad_token_id=1)
        for ids, text in zip(sources, single, strict=True):
            prompt = torch.tensor([self.prompt.source(ids)])
            mask = torch.ones_like(prompt)
            written = model.generate(prompt, attention_mask=mask, max_new_tokens=6, do_sample=False, use_cache=False)
            tokens = written[0, prompt.shape[1] :]
            plain = decode(self.encoder, [tokens.tolist()])[0]
            assert plain == text, "the translation differs without a cache"


def try_one(kind: str) -> tuple[str, str]:
    """Return the status of an architecture (see `STATUSES`) and the reason."""
    lines = [f"{one} {other}" for one in ("one", "two", "three", "four", "five") for other in ("six", "seven", "eight")]
    encoder = bpe.train(lines, 330, 64)
    try:
        decoder = small_decoder(kind, len(encoder))
    except Exception as error:  # architectures raise any exception for sizes that they do not support
        return "not made", f"{type(error).__name__}: {error}"
    with tempfile.TemporaryDirectory() as folder:
        decoder.save_pretrained(folder)
        encoder.save_pretrained(folder)
        comparison = Comparison(Path(folder), encoder, [lines, lines[::-1]])
        try:
            base_model.fetch(folder, None, None)
            trial.try_base(folder, trial_config())
        except InputError as error:
            return "refused", str(error)
        for check in (
            comparison.check_gradients,
            comparison.check_skip,
            comparison.check_contrast,
            comparison.check_translation,
        ):
            try:
                check()
            except Exception as error:
                traceback.print_exc()
                return "fails", f"{check.__name__}: {error}"
    return "holds", ""


def _work(kind: str, results: multiprocessing.Queue) -> None:
    torch.set_num_threads(1)
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            status, reason = try_one(kind)
        except Exception as error:  # the trial raised something other than InputError
            traceback.print_exc()
            status, reason = "fails", f"{type(error).__name__}: {error}"
    results.put((status, reason, output.getvalue()))


def sweep(kinds: list[str]) -> dict[str, tuple[str, str, str]]:
    """Test architectures, each in its own process; return status, reason and output by `model_type`."""
    context, outcomes = multiprocessing.get_context("fork"), {}
    for kind in kinds:
        results = context.Queue()
        process = context.Process(target=_work, args=(kind, results))
        process.start()
        try:
            outcomes[kind] = results.get(timeout=SECONDS)
        except Empty:
            outcomes[kind] = ("fails", f"took more than {SECONDS} s, or died", "")
            process.kill()
        process.join()
        status, reason, _ = outcomes[kind]
        print(f"{kind:24}{status:10}{' '.join(reason.split())[:150]}", flush=True)
    return outcomes


def page(outcomes: dict[str, tuple[str, str, str]]) -> str:
    """Return the text of the page."""
    counts = Counter(status for status, *_ in outcomes.values())
    lines = [
        "# Architectures",
        "",
        f"Written by `make sweep` with transformers {transformers.__version__} and torch "
        f"{torch.__version__.partition('+')[0]}. It tests every decoder of transformers",
        "that can be built with four blocks of width 32, each in its own process.",
        "",
        "- **holds**: Loss, gradients and the set of trained weights equal those of transformers. A newly added skip",
        "  connection does not change the output. A trained skip is the same after saving and loading. The lower",
        "  blocks, run without the others, have the same states as in the whole model. Translations are the same in",
        "  a batch, one by one and without a cache.",
        "- **refused**: skipclm refuses the architecture with an error of one line, before any training.",
        "- **not made**: No decoder of this size could be built, so the architecture was not tested.",
        "- **fails**: skipclm has a fault.",
        "",
        ", ".join(f"{counts[status]} {status}" for status in STATUSES),
        "",
        "| model_type | | reason |",
        "|---|---|---|",
    ]
    for status in STATUSES:
        for kind, (outcome, reason, _) in outcomes.items():
            if outcome == status:
                text = " ".join(re.sub(r"\S*/tmp\S*: ", "", reason).split())
                lines.append(f"| {kind} | {status} | {text[:200].replace('|', '/')} |")
    return "\n".join([*lines, ""])


def main(only: list[str]) -> None:
    """Test all architectures and write the page; with `only`, print the output of these and write nothing."""
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    outcomes = sweep(only or sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
    if only:
        print("\n".join(output for *_, output in outcomes.values()))
    else:
        atomic.write_text(PAGE, page(outcomes))
    failed = [kind for kind, (status, *_) in outcomes.items() if status == "fails"]
    sys.exit(f"fails: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
