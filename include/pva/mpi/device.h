// Which CPUs and which GPU a rank has: threads from the affinity mask, one rank a GPU.
#pragma once

#include <string>
#include <vector>

#include "pva/mpi/communicator.h"

namespace pva::mpi {

/// CPUs this process may run on (sched_getaffinity), ascending.
std::vector<int> allowed_cpus();

/// "0-3,8".
std::string cpu_list_text(const std::vector<int>& cpus);

struct Gpu {
    std::string name;
    std::string uuid;
};
/// GPUs that CUDA shows this process (CUDA_VISIBLE_DEVICES applies), by the driver's own library opened at run time;
/// empty without a driver.
std::vector<Gpu> visible_gpus();

/// What a rank brings to the choice of its device.
struct RankDevices {
    std::string host;
    int local_rank = 0;
    std::vector<std::string> gpu_uuids;
};

/// Index of each rank's GPU: local rank modulo the GPUs it sees; -1 where it sees none. Errors: InputError when two ranks
/// would share a GPU and that was not allowed, naming both ranks, the GPU and CUDA_VISIBLE_DEVICES.
std::vector<int> choose_gpus(const std::vector<RankDevices>& ranks, bool allow_shared);

struct Binding {
    std::vector<int> cpus;       ///< affinity mask
    int threads = 1;             ///< CPUs of the mask divided by the ranks that have the same mask on this host
    LocalPlace local;
    int gpu = -1;                ///< -1: none
    std::string gpu_name;
};

/// Collective. Errors: AgreedError when GPUs would be shared.
Binding bind_devices(const Communicator& comm, bool allow_shared_gpu);

/// Collective. One line for each rank, for the banner: host, CPUs, threads, GPU. Equal neighbours are folded.
std::vector<std::string> binding_lines(const Communicator& comm, const Binding& binding);

}  // namespace pva::mpi
