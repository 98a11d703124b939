// Files of torch.save: what torch writes (tests/golden/sae/families/dictionary_learning), and hostile ones: a pickle
// must never be run, a small file must never claim much memory.
#define BOOST_TEST_MODULE torch_file
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "../npz/npz_writer.h"
#include "../scratch.h"
#include "pva/core/error.h"
#include "pva/io/float_values.h"
#include "pva/io/torch_file.h"

using namespace pva;
using namespace pva::test;

namespace {

const std::string golden = PVA_SOURCE_DIR "/tests/golden/sae/families/dictionary_learning/";

const Scratch& scratch() {
    static const Scratch folder;
    return folder;
}

std::string bytes_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// --- pickles by hand, with the instructions that torch.save uses
// ------------------------------------------------------

std::string text(const std::string& value) {
    std::string bytes = "X";
    append<std::uint32_t>(bytes, static_cast<std::uint32_t>(value.size()));
    return bytes + value;
}
std::string integer(std::int32_t value) {
    std::string bytes = "J";
    append(bytes, value);
    return bytes;
}
std::string global(const std::string& module, const std::string& name) {
    return "c" + module + "\n" + name + "\n";
}
std::string tuple(const std::vector<std::string>& items) {
    std::string bytes = "(";
    for (const std::string& item : items)
        bytes += item;
    return bytes + "t";
}
std::string sizes(const std::vector<std::int32_t>& values) {
    std::vector<std::string> items;
    for (const std::int32_t value : values)
        items.push_back(integer(value));
    return tuple(items);
}
struct Claim {
    std::string key = "0";
    std::string type = "FloatStorage";
    std::int32_t stored = 4;
    std::int32_t offset = 0;
    std::vector<std::int32_t> shape = {2, 2};
    std::vector<std::int32_t> stride = {2, 1};
};
std::string tensor(const Claim& claim = {}) {
    const std::string storage =
        tuple({text("storage"), global("torch", claim.type), text(claim.key), text("cpu"), integer(claim.stored)}) +
        "Q";
    const std::string hooks = global("collections", "OrderedDict") + ")R";
    return global("torch._utils", "_rebuild_tensor_v2") +
           tuple({storage, integer(claim.offset), sizes(claim.shape), sizes(claim.stride), "\x89", hooks}) + "R";
}
std::string pickle(const std::string& body) {
    return "\x80\x02" + body + ".";
}
std::string dictionary(const std::vector<std::pair<std::string, std::string>>& items) {
    std::string body = "}(";
    for (const auto& [key, value] : items)
        body += text(key) + value;
    return pickle(body + "u");
}

std::string save(const std::string& data_pkl, const std::vector<float>& storage = {1, 2, 3, 4},
                 const std::string& byte_order = "little", const std::vector<ZipMember>& more = {}) {
    std::vector<ZipMember> members = {
        {.name = "ae/data.pkl", .data = data_pkl},
        {.name = "ae/byteorder", .data = byte_order},
        {.name = "ae/data/0",
         .data = std::string(reinterpret_cast<const char*>(storage.data()), storage.size() * sizeof(float))},
        {.name = "ae/version", .data = "3\n"}};
    members.insert(members.end(), more.begin(), more.end());
    return scratch().write("ae.pt", zip(members));
}

void check_refused(const std::string& path, const std::vector<std::string>& parts) {
    try {
        const io::TorchFile file(path);
        for (const io::TorchTensor& tensor : file.tensors())
            file.read(tensor);
        BOOST_ERROR("not refused: " << parts.front());
    } catch (const InputError& error) {
        const std::string message = error.what();
        for (const std::string& part : parts)
            BOOST_TEST(message.find(part) != std::string::npos, part << " in: " << message);
        BOOST_TEST(message.find(path) != std::string::npos);
    }
}

}  // namespace

