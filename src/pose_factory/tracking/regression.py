"""Where quantities that move smoothly were when nobody looked: Gaussian process regression over time.

Each quantity has a constant mean and a Matérn 5/2 covariance, so that it is carried on with the velocity it had, damped
towards its mean, and meets what was seen on both sides of a gap. How fast it changes and how noisy it was seen are not
assumed: every pair of SPANS and NOISES is tried, and their forecasts are averaged in proportion to their marginal
likelihoods, with the amplitude and the mean at their most likely values (Rasmussen & Williams 2006, 'Gaussian Processes
for Machine Learning', 2.3, 2.7, 5.4).
"""

import numpy as np

SPANS = np.array([3.0, 5.0, 8.0, 13.0, 21.0, 40.0, 100.0])
"""Steps of time over which a quantity stays itself."""
NOISES = np.array([1e-6, 1e-3, 1e-2, 1e-1, 1.0])
"""Variances of the noise, as fractions of the quantity's own."""
_SPANS, _NOISES = (grid.ravel()[:, None, None] for grid in np.meshgrid(SPANS, NOISES, indexing="ij"))
_AT_ONCE = 500  # times; memory is taken for each of them, candidate and quantity
_STILL = 1e-6  # a quantity that varies by less is taken as constant up to that


def regress(times: np.ndarray, values: np.ndarray, trust: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(M, C) each of C independent quantities at the times `at` (M,), from `values` (N, C) seen at `times` (N,).

    Times count in the footage's steps; they may lie between, before and after each other in any order. `trust` (N,), in
    (0, 1], divides the variance of the noise. All finite, N at least 1.
    """
    count = len(times)
    covariance = _matern(times, times) + _NOISES * np.diag(1 / trust)
    inverse = np.linalg.inv(covariance)
    row_sums = inverse.sum(-1)
    total = row_sums.sum(-1)[:, None]
    mean = (row_sums @ values / total)[:, None]
    deviation = values - mean
    weighted = inverse @ deviation
    variance = (deviation * weighted).sum(1) / count + _STILL**2
    log_determinant = np.linalg.slogdet(covariance)[1][:, None]
    likelihood = -(count * np.log(variance) + log_determinant + np.log(total)) / 2
    share = np.exp(likelihood - likelihood.max(axis=0))
    share /= share.sum(axis=0)
    blocks = [at[start : start + _AT_ONCE] for start in range(0, len(at), _AT_ONCE)]
    return np.concatenate([(share[:, None] * (mean + _matern(some, times) @ weighted)).sum(axis=0) for some in blocks])


def _matern(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(candidates, len(first), len(second)) correlations."""
    distance = np.sqrt(5) * np.abs(np.subtract.outer(first, second)) / _SPANS
    return (1 + distance + distance**2 / 3) * np.exp(-distance)
