// The one path on which MPI calls are checked. Every MPI call of pva stands inside PVA_MPI(...).
#pragma once

#include <mpi.h>

namespace pva::mpi {

/// Throws InternalError with the call, MPI's own text and the rank when `code` is not MPI_SUCCESS.
void check(int code, const char* call, const char* file, int line);

}  // namespace pva::mpi

#define PVA_MPI(call) ::pva::mpi::check((call), #call, __FILE__, __LINE__)
