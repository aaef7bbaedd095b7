"""Results of calls that have been started."""

from __future__ import annotations

from typing import Any


class Done:
    """What is there already.

    Parameters
    ----------
    value : any

    Examples
    --------
    >>> Done([1, 2]).result()
    [1, 2]
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def result(self) -> Any:
        """Return it."""
        return self.value
