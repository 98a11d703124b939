// The result-file mechanism at any number of ranks: creation, adoption, refusal, torn units, segments, layout, reading.
#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "mpi_test.h"
#include "pva/core/error.h"
#include "pva/core/philox.h"
#include "pva/io/naming.h"
#include "pva/io/reader.h"
#include "pva/io/result_file.h"
#include "pva/mpi/agree.h"
#include "shared_scratch.h"

namespace fs = std::filesystem;
using namespace pva;

namespace {

const io::FileSchema& schema() {
    static const io::FileSchema value{
        "pva test", 3, "", "item",
        {{"id", io::h5::Element::i64, {"item"}, io::Filled::at_creation, "1", "number of the item", ""},
         {"vector", io::h5::Element::f32, {"item", "width"}, io::Filled::per_unit, "1", "numbers", ""},
         {"name", io::h5::Element::text, {"item"}, io::Filled::per_unit, "1", "a text", "name_bytes"},
         {"pair", io::h5::Element::i32, {"pairs"}, io::Filled::per_unit, "1", "two rows a unit", ""},
         {"measured/seconds", io::h5::Element::f64, {"item"}, io::Filled::per_unit, "s", "time", ""},
         {"total", io::h5::Element::f64, {"one_total"}, io::Filled::at_end, "1", "a result", ""}}};
    return value;
}

const io::FileSchema& ragged_schema() {
    static const io::FileSchema value{
        "pva test ragged", 1, "", "item",
        {{"offset", io::h5::Element::u64, {"item_plus_one"}, io::Filled::at_end, "1", "first value of each item", ""},
         {"value", io::h5::Element::f32, {"values"}, io::Filled::at_end, "1", "values of all items", ""}}};
    return value;
}

io::RunPlan plan_for(const std::string& folder, std::int64_t n, std::int64_t seed = 1) {
    io::RunPlan plan;
    plan.schema = &schema();
    plan.folder = folder + "/phase1_0";
    plan.prefix = "dataset";
    plan.model = "org_tiny";
    plan.range = "0-" + std::to_string(n - 1);
    plan.sizes = {{"item", n}, {"width", 5}, {"name_bytes", 12}, {"pairs", 2 * n}, {"one_total", 1}};
    plan.n_units = n;
    plan.identity = {{"phase", "test"}, {"model", "tiny"}, {"problems", "abc"}, {"start", 0}, {"end", n - 1}, {"seed", seed}};
    plan.provenance.program = "test";
    plan.provenance.build = build_info();
    return plan;
}

io::Columns at_creation(std::int64_t n) {
    std::vector<std::int64_t> ids;
    for (std::int64_t i = 0; i < n; ++i) ids.push_back(100 + i);
    return {{"id", io::to_bytes(ids)}};
}

io::Columns rows_of(std::int64_t unit) {
    PhiloxStream random(9, static_cast<std::uint64_t>(unit), 0);
    std::vector<float> numbers(5);
    for (float& x : numbers) x = static_cast<float>(random.uniform());
    return {{"vector", io::to_bytes(numbers)},
            {"name", io::pack_texts({"unit " + std::to_string(unit)}, 12)},
            {"pair", io::to_bytes(std::vector<std::int32_t>{static_cast<std::int32_t>(unit), static_cast<std::int32_t>(-unit)})},
            {"measured/seconds", io::to_bytes(std::vector<double>{0.5})}};
}

/// Units of this rank, dealt round-robin, so that some ranks get none when there are few.
std::vector<std::int64_t> own_units(std::int64_t n) {
    std::vector<std::int64_t> units;
    for (std::int64_t i = test_world().rank(); i < n; i += test_world().size()) units.push_back(i);
    return units;
}

Log& quiet() {
    static Log log(test_world().rank(), LogLevel::error);
    return log;
}

std::string finish(io::ResultFile& file) {
    return file.publish({{"total", io::to_bytes(std::vector<double>{2.5})}}, {{"answer", 42}}, {{"ranks", test_world().size()}});
}

void check_content(const std::string& path, std::int64_t n) {
    const io::ResultReader reader = io::ResultReader::open(path, schema());
    BOOST_TEST(reader.read<std::int64_t>("id").size() == static_cast<std::size_t>(n));
    const std::vector<float> vectors = reader.read<float>("vector");
    const std::vector<std::string> names = reader.read_texts("name");
    const std::vector<std::int32_t> pairs = reader.read<std::int32_t>("pair");
    for (std::int64_t unit = 0; unit < n; ++unit) {
        const auto expected = rows_of(unit).at("vector");
        BOOST_REQUIRE(std::memcmp(expected.data(), vectors.data() + unit * 5, 20) == 0);
        BOOST_REQUIRE_EQUAL(names[static_cast<std::size_t>(unit)], "unit " + std::to_string(unit));
        BOOST_REQUIRE_EQUAL(pairs[static_cast<std::size_t>(2 * unit + 1)], -unit);
    }
    BOOST_TEST(reader.summary()["answer"] == 42);
    BOOST_TEST(reader.read<double>("total").at(0) == 2.5);
}

}  // namespace

