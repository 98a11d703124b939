// The checked path to HDF5. Formats written here are described in docs/formats/common.md.
#include "pva/io/h5.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <mutex>
#include <utility>

#include "pva/core/error.h"

namespace pva::io::h5 {
namespace {

// Independent transfers of 2 GiB and more fail in HDF5 1.10.
constexpr std::size_t piece_bytes = std::size_t{256} << 20;

void silence_library() {
    static std::once_flag once;
    std::call_once(once, [] {
        // A handle left open on a failure must not be closed after MPI_Finalize by the library's own exit handler.
        H5dont_atexit();
        H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    });
}

herr_t collect_error(unsigned depth, const H5E_error2_t* entry, void* target) {
    auto* text = static_cast<std::string*>(target);
    if (depth > 12 || entry->desc == nullptr) return 0;
    if (!text->empty()) *text += "; ";
    *text += entry->desc;
    return 0;
}

std::string error_stack() {
    std::string text;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, collect_error, &text);
    H5Eclear2(H5E_DEFAULT);
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text.empty() ? "HDF5 gives no reason" : text;
}

[[noreturn]] void fail(const char* call, const std::string& where) {
    std::string name = call;
    name = name.substr(0, name.find('('));
    throw IoError(where + ": " + name + " failed: " + error_stack() + ". Check free space, quota and permissions, then run the same command again");
}

template <class Code>
Code checked(Code code, const char* call, const std::string& where) {
    if (code < 0) fail(call, where);
    return code;
}

}  // namespace

#define PVA_H5(call, where) checked((call), #call, (where))

Handle::Handle(Kind kind, hid_t id, bool collective)
    : kind_(kind), id_(id), collective_(collective), uncaught_(std::uncaught_exceptions()) {}

Handle::Handle(Handle&& other) noexcept
    : kind_(other.kind_), id_(std::exchange(other.id_, -1)), collective_(other.collective_), uncaught_(other.uncaught_) {}

Handle& Handle::operator=(Handle&& other) noexcept {
    std::swap(kind_, other.kind_);
    std::swap(id_, other.id_);
    std::swap(collective_, other.collective_);
    std::swap(uncaught_, other.uncaught_);
    return *this;
}

namespace {
herr_t close_identifier(Kind kind, hid_t id) {
    switch (kind) {
        case Kind::file: return H5Fclose(id);
        case Kind::group: return H5Gclose(id);
        case Kind::dataset: return H5Dclose(id);
        case Kind::space: return H5Sclose(id);
        case Kind::plist: return H5Pclose(id);
        case Kind::type: return H5Tclose(id);
        case Kind::attribute: return H5Aclose(id);
    }
    return -1;
}
}  // namespace

Handle::~Handle() {
    if (id_ < 0 || (collective_ && std::uncaught_exceptions() > uncaught_)) return;
    close_identifier(kind_, id_);
}

void Handle::close(const std::string& what) {
    if (id_ < 0) return;
    const hid_t id = std::exchange(id_, -1);
    if (close_identifier(kind_, id) < 0) fail("H5close", what);
}

std::size_t element_bytes(Element element, std::size_t text_width) {
    switch (element) {
        case Element::u8: return 1;
        case Element::u16:
        case Element::f16:
        case Element::bf16: return 2;
        case Element::i32:
        case Element::u32:
        case Element::f32: return 4;
        case Element::i64:
        case Element::u64:
        case Element::f64: return 8;
        case Element::text: return text_width;
    }
    throw InternalError("element_bytes: unknown element");
}

std::string element_name(Element element) {
    switch (element) {
        case Element::u8: return "uint8";
        case Element::u16: return "uint16";
        case Element::i32: return "int32";
        case Element::u32: return "uint32";
        case Element::i64: return "int64";
        case Element::u64: return "uint64";
        case Element::f16: return "float16";
        case Element::bf16: return "bfloat16";
        case Element::f32: return "float32";
        case Element::f64: return "float64";
        case Element::text: return "text";
    }
    throw InternalError("element_name: unknown element");
}

