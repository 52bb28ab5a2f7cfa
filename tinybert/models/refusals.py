"""Errors of loading with a long explanation."""

from __future__ import annotations

from tinybert.models.loading import LoadingReport


def too_few(report: LoadingReport) -> ValueError:
    """Return the error for a file in which most weights were not found."""
    return ValueError(
        f"{report.source}: only {report.found} of {report.wanted} tensors of {report.model}, "
        "without its head, were found: this is another model, or its tensors have other names. "
        f"ignore_missing_keys=True initializes what is missing at random\n{report}"
    )