BOOST_AUTO_TEST_CASE(write_publish_and_find_again) {
    for (const std::int64_t n : {1, 2, 7}) {  // with 4 ranks: more ranks than units
        SharedScratch folder;
        const io::RunPlan plan = plan_for(folder.path, n);
        io::OpenedResult opened = io::open_result_file(test_world(), quiet(), plan, at_creation(n));
        BOOST_REQUIRE(opened.file);
        for (const std::int64_t unit : own_units(n)) opened.file->write_unit(unit, rows_of(unit));
        const std::string path = finish(*opened.file);
        check_content(path, n);
        BOOST_TEST(fs::exists(fs::path(path).replace_extension(".json")));
        const auto name = io::parse_file_name(fs::path(path).filename().string());
        BOOST_REQUIRE(name);
        BOOST_TEST(name->model == "org_tiny");
        BOOST_TEST(name->range == "0-" + std::to_string(n - 1));
        std::size_t left = 0;
        for (const auto& entry : fs::directory_iterator(plan.folder)) left += entry.is_regular_file() ? 1 : 0;
        BOOST_TEST(left == 2u);  // the file and its JSON; no .part, no lock
        test_world().barrier();
        // The same command again: nothing to do.
        const io::OpenedResult again = io::open_result_file(test_world(), quiet(), plan, at_creation(n));
        BOOST_TEST(again.complete_path == path);
        BOOST_TEST(!again.file);
    }
}

BOOST_AUTO_TEST_CASE(an_interrupted_run_is_taken_up) {
    const std::int64_t n = 11;
    SharedScratch folder;
    const io::RunPlan plan = plan_for(folder.path, n);
    {
        io::OpenedResult opened = io::open_result_file(test_world(), quiet(), plan, at_creation(n));
        for (const std::int64_t unit : own_units(n)) {
            if (unit < 6) opened.file->write_unit(unit, rows_of(unit));
        }
        opened.file->leave_unfinished();
    }
    // A torn unit: its mark is there, its data is not what was summed up (as after the loss of a node).
    const std::string part = plan.folder + "/dataset_" + io::identity_hash(plan.identity) + ".h5.part";
    mpi::on_first_rank(test_world(), [&] {
        BOOST_REQUIRE(fs::exists(part));
        std::fstream file(part, std::ios::in | std::ios::out | std::ios::binary);
        std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
        const std::size_t at = bytes.find("unit 3");
        BOOST_REQUIRE(at != std::string::npos);
        file.clear();
        file.seekp(static_cast<std::streamoff>(at));
        file << "XXXX";
        return std::string();
    });
    // Reading an unfinished file is refused.
    BOOST_CHECK_THROW(io::ResultReader::open(part, schema()), InputError);
    test_world().barrier();
    io::OpenedResult opened = io::open_result_file(test_world(), quiet(), plan, at_creation(n));
    BOOST_TEST(opened.file->n_adopted() == 5);
    BOOST_TEST(!opened.file->is_done(3));
    BOOST_TEST(opened.file->is_done(5));
    for (const std::int64_t unit : own_units(n)) {
        if (!opened.file->is_done(unit)) opened.file->write_unit(unit, rows_of(unit));
    }
    check_content(finish(*opened.file), n);
}

