# Finds an MPI-parallel HDF5 C library and stops with one clear message when only a serial one is there.
#
#   HDF5_ROOT (CMake or environment)   a prefix with include/hdf5.h and lib/libhdf5.so; default: Debian's openmpi folders,
#                                      then h5pcc on the PATH, then the compiler's own folders.
#
# Defines ParallelHDF5::hdf5.
set(pva_hdf5_hints "")
if(HDF5_ROOT)
  list(APPEND pva_hdf5_hints ${HDF5_ROOT})
elseif(DEFINED ENV{HDF5_ROOT})
  list(APPEND pva_hdf5_hints $ENV{HDF5_ROOT})
endif()
set(pva_hdf5_remedy "Install a parallel one (Debian: jobs/local/setup.sh, or apt-get install libhdf5-openmpi-dev; on a cluster: module load hdf5/parallel or similar) or pass -DHDF5_ROOT=PREFIX.")

unset(PVA_HDF5_INCLUDE CACHE)
unset(PVA_HDF5_LIBRARY CACHE)
if(pva_hdf5_hints)
  find_path(PVA_HDF5_INCLUDE hdf5.h PATHS ${pva_hdf5_hints} PATH_SUFFIXES include NO_DEFAULT_PATH)
  find_library(PVA_HDF5_LIBRARY NAMES hdf5_openmpi hdf5_mpich hdf5 PATHS ${pva_hdf5_hints}
    PATH_SUFFIXES lib lib64 NO_DEFAULT_PATH)
  if(NOT PVA_HDF5_INCLUDE OR NOT PVA_HDF5_LIBRARY)
    message(FATAL_ERROR "HDF5_ROOT=${pva_hdf5_hints} has no include/hdf5.h or no lib/libhdf5.so. ${pva_hdf5_remedy}")
  endif()
else()
  find_program(pva_h5pcc h5pcc.openmpi NAMES h5pcc.openmpi h5pcc h5pcc.mpich)
  get_filename_component(pva_h5pcc_prefix "${pva_h5pcc}/../.." ABSOLUTE)
  find_path(PVA_HDF5_INCLUDE hdf5.h
    PATHS /usr/include/hdf5/openmpi /usr/include/hdf5/mpich ${pva_h5pcc_prefix}/include NO_DEFAULT_PATH)
  find_library(PVA_HDF5_LIBRARY NAMES hdf5
    PATHS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/hdf5/openmpi /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/hdf5/mpich
          ${pva_h5pcc_prefix}/lib ${pva_h5pcc_prefix}/lib64 NO_DEFAULT_PATH)
  if(NOT PVA_HDF5_INCLUDE)
    find_path(PVA_HDF5_INCLUDE hdf5.h PATH_SUFFIXES hdf5/serial)
  endif()
  if(NOT PVA_HDF5_LIBRARY)
    find_library(PVA_HDF5_LIBRARY NAMES hdf5_openmpi hdf5_mpich hdf5 PATH_SUFFIXES hdf5/serial)
  endif()
  if(NOT PVA_HDF5_INCLUDE OR NOT PVA_HDF5_LIBRARY)
    message(FATAL_ERROR "HDF5 not found. ${pva_hdf5_remedy}")
  endif()
endif()

include(CheckCSourceCompiles)
set(CMAKE_REQUIRED_INCLUDES ${PVA_HDF5_INCLUDE} ${MPI_C_INCLUDE_DIRS})
set(CMAKE_REQUIRED_LIBRARIES ${PVA_HDF5_LIBRARY} MPI::MPI_C)
unset(PVA_HDF5_IS_PARALLEL CACHE)
check_c_source_compiles("
  #include <mpi.h>
  #include <hdf5.h>
  #ifndef H5_HAVE_PARALLEL
  #error serial
  #endif
  int main(void) { return (int)H5Pset_fapl_mpio(H5Pcreate(H5P_FILE_ACCESS), MPI_COMM_WORLD, MPI_INFO_NULL); }"
  PVA_HDF5_IS_PARALLEL)
unset(CMAKE_REQUIRED_INCLUDES)
unset(CMAKE_REQUIRED_LIBRARIES)
if(NOT PVA_HDF5_IS_PARALLEL)
  message(FATAL_ERROR "Found a serial HDF5 (or one of another MPI) in ${PVA_HDF5_LIBRARY}. ${pva_hdf5_remedy}")
endif()

add_library(ParallelHDF5::hdf5 SHARED IMPORTED GLOBAL)
set_target_properties(ParallelHDF5::hdf5 PROPERTIES IMPORTED_LOCATION ${PVA_HDF5_LIBRARY}
  INTERFACE_INCLUDE_DIRECTORIES ${PVA_HDF5_INCLUDE} INTERFACE_LINK_LIBRARIES MPI::MPI_C)
message(STATUS "parallel HDF5: ${PVA_HDF5_LIBRARY}")
