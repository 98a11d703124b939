// A folder for files of one test under mpirun.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>

#include "../unit/scratch.h"
#include "mpi_test.h"
#include "pva/core/error.h"
#include "pva/mpi/agree.h"

/// An empty folder that all ranks know, made and removed by the first one.
struct SharedScratch {
    std::optional<Scratch> made;  // on the first rank alone
    std::string path = pva::mpi::on_first_rank(test_world(), [this] {
        try {
            return made.emplace().path;
        } catch (const std::runtime_error& error) {
            throw pva::IoError(error.what());  // the kind that reaches all ranks
        }
    });

    SharedScratch() = default;
    ~SharedScratch() { test_world().barrier(); }  // all ranks are through with it before it goes
    SharedScratch(const SharedScratch&) = delete;
    SharedScratch& operator=(const SharedScratch&) = delete;
};
