"""Texts to learn vocabularies from: English prose, code, and many scripts."""

from __future__ import annotations

import argparse
import inspect
from pydoc_data.topics import topics

from tests.tokenizers.oracle import random_texts

# The Universal Declaration of Human Rights, article 1 or its beginning (public domain).
DECLARATION = (
    "All human beings are born free and equal in dignity and rights.",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "人人生而自由,在尊严和权利上一律平等。",
    "すべての人間は、生れながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق.",
    "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
)

ENGLISH = [line for text in topics.values() for line in text.splitlines()][:4000]
CODE = inspect.getsource(argparse).split("\n")
SCRIPTS = [*DECLARATION * 3, *random_texts(300, seed=1)]
CORPORA = {"English": ENGLISH, "code": CODE, "scripts": SCRIPTS}
