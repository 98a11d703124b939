// The communicator of a test under mpirun.
#pragma once

#include "pva/mpi/communicator.h"

const pva::mpi::Communicator& test_world();
