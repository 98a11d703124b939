// Where the rows of a site and position stand.
#include "pva/phases/program_rows.h"

#include <algorithm>
#include <numeric>

#include "pva/core/error.h"
#include "pva/mpi/agree.h"

namespace pva::phases {

ProgramRows ProgramRows::open(Context& context, const io::ResultReader& dataset, const std::string& site, const std::string& position) {
    return mpi::agreed(context.comm, [&] {
        const std::string own_site = dataset.identity().value("site", std::string());
        const std::string own_position = dataset.identity().value("position", std::string());
        if (site != own_site || position != own_position) {
            throw InputError(dataset.path() + ": holds the site " + own_site + " at the position " + own_position + ", but --site " + site + " --position " + position +
                             " was asked for");
        }
        ProgramRows rows(dataset);
        rows.site_ = site;
        rows.position_ = position;
        rows.layers_ = dataset.read<std::int32_t>("layer");
        const auto shape = dataset.shape("residual/" + site);
        rows.width_ = shape.at(2);
        rows.rows_.resize(static_cast<std::size_t>(shape.at(0)));
        std::iota(rows.rows_.begin(), rows.rows_.end(), std::int64_t{0});
        return rows;
    });
}

std::vector<float> ProgramRows::read(std::int32_t layer, std::span<const std::int64_t> dataset_rows) const {
    const auto place = std::find(layers_.begin(), layers_.end(), layer);
    if (place == layers_.end()) throw InternalError(reader_.path() + ": no rows of layer " + std::to_string(layer));
    std::vector<std::int64_t> rows;
    for (const std::int64_t row : dataset_rows) {
        if (!has(row)) throw InternalError(reader_.path() + ": program " + std::to_string(row) + " of the dataset has no row at " + position_);
        rows.push_back(rows_[static_cast<std::size_t>(row)]);
    }
    return reader_.read_row_parts("residual/" + site_, rows, place - layers_.begin());
}

nlohmann::ordered_json ProgramRows::identity() const { return {{"site", site_}, {"position", position_}}; }

}  // namespace pva::phases
