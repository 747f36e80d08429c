"""The configuration of a decoder with a skip connection.

This module, `modeling` and `decoders` import each other relatively, and nothing else of this package: transformers can
then put them beside the weights for those who ask for that (`register_for_auto_class`); they work there without this
package.
"""

from typing import ClassVar

from transformers import AutoConfig, PreTrainedConfig


class SkipCLMConfig(PreTrainedConfig):
    """The base decoder's configuration, and the place and form of the skip connection.

    What it does not have itself, the number of heads say, is asked of the base's configuration and set there.
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
        """Validate the base's configuration by its own rules: the general ones may not hold for it."""
        if self.base is not None:
            self.base.validate()

    def __getattr__(self, name: str) -> object:
        base = self.__dict__.get("base")
        missing = AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        if base is None or name.startswith("_"):
            raise missing
        try:
            return getattr(base, name)
        except RuntimeError as error:  # of a base whose layers differ in it
            raise missing from error

    def __setattr__(self, name: str, value: object) -> None:
        base = self.__dict__.get("base")
        if name != "base" and not name.startswith("_") and base is not None and hasattr(base, name):
            setattr(base, name, value)
            if name not in self.__dict__:
                return
        super().__setattr__(name, value)


AutoConfig.register("skipclm", SkipCLMConfig, exist_ok=True)
