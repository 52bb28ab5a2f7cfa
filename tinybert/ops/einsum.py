"""Einsum: products of several tensors, summed over any axes."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.ops.arguments import conjugate


class Einsum(Function):
    """y = sum over the letters missing from the output, for example "bqd,bkd->bqk" (explicit or
    implicit output).

    The gradient of one operand is again an einsum: of dy and the other operands, with that
    operand's letters as output. A letter that only this operand has was summed over, so its
    gradient is repeated along it.
    """

    half_on = "cuda"

    def forward(self, *operands: Any, equation: str) -> Any:
        self.terms, self.output = letters_of(equation, operands)
        self.operands = operands
        return array_module(operands[0]).einsum(
            ",".join(self.terms) + "->" + self.output, *operands, optimize=len(operands) > 2
        )

    def backward(self, dy: Any) -> Any:
        return tuple(
            self._one(position, dy) if need else None
            for position, need in enumerate(self.needs_input_grad)
        )

    def _one(self, position: int, dy: Any) -> Any:
        xp = array_module(dy)
        term, operand = self.terms[position], self.operands[position]
        others = [
            (t, conjugate(o))
            for i, (t, o) in enumerate(zip(self.terms, self.operands, strict=True))
            if i != position
        ]
        known = set(self.output).union(*(set(t) for t, _ in others))
        kept = "".join(letter for letter in term if letter in known)
        inputs = ",".join([self.output, *(t for t, _ in others)])
        grad = xp.einsum(f"{inputs}->{kept}", dy, *(o for _, o in others))
        spread = tuple(slice(None) if letter in known else None for letter in term)
        return xp.broadcast_to(grad[spread], operand.shape)


def einsum(equation: str, *operands: Any) -> Tensor:
    """Return products summed over the letters that the output lacks: einsum("qd,kd->qk", q, k)."""
    return Einsum.apply(*(as_tensor(x) for x in operands), equation=equation)


def letters_of(equation: str, operands: tuple[Any, ...]) -> tuple[list[str], str]:
    """Return the letters of every operand and of the output; ValueError for unsupported forms."""
    left, arrow, output = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if "." in equation or not all(term.isalpha() or not term for term in terms):
        raise ValueError(
            f"einsum: equation must be letters, commas and '->' (no ellipsis), got {equation!r}"
        )
    if len(terms) != len(operands):
        raise ValueError(
            f"einsum: {equation!r} names {len(terms)} operands, {len(operands)} were given"
        )
    for term, operand in zip(terms, operands, strict=True):
        if len(term) != operand.ndim or len(set(term)) != len(term):
            raise ValueError(
                f"einsum: {term!r} must name each of the {operand.ndim} axes of its operand once"
            )
    if not arrow:
        output = "".join(sorted(letter for letter in set(left) - {","} if left.count(letter) == 1))
    return terms, output
