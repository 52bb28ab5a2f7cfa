"""Measure seven causes of logits that differ from the expected ones, with the embedded model.

Each is a mistake that raises no error. Compare your own difference with the numbers.
"""

import numpy as np

from tinybert import BertForMaskedLM, BertTokenizer, manual_seed, no_grad

tokenizer = BertTokenizer.from_pretrained("embedded")
model = BertForMaskedLM.from_pretrained("embedded")
TEXT = "The cat sat on the [MASK]."
right = tokenizer(TEXT, return_tensors="np")
padded = tokenizer(TEXT, padding="max_length", max_length=16, return_tensors="np")
ids = right["input_ids"]
MASK = ids[0].tolist().index(tokenizer.mask_token_id)


def logits(position: int = MASK, **inputs) -> np.ndarray:
    """Return the logits (V,) of the masked word."""
    with no_grad():
        return model(**inputs).logits.numpy()[0, position]


def compare(cause: str, found: np.ndarray) -> None:
    words = tokenizer.convert_ids_to_tokens(np.argsort(-found)[:3].tolist())
    print(f"{np.abs(found - expected).max():8.5f}  {cause:39}  {' '.join(words)}")


expected = logits(**right)
print("largest difference, cause, and the three most likely words")
compare("none: the same call again", logits(**right))
compare("padding, with its attention mask: right", logits(**padded))

compare("1. padding without an attention mask", logits(input_ids=padded["input_ids"]))
compare("2. no [CLS] and [SEP]", logits(MASK - 1, input_ids=ids[:, 1:-1]))
compare("3. token types 1 instead of 0", logits(input_ids=ids, token_type_ids=np.ones_like(ids)))

manual_seed(0)
model = BertForMaskedLM.from_pretrained("embedded", hidden_dropout_prob=0.1).train()
compare("4. dropout is on: no model.eval()", logits(**right))

model = BertForMaskedLM.from_pretrained("embedded", hidden_act="gelu_new")
compare("5. GELU by tanh instead of erf", logits(**right))
model = BertForMaskedLM.from_pretrained("embedded", layer_norm_eps=1e-5)
compare("6. layer_norm_eps 1e-5 instead of 1e-12", logits(**right))

model = BertForMaskedLM.from_pretrained("embedded")
for parameter in model.parameters():
    parameter.data[...] = parameter.data.astype(np.float16)
compare("7. weights rounded to float16", logits(**right))
