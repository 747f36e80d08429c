"""Trainable weights of the decoder: all weights, LoRA adapters, or none."""

from collections.abc import Callable

from transformers import PreTrainedModel

from skipclm.errors import InputError
from skipclm.models.decoders import find_blocks


def adapt(decoder: PreTrainedModel, weights: str, lora: dict) -> Callable[[], object]:
    """Prepare the decoder, in place, for training; `weights` is `full`, `lora` (Hu et al. 2021) or `frozen`.

    `lora` is the section of that name in the configuration. Returns a function to call after training: it merges the
    adapters into the weights and removes them. Raises an `InputError` for modules that the decoder does not have, or
    that cannot have adapters.
    """
    if weights == "full":
        return lambda: None
    decoder.requires_grad_(False)
    if weights == "frozen":
        return lambda: None
    _check_modules(decoder, lora["modules"])
    from peft import LoraConfig, get_peft_model  # the import takes a second and is only needed for LoRA

    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora["rank"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules=lora["modules"],
    )
    try:
        return get_peft_model(decoder, config).merge_and_unload
    except ValueError as error:
        raise InputError(f"lora.modules: expected names of linear modules, but: {error}") from error


def _check_modules(decoder: PreTrainedModel, names: str | list[str]) -> None:
    """Raise an `InputError` for a name without a module, and for embeddings and head if their weights are tied.

    A string is a pattern or a keyword of peft, and is not checked here.
    """
    if isinstance(names, str):
        return
    embeddings, head = decoder.get_input_embeddings(), decoder.get_output_embeddings()
    tied_modules = (embeddings, head) if head.weight is embeddings.weight else ()
    for name in names:
        modules = [module for path, module in decoder.named_modules() if f".{path}".endswith(f".{name}")]
        if not modules:
            linear_names = [
                path.rpartition(".")[2]
                for path, module in find_blocks(decoder)[0].named_modules()
                if getattr(module, "weight", None) is not None and module.weight.ndim == 2
            ]
            raise InputError(
                f"lora.modules: expected names of linear modules, found {name!r}; the model has "
                f"{', '.join(linear_names)}"
            )
        if any(module is tied for module in modules for tied in tied_modules):
            raise InputError(
                f"lora.modules: expected modules that do not share their weights, found {name!r}, which shares them "
                "between embeddings and head; leave it out"
            )
