// Looking for a result that may be missing; the samples of phase 1.2 by temperature.
#include "pva/phases/optional_input.h"

#include <algorithm>
#include <map>

#include "pva/core/error.h"
#include "pva/mpi/agree.h"

namespace pva::phases {

std::optional<io::ResultReader> optional_input(Context& context, const std::string& role, const std::string& named, const std::string& folder, const std::string& prefix,
                                               const io::FileSchema& schema, const nlohmann::ordered_json& wanted, const std::string& written_by, const std::string& without) {
    std::string path = named;
    if (named.empty()) {
        path = mpi::on_first_rank(context.comm, [&]() -> std::string {
            try {
                return io::find_newest(context.folder(folder), prefix, schema, wanted, written_by, [](const std::string&) {}).path;
            } catch (const InputError&) {
                return "";  // there is none; that is said below, and is no fault
            }
        });
    }
    if (path.empty()) {
        if (context.first_rank()) context.log.info(without);
        return std::nullopt;
    }
    return open_input(context, role, path, folder, prefix, schema, wanted, written_by);
}

std::uint64_t TemperatureRows::right() const { return static_cast<std::uint64_t>(std::count(passed.begin(), passed.end(), std::uint8_t{1})); }

std::vector<TemperatureRows> temperature_rows(const std::vector<std::int64_t>& ids, const std::vector<std::uint8_t>& passed, const std::vector<double>& mean_log_probability,
                                              const io::ResultReader* temperatures) {
    std::vector<TemperatureRows> result = {{0, {}, passed, mean_log_probability}};
    for (std::uint32_t i = 0; i < ids.size(); ++i) result.front().problem.push_back(i);
    if (temperatures == nullptr) return result;
    const auto task_id = temperatures->read<std::int64_t>("task_id");
    const auto value = temperatures->read<double>("temperature");
    const auto sample_passed = temperatures->read<std::uint8_t>("passed");
    const auto log_probability = temperatures->read<double>("mean_log_probability");
    std::map<double, TemperatureRows> by_value;
    for (std::size_t row = 0; row < task_id.size(); ++row) {
        const auto found = std::lower_bound(ids.begin(), ids.end(), task_id[row]);
        if (found == ids.end() || *found != task_id[row]) continue;
        if (!(value[row] > 0) || sample_passed[row] > 1) throw InputError(temperatures->path() + ": row " + std::to_string(row) + " has no temperature or verdict; run pva_phase1_2 again with --fresh");
        TemperatureRows& at = by_value[value[row]];
        at.temperature = value[row];
        at.problem.push_back(static_cast<std::uint32_t>(found - ids.begin()));
        at.passed.push_back(sample_passed[row]);
        at.mean_log_probability.push_back(log_probability[row]);
    }
    for (auto& [temperature, rows] : by_value) result.push_back(std::move(rows));
    return result;
}

}  // namespace pva::phases
