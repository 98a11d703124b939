"""Makes tests/golden/hdf5/giant.h5: a small file whose datasets claim sizes that no file holds. Needs h5py (3.16.0 used).

    python tests/reference/make_hostile_hdf5.py OUT.h5

Chunks that are never written take no room, so a few kilobytes can claim any size. `wraps` has rows of 2^64 + 8 bytes: 8, when counted with 64 bits.
"""

import sys

import h5py
from h5py import h5d, h5p, h5s, h5t


def add(file, name, shape, kind):
    creation = h5p.create(h5p.DATASET_CREATE)
    creation.set_chunk((1,) * len(shape))
    creation.set_obj_track_times(False)
    h5d.create(file.id, name.encode(), kind, h5s.create_simple(shape), creation)


with h5py.File(sys.argv[1], "w", libver="earliest") as made:
    add(made, "wraps", (2, 2**61 + 1), h5t.IEEE_F64LE)
    add(made, "more", (2**40, 1024), h5t.IEEE_F32LE)
    add(made, "nothing_behind_it", (2**26, 8), h5t.STD_I32LE)
    add(made, "small", (4, 4), h5t.STD_I32LE)