BOOST_AUTO_TEST_CASE(other_settings_are_refused_by_name) {
    const std::int64_t n = 4;
    SharedScratch folder;
    {
        io::OpenedResult opened = io::open_result_file(test_world(), quiet(), plan_for(folder.path, n, 1), at_creation(n));
        opened.file->leave_unfinished();
    }
    try {
        io::open_result_file(test_world(), quiet(), plan_for(folder.path, n, 2), at_creation(n));
        BOOST_FAIL("a run with another seed was started over an unfinished one");
    } catch (const mpi::AgreedError& error) {
        BOOST_TEST((error.exit_code() == ExitCode::bad_input));
        BOOST_TEST(std::string(error.what()).find("seed: 1 there, 2 here") != std::string::npos);
    }
    io::RunPlan fresh = plan_for(folder.path, n, 2);
    fresh.fresh = true;
    io::OpenedResult opened = io::open_result_file(test_world(), quiet(), fresh, at_creation(n));
    BOOST_REQUIRE(opened.file);
    // The other one is still there: nothing is deleted silently.
    BOOST_TEST(fs::exists(plan_for(folder.path, n, 1).folder + "/dataset_" + io::identity_hash(plan_for(folder.path, n, 1).identity) + ".h5.part"));
    opened.file->leave_unfinished();
    // Publishing with open units is a fault, not a file.
    io::OpenedResult once_more = io::open_result_file(test_world(), quiet(), plan_for(folder.path, n, 1), at_creation(n));
    BOOST_CHECK_THROW(finish(*once_more.file), mpi::AgreedError);
    once_more.file->leave_unfinished();
}

BOOST_AUTO_TEST_CASE(a_run_that_is_held_is_refused) {
    const std::int64_t n = 3;
    SharedScratch folder;
    io::OpenedResult held = io::open_result_file(test_world(), quiet(), plan_for(folder.path, n), at_creation(n));
    BOOST_CHECK_THROW(io::open_result_file(test_world(), quiet(), plan_for(folder.path, n), at_creation(n)), mpi::AgreedError);
    // Another seed may run beside a live one.
    io::OpenedResult beside = io::open_result_file(test_world(), quiet(), plan_for(folder.path, n, 2), at_creation(n));
    BOOST_TEST(static_cast<bool>(beside.file));
    beside.file->leave_unfinished();
    held.file->leave_unfinished();
}

BOOST_AUTO_TEST_CASE(a_result_that_could_not_be_found_again_is_refused) {
    const SharedScratch folder;
    io::RunPlan plan = plan_for(folder.path, 2);
    plan.range = "tuning";
    BOOST_CHECK_THROW(io::open_result_file(test_world(), quiet(), plan, at_creation(2)), InternalError);
}

