// pva_iocheck: write and read rates of a folder.
#include "pva/phases/iocheck.h"

int main(int argc, char** argv) {
    pva::phases::IoCheckOptions options;
    pva::CommonOptions common;
    pva::OptionSet set("pva_iocheck",
                       "Writes, reads back and times GiBs in a folder through parallel HDF5 with the MPI-IO component in force, beside plain pwrite. "
                       "Choose the component by mpirun's own --mca io; jobs/local/iocheck.sh DIR measures every one.",
                       {"mpirun -n 2 --mca io ompio pva_iocheck /scratch/results", "mpirun -n 2 --mca io romio321 pva_iocheck /scratch/results --gib 2"});
    pva::phases::register_options(set, options);
    pva::register_options(set, common);
    return pva::phases::run_executable(argc, argv, set, common, nullptr,
                                       [&](pva::phases::Context& context) { return pva::phases::run_iocheck(context, options); });
}
