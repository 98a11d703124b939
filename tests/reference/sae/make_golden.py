#!/usr/bin/env python3
"""Makes tests/golden/sae: two small SAE files as numpy writes them, and codes, reconstructions and quality in float64.

The reference is SAELens' own JumpReLUSAE (float64), checked against the plain formulas in numpy before anything is
written. Run it only to renew the golden files; the tests need no Python.

    pip install sae-lens==6.45.2 "transformer-lens<4"
    python tests/reference/sae/make_golden.py
"""
import json
import pathlib
import platform

import numpy
import sae_lens
import torch
from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig

OUT = pathlib.Path(__file__).resolve().parents[2] / "golden" / "sae"
MARGIN = 1e-5  # no pre-activation may lie nearer to its threshold: float32 must find the same active latents


def splitmix(stream, n):
    """n floats of [-1, 1) with 24 bits each, the same as `splitmix` in tests/unit/sae/sae_test.cpp."""
    with numpy.errstate(over="ignore"):
        z = (numpy.arange(1, n + 1, dtype=numpy.uint64) + numpy.uint64(stream << 40)) * numpy.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        z = z ^ (z >> numpy.uint64(31))
    return ((z >> numpy.uint64(40)).astype(numpy.float64) * 2.0**-23 - 1.0).astype(numpy.float32)


def make_sae(stream, d_in, d_sae, threshold):
    """W_dec is W_enc transposed plus noise, so that a reconstruction means something; every operation is exact."""
    encoder = splitmix(stream, d_in * d_sae).reshape(d_in, d_sae) * numpy.float32(0.125)
    return {
        "W_enc": encoder,
        "W_dec": numpy.ascontiguousarray(encoder.T),
        "b_enc": splitmix(stream + 1, d_sae) * numpy.float32(0.125),
        "b_dec": splitmix(stream + 2, d_in) * numpy.float32(0.25),
        "threshold": splitmix(stream + 3, d_sae) * numpy.float32(0.125) + numpy.float32(threshold),
    }


def reference(arrays, rows):
    a = {name: value.astype(numpy.float64) for name, value in arrays.items()}
    x = rows.astype(numpy.float64)
    pre = x @ a["W_enc"] + a["b_enc"]
    codes = numpy.maximum(pre, 0) * (pre > a["threshold"])
    x_hat = codes @ a["W_dec"] + a["b_dec"]

    d_in, d_sae = a["W_enc"].shape
    sae = JumpReLUSAE(JumpReLUSAEConfig(d_in=d_in, d_sae=d_sae, dtype="float64", device="cpu",
                                        apply_b_dec_to_input=False, normalize_activations="none"))
    sae.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in a.items()})
    with torch.no_grad():
        lens_codes = sae.encode(torch.from_numpy(x))
        lens_x_hat = sae.decode(lens_codes).numpy()
        lens_codes = lens_codes.numpy()
    assert numpy.array_equal(lens_codes != 0, codes != 0)
    assert numpy.allclose(lens_codes, codes, rtol=1e-12, atol=1e-12)
    assert numpy.allclose(lens_x_hat, x_hat, rtol=1e-12, atol=1e-12)
    assert numpy.abs(pre - a["threshold"]).min() > MARGIN, "choose another stream"

    row_offsets, latents, values = [0], [], []
    for row in lens_codes:
        active = numpy.flatnonzero(row)
        latents += active.tolist()
        values += row[active].tolist()
        row_offsets.append(len(latents))
    norm = numpy.linalg.norm(x, axis=1) * numpy.linalg.norm(lens_x_hat, axis=1)
    cosine = numpy.where(norm > 0, (x * lens_x_hat).sum(axis=1) / numpy.where(norm > 0, norm, 1), 0)
    squared_error = ((x - lens_x_hat) ** 2).sum(axis=1)
    variance = (x**2).sum(axis=1).mean() - (x.mean(axis=0) ** 2).sum()
    decoder_norm = numpy.linalg.norm(a["W_dec"], axis=1)
    alike = (a["W_enc"].T * a["W_dec"]).sum(axis=1) / (numpy.linalg.norm(a["W_enc"], axis=0) * decoder_norm)
    return {
        "row_offsets": row_offsets, "latents": latents, "values": values, "x_hat": lens_x_hat.ravel().tolist(),
        "l0": float((lens_codes != 0).sum(axis=1).mean()),
        "explained_variance": float(1 - squared_error.mean() / variance), "cosine": float(cosine.mean()),
        "decoder_norm": [float(decoder_norm.min()), float(decoder_norm.mean()), float(decoder_norm.max())],
        "encoder_decoder_cosine_mean": float(alike.mean()),
    }


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    small = make_sae(100, 7, 13, 0.25)
    small["W_dec"] = splitmix(110, 13 * 7).reshape(13, 7)  # its own values: a transposed decoder must be seen
    small_rows = splitmix(120, 5 * 7).reshape(5, 7) * numpy.float32(4)
    small_rows[2] = 0
    wide = make_sae(200, 160, 1024, 1.25)
    wide_rows = splitmix(220, 9 * 160).reshape(9, 160)

    numpy.savez(OUT / "small_stored.npz", **small)
    numpy.savez_compressed(OUT / "small_deflated.npz", w_enc=numpy.asfortranarray(small["W_enc"]),
                           w_dec=numpy.asfortranarray(small["W_dec"]), b_enc=small["b_enc"], b_dec=small["b_dec"],
                           threshold=small["threshold"], scaling_factor=numpy.ones(13, dtype=numpy.float32))
    golden = {
        "made_by": "tests/reference/sae/make_golden.py",
        "versions": {"python": platform.python_version(), "numpy": numpy.__version__,
                     "torch": torch.__version__.split("+")[0], "sae_lens": sae_lens.__version__},
        "small": reference(small, small_rows),
        "wide": reference(wide, wide_rows),
    }
    assert golden["small"]["row_offsets"][2] == golden["small"]["row_offsets"][3], "the zero row has no active latent"
    (OUT / "codes.json").write_text(json.dumps(golden, indent=1) + "\n")
    print({name: (golden[name]["l0"], golden[name]["explained_variance"]) for name in ("small", "wide")})


if __name__ == "__main__":
    main()
