"""Settings and functions for tests of models and training."""

import torch

from skipclm.models.modeling import SkipCLMForCausalLM

# Settings of the method for small decoders and the toy pair.
OFF = {"enabled": False}
CONTRASTIVE = {
    "enabled": True,
    "layer": 2,
    "weight": 0.5,
    "loss": "info_nce",
    "temperature": 0.2,
    "margin": 0.1,
    "directions": "both",
    "pooling": "mean",
}
SKIP = {
    "enabled": True,
    "source": 1,
    "target": 3,
    "activation": "gelu",
    "normalize": True,
    "gate": "learned",
    "warmup_steps": 4,
}
LORA = {"enabled": True, "rank": 4, "alpha": 8, "dropout": 0.0, "modules": "all-linear"}
TRAINING = {
    "enabled": True,
    "weights": "full",
    "steps": 8,
    "batch_size": 16,
    "batch_tokens": None,
    "micro_batch": None,
    "max_tokens": 60,
    "learning_rate": 3e-3,
    "schedule": "cosine",
    "warmup": 0.1,
    "weight_decay": 0.01,
    "max_gradient_norm": 1.0,
    "precision": "fp32",
    "compile": False,
    "processes": 1,
    "log_every": 2,
    "gradient_cosine": False,
    "validations": 0,
}


def trained_skip(decoder, source=1, target=3, **skip):
    """Put a skip around `decoder`, with random weights as if it were trained."""
    model = SkipCLMForCausalLM.around(decoder, source, target, **skip).eval()
    with torch.no_grad():
        model.skip.gate.fill_(0.7)
        model.skip.linear.weight.normal_(std=0.3)
        model.skip.linear.bias.normal_(std=0.3)
    return model


def logits_of(model, ids):
    """Return the logits (rows, tokens, vocabulary) of a model."""
    with torch.no_grad():
        return model(ids).logits


def states_of(model, ids):
    """Return the states of all layers as transformers returns them: embeddings first, the last after the norm."""
    with torch.no_grad():
        return model(ids, output_hidden_states=True).hidden_states


def stack_of(decoder):
    """Return the blocks of a decoder, without use of the package."""
    body = getattr(decoder, "transformer", None)
    body = body or getattr(decoder.model, "decoder", decoder.model)
    return body.h if hasattr(body, "h") else body.layers


def trial_config(**sections):
    """Return the configuration for a trial of the base model, with `sections` replaced."""
    variants = {
        "full": {},
        "skip_only": {"contrastive": OFF},
        "slower": {"contrastive": OFF, "training": {"learning_rate": 1e-5}},
        "finetune": {"contrastive": OFF, "skip": OFF},
        "base": {"training": OFF},
    }
    grid = {"contrastive_layer": [2], "skip_source": [1], "skip_target": [3, 4], "constraints": []}
    evaluation = {"beams": 1, "length_ratio": 1.0, "length_extra": 3}
    config = {"contrastive": CONTRASTIVE, "skip": SKIP, "lora": LORA, "training": TRAINING}
    return config | {"grid": grid, "ablation": {"variants": variants}, "evaluation": evaluation} | sections
