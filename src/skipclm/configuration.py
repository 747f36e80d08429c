"""The configuration of a decoder with a skip connection.

This module, `modeling`, `decoders` and `errors` import each other relatively: transformers can then put them beside the
weights, for those who ask for that (`register_for_auto_class`), and they work there without this package.
"""

from transformers import AutoConfig, PreTrainedConfig


class SkipCLMConfig(PreTrainedConfig):
    """The base decoder's configuration and the place and form of the skip connection.

    What is asked of it and it does not have, the number of heads say, is answered by the base's configuration.
    """

    model_type = "skipclm"

    def __init__(
        self,
        base: dict | None = None,
        skip_source: int = 1,
        skip_target: int = 2,
        skip_activation: str = "gelu",
        skip_normalize: bool = True,
        skip_gate: str = "learned",
        **kwargs: object,
    ) -> None:
        self.base = base
        self.skip_source = skip_source
        self.skip_target = skip_target
        self.skip_activation = skip_activation
        self.skip_normalize = skip_normalize
        self.skip_gate = skip_gate
        super().__init__(**kwargs)

    def base_config(self) -> PreTrainedConfig:
        """Return the configuration of the decoder that the skip connection is put around."""
        settings = dict(self.base)
        return AutoConfig.for_model(settings.pop("model_type"), **settings)

    def __getattr__(self, name: str) -> object:
        if name.startswith("_") or not self.__dict__.get("base"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(self.base_config(), name)


AutoConfig.register("skipclm", SkipCLMConfig, exist_ok=True)
