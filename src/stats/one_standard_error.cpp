// The one-standard-error rule.
#include "pva/stats/one_standard_error.h"

#include <cmath>
#include <string>

#include "pva/core/error.h"

namespace pva::stats {

OneStandardErrorChoice one_standard_error_choice(std::span<const CurvePoint> points) {
    if (points.empty()) throw InputError("no setting can be chosen from an empty curve; measure at least one");
    for (std::size_t i = 0; i < points.size(); ++i) {
        if (!std::isfinite(points[i].setting) || !std::isfinite(points[i].estimate) ||
            !std::isfinite(points[i].standard_error) || points[i].standard_error < 0) {
            throw InputError(
                "point number " + std::to_string(i) +
                " of the curve has a setting, estimate or standard error that is not a finite number, or a "
                "negative standard error; leave out settings that could not be measured");
        }
    }
    OneStandardErrorChoice choice;
    for (std::size_t i = 1; i < points.size(); ++i) {
        const CurvePoint& best = points[choice.best];
        if (points[i].estimate > best.estimate ||
            (points[i].estimate == best.estimate && std::fabs(points[i].setting) < std::fabs(best.setting))) {
            choice.best = i;
        }
    }
    choice.bar = points[choice.best].estimate - points[choice.best].standard_error;
    choice.chosen = choice.best;
    for (std::size_t i = 0; i < points.size(); ++i) {
        if (points[i].estimate < choice.bar) continue;
        const double distance = std::fabs(points[i].setting);
        const double chosen = std::fabs(points[choice.chosen].setting);
        if (distance < chosen || (distance == chosen && i < choice.chosen)) choice.chosen = i;
    }
    return choice;
}

}  // namespace pva::stats