BOOST_AUTO_TEST_CASE(what_torch_writes) {
    const io::TorchFile plain(golden + "AutoEncoderTopK/ae.pt");
    BOOST_REQUIRE(plain.find("k") != nullptr);
    BOOST_TEST(plain.find("k")->dtype == "I32");
    BOOST_TEST(plain.read_integers(*plain.find("k")) == std::vector<std::int64_t>{5}, boost::test_tools::per_element());
    BOOST_TEST(plain.read(*plain.find("threshold")).front() == -1.0f);
    BOOST_TEST(plain.find("encoder.weight")->shape == (std::vector<std::int64_t>{48, 12}),
               boost::test_tools::per_element());
    BOOST_TEST(plain.find("absent") == nullptr);
    // An OrderedDict with _metadata, and a matrix that was saved transposed.
    const io::TorchFile ordered(golden + "AutoEncoder_state_dict/ae.pt");
    BOOST_TEST(ordered.tensors().size() == 4u);
    const io::TorchTensor& encoder = *ordered.find("encoder.weight");
    BOOST_TEST(encoder.stride == (std::vector<std::int64_t>{1, 48}), boost::test_tools::per_element());
    BOOST_TEST(ordered.read(encoder).size() == 48u * 12u);
    const io::TorchFile groups(golden + "MatryoshkaBatchTopKSAE/ae.pt");
    BOOST_TEST(groups.read_integers(*groups.find("group_sizes")) == (std::vector<std::int64_t>{10, 38}),
               boost::test_tools::per_element());
    BOOST_CHECK_THROW(groups.read(*groups.find("k")), InputError);
    BOOST_CHECK_THROW(groups.read_integers(*groups.find("W_enc")), InputError);
}

