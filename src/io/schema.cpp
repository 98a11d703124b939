// Names and sizes of a schema.
#include "pva/io/schema.h"

#include "pva/core/error.h"

namespace pva::io {

const std::vector<DatasetSpec>& common_datasets() {
    static const std::vector<DatasetSpec> specs = {
        {"done", h5::Element::u64, {"unit"}, Filled::per_unit, "1", "XXH3 checksum of the unit's rows; 0: not done", ""},
        {"complete", h5::Element::u8, {"one"}, Filled::at_end, "1", "1 when every unit is done and the summary is written", ""},
        {"summary", h5::Element::text, {"one"}, Filled::at_end, "JSON", "figures of the final table", "summary_bytes"},
        {"measured/run", h5::Element::text, {"one"}, Filled::at_end, "JSON",
         "times, hosts, ranks, all options: what may differ between equal runs", "summary_bytes"},
    };
    return specs;
}

const DatasetSpec& find_spec(const FileSchema& schema, const std::string& name) {
    for (const DatasetSpec& spec : schema.datasets) {
        if (spec.name == name) return spec;
    }
    for (const DatasetSpec& spec : common_datasets()) {
        if (spec.name == name) return spec;
    }
    throw InternalError("the schema " + schema.filetype + " has no dataset " + name);
}

namespace {
std::int64_t size_of(const DatasetSpec& spec, const std::string& dimension, const Sizes& sizes) {
    const auto found = sizes.find(dimension);
    if (found == sizes.end()) throw InternalError("dataset " + spec.name + ": no size is given for '" + dimension + "'");
    return found->second;
}
}  // namespace

std::vector<std::int64_t> shape_of(const DatasetSpec& spec, const Sizes& sizes) {
    std::vector<std::int64_t> shape;
    for (const std::string& dimension : spec.dims) shape.push_back(size_of(spec, dimension, sizes));
    return shape;
}

std::size_t text_width_of(const DatasetSpec& spec, const Sizes& sizes) {
    if (spec.element != h5::Element::text) return 0;
    return static_cast<std::size_t>(size_of(spec, spec.text_width, sizes));
}

}  // namespace pva::io
