// Affinity mask, GPU census.
#include "pva/mpi/device.h"

#include <dlfcn.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>

#include "pva/core/error.h"
#include "pva/core/provenance.h"
#include "pva/mpi/agree.h"

namespace pva::mpi {

std::vector<int> allowed_cpus() {
    std::vector<int> cpus;
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0) return {0};
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
    }
    return cpus;
}

std::string cpu_list_text(const std::vector<int>& cpus) {
    std::string text;
    for (std::size_t i = 0; i < cpus.size();) {
        std::size_t j = i;
        while (j + 1 < cpus.size() && cpus[j + 1] == cpus[j] + 1) ++j;
        text += (text.empty() ? "" : ",") + std::to_string(cpus[i]) + (j > i ? "-" + std::to_string(cpus[j]) : "");
        i = j + 1;
    }
    return text;
}

std::vector<Gpu> visible_gpus() {
    // The driver API by name: no CUDA toolkit is needed to build, and none is loaded where there is no driver.
    void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return {};
    using InitFunction = int (*)(unsigned int);
    using CountFunction = int (*)(int*);
    using DeviceFunction = int (*)(int*, int);
    using NameFunction = int (*)(char*, int, int);
    struct Uuid {
        std::array<unsigned char, 16> bytes;
    };
    using UuidFunction = int (*)(Uuid*, int);
    const auto init = reinterpret_cast<InitFunction>(dlsym(library, "cuInit"));
    const auto count_devices = reinterpret_cast<CountFunction>(dlsym(library, "cuDeviceGetCount"));
    const auto get = reinterpret_cast<DeviceFunction>(dlsym(library, "cuDeviceGet"));
    const auto get_name = reinterpret_cast<NameFunction>(dlsym(library, "cuDeviceGetName"));
    const auto get_uuid = reinterpret_cast<UuidFunction>(dlsym(library, "cuDeviceGetUuid"));
    std::vector<Gpu> gpus;
    int count = 0;
    if (init != nullptr && count_devices != nullptr && get != nullptr && get_name != nullptr && get_uuid != nullptr &&
        init(0) == 0 && count_devices(&count) == 0) {
        for (int i = 0; i < count; ++i) {
            int device = 0;
            std::array<char, 128> name{};
            Uuid uuid{};
            if (get(&device, i) != 0 || get_name(name.data(), static_cast<int>(name.size()) - 1, device) != 0 || get_uuid(&uuid, device) != 0) continue;
            static constexpr char digits[] = "0123456789abcdef";
            std::string text = "GPU-";
            for (std::size_t b = 0; b < uuid.bytes.size(); ++b) {
                if (b == 4 || b == 6 || b == 8 || b == 10) text += '-';
                text += digits[uuid.bytes[b] >> 4];
                text += digits[uuid.bytes[b] & 15];
            }
            gpus.push_back({name.data(), text});
        }
    }
    // The library stays loaded: the CUDA runtime may use it later.
    return gpus;
}

std::vector<int> choose_gpus(const std::vector<RankDevices>& ranks, bool allow_shared) {
    std::vector<int> chosen;
    std::map<std::pair<std::string, std::string>, std::size_t> owner;
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
        const RankDevices& devices = ranks[rank];
        if (devices.gpu_uuids.empty()) {
            chosen.push_back(-1);
            continue;
        }
        const int index = devices.local_rank % static_cast<int>(devices.gpu_uuids.size());
        const std::string& uuid = devices.gpu_uuids[static_cast<std::size_t>(index)];
        const auto [place, fresh] = owner.emplace(std::make_pair(devices.host, uuid), rank);
        if (!fresh && !allow_shared) {
            throw InputError("ranks " + std::to_string(place->second) + " and " + std::to_string(rank) + " on host " + devices.host +
                             " would share the GPU " + uuid + " (" + std::to_string(devices.gpu_uuids.size()) +
                             " visible there). Start one rank a GPU, widen CUDA_VISIBLE_DEVICES, or pass --allow-shared-gpu");
        }
        chosen.push_back(index);
    }
    return chosen;
}

Binding bind_devices(const Communicator& comm, bool allow_shared_gpu) {
    Binding binding;
    binding.cpus = allowed_cpus();
    binding.local = local_place(comm);
    const std::vector<Gpu> gpus = visible_gpus();

    nlohmann::json mine;
    mine["host"] = host_name();
    mine["cpus"] = cpu_list_text(binding.cpus);
    mine["local_rank"] = binding.local.rank;
    mine["gpus"] = nlohmann::json::array();
    for (const Gpu& gpu : gpus) mine["gpus"].push_back(gpu.uuid);

    std::vector<RankDevices> ranks;
    int same_mask = 0;
    for (const std::string& text : comm.all_gather(mine.dump())) {
        const nlohmann::json other = nlohmann::json::parse(text);
        ranks.push_back({other["host"], other["local_rank"], other["gpus"].get<std::vector<std::string>>()});
        if (other["host"] == mine["host"] && other["cpus"] == mine["cpus"]) ++same_mask;
    }
    binding.threads = std::max(1, static_cast<int>(binding.cpus.size()) / std::max(1, same_mask));
    const std::vector<int> chosen = agreed(comm, [&] { return choose_gpus(ranks, allow_shared_gpu); });
    binding.gpu = chosen[static_cast<std::size_t>(comm.rank())];
    if (binding.gpu >= 0) {
        const Gpu& gpu = gpus[static_cast<std::size_t>(binding.gpu)];
        binding.gpu_name = gpu.name + " " + gpu.uuid;
    }
    return binding;
}

std::vector<std::string> binding_lines(const Communicator& comm, const Binding& binding) {
    std::string mine = host_name() + ": CPUs " + cpu_list_text(binding.cpus) + ", " + std::to_string(binding.threads) +
                       (binding.threads == 1 ? " thread" : " threads") + " a rank, " +
                       (binding.gpu < 0 ? "no GPU" : "GPU " + std::to_string(binding.gpu) + " " + binding.gpu_name);
    const std::vector<std::string> all = comm.all_gather(mine);
    std::vector<std::string> lines;
    for (std::size_t i = 0; i < all.size();) {
        std::size_t j = i;
        while (j + 1 < all.size() && all[j + 1] == all[i]) ++j;
        lines.push_back((i == j ? "rank " + std::to_string(i) : "ranks " + std::to_string(i) + "-" + std::to_string(j)) + " on " + all[i]);
        i = j + 1;
    }
    return lines;
}

}  // namespace pva::mpi
