#!/usr/bin/env python3
"""Coefficients of the polynomials in src/kernels/math.inc.

Weighted minimax fits (Lawson's iteration on a fine grid, numpy 2.4.6, mpmath 1.3.0), rounded to float32 one coefficient after the
other from the lowest power on, the others fitted again after each. Prints C++ initialisers, the lowest power first, and
the largest relative error of the function that the rounded polynomial leaves in exact arithmetic, in units of 2^-24.
"""
import mpmath
import numpy as np

mpmath.mp.dps = 40


def minimax(x, target, weight, powers):
    """Coefficients for `powers` that make max |weight * (sum c x^p - target)| small."""
    if not powers:
        return np.zeros(0)
    scale = np.max(np.abs(x))
    basis = np.stack([(x / scale) ** p for p in powers], axis=1)
    lawson = np.full(len(x), 1.0 / len(x))
    best, best_error = None, np.inf
    for _ in range(300):
        root = np.sqrt(lawson) * weight
        solved = np.linalg.lstsq(basis * root[:, None], target * root, rcond=None)[0]
        error = np.abs(weight * (basis @ solved - target))
        if error.max() < best_error:
            best, best_error = solved, error.max()
        lawson = lawson * (error + 1e-30)
        lawson /= lawson.sum()
    return best / np.array([scale ** p for p in powers])


def rounded(x, target, weight, degree):
    fixed = []
    for power in range(degree + 1):
        rest = target - sum((c * x ** p for p, c in enumerate(fixed)), np.zeros_like(x))
        fixed.append(float(np.float32(minimax(x, rest, weight, list(range(power, degree + 1)))[0])))
    left = np.max(np.abs(weight * (sum(c * x ** p for p, c in enumerate(fixed)) - target)))
    return fixed, left


def grid(low, high, count=1201):
    return (low + high) / 2 - (high - low) / 2 * np.cos(np.pi * (np.arange(count) + 0.5) / count)


def values(function, x):
    return np.array([float(function(mpmath.mpf(float(v)))) for v in x])


def show(name, fit):
    coefficients, left = fit
    text = ", ".join(f"{c:.9g}F" for c in coefficients)
    print(f"{name}: {{{text}}}\n    error {left * 2 ** 24:.3f}")


def main():
    r = grid(-0.3475, 0.3475)
    show("exp(r) = 1 + r + r^2 q(r)",
         rounded(r, values(lambda v: (mpmath.exp(v) - 1 - v) / v ** 2, r), r ** 2 / np.exp(r), 4))
    x = grid(1e-3, 0.626)
    show("tanh(x) = x + x z p(z), z = x^2",
         rounded(x ** 2, values(lambda v: (mpmath.tanh(v) / v - 1) / v ** 2, x), x ** 3 / np.tanh(x), 4))
    x = grid(1e-3, 0.926)
    erf = values(mpmath.erf, x)
    show("erf(x) = x + x p(z), z = x^2", rounded(x ** 2, values(lambda v: mpmath.erf(v) / v - 1, x), x / erf, 5))
    t = grid(0.924, 4.0)
    show("erf(t) = 1 - exp(-t - t h(t))",
         rounded(t, values(lambda v: -mpmath.log(mpmath.erfc(v)) / v - 1, t),
                 values(lambda v: v * mpmath.erfc(v) / mpmath.erf(v), t), 6))


if __name__ == "__main__":
    main()
