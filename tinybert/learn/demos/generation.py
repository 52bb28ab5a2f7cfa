"""Train a small decoder on six lines, then continue lines by greedy search, beams and sampling.

The model has 11,000 parameters and learns 6 lines; it may mix two of them. It shows how text is
generated, not what a language model can do.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tinybert import BertConfig, BertLMHeadModel, BertTokenizer, manual_seed
from tinybert.optim import AdamW

LINES = (
    "the cat sat on the wall",
    "the cat sat on the stair",
    "the cat ran up the tree",
    "the mouse ran through the hall",
    "the mouse ran down the hill",
    "the dog barks at the moon",
)
STEPS, RATE = 200, 0.02

with TemporaryDirectory() as folder:  # a vocabulary in which every word is a token
    words = sorted({word for line in LINES for word in line.split()})
    path = Path(folder) / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]), "utf-8")
    tokenizer = BertTokenizer(path)

manual_seed(0)
model = BertLMHeadModel(BertConfig(
    vocab_size=len(tokenizer), hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=48, max_position_embeddings=16, hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0, is_decoder=True, bos_token_id=2, eos_token_id=3,
))  # fmt: skip
batch = tokenizer(list(LINES), padding=True, return_tensors="np")
batch["labels"] = np.where(batch["attention_mask"], batch["input_ids"], -100)

optimizer = AdamW(model.parameters(), weight_decay=0.0)
for step in range(STEPS):
    optimizer.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
    loss = model(**batch).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 40 == 0 or step == STEPS - 1:
        print(f"step {step:3}  loss {loss.item():.2f}")
model.eval()
print(f"{sum(p.size for p in model.parameters()):,} parameters")


def continued(prompt: str, **options) -> list[str]:
    ids = [[2, *tokenizer.encode(prompt, add_special_tokens=False)]]
    rows = model.generate(ids, max_length=10, **options)
    texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
    return [text if text in LINES else f"{text} (new)" for text in texts]


for prompt in ("the dog", "the mouse ran", "the cat"):
    print(f"\n{prompt} ...")
    print("  greedy:  ", *continued(prompt, do_sample=False))
    beams = continued(prompt, do_sample=False, num_beams=3, num_return_sequences=2)
    print("  2 beams: ", "; ".join(beams))
    manual_seed(1)
    print("  sampled: ", "; ".join(continued(prompt, do_sample=True, num_return_sequences=3)))
