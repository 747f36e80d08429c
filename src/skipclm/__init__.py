"""SkipCLM: find the layers at which a decoder language model learns to translate.

With this package imported, transformers' Auto classes know the models that it saves.
"""

from importlib import import_module

from wrapt import when_imported

# These modules register themselves, as soon as transformers is asked for its Auto classes and not before: most of our
# jobs need no torch.
for auto, own in {"configuration_auto": "configuration", "modeling_auto": "modeling"}.items():
    when_imported(f"transformers.models.auto.{auto}")(lambda _, own=own: import_module(f"skipclm.models.{own}"))
