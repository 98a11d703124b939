// The MPI functions of this program, each timed around its PMPI_ twin.
#include "mpi_clock.h"

#include <mpi.h>

#include <chrono>

namespace {

// MPI gives a wrapper no place for its figures.
pva::bench::MpiSeconds spent;
int depth = 0;

template <class Call>
int timed(double& seconds, Call&& call) {
    const auto start = std::chrono::steady_clock::now();
    ++depth;
    const int code = call();
    --depth;
    if (depth == 0) seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return code;
}

}  // namespace

namespace pva::bench {

MpiSeconds mpi_seconds() { return spent; }

}  // namespace pva::bench

extern "C" {

int MPI_Isend(const void* buffer, int count, MPI_Datatype type, int target, int tag, MPI_Comm comm, MPI_Request* request) {
    return timed(spent.messages, [&] { return PMPI_Isend(buffer, count, type, target, tag, comm, request); });
}
int MPI_Iprobe(int source, int tag, MPI_Comm comm, int* flag, MPI_Status* status) {
    return timed(spent.messages, [&] { return PMPI_Iprobe(source, tag, comm, flag, status); });
}
int MPI_Recv(void* buffer, int count, MPI_Datatype type, int source, int tag, MPI_Comm comm, MPI_Status* status) {
    return timed(spent.messages, [&] { return PMPI_Recv(buffer, count, type, source, tag, comm, status); });
}
int MPI_Test(MPI_Request* request, int* flag, MPI_Status* status) {
    return timed(spent.messages, [&] { return PMPI_Test(request, flag, status); });
}
int MPI_Wait(MPI_Request* request, MPI_Status* status) {
    return timed(spent.messages, [&] { return PMPI_Wait(request, status); });
}
int MPI_Ibarrier(MPI_Comm comm, MPI_Request* request) {
    return timed(spent.messages, [&] { return PMPI_Ibarrier(comm, request); });
}
int MPI_Barrier(MPI_Comm comm) {
    return timed(spent.messages, [&] { return PMPI_Barrier(comm); });
}
int MPI_Bcast(void* buffer, int count, MPI_Datatype type, int root, MPI_Comm comm) {
    return timed(spent.messages, [&] { return PMPI_Bcast(buffer, count, type, root, comm); });
}
int MPI_Allreduce(const void* in, void* out, int count, MPI_Datatype type, MPI_Op operation, MPI_Comm comm) {
    return timed(spent.messages, [&] { return PMPI_Allreduce(in, out, count, type, operation, comm); });
}
int MPI_Allgather(const void* in, int n_in, MPI_Datatype type_in, void* out, int n_out, MPI_Datatype type_out, MPI_Comm comm) {
    return timed(spent.messages, [&] { return PMPI_Allgather(in, n_in, type_in, out, n_out, type_out, comm); });
}
int MPI_Allgatherv(const void* in, int n_in, MPI_Datatype type_in, void* out, const int* counts, const int* offsets, MPI_Datatype type_out, MPI_Comm comm) {
    return timed(spent.messages, [&] { return PMPI_Allgatherv(in, n_in, type_in, out, counts, offsets, type_out, comm); });
}
int MPI_Comm_dup(MPI_Comm comm, MPI_Comm* copy) {
    return timed(spent.messages, [&] { return PMPI_Comm_dup(comm, copy); });
}

int MPI_File_open(MPI_Comm comm, const char* name, int mode, MPI_Info info, MPI_File* file) {
    return timed(spent.files, [&] { return PMPI_File_open(comm, name, mode, info, file); });
}
int MPI_File_close(MPI_File* file) {
    return timed(spent.files, [&] { return PMPI_File_close(file); });
}
int MPI_File_sync(MPI_File file) {
    return timed(spent.files, [&] { return PMPI_File_sync(file); });
}
int MPI_File_set_size(MPI_File file, MPI_Offset size) {
    return timed(spent.files, [&] { return PMPI_File_set_size(file, size); });
}
int MPI_File_set_view(MPI_File file, MPI_Offset offset, MPI_Datatype element, MPI_Datatype type, const char* form, MPI_Info info) {
    return timed(spent.files, [&] { return PMPI_File_set_view(file, offset, element, type, form, info); });
}
int MPI_File_write_at(MPI_File file, MPI_Offset offset, const void* buffer, int count, MPI_Datatype type, MPI_Status* status) {
    return timed(spent.files, [&] { return PMPI_File_write_at(file, offset, buffer, count, type, status); });
}
int MPI_File_write_at_all(MPI_File file, MPI_Offset offset, const void* buffer, int count, MPI_Datatype type, MPI_Status* status) {
    return timed(spent.files, [&] { return PMPI_File_write_at_all(file, offset, buffer, count, type, status); });
}
int MPI_File_read_at(MPI_File file, MPI_Offset offset, void* buffer, int count, MPI_Datatype type, MPI_Status* status) {
    return timed(spent.files, [&] { return PMPI_File_read_at(file, offset, buffer, count, type, status); });
}

}  // extern "C"
