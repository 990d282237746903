"""Which callers' arrays are read where they are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

PRICE = 8  # calls at addresses seen before that pay for a plan of another address
FREE = 3  # plans that nothing has paid for yet
REMEMBERED = 64  # addresses


class InPlace:
    """Weighs an address: read in place it needs a plan of its own, an execution context and a graph, which only reuse
    pays for. Arrays that are never seen again are copied, so that they take no plan from those that are."""

    def __init__(self) -> None:
        self._credit = FREE * PRICE
        self._seen: OrderedDict[Hashable, None] = OrderedDict()  # least recent first

    def worth(self, address: Hashable, planned: bool) -> bool:
        """Whether to read it in place; `planned` when a plan for it is there."""
        if address in self._seen:
            self._credit = min(self._credit + 1, FREE * PRICE)
        self._seen[address] = None
        self._seen.move_to_end(address)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        if planned:
            return True
        if self._credit < PRICE:
            return False
        self._credit -= PRICE
        return True
