// The instruction set the kernels run with.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pva::kernels {

/// Throws InputError on a CPU without fused multiply-add (x86: AVX2 and FMA; ARM: 64-bit NEON). To be called once,
/// before work begins: there the kernels would give the right bits, but some hundred times too slowly.
void require_supported_cpu();

/// Name of the instruction set in use, as Highway calls it: "AVX2", "AVX3" (AVX-512), "NEON", "SCALAR".
std::string instruction_set();

/// Names of all compiled instruction sets that this CPU has, the best first. All of them give the same bits.
std::vector<std::string> usable_instruction_sets();

/// Makes the kernels use one instruction set of usable_instruction_sets() while the object lives. For tests and
/// benches; the setting is the whole process's. Throws UsageError for other names.
class ForcedInstructionSet {
  public:
    explicit ForcedInstructionSet(const std::string& name);
    ~ForcedInstructionSet();
    ForcedInstructionSet(const ForcedInstructionSet&) = delete;
    ForcedInstructionSet& operator=(const ForcedInstructionSet&) = delete;
};

}  // namespace pva::kernels
