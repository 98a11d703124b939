# Spack recipe of pva. In a checkout, on a machine that can fetch sources:
#
#   spack repo add packaging/spack
#   spack dev-build pva@develop
#
# It was never built: it states what pva needs, and the versions it was tested with on Debian 12 (docs/dependencies.md).
from spack.package import *


class Pva(CMakePackage):
    """Program validity awareness of code models, measured at scale: an MPI batch toolkit around sparse autoencoders."""

    maintainers = []
    license("MIT")

    version("develop")

    variant("tests", default=False, description="Build the tests")

    depends_on("cxx", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("ninja", type="build")
    depends_on("pkgconfig", type="build")

    depends_on("mpi@3:")
    depends_on("hdf5@1.10.8:+mpi~cxx")
    depends_on("py-torch@2.11:", type=("build", "link", "run"))
    depends_on("boost@1.74:+program_options+math")
    depends_on("boost@1.74:+test", when="+tests")
    depends_on("random123")
    depends_on("sentencepiece@0.1.97:")
    depends_on("pcre2@10.40:+jit")
    depends_on("icu4c@72:")
    depends_on("nlohmann-json@3.9:")
    depends_on("openssl@3:")
    depends_on("xxhash@0.8:")
    depends_on("zlib-api")
    depends_on("liblinear")
    depends_on("libseccomp@2.5:")
    depends_on("highway@1.0.3:")

    depends_on("python@3.8:", type="run")
    depends_on("bubblewrap@0.7:", type="run")
    depends_on("gnuplot@5.4:", type="run")

    def cmake_args(self):
        torch = self.spec["py-torch"].prefix
        found = find(torch, "TorchConfig.cmake")
        args = [self.define_from_variant("PVA_BUILD_TESTS", "tests"), self.define("HDF5_ROOT", self.spec["hdf5"].prefix), self.define("MPI_HOME", self.spec["mpi"].prefix)]
        if found:
            # <packages>/torch/share/cmake/Torch/TorchConfig.cmake
            args.append(self.define("PVA_LIBTORCH", found[0].rsplit("/share/cmake/", 1)[0]))
        return args

    def install(self, spec, prefix):
        mkdirp(prefix.bin)
        for program in find(self.build_directory + "/bin", ["pva_*", "libpva_*.so"]):
            install(program, prefix.bin)
