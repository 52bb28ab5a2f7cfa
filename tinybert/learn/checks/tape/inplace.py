"""Check of tape/inplace."""

from collections.abc import Iterator
from runpy import run_path
from types import ModuleType

import numpy as np

from tinybert.autograd import Tensor
from tinybert.learn.exercise import ROOT, Case, Exercise, Mutant

EXERCISE = Exercise(
    minutes=10,
    level=2,
    lesson=3,
    hints=(
        "For each program: which array does the backward of the operation read, and is it the one "
        "that was doubled?",
        "A view such as y[0] has no memory of its own. A product needs the factor that x is "
        "multiplied with: for x * 3.0 the number, for x * x the array.",
        "Run one: x = Tensor([[1.0, 2, 3], [4, 5, 6]], requires_grad=True), then "
        "input_of_exp(x).sum().backward().",
    ),
    mutants=(
        Mutant(
            "no_grad makes it safe",
            '"output_of_exp": True',
            '"output_of_exp": False',
            "values",
            "exp has kept y, its own derivative. no_grad() permits the change; y is overwritten "
            "all the same.",
        ),
        Mutant(
            "exp keeps its input",
            '"input_of_exp": False',
            '"input_of_exp": True',
            "values",
            "the derivative of exp is its output: it kept y, and x is not read again.",
        ),
        Mutant(
            "a view is a copy",
            '"view_of_output": True',
            '"view_of_output": False',
            "values",
            "y[0] is a view: it shares the memory of y, which exp has kept.",
        ),
        Mutant(
            "a leaf may never change",
            '"leaf_times_number": False',
            '"leaf_times_number": True',
            "values",
            "the derivative of x * 3 is 3, whatever x is: nothing that was kept has changed.",
        ),
        Mutant(
            "a leaf may always change",
            '"leaf_times_itself": True',
            '"leaf_times_itself": False',
            "values",
            "the derivative of x * x is 2 x: x was kept, and must not change before backward.",
        ),
        Mutant(
            "changes after backward count",
            '"after_backward": False',
            '"after_backward": True',
            "values",
            "the first backward is over, and what it had kept is freed; tanh ran on the new x. An "
            "optimizer's step does just this.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Run the six programs of the file, as it was handed out."""
    programs = run_path(str(ROOT / "tape" / "inplace.py"))

    def is_refused(program: str) -> bool:
        return student.is_refused()[program]

    for name in programs["is_refused"]():
        x = Tensor(np.random.default_rng(0).normal(size=(2, 3)), requires_grad=True)
        y = programs[name](x)
        try:
            y.sum().backward()
            expected = False
        except RuntimeError:
            expected = True
        yield Case(is_refused, (name,), expected, what=f'is_refused()["{name}"]')
