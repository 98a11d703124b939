// Choice of the instruction set.
#include "pva/kernels/cpu.h"

#include "kernels/vector_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace pva::kernels::HWY_NAMESPACE {

std::int64_t target_in_use() {
    return HWY_TARGET;
}

}  // namespace pva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "pva/core/error.h"

namespace pva::kernels {

namespace {

HWY_EXPORT(target_in_use);

std::vector<std::int64_t> usable_targets() {
    std::vector<std::int64_t> targets;
    std::int64_t left = (hwy::SupportedTargets() | HWY_SCALAR) & HWY_TARGETS;
    for (; left != 0; left &= left - 1)
        targets.push_back(left & -left);
    return targets;
}

}  // namespace

void require_supported_cpu() {
    if (HWY_DYNAMIC_DISPATCH(target_in_use)() != HWY_SCALAR) return;
    throw InputError(
        "this CPU has no fused multiply-add (x86: AVX2 and FMA, ARM: 64-bit NEON), without which the kernels are some "
        "hundred times slower. Run on a newer CPU; in a virtual machine, pass the host's CPU features through.");
}

std::string instruction_set() {
    return hwy::TargetName(HWY_DYNAMIC_DISPATCH(target_in_use)());
}

std::vector<std::string> usable_instruction_sets() {
    std::vector<std::string> names;
    for (const std::int64_t target : usable_targets())
        names.push_back(hwy::TargetName(target));
    return names;
}

ForcedInstructionSet::ForcedInstructionSet(const std::string& name) {
    for (const std::int64_t target : usable_targets()) {
        if (hwy::TargetName(target) != name) continue;
        hwy::SetSupportedTargetsForTest(target);
        return;
    }
    throw UsageError("instruction set \"" + name + "\" is not compiled in or this CPU does not have it");
}

ForcedInstructionSet::~ForcedInstructionSet() {
    hwy::SetSupportedTargetsForTest(0);
}

}  // namespace pva::kernels

#endif
