"""Write a tiny random COMET model to the folder in the first argument; needs a Python with unbabel-comet."""

import sys
from pathlib import Path

import pytorch_lightning
import sentencepiece
import torch
import yaml
from comet.models import RegressionMetric
from transformers import XLMRobertaConfig, XLMRobertaModel, XLMRobertaTokenizer

folder = Path(sys.argv[1])
(folder / "checkpoints").mkdir(parents=True)
text, pieces, encoder = folder / "text", folder / "sentencepiece.bpe", folder / "encoder"
text.write_text("\n".join(f"the cat sat on the mat number {n} und die Katze" for n in range(300)), encoding="utf-8")
sentencepiece.SentencePieceTrainer.train(input=str(text), model_prefix=str(pieces), vocab_size=45, minloglevel=2)
tokenizer = XLMRobertaTokenizer(f"{pieces}.model")
tokenizer.save_pretrained(encoder)
torch.manual_seed(1)
sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
config = XLMRobertaConfig(vocab_size=len(tokenizer) + 5, max_position_embeddings=130, pad_token_id=1, **sizes)
XLMRobertaModel(config).save_pretrained(encoder)
model = RegressionMetric(encoder_model="XLM-RoBERTa", pretrained_model=str(encoder), hidden_sizes=[8], batch_size=4)
trainer = pytorch_lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
trainer.strategy.connect(model)
trainer.save_checkpoint(folder / "checkpoints/model.ckpt", weights_only=True)
settings = dict(model.hparams) | {"class_identifier": "regression_metric"}
(folder / "hparams.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