std::size_t Dataset::row_bytes() const {
    std::size_t bytes = element_bytes(element, text_width);
    for (std::size_t i = 1; i < shape.size(); ++i) bytes *= static_cast<std::size_t>(shape[i]);
    return bytes;
}

namespace {

/// Bits of a floating-point type of 16 bits; HDF5 1.10 has none of its own.
struct HalfLayout {
    std::size_t exponent;
    std::size_t mantissa;
    std::size_t bias;
};
std::optional<HalfLayout> half_layout(Element element) {
    if (element == Element::f16) return HalfLayout{5, 10, 15};
    if (element == Element::bf16) return HalfLayout{8, 7, 127};
    return std::nullopt;
}

/// File type: little-endian, so that files are the same everywhere. Memory type is the machine's own.
Handle type_of(Element element, std::size_t text_width, bool in_file) {
    hid_t base = -1;
    switch (element) {
        case Element::u8: base = in_file ? H5T_STD_U8LE : H5T_NATIVE_UINT8; break;
        case Element::u16: base = in_file ? H5T_STD_U16LE : H5T_NATIVE_UINT16; break;
        case Element::i32: base = in_file ? H5T_STD_I32LE : H5T_NATIVE_INT32; break;
        case Element::u32: base = in_file ? H5T_STD_U32LE : H5T_NATIVE_UINT32; break;
        case Element::i64: base = in_file ? H5T_STD_I64LE : H5T_NATIVE_INT64; break;
        case Element::u64: base = in_file ? H5T_STD_U64LE : H5T_NATIVE_UINT64; break;
        case Element::f16:
        case Element::bf16:
        case Element::f32: base = in_file ? H5T_IEEE_F32LE : H5T_NATIVE_FLOAT; break;
        case Element::f64: base = in_file ? H5T_IEEE_F64LE : H5T_NATIVE_DOUBLE; break;
        case Element::text: base = H5T_C_S1; break;
    }
    Handle type(Kind::type, PVA_H5(H5Tcopy(element == Element::f16 || element == Element::bf16 ? H5T_IEEE_F32LE : base), "element type"));
    if (const auto layout = half_layout(element)) {
        // The same in memory and in the file: nothing is converted on the way. (Machines are little-endian here.)
        PVA_H5(H5Tset_fields(type.id(), 15, layout->mantissa, layout->exponent, 0, layout->mantissa), "element type");
        PVA_H5(H5Tset_size(type.id(), 2), "element type");
        PVA_H5(H5Tset_ebias(type.id(), layout->bias), "element type");
    }
    if (element == Element::text) {
        PVA_H5(H5Tset_size(type.id(), text_width), "element type");
        PVA_H5(H5Tset_cset(type.id(), H5T_CSET_UTF8), "element type");
        PVA_H5(H5Tset_strpad(type.id(), H5T_STR_NULLPAD), "element type");
    }
    return type;
}

Handle plain_file_access() {
    Handle access(Kind::plist, PVA_H5(H5Pcreate(H5P_FILE_ACCESS), "file access list"));
    PVA_H5(H5Pset_fclose_degree(access.id(), H5F_CLOSE_STRONG), "file access list");
    return access;
}

}  // namespace

std::string library_version() {
    unsigned major = 0;
    unsigned minor = 0;
    unsigned release = 0;
    PVA_H5(H5get_libversion(&major, &minor, &release), "HDF5 library");
    return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(release);
}

File create(const std::string& path) {
    silence_library();
    const Handle access = plain_file_access();
    return {Handle(Kind::file, PVA_H5(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.id()), path)), path, false};
}

File open_readonly(const std::string& path) {
    silence_library();
    struct stat status {};
    if (stat(path.c_str(), &status) != 0) throw InputError(path + ": " + std::strerror(errno) + "; check the name");
    const htri_t is_hdf5 = H5Fis_hdf5(path.c_str());
    if (is_hdf5 == 0) throw InputError(path + ": this is not an HDF5 file; name a file that a pva phase wrote");
    if (is_hdf5 < 0) throw InputError(path + ": cannot be read: " + error_stack());
    const Handle access = plain_file_access();
    const hid_t id = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.id());
    if (id < 0) {
        throw InputError(path + ": HDF5 cannot open it: " + error_stack() + ". It is damaged, or another program has it open for writing");
    }
    return {Handle(Kind::file, id), path, false};
}

