"""The rank test of Mann and Whitney, for times of answers."""

import math


def p_value(first, second):
    """The probability of a difference this large between samples of the same distribution: two-sided, by the normal
    approximation with ties corrected and continuity correction."""
    n, m = len(first), len(second)
    values = sorted([(v, 0) for v in first] + [(v, 1) for v in second])
    rank_sum, ties, i = 0.0, 0.0, 0
    while i < len(values):
        j = i
        while j < len(values) and values[j][0] == values[i][0]:
            j += 1
        rank = (i + 1 + j) / 2
        rank_sum += rank * sum(1 for k in range(i, j) if values[k][1] == 0)
        ties += (j - i) ** 3 - (j - i)
        i = j
    u = rank_sum - n * (n + 1) / 2
    mean = n * m / 2
    spread = math.sqrt(n * m / 12 * ((n + m + 1) - ties / ((n + m) * (n + m - 1))))
    if spread == 0:
        return 1.0
    z = max(abs(u - mean) - 0.5, 0) / spread
    return math.erfc(z / math.sqrt(2))
