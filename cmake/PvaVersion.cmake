# The version and git commit that banners, files and --version state. The commit is read at build time, so that it is the one built.
set(pva_version_header ${PROJECT_BINARY_DIR}/generated/pva/core/build_info.h)

# Compiler flags without blanks at the ends, for --version.
string(TOUPPER "${CMAKE_BUILD_TYPE}" pva_build_type)
get_directory_property(pva_compile_options COMPILE_OPTIONS)
string(JOIN " " pva_flags ${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${pva_build_type}} ${pva_compile_options})
string(STRIP "${pva_flags}" pva_flags)
string(JOIN ", " pva_other_libraries
  "Boost ${Boost_VERSION_STRING}" "SentencePiece ${sentencepiece_VERSION}" "PCRE2 ${pcre2_VERSION}" "ICU ${icu_VERSION}" "nlohmann/json ${nlohmann_json_VERSION}"
  "OpenSSL ${OPENSSL_VERSION}" "xxHash ${xxhash_VERSION}" "zlib ${ZLIB_VERSION_STRING}" "libseccomp ${seccomp_VERSION}" "Highway ${highway_VERSION}")
add_custom_target(pva_build_info
  COMMAND ${CMAKE_COMMAND} -DSOURCE_DIR=${PROJECT_SOURCE_DIR} -DOUTPUT=${pva_version_header}
          -DVERSION=${PROJECT_VERSION} -DBUILD_TYPE=${CMAKE_BUILD_TYPE} "-DCOMPILER=${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}"
          -DTORCH_VERSION=${PVA_TORCH_VERSION_FOUND} "-DFLAGS=${pva_flags}" "-DSYSTEM=${CMAKE_SYSTEM_NAME} ${CMAKE_SYSTEM_PROCESSOR}"
          "-DOTHER_LIBRARIES=${pva_other_libraries}"
          -P ${PROJECT_SOURCE_DIR}/cmake/WriteBuildInfo.cmake
  BYPRODUCTS ${pva_version_header}
  COMMENT "")
