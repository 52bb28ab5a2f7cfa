"""Train the embedded model to find answers in a text, and count its right answers to new questions.

The embedded model has no head for questions. Here it gets one and learns from made-up
sentences: who has what, and where it is. It answers questions of this form only, and makes more
mistakes with words that it was not trained with.
"""

import logging

import numpy as np

from tinybert import (
    BertForQuestionAnswering,
    BertTokenizerFast,
    QuestionAnsweringPipeline,
    manual_seed,
)
from tinybert.optim import AdamW

NAMES = ["anna", "ben", "clara", "david", "emma", "frank", "grace", "henry"]
THINGS = ["key", "book", "ball", "lamp", "coat", "map"]
ROOMS = ["kitchen", "garden", "attic", "cellar", "office", "school"]
OTHERS = ["maria", "peter", "susan"], ["guitar", "camera", "hat"], ["library", "station", "barn"]
STEPS, B = 60, 16


def example(rng: np.random.Generator) -> tuple[str, str, str]:
    """Return a question, a text, and the answer, which is a part of the text."""
    (a, b), (x, y) = rng.choice(NAMES, 2, False), rng.choice(THINGS, 2, False)
    p, q = rng.choice(ROOMS, 2, False)
    text = f"{a} has the {x} in the {p}. {b} has the {y} in the {q}."
    return [
        (f"who has the {x}?", text, a), (f"who has the {y}?", text, b),
        (f"where is the {x}?", text, p), (f"where is the {y}?", text, q),
        (f"where is {a}?", text, p), (f"what does {b} have?", text, y),
    ][rng.integers(6)]  # fmt: skip


logging.getLogger("tinybert").setLevel(logging.ERROR)  # that the head is new is expected
manual_seed(0)
tokenizer = BertTokenizerFast.from_pretrained("embedded")
model = BertForQuestionAnswering.from_pretrained("embedded")
optimizer = AdamW(model.parameters(), lr=1e-4)
rng = np.random.default_rng(0)
for step in range(STEPS):
    questions, texts, answers = map(list, zip(*(example(rng) for _ in range(B)), strict=True))
    batch = tokenizer(questions, texts, padding=True, return_tensors="np")
    ids = tokenizer.convert_tokens_to_ids(answers)
    # Each answer is one token; it occurs once in the text, which is after the question.
    at = [np.flatnonzero((row == i) & (types == 1))[0] for row, i, types in
          zip(batch["input_ids"], ids, batch["token_type_ids"], strict=True)]  # fmt: skip
    loss = model(**batch, start_positions=at, end_positions=at).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0 or step == STEPS - 1:
        print(f"step {step:2}  loss {loss.item():.2f}", flush=True)
model.eval()

answer = QuestionAnsweringPipeline(model, tokenizer)
print()
for _ in range(3):
    question, text, expected = example(rng)
    found = answer(question=question, context=text)
    print(f"{text}\n  {question}  {found['answer']}  ({found['score']:.2f}, right: {expected})")


def right(count: int = 50) -> int:
    """Return how many of `count` new questions the model answers correctly."""
    questions, texts, answers = map(list, zip(*(example(rng) for _ in range(count)), strict=True))
    found = answer(question=questions, context=texts, batch_size=B)
    return sum(
        one["answer"].strip(".") == expected for one, expected in zip(found, answers, strict=True)
    )


print(f"\nright: {right()} of 50 new questions with the words of the training")
NAMES[:], THINGS[:], ROOMS[:] = OTHERS
print(f"right: {right()} of 50 questions with other words")
