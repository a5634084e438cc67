"""Do two trained networks differ? A question about two sets of weights, never about the method behind."""

from __future__ import annotations

from dataclasses import dataclass

from scipy import special


@dataclass(frozen=True, slots=True)
class McNemar:
    """only_of, only_against: images that one network alone got right; exact and two-sided (McNemar 1947)."""

    only_of: int
    only_against: int

    @property
    def p_value(self) -> float:
        """1 where no image tells them apart."""
        apart = self.only_of + self.only_against
        fewer = min(self.only_of, self.only_against)
        return min(1.0, 2 * float(special.bdtr(fewer, apart, 0.5))) if apart else 1.0
