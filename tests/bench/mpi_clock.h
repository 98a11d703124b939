// How long this process is inside MPI, by MPI's own profiling interface: mpi_clock.cpp stands before the calls that pva and
// parallel HDF5 make and calls the library's PMPI_ functions.
#pragma once

namespace pva::bench {

/// Seconds of the main thread so far; calls inside calls count once.
struct MpiSeconds {
    double messages = 0;  ///< point to point and collective calls
    double files = 0;     ///< MPI_File_*: what HDF5 makes of a write, with the system call below it
};
MpiSeconds mpi_seconds();

}  // namespace pva::bench