BOOST_AUTO_TEST_CASE(views_of_storages) {
    const auto read = [](const Claim& claim) {
        const io::TorchFile file(save(dictionary({{"w", tensor(claim)}})));
        return file.read(file.tensors().front());
    };
    BOOST_TEST(read({}) == (std::vector<float>{1, 2, 3, 4}), boost::test_tools::per_element());
    BOOST_TEST(read({.stride = {1, 2}}) == (std::vector<float>{1, 3, 2, 4}), boost::test_tools::per_element());
    BOOST_TEST(read({.offset = 1, .shape = {3}, .stride = {1}}) == (std::vector<float>{2, 3, 4}),
               boost::test_tools::per_element());
    BOOST_TEST(read({.offset = 1, .shape = {2}, .stride = {2}}) == (std::vector<float>{2, 4}),
               boost::test_tools::per_element());
    BOOST_TEST(read({.shape = {}, .stride = {}}) == (std::vector<float>{1}), boost::test_tools::per_element());
    BOOST_TEST(read({.shape = {0, 5}, .stride = {5, 1}}).empty());
    // Two tensors of one storage, one of them a Parameter.
    const io::TorchFile shared(
        save(dictionary({{"a", tensor()},
                         {"b", global("torch._utils", "_rebuild_parameter") +
                                   tuple({tensor(), "\x88", global("collections", "OrderedDict") + ")R"}) + "R"}})));
    BOOST_TEST(shared.tensors().size() == 2u);
    BOOST_TEST(shared.read(shared.tensors()[1]) == (std::vector<float>{1, 2, 3, 4}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(nothing_is_run) {
    const std::string os_system = global("os", "system") + tuple({text("touch /tmp/pva_was_run")}) + "R";
    check_refused(save(dictionary({{"w", os_system}})), {"'os.system'", "never runs a pickle"});
    check_refused(save(pickle(os_system)), {"'os.system'"});
    for (const auto& [module, name] :
         std::vector<std::pair<std::string, std::string>>{{"builtins", "eval"},
                                                          {"posix", "system"},
                                                          {"torch", "load"},
                                                          {"torch.nn.modules.linear", "Linear"},
                                                          {"collections", "Counter"},
                                                          {"torch._utils", "_rebuild_tensor_v3"},
                                                          {"torch", "FloatStorage.x"}}) {
        check_refused(save(dictionary({{"w", global(module, name)}})), {"'" + module + "." + name + "'"});
        std::string by_stack = "\x8c";
        by_stack += static_cast<char>(module.size());
        by_stack += module + "\x8c" + static_cast<char>(name.size()) + name + "\x93";
        check_refused(save(dictionary({{"w", by_stack}})), {"'" + module + "." + name + "'"});
    }
    BOOST_TEST(!std::filesystem::exists("/tmp/pva_was_run"));
    // Instructions that build objects, call their constructors or refer to registries.
    for (const char opcode : {'i', 'o', '\x81', '\x92', '\x82', '\x83', '\x84', 'P', 'I',    'L',    'S',
                              'T', 'V', 'p',    'g',    '1',    '2',    'd',    'l', '\x8b', '\x8e', '\x98'})
        check_refused(save(dictionary({{"w", std::string(1, opcode)}})), {"instruction 0x", "never runs a pickle"});
    // Allowed names in calls that tensors do not need.
    check_refused(save(dictionary({{"w", global("collections", "OrderedDict") + tuple({integer(1)}) + "R"}})),
                  {"in a way"});
    check_refused(save(dictionary({{"w", global("torch", "FloatStorage") + tuple({integer(1 << 30)}) + "R"}})),
                  {"in a way"});
    check_refused(save(dictionary({{"w", text("os.system") + tuple({integer(1)}) + "R"}})), {"no function"});
    check_refused(save(pickle("}" + std::string("}(") + text("__class__") + integer(1) + "ub")),
                  {"attributes other than _metadata"});
    check_refused(save(pickle(text("x") + "}b")), {"sets attributes of something else"});
}

BOOST_AUTO_TEST_CASE(pickles_that_are_wrong) {
    check_refused(save(""), {"cut short"});
    check_refused(save("\x80\x02"), {"cut short"});
    check_refused(save(std::string("\x80\x02}q", 4)), {"cut short"});
    check_refused(save("\x80\x06}."), {"protocol 6"});
    check_refused(save(pickle("}") + "x"), {"bytes after its end"});
    check_refused(save(pickle("}}")), {"one value"});
    check_refused(save(pickle("(}")), {"one value"});
    check_refused(save(pickle("}h\x07")), {"never remembered"});
    check_refused(save(pickle("0")), {"stack is empty"});
    check_refused(save(pickle("t")), {"mark is missing"});
    check_refused(save(pickle("}(" + text("key") + "u")), {"key has no value"});
    check_refused(save(pickle("}}(0u")), {"stack is empty"});  // below its mark
    check_refused(save(pickle("X\xff\xff\xff\xff")), {"cut short"});
    check_refused(save(pickle("ctorch")), {"does not end"});
    check_refused(save(pickle(text("no dictionary"))), {"no dictionary"});
    check_refused(save(pickle("}" + integer(3) + integer(4) + "s")), {"key of its dictionary is no text"});
    check_refused(save(dictionary({{"step", integer(1)}})), {"'step' is no tensor", "backups"});
    check_refused(save(dictionary({{"ae", global("collections", "OrderedDict") + ")R"}})), {"'ae' is no tensor"});
    check_refused(save(dictionary({{"w", tensor()}, {"w", tensor()}})), {"'w' occurs twice"});
    check_refused(save(pickle(std::string(300000, ')'))), {"more than 200000 values"});
    std::string recalls = "}q";
    recalls += '\0';
    for (int i = 0; i < 300000; ++i)
        recalls += std::string("h\0", 2);
    check_refused(save(pickle(recalls)), {"grows without end"});
}

BOOST_AUTO_TEST_CASE(tensors_that_claim_too_much) {
    const auto refused = [](const Claim& claim, const std::vector<std::string>& parts) {
        check_refused(save(dictionary({{"w", tensor(claim)}})), parts);
    };
    refused({.shape = {2, 3}, .stride = {3, 1}}, {"beyond its storage"});
    refused({.offset = 1}, {"beyond its storage"});
    refused({.offset = -1}, {"no storage"});
    refused({.shape = {1, 2}, .stride = {1, 4}}, {"beyond its storage"});
    refused({.shape = {1000, 1000}, .stride = {0, 0}}, {"several times"});  // an expanded single number
    refused({.shape = {-1, 2}}, {"tuple of sizes"});
    refused({.shape = {4}}, {"disagree"});
    refused({.shape = {0x7fffffff, 0x7fffffff, 0x7fffffff}, .stride = {1, 1, 1}}, {"beyond its storage"});
    refused({.stored = 5}, {"not 5 elements"});
    refused({.stored = -4}, {"unknown form"});
    refused({.type = "DoubleStorage"}, {"elements of F64"});
    refused({.key = "1"}, {"'1'", "missing"});
    refused({.key = "../../0"}, {"missing"});
    check_refused(save(dictionary({{"a", tensor()}, {"b", tensor({.type = "IntStorage"})}})),
                  {"described in two ways"});
    check_refused(save(dictionary({{"w", tensor()}}), {1, 2, 3, 4}, "big"), {"byte order is 'big'"});
}

BOOST_AUTO_TEST_CASE(archives_that_are_refused) {
    check_refused(scratch().file("missing.pt"), {"no such file"});
    check_refused(scratch().write("text.pt", "not an archive at all"), {"too short"});
    check_refused(scratch().write("old.pt", std::string("\x80\x02\x8a\x0a", 4) + std::string(100, 'x')),
                  {"before 1.6"});
    check_refused(scratch().write("ae.pt", zip({{.name = "ae/version", .data = "3"}})), {"data.pkl"});
    check_refused(scratch().write("ae.pt", zip({{.name = "a/data.pkl", .data = pickle("}")},
                                                {.name = "b/data.pkl", .data = pickle("}")}})),
                  {"several members data.pkl"});
    const std::string right = dictionary({{"w", tensor()}});
    // A bomb: a member that claims more than its deflated bytes can hold, and one whose claim is false.
    check_refused(scratch().write("ae.pt", zip({{.name = "ae/data.pkl", .data = right},
                                                {.name = "ae/data/0",
                                                 .data = std::string(16, '\0'),
                                                 .deflated = true,
                                                 .zip64 = true,
                                                 .claimed_bytes = std::uint64_t{1} << 40}})),
                  {"cannot be"});
    check_refused(scratch().write("ae.pt", zip({{.name = "ae/data.pkl", .data = right, .claimed_bytes = 1}})),
                  {"claims 1 bytes"});
    check_refused(
        scratch().write(
            "ae.pt", zip({{.name = "ae/data.pkl", .data = std::string(std::size_t{17} << 20, '0'), .deflated = true}})),
        {"larger than 16 MiB"});
    check_refused(scratch().write("ae.pt", zip({{.name = "ae/data.pkl", .data = right},
                                                {.name = "ae/data/0", .data = std::string(16, '\1'), .crc = 7}})),
                  {"CRC-32"});
    // A deflated storage is read like a stored one.
    const io::TorchFile deflated(
        scratch().write("ae.pt", zip({{.name = "ae/data.pkl", .data = right, .deflated = true},
                                      {.name = "ae/data/0", .data = std::string(16, '\0'), .deflated = true}})));
    BOOST_TEST(deflated.read(deflated.tensors().front()) == (std::vector<float>{0, 0, 0, 0}),
               boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(every_truncation_and_every_changed_byte_of_a_pickle) {
    const std::string whole = bytes_of(golden + "AutoEncoderTopK/ae.pt");
    for (std::size_t n = 0; n < whole.size(); n += 97)
        BOOST_CHECK_THROW(io::TorchFile(scratch().write("cut.pt", whole.substr(0, n))), InputError);
    // Whatever a changed byte does, it ends in tensors inside their storages or a refusal.
    const std::string right = dictionary({{"a", tensor()}, {"b", tensor({.shape = {4}, .stride = {1}})}});
    std::size_t n_refused = 0;
    for (std::size_t i = 0; i < right.size(); ++i) {
        for (const int change : {1, 0x80, 0xff}) {
            std::string changed = right;
            changed[i] = static_cast<char>(changed[i] ^ change);
            try {
                const io::TorchFile file(save(changed));
                for (const io::TorchTensor& tensor : file.tensors()) {
                    if (tensor.dtype == "F32") BOOST_TEST(file.read(tensor).size() <= 4u);
                }
            } catch (const InputError&) {
                ++n_refused;
            }
        }
    }
    BOOST_TEST(n_refused > right.size());
}

BOOST_AUTO_TEST_CASE(half_precision_numbers) {
    const std::uint16_t half[] = {0x3c00, 0xc000, 0x0001, 0x83ff, 0x0400, 0x7bff, 0x0000, 0x8000};
    std::vector<float> values(8);
    io::to_floats("F16", half, values);
    BOOST_TEST(values == (std::vector<float>{1.0f, -2.0f, 0x1p-24f, -1023 * 0x1p-24f, 0x1p-14f, 65504.0f, 0.0f, -0.0f}),
               boost::test_tools::per_element());
    BOOST_TEST(std::signbit(values[7]));
    const std::uint16_t special[] = {0x7c00, 0xfc00, 0x7e00};
    values.resize(3);
    io::to_floats("F16", special, values);
    BOOST_TEST((std::isinf(values[0]) && std::isinf(values[1]) && values[1] < 0 && std::isnan(values[2])));
    const std::uint16_t brain[] = {0x3f80, 0xc000, 0x0001};
    io::to_floats("BF16", brain, values);
    BOOST_TEST(values == (std::vector<float>{1.0f, -2.0f, 0x1p-133f}), boost::test_tools::per_element());
    const double wide[] = {0.1, -1e300, 3.0};
    io::to_floats("F64", wide, values);
    BOOST_TEST((values[0] == 0.1f && std::isinf(values[1]) && values[2] == 3.0f));
    BOOST_CHECK_THROW(io::to_floats("I8", wide, values), InternalError);
    BOOST_TEST(io::float_dtype_bytes("I8") == 0u);
}