File open_parallel(const std::string& path, const mpi::Communicator& comm) {
    silence_library();
    const Handle access = plain_file_access();
    PVA_H5(H5Pset_fapl_mpio(access.id(), comm.handle(), MPI_INFO_NULL), path);
    return {Handle(Kind::file, PVA_H5(H5Fopen(path.c_str(), H5F_ACC_RDWR, access.id()), path), true), path, true};
}

void flush(const File& file) { PVA_H5(H5Fflush(file.handle.id(), H5F_SCOPE_GLOBAL), file.path); }

Dataset create_dataset(const File& file, const std::string& name, Element element, std::size_t text_width,
                       const std::vector<std::int64_t>& shape, bool zeroed) {
    const std::string where = file.path + " dataset " + name;
    if (element == Element::text && text_width == 0) throw InternalError(where + ": text of width 0");
    const Handle links(Kind::plist, PVA_H5(H5Pcreate(H5P_LINK_CREATE), where));
    PVA_H5(H5Pset_create_intermediate_group(links.id(), 1), where);
    const Handle creation(Kind::plist, PVA_H5(H5Pcreate(H5P_DATASET_CREATE), where));
    PVA_H5(H5Pset_obj_track_times(creation.id(), false), where);
    PVA_H5(H5Pset_layout(creation.id(), H5D_CONTIGUOUS), where);
    PVA_H5(H5Pset_alloc_time(creation.id(), H5D_ALLOC_TIME_EARLY), where);
    PVA_H5(H5Pset_fill_time(creation.id(), zeroed ? H5D_FILL_TIME_ALLOC : H5D_FILL_TIME_NEVER), where);
    std::vector<hsize_t> extent(shape.begin(), shape.end());
    const Handle space(Kind::space, extent.empty() ? PVA_H5(H5Screate(H5S_SCALAR), where)
                                                   : PVA_H5(H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr), where));
    const Handle type = type_of(element, text_width, true);
    Dataset dataset;
    dataset.handle = Handle(Kind::dataset, PVA_H5(H5Dcreate2(file.handle.id(), name.c_str(), type.id(), space.id(), links.id(), creation.id(), H5P_DEFAULT), where));
    dataset.file_path = file.path;
    dataset.name = name;
    dataset.element = element;
    dataset.text_width = text_width;
    dataset.shape = shape;
    return dataset;
}

