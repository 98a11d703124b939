// Where the rows of a site and position stand.
#include "pva/phases/program_rows.h"

#include <algorithm>
#include <numeric>

#include "pva/core/error.h"
#include "pva/mpi/agree.h"
#include "pva/phases/activations.h"

namespace pva::phases {

ProgramRows ProgramRows::open(Context& context, const io::ResultReader& dataset, const std::string& site, const std::string& position, const std::string& named) {
    ProgramRows rows(dataset);
    rows.site_ = site;
    rows.position_ = position;
    const bool own = named.empty() && site == dataset.identity().value("site", std::string()) && position == dataset.identity().value("position", std::string());
    if (!own) {
        const Position wanted = mpi::agreed(context.comm, [&] {
            const Position parsed = position_from_name(position);
            if (parsed.kind == PositionKind::all) throw UsageError("--position all: phase 2 reads one row a program; name one position, such as last-token or tenth-5");
            return parsed;
        });
        rows.activations_.emplace(open_activations(context, named, dataset, site, wanted));
        mpi::agreed(context.comm, [&] {
            rows.layers_ = stored_layers(*rows.activations_, site);
            rows.width_ = rows.activations_->shape("activations/" + site).at(2);
            rows.rows_ = rows_at(*rows.activations_, wanted);
        });
        return rows;
    }
    mpi::agreed(context.comm, [&] {
        rows.layers_ = dataset.read<std::int32_t>("layer");
        const auto shape = dataset.shape("residual/" + site);
        rows.width_ = shape.at(2);
        rows.rows_.resize(static_cast<std::size_t>(shape.at(0)));
        std::iota(rows.rows_.begin(), rows.rows_.end(), std::int64_t{0});
    });
    return rows;
}

std::vector<float> ProgramRows::read(std::int32_t layer, std::span<const std::int64_t> dataset_rows) const {
    const auto place = std::find(layers_.begin(), layers_.end(), layer);
    if (place == layers_.end()) throw InternalError(path() + ": no rows of layer " + std::to_string(layer));
    std::vector<std::int64_t> rows;
    for (const std::int64_t row : dataset_rows) {
        if (!has(row)) throw InternalError(path() + ": program " + std::to_string(row) + " of the dataset has no row at " + position_);
        rows.push_back(rows_[static_cast<std::size_t>(row)]);
    }
    if (activations_) return read_activations(*activations_, site_, layer, rows);
    return dataset_.read_row_parts("residual/" + site_, rows, place - layers_.begin());
}

nlohmann::ordered_json ProgramRows::identity() const {
    nlohmann::ordered_json json = {{"site", site_}, {"position", position_}};
    if (activations_) json["activations"] = activations_->content_sha256();
    return json;
}

}  // namespace pva::phases
