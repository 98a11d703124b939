# The version and git commit that banners, files and --version state. The commit is read at build time, so that it is the one built.
set(pva_version_header ${PROJECT_BINARY_DIR}/generated/pva/core/build_info.h)
add_custom_target(pva_build_info
  COMMAND ${CMAKE_COMMAND} -DSOURCE_DIR=${PROJECT_SOURCE_DIR} -DOUTPUT=${pva_version_header}
          -DVERSION=${PROJECT_VERSION} -DBUILD_TYPE=${CMAKE_BUILD_TYPE} "-DCOMPILER=${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}"
          -DTORCH_VERSION=${PVA_TORCH_VERSION_FOUND}
          -P ${PROJECT_SOURCE_DIR}/cmake/WriteBuildInfo.cmake
  BYPRODUCTS ${pva_version_header}
  COMMENT "")
