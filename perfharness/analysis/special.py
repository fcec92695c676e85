"""scipy's special functions, loaded when one is first called: that takes longer than all that `validate` does."""

from __future__ import annotations

from typing import Any


def betaincinv(a: Any, b: Any, share: Any) -> Any:
    """Quantile of the beta distribution."""
    from scipy import special

    return special.betaincinv(a, b, share)


def stdtrit(freedom: Any, share: Any) -> Any:
    """Quantile of Student's t."""
    from scipy import special

    return special.stdtrit(freedom, share)


def expit(x: Any) -> Any:
    """1 / (1 + exp(-x)) without overflow."""
    from scipy import special

    return special.expit(x)


def xlogy(x: Any, y: Any) -> Any:
    """x · log(y), and 0 where x is 0."""
    from scipy import special

    return special.xlogy(x, y)
