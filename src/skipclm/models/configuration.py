"""The configuration of a decoder with a skip connection.

This module, `modeling` and `decoders` import only each other, by relative imports. After `register_for_auto_class`,
transformers stores them next to the weights, where they work without this package.
"""

from typing import ClassVar

from transformers import AutoConfig, PreTrainedConfig


class SkipCLMConfig(PreTrainedConfig):
    """The configuration of the base decoder and of the skip connection.

    Attributes that only the base configuration has, such as the number of heads, are read and set there.
    """

    model_type = "skipclm"
    sub_configs: ClassVar[dict] = {"base": AutoConfig}

    def __init__(
        self,
        base: dict | PreTrainedConfig | None = None,
        skip_source: int = 1,
        skip_target: int = 2,
        skip_activation: str = "gelu",
        skip_normalize: bool = True,
        skip_gate: str = "learned",
        **kwargs: object,
    ) -> None:
        self.skip_source = skip_source
        self.skip_target = skip_target
        self.skip_activation = skip_activation
        self.skip_normalize = skip_normalize
        self.skip_gate = skip_gate
        super().__init__(**kwargs)
        self.base = AutoConfig.for_model(**base) if isinstance(base, dict) else base

    def validate(self) -> None:
        """Validate the base configuration by its own rules; those of `PreTrainedConfig` do not fit all models."""
        if self.base is not None:
            self.base.validate()

    def __getattr__(self, name: str) -> object:
        base = self.__dict__.get("base")
        attribute_error = AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        if base is None or name.startswith("_"):
            raise attribute_error
        try:
            return getattr(base, name)
        except RuntimeError as error:  # some configurations raise it for values that differ between layers
            raise attribute_error from error

    def __setattr__(self, name: str, value: object) -> None:
        base = self.__dict__.get("base")
        if name != "base" and not name.startswith("_") and base is not None and hasattr(base, name):
            setattr(base, name, value)
            if name not in self.__dict__:
                return
        super().__setattr__(name, value)


AutoConfig.register("skipclm", SkipCLMConfig, exist_ok=True)
