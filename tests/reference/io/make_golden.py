"""Makes tests/golden/io/foreign.h5: a file that h5py wrote and pva did not, with what pva never writes.

    python tests/reference/io/make_golden.py

Versions used for the stored file are in its root attribute `made_by`.
"""
import os

import h5py
import numpy as np

TARGET = os.path.join(os.path.dirname(__file__), "..", "..", "golden", "io", "foreign.h5")

with h5py.File(TARGET, "w") as file:
    file.attrs["made_by"] = np.bytes_(f"h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}, numpy {np.__version__}")
    # Attributes where pva expects one number or one text of fixed width.
    file.attrs["integers"] = np.arange(64, dtype=np.int64)
    file.attrs["texts"] = np.array([b"one", b"two", b"three"] * 20, dtype="S16")
    file.attrs["variable_text"] = "variable length"
    file.attrs["number"] = 2.5
    file.attrs["small_integer"] = np.int8(-5)
    file.attrs["big_endian"] = np.array(77, dtype=">i4")
    file.attrs["nothing"] = h5py.Empty("i8")
    # Datasets of types that pva uses, stored in another way ...
    file["big_endian_floats"] = np.array([1.5, -2.0, 1e30], dtype=">f4")
    file.create_dataset("chunked", data=np.arange(20, dtype="<i4").reshape(10, 2), chunks=(3, 2), compression="gzip")
    # ... and of types that it does not.
    file["short"] = np.array([1, 2], dtype="<i2")
    file["half"] = np.array([1, 2], dtype="<f2")
    file["signed_bytes"] = np.array([1, 2], dtype="i1")
    file["variable_texts"] = np.array(["a", "bc"], dtype=h5py.string_dtype())
    file["complex"] = np.array([1 + 2j])
    file["nothing"] = h5py.Empty("f4")
    file.create_group("group")
