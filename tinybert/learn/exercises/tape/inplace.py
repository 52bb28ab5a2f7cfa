"""In place: which changes make gradients wrong?

An operation keeps arrays for its backward: exp its output, tanh its output, x * y its inputs, as
far as a gradient needs them. If such an array is overwritten before `backward`, the gradient would
be wrong, and the engine refuses. Changes of other arrays do no harm. All changes below are made
under `no_grad()`, which permits them and says nothing about their effect.

Every program gets a leaf x of shape (2, 3) that requires a gradient, and returns y; then
`y.sum().backward()` runs. Predict first, then try.
"""

from tinybert import Tensor, no_grad


def double(array: Tensor) -> None:
    with no_grad():
        array.mul_(2)


def output_of_exp(x: Tensor) -> Tensor:
    y = x.exp()
    double(y)
    return y


def input_of_exp(x: Tensor) -> Tensor:
    y = x.exp()
    double(x)
    return y


def view_of_output(x: Tensor) -> Tensor:
    y = x.exp()
    double(y[0])
    return y


def leaf_times_number(x: Tensor) -> Tensor:
    y = x * 3.0
    double(x)
    return y


def leaf_times_itself(x: Tensor) -> Tensor:
    y = x * x
    double(x)
    return y


def after_backward(x: Tensor) -> Tensor:
    (x * x).sum().backward()
    double(x)
    return x.tanh()


def is_refused() -> dict[str, bool]:
    """Return for each of the six programs, by name, whether its backward is refused."""
    # TODO: return a dict: the name of each program -> True or False.
    # --- solution
    return {
        "output_of_exp": True,
        "input_of_exp": False,
        "view_of_output": True,
        "leaf_times_number": False,
        "leaf_times_itself": True,
        "after_backward": False,
    }
    # --- end
