"""Measure what a head has to beat: simple methods on the same examples.

usage: baseline.py DATA [HEAD]

DATA  the folder that data.py made
HEAD  sentiment, injection, tags or questions (default: all)

`sentiment` and `injection` need scikit-learn, and `sentiment` vaderSentiment for a second baseline:
pip install scikit-learn vaderSentiment
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tinybert.training.metrics import accuracy, answer_f1, exact_match, f1
from tinybert.training.readers import read_json_lines

Row = dict[str, Any]
Parts = Sequence[list[Row]]  # train, validation, held out
Score = tuple[str, str, float]  # baseline, figure, value


# Classes: logistic regression on counts of words


def classes(parts: Parts) -> Iterator[Score]:
    """Yield the scores of logistic regression on words and word pairs (tf-idf).

    The strength of the regularization is the one that is best on the validation part.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise SystemExit("this baseline needs scikit-learn: pip install scikit-learn") from None
    texts, labels = ([[row[name] for row in part] for part in parts] for name in ("text", "label"))
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]", sublinear_tf=True)
    features = [words.fit_transform(texts[0]), *map(words.transform, texts[1:])]
    models = [
        LogisticRegression(C=strength, max_iter=1000).fit(features[0], labels[0])
        for strength in (0.3, 1, 3, 10, 30)
    ]
    best = max(models, key=lambda model: model.score(features[1], labels[1]))
    found = best.predict(features[2]).tolist()
    yield "bag of words", "accuracy", accuracy(found, labels[2])
    yield "bag of words", "f1", f1(found, labels[2])


def sentiment(parts: Parts) -> Iterator[Score]:
    """Yield the scores of the bag of words, and of VADER's lexicon and rules."""
    yield from classes(parts)
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError:
        raise SystemExit("this baseline needs VADER: pip install vaderSentiment") from None
    scores = SentimentIntensityAnalyzer().polarity_scores

    def label(text: str) -> str:
        score = scores(text)["compound"]  # its authors' thresholds
        return "positive" if score >= 0.05 else "negative" if score <= -0.05 else "neutral"

    found = [label(row["text"]) for row in parts[2]]
    right = [row["label"] for row in parts[2]]
    yield "VADER's rules", "accuracy", accuracy(found, right)
    yield "VADER's rules", "f1", f1(found, right)


# Tags: the most frequent tag of a word


def tags(parts: Parts) -> Iterator[Score]:
    """Yield the accuracy of the most frequent tag of each word, and of its ending if unknown."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in parts[0]:
        for word, tag in zip(row["words"], row["tags"], strict=True):
            for key in keys(word):
                counts[key][tag] += 1
    found, right = [], []
    for row in parts[2]:
        for word, tag in zip(row["words"], row["tags"], strict=True):
            key = next(key for key in keys(word) if key in counts)
            found.append(counts[key].most_common(1)[0][0])
            right.append(tag)
    yield "most frequent tag", "accuracy", accuracy(found, right)


def keys(word: str) -> Iterator[str]:
    """Yield a word, the word in lower case, and its shape with its last letters, then fewer."""
    yield f"word {word}"
    yield f"lower {word.lower()}"
    shape = "0" if re.search(r"\d", word) else "X" if word[0].isupper() else word[0].isalnum()
    for size in range(min(4, len(word)), -1, -1):
        yield f"ending {shape} {word[len(word) - size :].lower()}"
    yield "ending"


# Questions: a phrase of the right type in the sentence with the words of the question

STOP = frozenset(
    re.findall(
        r"\w+",
        "a an the of in on at to for from by with and or is are was were be been do does did has "
        "have had that this these those it its as what which who whom whose when where why how "
        "many much can could will would may their his her name",
    )
)
MONTH = "January|February|March|April|May|June|July|August|September|October|November|December"
NAME = r"[A-Z][\w.'’-]*(?:(?: (?:of|the|de|von|van|and))*(?: [A-Z][\w.'’-]*))*"
NUMBER = (
    r"(?:[$£€] ?)?\d[\d,.]*\d(?: (?:million|billion|percent|per cent|thousand))?%?|\d%?|"
    r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|hundred)\b"
)
DATE = rf"(?:(?:\d{{1,2}} )?(?:{MONTH})(?: \d{{1,2}})?,? ?)?\b1?\d{{3}}s?\b|\b20\d\d\b"
TYPES = (
    (r"\b(when|what year|which year|what date|what century|what decade)\b", DATE),
    (r"\b(how many|how much|how long|how old|how far|what percent\w*|what number)\b", NUMBER),
    (r"\b(who|whom|whose|where|what city|what country|which country|what name|name of)\b", NAME),
)


def questions(parts: Parts) -> Iterator[Score]:
    """Yield the scores of three rules, all in the sentence that shares most with the question.

    The words are weighted by their rarity in all contexts. The answer is the sentence's first
    phrase of the type that the question asks for, and else its longest phrase without a word of the
    question or a function word; or always that phrase; or the whole sentence.
    """
    contexts = {row["context"] for part in parts for row in part}
    counts = Counter(word for context in contexts for word in set(words(context)))
    right = [row["answers"]["text"] for row in parts[2]]
    for name, rule in (
        ("phrase of the right type", typed_phrase),
        ("longest new phrase", longest_phrase),
        ("whole sentence", lambda sentence, question: sentence),
    ):
        found = [
            rule(best_sentence(row["context"], row["question"], counts), row["question"])
            for row in parts[2]
        ]
        yield name, "f1", answer_f1(found, right)
        yield name, "exact_match", exact_match(found, right)


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, without the ending "s"."""
    return [word.removesuffix("s") for word in re.findall(r"\w+", text.lower())]


def best_sentence(context: str, question: str, counts: Counter[str]) -> str:
    """Return the sentence with the largest sum of weights of words that the question has, too."""
    asked = set(words(question)) - STOP
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z\"“(\d])", context)
    return max(
        sentences,
        key=lambda sentence: sum(
            1 / (1 + counts[word]) ** 0.5 for word in asked & set(words(sentence))
        ),
    )


def typed_phrase(sentence: str, question: str) -> str:
    """Return the first phrase of the type that a question asks for; else the longest new one."""
    for asks, pattern in TYPES:
        if re.search(asks, question.lower()):
            for match in re.finditer(pattern, sentence):
                if not set(words(match[0])) & set(words(question)) and match[0].lower() not in STOP:
                    return match[0].rstrip(".,")
    return longest_phrase(sentence, question)


def longest_phrase(sentence: str, question: str) -> str:
    """Return the longest run of words that are neither of the question nor function words."""
    known = {*words(question), *STOP}
    runs: list[list[str]] = [[]]
    for token in re.findall(r"[\w'’-]+|[^\w\s]", sentence):
        if set(words(token)) <= known:  # punctuation, too
            runs.append([])
        else:
            runs[-1].append(token)
    longest = max(runs, key=len)
    return " ".join(longest)


HEADS: dict[str, Callable[[Parts], Iterator[Score]]] = {
    "sentiment": sentiment,
    "injection": classes,
    "tags": tags,
    "questions": questions,
}


def main(data: str, *heads: str) -> None:
    """Print the scores of the baselines on the held-out parts."""
    for head in heads or HEADS:
        parts = [
            read_json_lines(Path(data, head, f"{part}.jsonl"))
            for part in ("train", "validation", "held_out")
        ]
        for name, figure, value in HEADS[head](parts):
            print(f"{head:10} {name:26} {figure:12} {value:.4f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or not set(sys.argv[2:]) <= set(HEADS):
        sys.exit(__doc__)
    main(*sys.argv[1:])