Dataset open_dataset(const File& file, const std::string& name) {
    const std::string where = file.path + " dataset " + name;
    Dataset dataset;
    const hid_t id = H5Dopen2(file.handle.id(), name.c_str(), H5P_DEFAULT);
    if (id < 0) throw InputError(where + ": not in the file (" + error_stack() + "); is it of another version or kind?");
    dataset.handle = Handle(Kind::dataset, id, file.parallel);
    dataset.file_path = file.path;
    dataset.name = name;
    const Handle space(Kind::space, PVA_H5(H5Dget_space(id), where));
    if (PVA_H5(H5Sget_simple_extent_type(space.id()), where) == H5S_NULL) throw InputError(where + ": it holds nothing; pva writes no such datasets");
    const int rank = PVA_H5(H5Sget_simple_extent_ndims(space.id()), where);
    std::vector<hsize_t> extent(static_cast<std::size_t>(rank));
    PVA_H5(H5Sget_simple_extent_dims(space.id(), extent.data(), nullptr), where);
    dataset.shape.assign(extent.begin(), extent.end());
    const Handle type(Kind::type, PVA_H5(H5Dget_type(id), where));
    const H5T_class_t type_class = PVA_H5(H5Tget_class(type.id()), where);
    const std::size_t size = H5Tget_size(type.id());
    if (type_class == H5T_STRING && PVA_H5(H5Tis_variable_str(type.id()), where) == 0) {
        dataset.element = Element::text;
        dataset.text_width = size;
    } else if (type_class == H5T_INTEGER) {
        const bool is_signed = PVA_H5(H5Tget_sign(type.id()), where) == H5T_SGN_2;
        if (size == 1 && !is_signed) dataset.element = Element::u8;
        else if (size == 2 && !is_signed) dataset.element = Element::u16;
        else if (size == 4) dataset.element = is_signed ? Element::i32 : Element::u32;
        else if (size == 8) dataset.element = is_signed ? Element::i64 : Element::u64;
        else throw InputError(where + ": integers of " + std::to_string(size) + " bytes are not used by pva");
    } else if (type_class == H5T_FLOAT && (size == 4 || size == 8)) {
        dataset.element = size == 4 ? Element::f32 : Element::f64;
    } else if (type_class == H5T_FLOAT && size == 2) {
        std::size_t sign = 0, exponent = 0, exponent_size = 0, mantissa = 0, mantissa_size = 0;
        PVA_H5(H5Tget_fields(type.id(), &sign, &exponent, &exponent_size, &mantissa, &mantissa_size), where);
        if (exponent_size == 5 && mantissa_size == 10) dataset.element = Element::f16;
        else if (exponent_size == 8 && mantissa_size == 7) dataset.element = Element::bf16;
        else throw InputError(where + ": floating-point numbers of 2 bytes that are neither float16 nor bfloat16");
    } else {
        throw InputError(where + ": its element type is not one that pva writes");
    }
    // Everything that computes with sizes afterwards may trust them, and nobody is made to allocate what the file does not hold.
    std::uint64_t bytes = element_bytes(dataset.element, dataset.text_width);
    for (const hsize_t extent_of_dimension : extent) {
        if (__builtin_mul_overflow(bytes, std::max<hsize_t>(extent_of_dimension, 1), &bytes) || bytes > (std::uint64_t{1} << 62)) {
            throw InputError(where + ": claims more values than a file can hold; it is damaged");
        }
    }
    constexpr std::uint64_t small = std::uint64_t{64} << 20;
    constexpr std::uint64_t most_compressed = 1100;  // deflate reaches 1032 to 1
    if (!file.parallel && bytes > small) {
        const hsize_t stored = H5Dget_storage_size(id);
        if (bytes / most_compressed > stored) {
            throw InputError(where + ": claims " + std::to_string(bytes) + " bytes, and the file holds " + std::to_string(stored) + " of them; it is damaged");
        }
    }
    return dataset;
}

bool exists(const File& file, const std::string& name) {
    std::size_t end = 0;
    while (end != std::string::npos) {
        end = name.find('/', end + 1);
        const htri_t there = H5Lexists(file.handle.id(), name.substr(0, end).c_str(), H5P_DEFAULT);
        if (there <= 0) {
            H5Eclear2(H5E_DEFAULT);
            return false;
        }
    }
    return true;
}

namespace {
herr_t visit(hid_t, const char* name, const H5O_info_t* info, void* target) {
    if (info->type == H5O_TYPE_DATASET) static_cast<std::vector<std::string>*>(target)->push_back(name);
    return 0;
}
}  // namespace

std::vector<std::string> dataset_names(const File& file) {
    std::vector<std::string> names;
#if H5_VERSION_GE(1, 12, 0)
    PVA_H5(H5Ovisit3(file.handle.id(), H5_INDEX_NAME, H5_ITER_INC, reinterpret_cast<H5O_iterate2_t>(visit), &names, H5O_INFO_BASIC), file.path);
#else
    PVA_H5(H5Ovisit2(file.handle.id(), H5_INDEX_NAME, H5_ITER_INC, visit, &names, H5O_INFO_BASIC), file.path);
#endif
    std::sort(names.begin(), names.end());
    return names;
}

