"""Which weights of the decoder are trained: all, small adapters in their stead (LoRA), or none."""

from collections.abc import Callable

from transformers import PreTrainedModel

from skipclm.errors import InputError


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
