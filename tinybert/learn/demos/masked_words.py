"""Predict the word behind [MASK] with the embedded model and its masked-language-model head."""

from tinybert import pipeline

fill = pipeline("fill-mask")

for text in (
    "the capital of france is [MASK].",
    "she drank a cup of [MASK].",
    "he opened the [MASK] and read the first page.",
):
    print(text)
    for word in fill(text, top_k=3):
        print(f"  {word['score']:.2f}  {word['token_str']}")

print("\nOf two words, which fits better? Only these two are scored.")
for text in ("the cat drinks [MASK].", "the car needs [MASK]."):
    scores = {word["token_str"]: word["score"] for word in fill(text, targets=["milk", "fuel"])}
    print(f"  {text:25} milk {scores['milk']:.4f}   fuel {scores['fuel']:.4f}")
