"""Search the files of a folder for the passage that is most similar to a question in meaning."""

from pathlib import Path
from tempfile import TemporaryDirectory

from tinybert import SentenceEmbedder
from tinybert.search import search

FILES = {
    "garden.txt": "Water tomatoes in the morning.\n\nCut the roses in early spring.",
    "kitchen.txt": "Bread needs an hour to rise.\n\nBoil the eggs for eight minutes.",
    "travel.txt": "The train to the coast leaves at noon.\n\nA passport is checked at the border.",
}
QUESTIONS = (
    "how long do I cook an egg",
    "when does the railway depart",
    "which document do I need abroad",
)

embedder = SentenceEmbedder.from_pretrained("embedded")
with TemporaryDirectory() as folder:
    for name, text in FILES.items():
        (Path(folder) / name).write_text(text, "utf-8")
    for question in QUESTIONS:
        print(question)
        for hit in search(question, [folder], embedder, top_k=2).hits:
            print(f"  {hit.score:.2f}  {Path(hit.file).name}:{hit.line}  {hit.text}")
