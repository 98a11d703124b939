// How the outcome of one program's tests stands in result files.
#pragma once

#include <cstdint>
#include <span>

#include "pva/exec/verdict.h"
#include "pva/io/result_file.h"

namespace pva::phases {

/// Width of measured/detail in bytes.
inline constexpr std::int64_t detail_bytes = 256;

/// Adds the rows of one unit: verdict, passed, asserts_passed, asserts_total, first_failed, exit_status, signal, suspicious,
/// measured/detail, measured/test_wall_seconds, measured/test_cpu_seconds.
void add_verdict_columns(io::Columns& columns, const exec::Outcome& outcome);

/// How many programs of these units have passed, by the file's column `passed`. Independent of other ranks. Errors: IoError.
std::int64_t passed_programs(const io::ResultFile& file, std::span<const std::int64_t> units);

}  // namespace pva::phases
