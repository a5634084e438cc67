"""What cannot be measured is said, never left out of a figure."""

from ablate.errors import AblateError


class MeasureError(AblateError):
    """A cost that cannot be stated: an operator nobody counts, or two counters that disagree."""
