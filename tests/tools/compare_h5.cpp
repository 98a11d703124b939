// compare_h5 A B: are two result files equal, dataset by dataset, outside measured/? Prints the first difference.
// Exit status 0 equal, 1 different, 2 cannot be read.
#include <cstring>
#include <iostream>
#include <set>

#include "pva/core/error.h"
#include "pva/io/h5.h"

namespace h5 = pva::io::h5;

int main(int argc, char** argv) {
    if (argc != 3) {
        std::cerr << "usage: compare_h5 A B\n";
        return 2;
    }
    try {
        const h5::File a = h5::open_readonly(argv[1]);
        const h5::File b = h5::open_readonly(argv[2]);
        const auto names_of = [](const h5::File& file) {
            std::set<std::string> names;
            for (const std::string& name : h5::dataset_names(file)) {
                if (!name.starts_with("measured/")) names.insert(name);
            }
            return names;
        };
        const std::set<std::string> names = names_of(a);
        if (names != names_of(b)) {
            std::cout << "the files hold different datasets\n";
            return 1;
        }
        for (const std::string attribute : {"filetype", "program", "program_version", "identity", "identity_hash"}) {
            if (h5::read_text_attribute(a, "/", attribute) != h5::read_text_attribute(b, "/", attribute)) {
                std::cout << "attribute " << attribute << " differs\n";
                return 1;
            }
        }
        for (const std::string& name : names) {
            const h5::Dataset x = h5::open_dataset(a, name);
            const h5::Dataset y = h5::open_dataset(b, name);
            if (x.element != y.element || x.shape != y.shape || x.text_width != y.text_width) {
                std::cout << name << ": type or shape differs\n";
                return 1;
            }
            std::vector<std::byte> in_a(static_cast<std::size_t>(x.rows()) * x.row_bytes());
            std::vector<std::byte> in_b(in_a.size());
            h5::read_rows(x, 0, x.rows(), in_a);
            h5::read_rows(y, 0, y.rows(), in_b);
            for (std::int64_t row = 0; row < x.rows(); ++row) {
                const std::size_t at = static_cast<std::size_t>(row) * x.row_bytes();
                if (x.row_bytes() > 0 && std::memcmp(in_a.data() + at, in_b.data() + at, x.row_bytes()) != 0) {
                    std::cout << name << ": row " << row << " differs\n";
                    return 1;
                }
            }
        }
        std::cout << names.size() << " datasets are equal\n";
        return 0;
    } catch (const pva::Error& error) {
        std::cerr << error.what() << "\n";
        return 2;
    }
}