namespace {

/// Moves rows in pieces; `move` gets the memory type, both spaces and the buffer position.
template <class Move>
void in_pieces(const Dataset& dataset, std::int64_t first_row, std::int64_t count, std::size_t size, Move&& move) {
    const std::string where = dataset.file_path + " dataset " + dataset.name;
    const std::size_t row_bytes = dataset.row_bytes();
    if (first_row < 0 || count < 0 || first_row + count > dataset.rows() || size != row_bytes * static_cast<std::size_t>(count)) {
        throw InternalError(where + ": rows " + std::to_string(first_row) + " to " + std::to_string(first_row + count) + " of " +
                            std::to_string(dataset.rows()) + " with " + std::to_string(size) + " bytes do not fit");
    }
    if (count == 0 || row_bytes == 0) return;
    const Handle type = type_of(dataset.element, dataset.text_width, false);
    if (dataset.shape.empty()) {
        move(type.id(), H5S_ALL, H5S_ALL, std::size_t{0}, where);
        return;
    }
    const auto rows_at_once = static_cast<std::int64_t>(std::max<std::size_t>(1, piece_bytes / row_bytes));
    for (std::int64_t done = 0; done < count; done += rows_at_once) {
        const std::int64_t rows = std::min(rows_at_once, count - done);
        std::vector<hsize_t> start(dataset.shape.size(), 0);
        std::vector<hsize_t> extent(dataset.shape.begin(), dataset.shape.end());
        start[0] = static_cast<hsize_t>(first_row + done);
        extent[0] = static_cast<hsize_t>(rows);
        const Handle in_file(Kind::space, PVA_H5(H5Dget_space(dataset.handle.id()), where));
        PVA_H5(H5Sselect_hyperslab(in_file.id(), H5S_SELECT_SET, start.data(), nullptr, extent.data(), nullptr), where);
        const Handle in_memory(Kind::space, PVA_H5(H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr), where));
        move(type.id(), in_memory.id(), in_file.id(), static_cast<std::size_t>(done) * row_bytes,
             where + " rows " + std::to_string(first_row + done) + " to " + std::to_string(first_row + done + rows - 1));
    }
}

}  // namespace

void write_rows(const Dataset& dataset, std::int64_t first_row, std::int64_t count, std::span<const std::byte> bytes) {
    in_pieces(dataset, first_row, count, bytes.size(), [&](hid_t type, hid_t memory, hid_t in_file, std::size_t at, const std::string& where) {
        PVA_H5(H5Dwrite(dataset.handle.id(), type, memory, in_file, H5P_DEFAULT, bytes.data() + at), where);
    });
}

void read_rows(const Dataset& dataset, std::int64_t first_row, std::int64_t count, std::span<std::byte> bytes) {
    in_pieces(dataset, first_row, count, bytes.size(), [&](hid_t type, hid_t memory, hid_t in_file, std::size_t at, const std::string& where) {
        PVA_H5(H5Dread(dataset.handle.id(), type, memory, in_file, H5P_DEFAULT, bytes.data() + at), where);
    });
}

void read_row_part(const Dataset& dataset, std::int64_t row, std::int64_t second, std::span<std::byte> bytes) {
    const std::string where = dataset.file_path + " dataset " + dataset.name + " row " + std::to_string(row) + ", " + std::to_string(second);
    if (dataset.shape.size() < 2 || row < 0 || row >= dataset.shape[0] || second < 0 || second >= dataset.shape[1] ||
        bytes.size() * static_cast<std::size_t>(dataset.shape[1]) != dataset.row_bytes()) {
        throw InternalError(where + ": there is no such part of " + std::to_string(bytes.size()) + " bytes");
    }
    std::vector<hsize_t> start(dataset.shape.size(), 0);
    std::vector<hsize_t> extent(dataset.shape.begin(), dataset.shape.end());
    start[0] = static_cast<hsize_t>(row);
    start[1] = static_cast<hsize_t>(second);
    extent[0] = extent[1] = 1;
    const Handle type = type_of(dataset.element, dataset.text_width, false);
    const Handle in_file(Kind::space, PVA_H5(H5Dget_space(dataset.handle.id()), where));
    PVA_H5(H5Sselect_hyperslab(in_file.id(), H5S_SELECT_SET, start.data(), nullptr, extent.data(), nullptr), where);
    const Handle in_memory(Kind::space, PVA_H5(H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr), where));
    PVA_H5(H5Dread(dataset.handle.id(), type.id(), in_memory.id(), in_file.id(), H5P_DEFAULT, bytes.data()), where);
}

