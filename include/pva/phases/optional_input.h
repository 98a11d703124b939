// Results of earlier phases that a phase uses where they are there, and goes without where they are not.
#pragma once

#include <optional>
#include <string>

#include "pva/phases/inputs.h"

namespace pva::phases {

/// Collective. As open_input, but nothing where no file was named and none fits; `without` says in the log what is left out
/// then. A named file that does not fit is refused. Errors (AgreedError): as open_input.
std::optional<io::ResultReader> optional_input(Context& context, const std::string& role, const std::string& named, const std::string& folder, const std::string& prefix,
                                               const io::FileSchema& schema, const nlohmann::ordered_json& wanted, const std::string& written_by, const std::string& without);

/// Programs of one temperature.
struct TemperatureRows {
    double temperature = 0;
    std::vector<std::uint32_t> problem;  ///< index in the analysis part
    std::vector<std::uint8_t> passed;
    std::vector<double> mean_log_probability;

    std::uint64_t right() const;
};
/// The greedy programs, then those of a temperatures file by ascending temperature. `ids`: problems of the analysis part,
/// ascending; samples of others are left out. Errors: InputError for a damaged file.
std::vector<TemperatureRows> temperature_rows(const std::vector<std::int64_t>& ids, const std::vector<std::uint8_t>& passed, const std::vector<double>& mean_log_probability,
                                              const io::ResultReader* temperatures);

}  // namespace pva::phases
