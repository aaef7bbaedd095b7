"""Results of started calls."""

from __future__ import annotations

from typing import Any


class Done:
    """A call that has already finished.

    Parameters
    ----------
    value : any
        Its outputs.

    Examples
    --------
    >>> Done([1, 2]).result()
    [1, 2]
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def result(self) -> Any:
        """Return the outputs."""
        return self.value
