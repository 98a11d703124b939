// MPI return codes to exceptions.
#include "pva/mpi/check.h"

#include <array>
#include <string>

#include "pva/core/error.h"

namespace pva::mpi {

void check(int code, const char* call, const char* file, int line) {
    if (code == MPI_SUCCESS) return;
    std::array<char, MPI_MAX_ERROR_STRING + 1> text{};
    int length = 0;
    if (MPI_Error_string(code, text.data(), &length) != MPI_SUCCESS) length = 0;
    std::string name = call;
    name = name.substr(0, name.find('('));
    const std::string source = file;
    throw InternalError(name + " failed: " + std::string(text.data(), static_cast<std::size_t>(length)) + " (" +
                        source.substr(source.find_last_of('/') + 1) + ":" + std::to_string(line) +
                        "); other ranks may have died first: look at the first message of the job");
}

}  // namespace pva::mpi
