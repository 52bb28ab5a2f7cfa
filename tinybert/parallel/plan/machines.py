"""`Machine`: the constants of the alpha-beta model, of three GPU clusters or measured.

Attained rates of memory and links are 80 % of the data sheet (`ATTAINED`). Latencies are those of
NCCL's own cost model for its ring algorithm (nccl, `src/graph/tuning.cc`). `matmul` and `overhead`
are fitted to the published runs named in `fitted`; every other published run is predicted.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from tinybert.checks import check, check_integer, check_number

ATTAINED = 0.8  # of the bandwidth in a data sheet
NVLINK_LATENCY, NETWORK_LATENCY = 3.4e-6, 14e-6  # seconds of a step of NCCL's ring


@dataclass(frozen=True)
class Machine:
    """What a cluster computes and sends in a second.

    Attributes:
        name: of the kind of GPU or processor.
        matmul: FLOP/s that a rank attains in matrix products.
        memory: bytes/s that a rank moves in all other operations.
        overhead: seconds of a layer and micro-batch that do not depend on its size.
        latency, bandwidth: alpha in seconds and beta in bytes/s, between ranks of a node.
        node_latency, node_bandwidth: alpha, and beta of a whole node, between nodes.
        per_node: ranks of a node.
        capacity: bytes of memory of a rank.
        peak: FLOP/s of the data sheet, of which utilization is a share.
        source: where the constants are published.
        fitted: the published runs from which `matmul` and `overhead` come.
    """

    name: str
    matmul: float
    memory: float
    overhead: float
    latency: float
    bandwidth: float
    node_latency: float
    node_bandwidth: float
    per_node: int
    capacity: float
    peak: float
    source: str = ""
    fitted: str = ""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "str":
                check(field.name, value, isinstance(value, str), "a text")
            elif field.type == "int":
                check_integer(field.name, value, 1)
            else:
                check_number(field.name, value)
                check(field.name, value, value > 0 or field.name == "overhead", "above 0")

    def link(self, members: int) -> tuple[float, float]:
        """Return latency and bandwidth of a ring that has so many ranks in each node it enters.

        A ring inside of a node uses the fast links. One that leaves it shares the node's network
        with the rings of the other ranks: it has the part of its `members`.
        """
        part = self.node_bandwidth * members / self.per_node
        return self.node_latency, min(self.bandwidth, part)


def read_machine(path: Path) -> Machine:
    """Read the constants of a file that `tinybert plan --calibrate` wrote.

    Raises ValueError if it is another file.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a JSON file of constants: {error}") from None
    if isinstance(values, dict):
        values.pop("runs", None)
    names = {field.name for field in dataclasses.fields(Machine)}
    given = set(values) if isinstance(values, dict) else set()
    missing, unknown = names - {"source", "fitted"} - given, given - names
    if missing or unknown:
        what = f"lacks {', '.join(sorted(missing))}" if missing else f"has {sorted(unknown)}"
        raise ValueError(f"{path} {what}; write it with: tinybert plan --calibrate --output FILE")
    return Machine(**values)


MACHINES = {
    "v100": Machine(
        "V100 (DGX-2H)", matmul=57e12, memory=ATTAINED * 900e9, overhead=8.2e-3,
        latency=NVLINK_LATENCY, bandwidth=ATTAINED * 150e9,
        node_latency=NETWORK_LATENCY, node_bandwidth=ATTAINED * 100e9,
        per_node=16, capacity=32e9, peak=130e12,
        source="arXiv:1909.08053 section 5.1: 300 GB/s between GPUs (150 each way), 100 GB/s "
        "between servers; 39 TFLOP/s are 30 % of the peak; memory: V100 data sheet",
        fitted="1909.08053: 1.2B on 1 GPU (39 TFLOP/s) and its speedup on 2 (1.64)",
    ),
    "a100": Machine(
        "A100 (DGX A100)", matmul=212e12, memory=ATTAINED * 2039e9, overhead=0,
        latency=NVLINK_LATENCY, bandwidth=ATTAINED * 300e9,
        node_latency=NETWORK_LATENCY, node_bandwidth=ATTAINED * 200e9,
        per_node=8, capacity=80e9, peak=312e12,
        source="arXiv:2104.04473 section 5: 312 TFLOP/s, eight 200 Gb/s adapters in a node; "
        "NVLink 600 GB/s (300 each way), memory: A100 data sheet",
        fitted="2104.04473: 18.4B on 256 GPUs (135 TFLOP/s)",
    ),
    "h100": Machine(
        "H100 (DGX H100)", matmul=560e12, memory=ATTAINED * 3350e9, overhead=0,
        latency=NVLINK_LATENCY, bandwidth=ATTAINED * 450e9,
        node_latency=NETWORK_LATENCY, node_bandwidth=ATTAINED * 400e9,
        per_node=8, capacity=80e9, peak=989e12,
        source="arXiv:2402.16819 section 2: 989 TFLOP/s, 450 GB/s each way between GPUs, eight "
        "400 Gb/s adapters in a node; memory: H100 data sheet",
        fitted="2402.16819: 15B on 768 GPUs (0.57 s)",
    ),
}  # fmt: skip
