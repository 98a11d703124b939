// One row of each column.
#include "pva/phases/verdict_columns.h"

#include <algorithm>
#include <vector>

namespace pva::phases {

void add_verdict_columns(io::Columns& columns, const exec::Outcome& outcome) {
    const auto one = [](auto value) { return io::to_bytes(std::vector{value}); };
    columns["verdict"] = one(static_cast<std::uint8_t>(outcome.verdict));
    columns["passed"] = one(static_cast<std::uint8_t>(outcome.verdict == exec::Verdict::passed ? 1 : 0));
    columns["asserts_passed"] = one(static_cast<std::int32_t>(outcome.asserts_passed));
    columns["asserts_total"] = one(static_cast<std::int32_t>(outcome.asserts_total));
    columns["first_failed"] = one(static_cast<std::int32_t>(outcome.first_failed));
    columns["exit_status"] = one(static_cast<std::int32_t>(outcome.exit_status));
    columns["signal"] = one(static_cast<std::int32_t>(outcome.signal));
    columns["suspicious"] = one(static_cast<std::uint8_t>(outcome.suspicious ? 1 : 0));
    columns["measured/detail"] = io::pack_texts({outcome.detail}, static_cast<std::size_t>(detail_bytes));
    columns["measured/test_wall_seconds"] = one(outcome.wall_seconds);
    columns["measured/test_cpu_seconds"] = one(outcome.cpu_seconds);
}

std::int64_t passed_programs(const io::ResultFile& file, std::span<const std::int64_t> units) {
    if (units.empty()) return 0;
    const std::int64_t rows = file.shape("passed").front();
    const std::int64_t rows_of_unit = rows / file.n_units();
    std::vector<std::byte> passed(static_cast<std::size_t>(rows));
    file.read_rows("passed", 0, rows, passed);
    std::int64_t count = 0;
    for (const std::int64_t unit : units)
        count += std::count(passed.begin() + unit * rows_of_unit, passed.begin() + (unit + 1) * rows_of_unit, std::byte{1});
    return count;
}

}  // namespace pva::phases
