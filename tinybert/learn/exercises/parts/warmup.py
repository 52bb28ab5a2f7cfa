"""A learning rate that rises, then falls: the schedule BERT was trained with.

    factor
      1 |     .
        |   .   .
        | .       .
      0 .___________._____ step
        0    w      n          w = warmup_steps, n = total_steps

The learning rate of a step is the highest rate times this factor. It grows in a straight line from
0 at step 0 to 1 at step w, and falls in a straight line to 0 at step n. After that it stays 0. At
the start, Adam's running means are based on few gradients, and steps at the full rate can do harm.
At the end, small steps let the weights settle.

w may be 0: then the factor is 1 at step 0. And w may be n: the factor is 0 at step n.
"""


def warmup(step: int, warmup_steps: int, total_steps: int) -> float:
    """Return the factor of the learning rate at a step, from 0 to 1."""
    # TODO: one line for the steps before w, one for the others; mind divisions by 0.
    # --- solution
    if step < warmup_steps:
        return step / warmup_steps
    return max(0.0, (total_steps - step) / max(1, total_steps - warmup_steps))
    # --- end
