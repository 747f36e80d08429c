"""Which weights of the decoder are trained: all, small adapters in their stead (LoRA), or none."""

from collections.abc import Callable

from transformers import PreTrainedModel

from skipclm.errors import InputError
from skipclm.models.decoders import find_blocks


def adapt(decoder: PreTrainedModel, weights: str, lora: dict) -> Callable[[], object]:
    """Prepare the decoder, in place, for training `weights` of it: `full`, `lora` or `frozen`.

    `lora` is the configuration's section of that name (Hu et al. 2021). Returns what is to be called after training:
    it adds what the adapters learned to the weights, and takes them out. Raises an `InputError` for modules that the
    decoder has not.
    """
    if weights == "full":
        return lambda: None
    decoder.requires_grad_(False)
    if weights == "frozen":
        return lambda: None
    _check(decoder, lora["modules"])
    from peft import LoraConfig, get_peft_model  # takes a second that other trainings need not wait for

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
        raise InputError(f"lora.modules: expected names of the model's linear maps, but: {error}") from error


def _check(decoder: PreTrainedModel, modules: str | list[str]) -> None:
    """Raise an `InputError` for a name that no module has, or that of a module whose weights another one shares."""
    if isinstance(modules, str):
        return
    tied = decoder.get_output_embeddings().weight is decoder.get_input_embeddings().weight
    ends = (decoder.get_output_embeddings(), decoder.get_input_embeddings()) if tied else ()
    for name in modules:
        found = [module for path, module in decoder.named_modules() if f".{path}".endswith(f".{name}")]
        if not found:
            known = [
                path.rpartition(".")[2]
                for path, module in find_blocks(decoder)[0].named_modules()
                if getattr(module, "weight", None) is not None and module.weight.ndim == 2
            ]
            raise InputError(
                f"lora.modules: expected names of the model's linear maps, found {name!r}; it has {', '.join(known)}"
            )
        if any(module is end for module in found for end in ends):
            raise InputError(
                f"lora.modules: expected maps that share their weights with no other, found {name!r}, whose weights "
                "are those of embeddings and head; leave it out"
            )