namespace {

Handle open_object(const File& file, const std::string& object) {
    const std::string where = file.path + " object " + object;
    if (object == "/") return Handle(Kind::group, PVA_H5(H5Gopen2(file.handle.id(), "/", H5P_DEFAULT), where));
    return Handle(Kind::dataset, PVA_H5(H5Dopen2(file.handle.id(), object.c_str(), H5P_DEFAULT), where));
}

void write_attribute_bytes(const File& file, const std::string& object, const std::string& name, hid_t type, const void* value) {
    const std::string where = file.path + " attribute " + object + "@" + name;
    const Handle target = open_object(file, object);
    const Handle space(Kind::space, PVA_H5(H5Screate(H5S_SCALAR), where));
    const Handle attribute(Kind::attribute, PVA_H5(H5Acreate2(target.id(), name.c_str(), type, space.id(), H5P_DEFAULT, H5P_DEFAULT), where));
    PVA_H5(H5Awrite(attribute.id(), type, value), where);
}

/// Files of others may hold arrays, or nothing, where pva writes one value.
bool holds_one_value(const Handle& attribute, const std::string& where) {
    const Handle space(Kind::space, PVA_H5(H5Aget_space(attribute.id()), where));
    return PVA_H5(H5Sget_simple_extent_npoints(space.id()), where) == 1;
}

}  // namespace

void write_attribute(const File& file, const std::string& object, const std::string& name, const std::string& value) {
    const Handle type = type_of(Element::text, std::max<std::size_t>(1, value.size()), true);
    const std::string padded = value.empty() ? std::string(1, '\0') : value;
    write_attribute_bytes(file, object, name, type.id(), padded.data());
}

void write_attribute(const File& file, const std::string& object, const std::string& name, std::int64_t value) {
    const Handle type = type_of(Element::i64, 0, false);
    write_attribute_bytes(file, object, name, type.id(), &value);
}

std::optional<std::string> read_text_attribute(const File& file, const std::string& object, const std::string& name) {
    const std::string where = file.path + " attribute " + object + "@" + name;
    const Handle target = open_object(file, object);
    if (PVA_H5(H5Aexists(target.id(), name.c_str()), where) == 0) return std::nullopt;
    const Handle attribute(Kind::attribute, PVA_H5(H5Aopen(target.id(), name.c_str(), H5P_DEFAULT), where));
    const Handle type(Kind::type, PVA_H5(H5Aget_type(attribute.id()), where));
    if (PVA_H5(H5Tget_class(type.id()), where) != H5T_STRING || PVA_H5(H5Tis_variable_str(type.id()), where) != 0 || !holds_one_value(attribute, where)) {
        return std::nullopt;
    }
    std::string value(H5Tget_size(type.id()), '\0');
    PVA_H5(H5Aread(attribute.id(), type.id(), value.data()), where);
    return value.substr(0, value.find('\0'));
}

std::optional<std::int64_t> read_integer_attribute(const File& file, const std::string& object, const std::string& name) {
    const std::string where = file.path + " attribute " + object + "@" + name;
    const Handle target = open_object(file, object);
    if (PVA_H5(H5Aexists(target.id(), name.c_str()), where) == 0) return std::nullopt;
    const Handle attribute(Kind::attribute, PVA_H5(H5Aopen(target.id(), name.c_str(), H5P_DEFAULT), where));
    const Handle type(Kind::type, PVA_H5(H5Aget_type(attribute.id()), where));
    if (PVA_H5(H5Tget_class(type.id()), where) != H5T_INTEGER || !holds_one_value(attribute, where)) return std::nullopt;
    std::int64_t value = 0;
    PVA_H5(H5Aread(attribute.id(), H5T_NATIVE_INT64, &value), where);
    return value;
}

}  // namespace pva::io::h5