BOOST_AUTO_TEST_CASE(ragged_units_go_through_segments) {
    const std::int64_t n = 9;
    SharedScratch folder;
    io::RunPlan plan = plan_for(folder.path, n);
    plan.schema = &ragged_schema();
    plan.prefix = "ragged";
    plan.segmented = true;
    plan.sizes = {};
    const auto values_of = [](std::int64_t unit) {
        std::vector<float> values(static_cast<std::size_t>((unit * unit) % 7));  // some are empty
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(unit * 100 + static_cast<std::int64_t>(i));
        return values;
    };
    {
        io::OpenedResult opened = io::open_result_file(test_world(), quiet(), plan, {});
        for (const std::int64_t unit : own_units(n)) {
            if (unit % 3 != 0) opened.file->write_segment(unit, io::to_bytes(values_of(unit)));
        }
        opened.file->leave_unfinished();
    }
    // A torn record at the end of a segment file, as a kill in the middle of a write leaves it.
    mpi::on_first_rank(test_world(), [&] {
        for (const auto& entry : fs::directory_iterator(plan.folder)) {
            if (entry.path().string().find(".segment.") == std::string::npos) continue;
            std::ofstream file(entry.path(), std::ios::app | std::ios::binary);
            file << "\x01PVASEG1 torn";
        }
        return std::string();
    });
    // And a record whose mark in `done` was never written, because the kill came between the two.
    const std::string part = plan.folder + "/ragged_" + io::identity_hash(plan.identity) + ".h5.part";
    const auto mark = [&](std::uint64_t* value, bool write) {
        io::h5::File file = io::h5::open_parallel(part, test_world());
        io::h5::Dataset done = io::h5::open_dataset(file, "done");
        if (write && test_world().rank() == 0) io::h5::write_rows(done, 1, 1, std::as_bytes(std::span(value, 1)));
        if (!write) io::h5::read_rows(done, 1, 1, std::as_writable_bytes(std::span(value, 1)));
        done.handle.close("done");
        file.handle.close(part);
        test_world().barrier();
    };
    std::uint64_t value = 0;
    test_world().barrier();
    mark(&value, true);
    {
        io::OpenedResult again = io::open_result_file(test_world(), quiet(), plan, {});
        BOOST_TEST(again.file->n_adopted() == 6);
        again.file->leave_unfinished();
    }
    // Taking it up has put the mark right on disk, too.
    mark(&value, false);
    BOOST_TEST(value != 0u);
    io::OpenedResult opened = io::open_result_file(test_world(), quiet(), plan, {});
    BOOST_TEST(opened.file->n_adopted() == 6);
    for (const std::int64_t unit : own_units(n)) {
        if (!opened.file->is_done(unit)) opened.file->write_segment(unit, io::to_bytes(values_of(unit)));
    }
    opened.file->refresh_segments();
    std::vector<std::uint64_t> offsets(static_cast<std::size_t>(n) + 1, 0);
    for (std::int64_t unit = 0; unit < n; ++unit) {
        offsets[static_cast<std::size_t>(unit) + 1] = offsets[static_cast<std::size_t>(unit)] + static_cast<std::uint64_t>(opened.file->segment_size(unit)) / 4;
    }
    const auto layout = opened.file->lay_out({{"item_plus_one", n + 1}, {"values", static_cast<std::int64_t>(offsets.back())}}, {});
    for (const std::int64_t unit : own_units(n)) {
        const auto bytes = opened.file->read_segment_of(unit);
        layout->write_rows("value", static_cast<std::int64_t>(offsets[static_cast<std::size_t>(unit)]), static_cast<std::int64_t>(bytes.size() / 4), bytes);
    }
    const std::string path = layout->publish({{"offset", io::to_bytes(offsets)}}, {{"n", n}}, {});
    const io::ResultReader reader = io::ResultReader::open(path, ragged_schema());
    const std::vector<float> values = reader.read<float>("value");
    for (std::int64_t unit = 0; unit < n; ++unit) {
        const std::vector<float> expected = values_of(unit);
        const std::vector<float> found(values.begin() + static_cast<std::ptrdiff_t>(offsets[static_cast<std::size_t>(unit)]),
                                       values.begin() + static_cast<std::ptrdiff_t>(offsets[static_cast<std::size_t>(unit) + 1]));
        BOOST_TEST(found == expected, boost::test_tools::per_element());
    }
    test_world().barrier();
    for (const auto& entry : fs::directory_iterator(plan.folder)) {
        BOOST_TEST(entry.path().string().find(".segment.") == std::string::npos);
        BOOST_TEST(entry.path().string().find(".part") == std::string::npos);
    }
}

BOOST_AUTO_TEST_CASE(files_are_found_and_foreign_ones_refused) {
    SharedScratch folder;
    for (const std::int64_t n : {5, 3}) {
        const io::RunPlan plan = plan_for(folder.path, n);
        io::OpenedResult opened = io::open_result_file(test_world(), quiet(), plan, at_creation(n));
        for (const std::int64_t unit : own_units(n)) opened.file->write_unit(unit, rows_of(unit));
        finish(*opened.file);
    }
    std::vector<std::string> warnings;
    const io::FoundFile found = io::find_newest(folder.path + "/phase1_0", "dataset", schema(), {{"problems", "abc"}}, "pva_phase1",
                                                [&](const std::string& text) { warnings.push_back(text); });
    BOOST_TEST(found.identity["end"] == 2);
    BOOST_TEST(warnings.size() == 1u);
    BOOST_CHECK_THROW(io::find_newest(folder.path + "/phase1_0", "dataset", schema(), {{"problems", "other"}}, "pva_phase1", [](const std::string&) {}), InputError);
    BOOST_CHECK_THROW(io::find_newest(folder.path + "/nothing", "dataset", schema(), {}, "pva_phase1", [](const std::string&) {}), InputError);
    BOOST_CHECK_THROW(io::ResultReader::open(found.path, ragged_schema()), InputError);
    BOOST_CHECK_THROW(io::ResultReader::open(folder.path + "/absent.h5", schema()), InputError);
    const std::string text_path = mpi::on_first_rank(test_world(), [&] {
        std::ofstream(folder.path + "/text.h5") << "this is no HDF5 file";
        return folder.path + "/text.h5";
    });
    BOOST_CHECK_THROW(io::ResultReader::open(text_path, schema()), InputError);
    const std::string foreign = mpi::on_first_rank(test_world(), [&] {
        io::h5::create(folder.path + "/foreign.h5");
        return folder.path + "/foreign.h5";
    });
    BOOST_CHECK_THROW(io::ResultReader::open(foreign, schema()), InputError);
}
