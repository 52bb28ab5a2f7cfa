"""`ParallelStep`: one training step on a grid.

    1. every micro-batch forward and backward, in the order of the schedule   (`schedules.py`)
    2. gradients added over data-parallel ranks, from the last backward on    (`buckets.py`)
    3. gradients of shared parameters completed, the norm                     (`gradients.py`)
    4. the update; with ZeRO of a part of the weights                         (`zero.py`)

Shapes   B rows of a micro-batch, T tokens, D hidden, t tensor-parallel ranks, p stages
Bytes    a stage sends, for each micro-batch, B T D numbers forward to the next stage and as many
         backward; with sequence parallelism B T D / t
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinybert.autograd import Tensor, as_tensor
from tinybert.checks import check_choice
from tinybert.nn.packing import padded
from tinybert.optim import Lamb, Optimizer
from tinybert.parallel import gradients
from tinybert.parallel.buckets import Buckets
from tinybert.parallel.chunks import own_loss, own_tokens
from tinybert.parallel.communicator import Request
from tinybert.parallel.parallelize import Part
from tinybert.parallel.schedules import SCHEDULES
from tinybert.parallel.stage import run_stage
from tinybert.parallel.streams import micro_batch
from tinybert.parallel.zero import ZeroOptimizer, piece_gradients
from tinybert.training.losses import masked_loss, model_loss
from tinybert.training.trainer import count_labels

Batch = dict[str, Any]
FORWARD, BACKWARD = 0, 1  # tags of messages between stages


class ParallelStep:
    """Computes the gradients of a batch on a grid, and updates the weights.

    Args:
        part: this rank's part of the model.
        optimizer: of the parameters of `part.model`.
        seed: of dropout.
        schedule: of the pipeline, "1f1b" or "gpipe".
        zero: divide the optimizer's state among the data-parallel ranks (ZeRO stage 1).
        max_grad_norm: longer gradients are scaled to this length; None for no limit.
        loss: the loss of a micro-batch, a mean over `count(batch)` labels.
        count: the number of labels in a micro-batch, by which it is weighted.
        bucket: bytes of gradients that are added at once over data-parallel ranks.

    Raises ValueError for LAMB with tensor parallelism or ZeRO: it needs norms of whole matrices.
    """

    def __init__(
        self, part: Part, optimizer: Optimizer, *, seed: int = 0, schedule: str = "1f1b",
        zero: bool = False, max_grad_norm: float | None = 1.0,
        loss: Callable[[Any, Batch], Tensor] = model_loss,
        count: Callable[[Batch], int] = count_labels, bucket: int | None = None,
    ) -> None:  # fmt: skip
        check_choice("schedule", schedule, SCHEDULES)
        if isinstance(optimizer, Lamb) and part.grid.tensor.size > 1:
            raise ValueError(
                "lamb needs the norm of each whole matrix, which tensor-parallel ranks divide; use "
                "adamw, adam or sgd, or tensor=1"
            )
        self.part, self.optimizer, self.seed, self.schedule = part, optimizer, seed, schedule
        if part.grid.chunks.size > 1:
            if loss not in (model_loss, masked_loss):
                raise ValueError("chunks > 1 needs the loss of the model's own labels")
            loss, count = own_loss, count_labels
        self.max_grad_norm, self.loss, self.count = max_grad_norm, loss, count
        self.zero = ZeroOptimizer(optimizer, part.grid.replicas) if zero else None
        trained = [p for p in part.model.parameters() if p.requires_grad]
        options = {} if bucket is None else {"size": bucket}
        self.buckets = Buckets([] if zero else trained, part.grid.replicas, **options)
        self.trained = trained

    def __call__(self, batches: Sequence[Batch], step: int) -> dict[str, float]:
        """Train on one batch; return its `loss` and the `norm` of its gradient on every rank.

        Args:
            batches: this data-parallel rank's micro-batches, the same on all ranks of a copy of
                the model. The other data-parallel ranks have as many.
            step: the number of the step, from which the numbers of dropout are drawn.
        """
        loss = self.backward(batches, step)
        return {"loss": loss, "norm": self.update()}

    # --- gradients ------------------------------------------------------------------------------

    def backward(self, batches: Sequence[Batch], step: int) -> float:
        """Add the gradients of this rank's parameters to their `.grad`; return the mean loss."""
        grid, count, model = self.part.grid, len(batches), self.part.model
        if grid.chunks.size > 1:
            batches = [own_tokens(batch, model, grid.chunks) for batch in batches]
        counts = np.array([float(self.count(batch)) for batch in batches])
        total = max(1.0, float(grid.replicas.allreduce(np.array([counts.sum()]))[0]))
        weights = counts / total
        stage, stages = grid.pipeline.rank, grid.pipeline.size
        run = _Run(self, batches, weights, step)
        actions = list(SCHEDULES[self.schedule](stage, stages, count))
        for number, (action, index) in enumerate(actions):
            if action == "forward":
                run.forward(index)
            else:
                run.backward(index, last=number == len(actions) - 1)
        for request in run.sent:
            request.wait()
        unused = self._unused()
        if self.zero is None:
            self.buckets.finish()
        gradients.add_shared(self.part)
        for parameter in unused:  # the sums above have set zeros, to which weight decay applies
            parameter.grad = None
        return self._mean_loss(run.loss)

    def _unused(self) -> list[Tensor]:
        """Return the parameters that have no gradient on any data-parallel rank."""
        own = {i for i, p in enumerate(self.trained) if p.grad is None and p is not self.part.tied}
        common = own.intersection(*self.part.grid.replicas.gather_objects(own))
        return [self.trained[i] for i in sorted(common)]

    def _mean_loss(self, own: float) -> float:
        """Return the loss of the whole batch, which the last stages have."""
        grid = self.part.grid
        on_last = own if grid.is_last else 0.0
        return float(grid.pipeline.allreduce(grid.replicas.allreduce(np.array([on_last])))[0])

    # --- the update -----------------------------------------------------------------------------

    def update(self) -> float:
        """Scale the gradients, update the weights, drop the gradients; return their norm."""
        counts = {id(p): own for p, own in gradients.counted(self.part)}
        unused = [p for p in self.trained if p.grad is None]
        if self.zero is None:
            pairs = [(p, p.grad.data) for p in self.trained if p.grad is not None]
            scaled = [p.grad for p in self.trained if p.grad is not None]
        else:
            self.zero.add_gradients()
            pairs = piece_gradients(self.zero)
            scaled = [own.grad for own in self.zero.parts if own.grad is not None]
        wide = (x.astype("float64").reshape(-1) for p, x in pairs if counts[id(p)])
        squares = [float(x @ x) for x in wide]
        group = self.part.grid.replicas if self.zero is not None else None
        if group is not None:
            squares = [float(group.allreduce(np.array([sum(squares)]))[0])]
        norm = gradients.norm(self.part, squares)
        gradients.scale(scaled, norm, self.max_grad_norm)
        if self.zero is None:
            self.optimizer.step()
        else:
            self.zero.step(unused)
        self.optimizer.zero_grad()
        for parameter in self.trained:
            parameter.grad = None
        return norm


