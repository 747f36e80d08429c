"""Loading of tokenizers from folders."""

import json
import subprocess
import sys

import pytest
from tokenizers import Tokenizer
from transformers import AutoConfig

from skipclm.errors import InputError
from skipclm.models import tokenizer_loading


def test_missing_tokenizer_is_refused(tmp_path):
    with pytest.raises(InputError, match="missing: expected a tokenizer"):
        tokenizer_loading.load_tokenizer(tmp_path / "missing")


def test_generic_tokenizer_needs_no_torch(tmp_path, tokenizer):
    tokenizer.save_pretrained(tmp_path)
    code = (
        "import sys; from skipclm.models import tokenizer_loading; from skipclm.data.examples import Examples, Prompt; "
        "tokenizer = tokenizer_loading.load_tokenizer(sys.argv[1]); Prompt.of(tokenizer); "
        "Examples.encoded(tokenizer, ['one'], ['eins']); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("kind", ["qwen2", "llama", "gpt2"])
@pytest.mark.parametrize("name", tokenizer_loading.GENERIC_CLASSES)
def test_generic_tokenizer_is_read_as_its_file_states(tmp_path, tokenizer, kind, name):
    """AutoTokenizer would read the files of a qwen2 with the class of that architecture."""
    AutoConfig.for_model(kind).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": name}))
    text = "vier Übel sind  nah"
    ids = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(text).ids
    assert tokenizer_loading.load_tokenizer(tmp_path)(text).input_ids == ids


def test_broken_tokenizer_is_one_error(tmp_path, tokenizer):
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"a": 1}')
    with pytest.raises(InputError, match="expected a tokenizer beside the model"):
        tokenizer_loading.load_tokenizer(tmp_path)
