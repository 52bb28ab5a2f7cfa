"""Load a file whose names and shapes do not match the model; explain each line of the report."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

from tinybert import BertConfig, BertForSequenceClassification, load_file, save_file

EXPLANATIONS = {
    "was loaded from": "The class of the model, and the folder with its file.",
    "missing from the file": "The model has these weights, the file has not. They are random.",
    "of another shape": "The names agree, the shapes do not. The model's weights are random.",
    "in the file but": "The file has these weights, the model has no such part.",
    "classifier.bias": "The head: random in every model that was not trained for this task.",
    "classifier.weight:": "A head for 4 classes in the file; this model has 2.",
    "adapter": "A part that someone added to the layer. Without it the results differ.",
}

logging.getLogger("tinybert").setLevel(logging.ERROR)  # the report is not logged, but printed below
config = BertConfig(
    vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
)
with TemporaryDirectory() as folder:
    BertForSequenceClassification(config).save_pretrained(folder)
    path = Path(folder) / "model.safetensors"
    tensors = load_file(path)
    # Four changes, as one meets them in downloaded files.
    norm = "bert.embeddings.LayerNorm"
    tensors[f"{norm}.gamma"] = tensors.pop(f"{norm}.weight")  # TensorFlow's name
    del tensors["classifier.bias"]
    tensors["classifier.weight"] = tensors["classifier.weight"].repeat(2, axis=0)  # 4 classes
    tensors["bert.encoder.layer.0.adapter.weight"] = tensors["classifier.weight"]
    save_file(tensors, path, {"format": "pt"})

    print("Another shape is an error, unless an option allows it:")
    try:
        BertForSequenceClassification.from_pretrained(folder)
    except ValueError as error:
        print(f"  {str(error).replace(folder, 'FOLDER')}\n")
    _, report = BertForSequenceClassification.from_pretrained(
        folder, ignore_mismatched_sizes=True, output_loading_info=True
    )

for line in str(report).replace(folder, "FOLDER").splitlines():
    print(line)
    for words, explanation in EXPLANATIONS.items():
        if words in line:
            print(f"        <- {explanation}")

print("\nThe report does not list old names of weights, since nothing is wrong with them:")
for old, new in report.renamed.items():
    print(f"  {old} was used as {new}")
print(f"Found: {report.found} of the {report.wanted} tensors of the model without its head.")