class _Run:
    """The micro-batches of one step on this rank's stage."""

    def __init__(
        self, owner: ParallelStep, batches: Sequence[Batch], weights: Any, step: int
    ) -> None:
        self.owner, self.batches, self.weights, self.step = owner, batches, weights, step
        self.part = owner.part
        self.loss, self.sent = 0.0, list[Request]()
        self.kept: dict[int, tuple[Tensor | None, Tensor]] = {}  # input and output of a forward

    def forward(self, index: int) -> None:
        """Run a micro-batch through the stage; send its hidden states to the next."""
        part, grid, batch = self.part, self.part.grid, self.batches[index]
        grid.tensor.tokens = _tokens(batch)
        received = None
        if not grid.is_first:
            states = self._receive(batch, grid.pipeline.rank - 1, FORWARD)
            received = as_tensor(states, part.model.device)
            received.requires_grad_(True)
        part.inbox.states = received
        number = grid.data.rank * len(self.batches) + index
        device = part.model.device
        # Stages must agree on the shape of hidden states, so padding is computed.
        with padded(), micro_batch(grid, self.owner.seed, self.step, number, device):
            if grid.is_last:
                output = self.owner.loss(part.model, batch) * float(self.weights[index])
                self.loss += float(output)
            else:
                output = run_stage(part.model, batch)
                self._send(output.data, grid.pipeline.rank + 1, FORWARD)
        part.inbox.states = None
        self.kept[index] = received, output

    def backward(self, index: int, last: bool) -> None:
        """Differentiate a micro-batch; send the gradient of what was received to its stage."""
        grid = self.part.grid
        grid.tensor.tokens = _tokens(self.batches[index])  # layers may be computed again
        received, output = self.kept.pop(index)
        if grid.is_last:
            dy = np.ones(output.shape, output.dtype)
        else:
            dy = self._receive(self.batches[index], grid.pipeline.rank + 1, BACKWARD)
        dy = as_tensor(dy, output.device).data
        buckets = self.owner.buckets
        deliver = buckets.expecting(output) if last and buckets.buckets else Tensor.accumulate_grad
        output._backward(dy, False, deliver)
        if received is not None:
            assert received.grad is not None
            self._send(received.grad.data, grid.pipeline.rank - 1, BACKWARD)

    def _receive(self, batch: Batch, source: int, tag: int) -> Any:
        model, grid = self.part.model, self.part.grid
        tokens = _tokens(batch)
        if self.part.sequence:
            tokens = -(-tokens // grid.tensor.size)
        shape = len(batch["input_ids"]), tokens, model.config.hidden_size
        return grid.pipeline.recv(shape, model.dtype, source, tag)

    def _send(self, array: Any, to: int, tag: int) -> None:
        self.sent.append(self.part.grid.pipeline.send(array, to, tag))


def _tokens(batch: Batch) -> int:
    return int(np.asarray(batch["input_ids"]).shape[-1])
